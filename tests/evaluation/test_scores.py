"""Every score by hand or by another's code, and a reason where there is none."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics

from forecaster.evaluation.calibration import interval_scores, mean_by, pit_histogram
from forecaster.evaluation.conformal import Intervals
from forecaster.evaluation.distributions import Point, StudentT
from forecaster.evaluation.quantiles import Quantiles
from forecaster.evaluation.scores import (
    PINBALL_LEVELS,
    SCORES,
    Outcomes,
    daily_correlations,
    implausible_scores,
    score,
)
from forecaster.evaluation.significance import day_weights, newey_west_t

nan = np.nan


def table(days=200, tickers=8, seed=0):
    """Returns with a little of them foretold by a Student-t with the true scale."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), tickers)
    signal = 0.003 * draw.standard_normal(len(day))
    y = signal + 0.01 * draw.standard_t(5, len(day))
    ones = np.ones(len(day))
    return Outcomes(
        predictive=StudentT(signal, 0.01 * ones, 5.0 * ones), y=y, days=day, reference=0.0 * ones
    )


def values(outcomes, weights=None):
    return {found.metric: found for found in score(outcomes, weights)}


def test_the_scores_are_those_of_sklearn_and_scipy():
    rows = table()
    found = {metric: each.value for metric, each in values(rows).items()}
    mean, y, true = rows.predictive.loc, rows.y, stats.t(5, rows.predictive.loc, 0.01)
    assert tuple(found) == SCORES
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(y, mean))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, mean))
    assert found["directional_accuracy"] == pytest.approx(metrics.accuracy_score(y > 0, mean > 0))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(y > 0, mean > 0))
    assert found["r2_over_zero"] == pytest.approx(1 - np.sum((y - mean) ** 2) / np.sum(y**2))
    assert found["skill"] == found["r2_over_zero"]
    assert found["log_score"] == pytest.approx(true.logpdf(y).mean())
    pinball = [
        metrics.mean_pinball_loss(y, true.ppf(level), alpha=level) for level in PINBALL_LEVELS
    ]
    assert found["pinball"] == pytest.approx(np.mean(pinball))
    inside = (y >= true.ppf(0.1)) & (y <= true.ppf(0.9))
    assert found["coverage_80"] == pytest.approx(inside.mean())
    assert found["width_95"] == pytest.approx(0.02 * stats.t(5).ppf(0.975))
    by_day = [stats.pearsonr(a, b)[0] for a, b in zip(*_per_day(rows), strict=True)]
    ranks = [stats.spearmanr(a, b)[0] for a, b in zip(*_per_day(rows), strict=True)]
    assert found["ic"] == pytest.approx(np.mean(by_day))
    assert found["rank_ic"] == pytest.approx(np.mean(ranks))
    assert found["rank_ic_t"] == pytest.approx(newey_west_t(np.array(ranks)))


def _per_day(rows):
    return rows.predictive.loc.reshape(200, 8), rows.y.reshape(200, 8)


def test_moves_are_away_from_the_reference():
    """Outcomes 2 and 0 with 1 today, forecasts 1.5 and 1.2: one side right, one wrong."""
    rows = Outcomes(
        predictive=Point(np.array([1.5, 1.2])),
        y=np.array([2.0, 0.0]),
        days=np.array([1, 2]),
        reference=np.ones(2),
    )
    found = values(rows)
    assert found["directional_accuracy"].value == 0.5
    assert found["skill"].value == pytest.approx(1 - (0.25 + 1.44) / 2.0)


def test_the_correlation_is_of_moves_not_of_levels():
    """Tickers of high level stay high: repeating today would earn a correlation near 1."""
    rows = table()
    level = np.tile(np.arange(8.0), 200)
    raised = Outcomes(
        predictive=StudentT(rows.predictive.loc + level, rows.predictive.scale, rows.predictive.df),
        y=rows.y + level,
        days=rows.days,
        reference=level,
    )
    for metric in ("ic", "rank_ic"):
        assert values(raised)[metric].value == pytest.approx(values(rows)[metric].value, abs=1e-6)


