"""Tables behind the figures: each number worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from forecaster.report import curves
from tests.report.samples import OWN, forecast_rows, scored

DAYS = pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-06"])


def table(**forecasts: list[float | None]) -> pd.DataFrame:
    """Forecasts of one ticker whose outcomes are 0, 1 and 2."""
    parts = [
        pd.DataFrame(
            {
                "ticker": "AAA",
                "session": DAYS,
                "forecaster": name,
                "forecast": np.array(values, dtype=float),
                "actual": [0.0, 1.0, 2.0],
            }
        )
        for name, values in forecasts.items()
    ]
    return pd.concat(parts, ignore_index=True)


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gains over the forecaster `benchmark`."""
    return curves.gains(scored(rows).squared_errors(), ["benchmark"])


def test_the_gain_ends_at_the_skill() -> None:
    """Errors 0, 0, 1 against 1, 1, 0 make gains of +1, +1, -1 of a loss of 2."""
    found = gains(table(own=[0, 1, 3], benchmark=[1, 2, 2]))
    assert found["gain"].tolist() == [0.5, 1.0, 0.5]
    assert found["session"].tolist() == list(DAYS)


def test_a_day_that_the_benchmark_lacks_is_no_gain() -> None:
    """Neither its error nor the own one counts, in whatever form it is lacking."""
    rows = table(own=[0, 5, 3], benchmark=[1, None, 2])
    for given in (rows, rows[rows["forecast"].notna()]):
        found = gains(given)
        assert found["gain"].tolist() == [1.0, 0.0]


def test_a_benchmark_without_loss_is_left_out() -> None:
    rows = table(own=[0, 0, 0], benchmark=[0, 1, 2])
    assert gains(rows).empty
    assert curves.gains_by_ticker(scored(rows).squared_errors(), ["benchmark"]).empty


def test_the_benchmarks_drawn_are_the_naive_forecast_and_the_best() -> None:
    rows = table(own=[0, 0, 0], bad=[9, 9, 9], persistence=[8, 8, 8], good=[0, 1, 1])
    errors = scored(rows).squared_errors()
    assert curves.leading_benchmarks(errors) == ["persistence", "good", "bad"]
    assert curves.leading_benchmarks(errors, at_most=2) == ["persistence", "good"]


def test_log_scores_are_cumulated_in_nats_where_both_have_them() -> None:
    rows = table(own=[0, 0, 0], garch=[0, 0, 0], point=[0, 0, 0])
    rows["log_score"] = [1.0, 2.0, 3.0, 0.5, 2.5, None, None, None, None]
    found = curves.log_gains(scored(rows).log_scores(), "own")
    assert set(found["benchmark"]) == {"garch"}
    assert found["gain"].tolist() == [0.5, 0.0]
    assert curves.log_gains(scored(rows.drop(columns="log_score")).log_scores(), "own").empty


def test_like_forecasts_are_averaged_with_one_draw_per_day() -> None:
    """Two tickers that move alike are no more certain than one."""
    one = pd.DataFrame(
        {
            "ticker": "AAA",
            "session": pd.bdate_range("2020-01-01", periods=4),
            "forecaster": "own",
            "forecast": 1.0,
            "actual": [0.0, 0.0, 2.0, 2.0],
        }
    )
    two = pd.concat([one, one.assign(ticker="BBB")])
    (alone,), (together,) = (curves.bins(rows).to_dict("records") for rows in (one, two))
    assert (alone["forecast"], alone["actual"], alone["error"]) == (1.0, 1.0, 0.5)
    assert together["error"] == alone["error"]
    assert (alone["forecasts"], together["forecasts"]) == (4, 8)


def test_bins_hold_like_numbers_of_forecasts_from_low_to_high() -> None:
    found = curves.bins(scored(forecast_rows(days=120, tickers=1)).table(OWN), count=12)
    assert found["forecasts"].tolist() == [10] * 12
    assert found["forecast"].is_monotonic_increasing


def test_coverage_counts_what_lies_inside_and_below() -> None:
    rows = table(own=[0, 0, 0]).assign(q025=0.0, q10=0.5, q90=1.5, q975=1.9)
    own = curves.with_intervals(rows)
    below = curves.below_ends(own).set_index("nominal")["observed"]
    assert below.to_dict() == pytest.approx({0.025: 0, 0.1: 1 / 3, 0.9: 2 / 3, 0.975: 2 / 3})
    by_ticker = curves.coverage(own, own["ticker"]).set_index("interval")["coverage"]
    assert by_ticker.to_dict() == pytest.approx({"80 %": 1 / 3, "95 %": 2 / 3})


@pytest.mark.parametrize(("days", "periods"), [(300, 5), (100, 5), (5, 1)])
def test_coverage_over_time_has_equal_periods(days: int, periods: int) -> None:
    """No period of two days follows one of sixty."""
    rows = scored(forecast_rows(days=days, tickers=1))
    own = curves.with_intervals(rows.table(OWN))
    found = curves.coverage_over_time(own)
    counts = found[found["interval"] == "80 %"]["forecasts"]
    assert len(counts) == periods
    assert counts.max() - counts.min() <= 1 and counts.sum() == days
    assert found["first"].iloc[0] == pd.Timestamp("2020-01-01")


def test_without_intervals_there_is_no_coverage() -> None:
    rows = forecast_rows()
    for bare in (rows.drop(columns=["q10", "q90"]), rows.assign(q10=np.nan)):
        own = curves.with_intervals(scored(bare).table(OWN))
        assert curves.below_ends(own).empty
        assert curves.coverage_over_time(own).empty
        assert curves.coverage(own, own["ticker"]).empty


def test_the_gain_by_ticker_is_the_skill_on_it() -> None:
    rows = table(own=[0, 1, 3], benchmark=[1, 2, 2])
    worse = table(own=[0, 1, 3], benchmark=[0, 1, 2.5]).assign(ticker="BBB")
    found = curves.gains_by_ticker(scored(pd.concat([rows, worse])).squared_errors(), ["benchmark"])
    assert found.set_index("ticker")["gain"].to_dict() == {"AAA": 0.5, "BBB": -3.0}
