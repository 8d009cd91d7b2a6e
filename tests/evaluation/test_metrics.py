import numpy as np
import pandas as pd
import pytest

from forecaster.evaluation.metrics import METRICS, alarms, direction_accuracy, scores

DAYS = pd.date_range("2024-01-02", periods=400, freq="D").astype("datetime64[s]")
COLUMNS = ["ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"]


def rows(forecaster, forecast, actual, *, ticker="AAPL", target="return", first=0):
    """A table's rows of one forecaster, one day after another."""
    return pd.DataFrame(
        [
            (ticker, DAYS[first + n], DAYS[first + n + 1], target, forecaster, *pair)
            for n, pair in enumerate(zip(forecast, actual, strict=True))
        ],
        columns=COLUMNS,
    )


def value(table, forecaster, metric, **where):
    """The one value of a forecaster's metric."""
    chosen = table[(table["forecaster"] == forecaster) & (table["metric"] == metric)]
    for name, wanted in where.items():
        chosen = chosen[chosen[name] == wanted]
    (only,) = chosen["value"]
    return only


ACTUAL = [1.0, -2.0, 3.0, 0.0]
# Errors 0, -1, 4, 1: squares 0, 1, 16, 1 against 1, 4, 9, 0.  Sides: right, right, wrong; the
# last day did not move.
TABLE = pd.concat(
    [
        rows("zero-return", [0.0] * 4, ACTUAL),
        rows("lstm", [1.0, -1.0, -1.0, -1.0], ACTUAL),
    ],
    ignore_index=True,
)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("mse", 18 / 4), ("mae", 6 / 4), ("skill", 1 - 18 / 14), ("direction_accuracy", 2 / 3)],
)
def test_scores_by_hand(metric, expected):
    """Four days of returns."""
    assert value(scores(TABLE), "lstm", metric) == pytest.approx(expected)


def test_persistence_has_no_skill_and_takes_no_side():
    """It is the measure of the others: skill 0, direction not defined."""
    table = scores(TABLE)
    assert value(table, "zero-return", "skill") == 0.0
    assert np.isnan(value(table, "zero-return", "direction_accuracy"))


def test_skill_is_not_defined_where_nothing_moved():
    """Persistence without error cannot be divided by."""
    table = pd.concat([rows("zero-return", [0.0, 0.0], [0.0, 0.0]), rows("lstm", [1, 1], [0, 0])])
    assert np.isnan(value(scores(table), "lstm", "skill"))
    assert np.isnan(value(scores(table), "lstm", "direction_accuracy"))


def test_direction_by_hand():
    """Of the days on which both moved: right, wrong, right."""
    forecast, actual = np.array([1.0, -1, 0, 2, -3]), np.array([2.0, 1, 1, 0, -1])
    assert direction_accuracy(forecast, actual) == pytest.approx(2 / 3)


def test_moves_are_measured_from_persistence():
    """A range forecast of 2 above a persistence of 1.5 says up, whatever its own sign."""
    table = pd.concat(
        [
            rows("persistence", [1.5, 1.5], [1.0, 2.0], target="range"),
            rows("har", [2.0, 2.0], [1.0, 2.0], target="range"),
        ]
    )
    assert value(scores(table), "har", "direction_accuracy") == 0.5
    assert value(scores(table), "har", "skill") == pytest.approx(1 - 1.0 / 0.5)


def test_persistence_is_matched_by_ticker_day_and_target():
    """Shuffled rows of two tickers, days and targets: each meets its own."""
    parts = []
    for ticker, base in (("A", 1.0), ("B", 10.0)):
        for target, times in (("range", 1.0), ("volume", 100.0)):
            where = {"ticker": ticker, "target": target}
            reference = np.array([base, 2 * base]) * times
            parts.append(rows("persistence", reference, reference + times, **where))
            parts.append(rows("lstm", reference + times / 2, reference + times, **where))
    table = scores(pd.concat(parts).sample(frac=1.0, random_state=0))
    for target in ("range", "volume"):
        assert value(table, "lstm", "skill", target=target) == pytest.approx(0.75)
        assert value(table, "lstm", "direction_accuracy", target=target) == 1.0


def test_a_shorter_forecaster_meets_persistence_of_its_own_days():
    """Two days of a network against those two days, not against all four."""
    table = scores(pd.concat([rows("zero-return", [0.0] * 4, ACTUAL), rows("x", [0, 0], [1, -2])]))
    assert value(table, "x", "skill") == pytest.approx(0.0)


def test_a_second_persistence_of_a_day_is_refused():
    """A doubled row would count days twice."""
    with pytest.raises(pd.errors.MergeError):
        scores(pd.concat([TABLE, rows("persistence", [0.0], [1.0])]))


def test_days_are_distinct_sessions():
    """Two tickers on the same three days: three days, six forecasts."""
    table = pd.concat([rows("zero-return", [0.0] * 3, [1.0, 2.0, 3.0], ticker=t) for t in "AB"])
    found = scores(table)
    assert set(found["days"]) == {3}
    assert set(found["forecasts"]) == {6}


def test_scores_within_a_ticker():
    """`by` splits the rows and is a column of the answer."""
    table = pd.concat(
        [rows("zero-return", [0.0], [size], ticker=t) for t, size in (("A", 1.0), ("B", 3.0))]
    )
    found = scores(table, by=("ticker",))
    assert found.columns.tolist()[:4] == ["target", "ticker", "forecaster", "metric"]
    assert value(found, "zero-return", "mse", ticker="A") == 1.0
    assert value(found, "zero-return", "mse", ticker="B") == 9.0
    assert found["metric"].tolist() == [*METRICS, *METRICS]


def pooled(days, *, target="return", **values):
    """Pooled scores of one forecaster."""
    return pd.DataFrame(
        [(target, "lstm", metric, number, days, days) for metric, number in values.items()],
        columns=["target", "forecaster", "metric", "value", "days", "forecasts"],
    )


@pytest.mark.parametrize(
    ("metric", "number", "label"),
    [("skill", 0.0101, "R2 over zero of 1.01%"), ("direction_accuracy", 0.56, "of 56.00%")],
)
def test_what_is_too_good_rings(metric, number, label):
    """From 250 days on, with the forecaster, the number and the level; not a day earlier."""
    (text,) = alarms(pooled(250, **{metric: number}))
    assert text.startswith("lstm: ")
    assert label in text
    assert "leak" in text
    assert alarms(pooled(249, **{metric: number})) == []


@pytest.mark.parametrize(
    "table",
    [
        pooled(1000, skill=0.01, direction_accuracy=0.55),
        pooled(1000, skill=np.nan, direction_accuracy=np.nan),
        pooled(1000, skill=-0.5, mse=3.0, mae=2.0),
        pooled(1000, target="range", skill=0.4, direction_accuracy=0.7),
    ],
    ids=["at the levels", "undefined", "losing", "range"],
)
def test_what_may_be_does_not_ring(table):
    """The levels themselves, undefined values, losses, and targets that can be forecast."""
    assert alarms(table) == []


def test_a_leaking_forecaster_rings_both():
    """Tomorrow's return handed in as forecast, over a year."""
    actual = np.random.default_rng(0).normal(size=300)
    table = pd.concat([rows("zero-return", 0 * actual, actual), rows("leak", actual, actual)])
    found = alarms(scores(table))
    assert [text.split(":")[0] for text in found] == ["leak", "leak"]