def test_intervals_hold_the_value_and_narrow_with_days():
    widths = {}
    for days in (100, 1600):
        rows = table(days=days)
        found = values(rows, day_weights(days, 3, repeats=300))
        for metric, each in found.items():
            if not metric.endswith("_t"):
                assert each.low - 1e-12 <= each.value <= each.high + 1e-12, metric
                assert each.reason == ""
        widths[days] = found["mse"].high - found["mse"].low
        assert (found["mse"].days, found["mse"].forecasts) == (days, 8 * days)
    assert 2.0 < widths[100] / widths[1600] < 8.0


def test_tickers_that_share_a_shock_are_drawn_together():
    """Twenty copies of one ticker tell no more of it than one."""
    one = table(tickers=1)
    rows = np.repeat(np.arange(200), 20)
    many = one.take(rows)
    weights = day_weights(200, 1, repeats=500)
    a, b = values(one, weights)["crps"], values(many, weights)["crps"]
    assert (a.low, a.high) == (pytest.approx(b.low), pytest.approx(b.high))


def test_conformal_intervals_replace_those_of_the_distribution():
    rows = table()
    wide = {c: np.column_stack([rows.y - 1.0, rows.y + 1.0]) for c in (0.8, 0.95)}
    held = Outcomes(
        predictive=Point(rows.y),
        y=rows.y,
        days=rows.days,
        reference=rows.y,
        intervals=Intervals(wide),
    )
    found = values(held)
    assert found["coverage_80"].value == 1.0 and found["width_95"].value == pytest.approx(2.0)
    assert values(held.take(np.arange(8)))["coverage_95"].forecasts == 8


def outcomes(mean, y, days=None, tickers=1):
    n = len(y)
    days = np.arange(n) // tickers if days is None else days
    return Outcomes(
        predictive=Point(np.asarray(mean, float)),
        y=np.asarray(y, float),
        days=days,
        reference=np.zeros(n),
    )


@pytest.mark.parametrize(
    ("rows", "metric", "reason"),
    [
        (outcomes(np.ones(60), np.zeros(60)), "skill", "naive forecast makes no error"),
        (outcomes(np.ones(60), np.zeros(60)), "r2_over_zero", "every outcome is zero"),
        (
            outcomes(np.zeros(60), np.ones(60)),
            "directional_accuracy",
            "never forecasts a direction",
        ),
        (outcomes(np.ones(60), np.ones(60)), "mcc", "one of the directions"),
        (outcomes(np.ones(60), np.ones(60)), "log_score", "no density"),
        (outcomes(np.ones(60), np.ones(60)), "coverage_80", "point forecast has no interval"),
        (outcomes(np.ones(60), np.ones(60)), "width_95", "point forecast has no interval"),
        (outcomes(np.ones(60), np.ones(60)), "ic", "no day with at least 5 series"),
        (outcomes(np.ones(60), np.arange(60.0), tickers=6), "rank_ic", "are equal"),
        (outcomes(np.ones(60), np.arange(60.0), tickers=6), "rank_ic_t", "are equal"),
        (outcomes(np.arange(6.0), np.arange(6.0), tickers=6), "ic_t", "too few days: 1"),
        (outcomes(np.ones(60), np.full(60, nan)), "mse", "no outcome is known"),
        (outcomes(np.full(60, nan), np.ones(60)), "crps", "no outcome is known"),
    ],
)
def test_what_is_undefined_is_none_with_a_reason(rows, metric, reason):
    """Warnings are errors here: no division by zero on the way either."""
    weights = day_weights(len(np.unique(rows.days)), 1, repeats=20)
    found = values(rows, weights)[metric]
    assert found.value is None and found.low is None
    assert reason in found.reason


def test_one_day_has_scores_without_intervals():
    rows = table(days=1)
    found = values(rows, np.ones((10, 1)))
    assert found["mse"].value is not None and found["mse"].low is None
    assert "1 days; at least 20" in found["mse"].reason


