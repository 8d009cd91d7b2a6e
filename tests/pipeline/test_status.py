"""Recorded forecasts compared with their outcomes."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.data.store import PriceStore
from forecaster.errors import UnknownNameError
from forecaster.operations.scoring import with_outcomes
from forecaster.pipeline.status import score
from forecaster.registry.forecast_log import Selection, record_forecasts
from tests.data.histories import history

MADE = datetime(2024, 1, 8, 23, tzinfo=UTC)
CLOSES = [100.0, 110.0, 99.0, 99.0, 108.9, 108.9]  # 2024-01-02, 03, 04, 05, 08, 09
HIGHS = [101.0, 112.0, 113.0, 100.0, 110.0, 110.0]


@pytest.fixture
def home(tmp_path):
    """One ticker with six bars."""
    opens = [100.0, *CLOSES[:-1]]
    low = np.minimum(opens, CLOSES)
    bars = history("AAPL", open=opens, high=HIGHS, low=low, close=CLOSES)
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(bars, MADE)
    return tmp_path


def forecast(as_of, session, value, target="return", version="baseline", ticker="AAPL"):
    days = {"as_of": pd.Timestamp(as_of), "session": pd.Timestamp(session)}
    ends = {"q025": value - 0.2, "q10": value - 0.1, "q90": value + 0.1, "q975": value + 0.2}
    row = {"ticker": ticker, "target": target, "version": version, "forecast": value}
    return pd.DataFrame([{**row, **days, **ends, "prob_up": np.nan, "last_close": 100.0}])


def made(home, *tables, late=False, scheduled=True, name="return", at=MADE):
    close = at if late else at + timedelta(hours=1)
    for table in tables:
        record_forecasts(
            home,
            name,
            table.assign(newest_session=table["as_of"], session_close=close),
            fingerprint="f" * 64,
            made_at=at,
            scheduled=scheduled,
        )


def test_outcomes_are_those_of_the_session_that_was_forecast(home):
    """Return of the next bar, by hand: log(99 / 110); persistence of a return is nothing."""
    made(home, forecast("2024-01-03", "2024-01-04", 0.05))
    (row,) = with_outcomes(home, Selection()).to_dict("records")
    assert row["actual"] == pytest.approx(np.log(99.0 / 110.0))
    assert row["persistence"] == 0.0
    found = score(home=home).table.iloc[0]
    assert found["mse"] == pytest.approx((0.05 - np.log(0.9)) ** 2)
    assert (found["made"], found["coverage_80"], found["coverage_95"]) == ("live", 0.0, 1.0)


def test_a_range_is_compared_with_the_days_own_range(home):
    """Persistence is the range of the day it was made as of."""
    made(home, forecast("2024-01-04", "2024-01-05", 0.0, "range"), name="range")
    (row,) = with_outcomes(home, Selection()).to_dict("records")
    assert row["actual"] == pytest.approx(np.log(np.log(100.0 / 99.0)))
    assert row["persistence"] == pytest.approx(np.log(np.log(113.0 / 99.0)))


def test_forecasts_without_outcome_are_pending_or_unscorable(home):
    """The session of the 10th is still to come; the bar of the 6th, as of which, is not there."""
    made(home, forecast("2024-01-09", "2024-01-10", 0.0), forecast("2024-01-06", "2024-01-08", 0.0))
    made(home, forecast("2024-01-03", "2024-01-04", 0.0))
    found = score(home=home)
    assert (found.pending, found.unscorable, found.table["forecasts"].sum()) == (1, 1, 1)


def test_late_forecasts_are_scored_separately(home):
    """Hindsight is no live score."""
    made(home, forecast("2024-01-02", "2024-01-03", 0.1), late=True)
    made(home, forecast("2024-01-03", "2024-01-04", 0.1))
    table = score(home=home).table
    assert table[["made", "forecasts"]].to_numpy().tolist() == [["late", 1], ["live", 1]]


FORECAST = ("2024-01-03", "2024-01-04")


def counted(home):
    """What the scores are made of: live or late, forecasts, and the mean error of 99 / 110."""
    table = score(home=home).table
    made = [np.log(0.9) + error for error in table["mae"]]
    return [(*pair, round(one, 6)) for pair, one in zip(of(table), made, strict=True)]


def of(table):
    return table[["made", "forecasts"]].itertuples(index=False, name=None)


@pytest.mark.parametrize("first_by_hand", [True, False])
def test_the_last_forecast_before_the_close_counts_alone(home, first_by_hand):
    """By hand and by a daily run, whichever is later; none made after the close."""
    made(home, forecast(*FORECAST, 0.1), scheduled=not first_by_hand)
    made(home, forecast(*FORECAST, 0.2), scheduled=first_by_hand, at=MADE + timedelta(1))
    assert counted(home) == [("live", 1, 0.2)]
    assert score(home=home).per_ticker["forecasts"].tolist() == [1]


def test_a_live_forecast_counts_before_a_late_one(home):
    """By hand at the close and by the daily run a week later, or the other way round."""
    made(home, forecast(*FORECAST, 0.1), late=True, scheduled=True)
    made(home, forecast(*FORECAST, 0.2), scheduled=False, at=MADE + timedelta(1))
    assert counted(home) == [("live", 1, 0.2)]


def test_of_two_late_forecasts_the_first_counts(home):
    """It has less hindsight."""
    made(home, forecast(*FORECAST, 0.1), late=True, scheduled=True)
    made(home, forecast(*FORECAST, 0.2), late=True, scheduled=False, at=MADE + timedelta(1))
    assert counted(home) == [("late", 1, 0.1)]


def test_pending_forecasts_count_once_too(home):
    newest = forecast("2024-01-09", "2024-01-10", 0.1)
    made(home, newest)
    made(home, newest, scheduled=False)
    assert score(home=home).pending == 1


def test_versions_of_a_name_are_scored_apart_and_together(home):
    made(home, forecast("2024-01-02", "2024-01-03", 0.0))
    made(home, forecast("2024-01-03", "2024-01-04", 0.0, version="20240101-000000-lstm-00000000"))
    table = score(home=home).table
    assert sorted(table["version"]) == ["20240101-000000-lstm-00000000", "all", "baseline"]
    assert table.loc[table["version"] == "all", "forecasts"].item() == 2


def test_as_of_a_day_nothing_later_is_known(home):
    """Neither forecasts made later nor outcomes."""
    made(home, forecast("2024-01-03", "2024-01-04", 0.0), forecast("2024-01-08", "2024-01-09", 0.0))
    found = score(home=home, as_of=date(2024, 1, 3))
    assert (found.table["forecasts"].sum(), found.pending) == (0, 1)


def stored(home, ticker, days, calendar="XNYS"):
    """Bars of some days, at prices that grow by a tenth each."""
    close = 100.0 * 1.1 ** np.arange(len(days))
    bars = history(ticker, calendar=calendar, close=close, open=close, high=close, low=close)
    bars = replace(bars, bars=bars.bars.assign(session=pd.DatetimeIndex(days).astype("M8[s]")))
    with PriceStore.open_for_writing(home) as store:
        store.upsert(bars, MADE)


JUNE = [f"2024-06-{day:02}" for day in (3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 17, 18, 20, 21)]


@pytest.mark.parametrize(
    ("calendar", "as_of", "expected", "came", "why"),
    [
        ("XNYS", "2024-06-07", "2024-06-08", "2024-06-10", "no session on a Saturday"),
        ("weekdays", "2024-06-18", "2024-06-19", "2024-06-20", "an unknown holiday"),
        ("XNYS", "2024-06-14", "2024-06-18", "2024-06-17", "an unknown session, before"),
        ("XBOM", "2024-06-14", "2024-06-18", "2024-06-17", "Bakri Id, moved at the last moment"),
        ("24/7", "2024-06-07", "2024-06-08", "2024-06-10", "a coin that is no coin"),
        ("XTKS", "2024-06-21", "2024-06-24", "2024-07-03", "closed for six sessions"),
    ],
)
def test_a_forecast_is_scored_against_the_session_that_came(
    tmp_path, calendar, as_of, expected, came, why
):
    """Whatever the calendar expected, and marked."""
    stored(tmp_path, "AAPL", [*JUNE, "2024-07-03", "2024-07-04"], calendar)
    made(tmp_path, forecast(as_of, expected, 0.0), at=datetime(2024, 6, 1, tzinfo=UTC))
    (row,) = with_outcomes(tmp_path, Selection()).to_dict("records")
    assert (str(row["session"].date()), row["moved"], row["late"]) == (came, True, False), why
    assert row["actual"] == pytest.approx(np.log(1.1))
    found = score(home=tmp_path)
    assert (found.table["moved"].tolist(), found.pending, found.unscorable) == ([1], 0, 0)


def test_a_gap_in_one_tickers_bars_is_no_closure(tmp_path):
    """MSFT shows that the exchange was open: the return of a month is not one of a day."""
    stored(tmp_path, "MSFT", [*JUNE, "2024-06-24", "2024-06-25", "2024-06-26", "2024-07-05"])
    stored(tmp_path, "AAPL", [JUNE[0], "2024-06-26"])
    made(tmp_path, forecast(JUNE[0], JUNE[1], 0.0), at=datetime(2024, 6, 3, tzinfo=UTC))
    found = score(home=tmp_path)
    assert (len(found.table), found.pending, found.unscorable) == (0, 0, 1)


@pytest.mark.parametrize(
    ("at", "late"),
    [
        ("2024-06-14T22:00", False),
        ("2024-06-15T12:00", False),  # no calendar knows when that Saturday closed
        ("2024-06-16T00:00", True),
    ],
)
def test_a_forecast_made_after_a_session_nobody_knew_is_late(tmp_path, at, late):
    """Friday's forecast of Monday, and a bar of the Saturday between."""
    stored(tmp_path, "AAPL", ["2024-06-13", "2024-06-14", "2024-06-15", "2024-06-17"])
    moment = datetime.fromisoformat(f"{at}+00:00")
    made(tmp_path, forecast("2024-06-14", "2024-06-17", 0.0), at=moment)
    assert score(home=tmp_path).table["made"].tolist() == ["late" if late else "live"]


def test_a_forecast_made_after_the_close_of_a_closed_day_is_live(tmp_path):
    """Juneteenth, had it been declared late: on the 19th the outcome was still to come."""
    stored(tmp_path, "AAPL", ["2024-06-18", "2024-06-20"])
    moment = datetime(2024, 6, 19, 23, tzinfo=UTC)
    made(tmp_path, forecast("2024-06-18", "2024-06-19", 0.0), late=True, at=moment)
    assert score(home=tmp_path).table["made"].tolist() == ["live"]


def test_no_forecast_is_an_error(home):
    with pytest.raises(UnknownNameError, match="No forecast under"):
        score(home=home)
    made(home, forecast("2024-01-03", "2024-01-04", 0.0))
    with pytest.raises(UnknownNameError, match="of these tickers"):
        score("MSFT", home=home)