def test_a_forecast_without_width_somewhere_has_no_log_score():
    """One undefined density makes the mean undefined: dropping the row would flatter."""
    flat = Quantiles(np.array([0.1, 0.5, 0.9]), np.array([[0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]))
    rows = Outcomes(predictive=flat, y=np.zeros(2), days=np.arange(2), reference=np.zeros(2))
    found = values(rows)
    assert found["log_score"].value is None and "no density" in found["log_score"].reason
    assert found["crps"].value is not None


def test_days_with_few_series_are_left_out_of_the_correlation():
    days = np.array([1] * 5 + [2] * 4)
    forecast = np.array([1.0, 2, 3, 4, 5, 1, 2, 3, 4])
    found, reason = daily_correlations(forecast, 2.0 * forecast, days)
    assert found[0] == pytest.approx(1.0) and np.isnan(found[1]) and reason == ""


def test_pits_and_coverage_by_hand():
    counts = pit_histogram(np.array([0.0, 0.04, 0.5, 1.0, nan]), bins=10)
    assert counts.tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    found = mean_by(np.array([1.0, 0.0, 1.0, nan, 1.0]), np.array([7, 7, 7, 7, 3]))
    assert found == {3: (1.0, 1), 7: (pytest.approx(2 / 3), 3)}


def test_interval_scores_by_hand():
    """Width 2, plus 10 times the distance of a miss at 80 %."""
    bounds = np.array([[-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], [nan, nan]])
    found = interval_scores(bounds, np.array([0.0, 1.5, -2.0, 0.0]), 0.8)
    np.testing.assert_allclose(found, [2.0, 7.0, 12.0, nan])


def pooled(days, *, target="return", **values):
    """Pooled scores of one forecaster."""
    return pd.DataFrame(
        [(target, "lstm", metric, number, days, days) for metric, number in values.items()],
        columns=["target", "forecaster", "metric", "value", "days", "forecasts"],
    )


@pytest.mark.parametrize(
    ("metric", "number", "level"), [("skill", 0.0101, 0.01), ("directional_accuracy", 0.56, 0.55)]
)
def test_scores_that_are_too_good_are_alarms(metric, number, level):
    """From 250 days on; not a day earlier, and not where chance alone reaches them."""
    (alarm,) = implausible_scores(pooled(250, **{metric: number}), {metric: 0.0})
    assert (alarm.forecaster, alarm.metric) == ("lstm", metric)
    assert (alarm.value, alarm.level) == (number, level)
    assert implausible_scores(pooled(249, **{metric: number}), {metric: 0.0}) == ()
    for p_value in (0.06, nan, None):
        assert implausible_scores(pooled(250, **{metric: number}), {metric: p_value}) == ()


@pytest.mark.parametrize(
    "table",
    [
        pooled(1000, skill=0.01, directional_accuracy=0.55),
        pooled(1000, skill=nan, directional_accuracy=nan),
        pooled(1000, skill=-0.5, mse=3.0, mae=2.0),
        pooled(1000, target="range", skill=0.4, directional_accuracy=0.7),
    ],
    ids=["at the levels", "undefined", "losing", "range"],
)
def test_plausible_scores_are_no_alarms(table):
    """The levels themselves, undefined values, losses, and targets that can be forecast."""
    assert implausible_scores(table, dict.fromkeys(["skill", "directional_accuracy"], 0.0)) == ()


def test_qlike_by_hand():
    """Of outcomes 2 and 1 where 1 was forecast: 2 - log 2 - 1, and 0; only where asked for."""
    y, zeros = np.log([2.0, 1.0]), np.zeros(2)
    rows = Outcomes(predictive=Point(zeros), y=y, days=np.arange(2), reference=zeros)
    assert "qlike" not in values(rows)
    found = values(replace(rows, has_qlike=True))["qlike"]
    assert found.value == pytest.approx((1.0 - 0.6931471805599453) / 2.0)
