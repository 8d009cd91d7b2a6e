"""Recorded forecasts compared with their outcomes."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.data.store import PriceStore
from forecaster.errors import UnknownNameError
from forecaster.operations.scoring import with_outcomes
from forecaster.pipeline.status import score
from forecaster.registry.forecast_log import record_forecasts
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
    for table in tables:
        record_forecasts(
            home,
            name,
            table.assign(late=late),
            fingerprint="f" * 64,
            made_at=at,
            scheduled=scheduled,
        )


def test_outcomes_are_those_of_the_session_that_was_forecast(home):
    """Return of the next bar, by hand: log(99 / 110); persistence of a return is nothing."""
    made(home, forecast("2024-01-03", "2024-01-04", 0.05))
    (row,) = with_outcomes(home).to_dict("records")
    assert row["actual"] == pytest.approx(np.log(99.0 / 110.0))
    assert row["persistence"] == 0.0
    found = score(home=home).table.iloc[0]
    assert found["mse"] == pytest.approx((0.05 - np.log(0.9)) ** 2)
    assert (found["made"], found["coverage_80"], found["coverage_95"]) == ("live", 0.0, 1.0)


def test_a_range_is_compared_with_the_days_own_range(home):
    """Persistence is the range of the day it was made as of."""
    made(home, forecast("2024-01-04", "2024-01-05", 0.0, "range"), name="range")
    (row,) = with_outcomes(home).to_dict("records")
    assert row["actual"] == pytest.approx(np.log(np.log(100.0 / 99.0)))
    assert row["persistence"] == pytest.approx(np.log(np.log(113.0 / 99.0)))


def test_forecasts_without_outcome_are_pending_or_unscorable(home):
    """The session of the 10th is still to come; the 6th was none, though later bars are there."""
    made(home, forecast("2024-01-09", "2024-01-10", 0.0), forecast("2024-01-05", "2024-01-06", 0.0))
    made(home, forecast("2024-01-03", "2024-01-04", 0.0))
    found = score(home=home)
    assert (found.pending, found.unscorable, len(found.forecasts)) == (1, 1, 1)


def test_late_forecasts_are_scored_separately(home):
    """Hindsight is no live score."""
    made(home, forecast("2024-01-02", "2024-01-03", 0.1), late=True)
    made(home, forecast("2024-01-03", "2024-01-04", 0.1))
    table = score(home=home).table
    assert table[["made", "forecasts"]].to_numpy().tolist() == [["late", 1], ["live", 1]]


def test_a_forecast_made_twice_counts_once_and_as_the_better_proof(home):
    """By hand at the close and by the daily run a week later, or the other way round."""
    made(home, forecast("2024-01-03", "2024-01-04", 0.1), late=True, scheduled=True)
    made(home, forecast("2024-01-03", "2024-01-04", 0.1), scheduled=False, at=MADE + timedelta(1))
    table = score(home=home).table
    assert table[["made", "forecasts"]].to_numpy().tolist() == [["live", 1]]


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
    assert (len(found.forecasts), found.pending) == (0, 1)


def test_no_forecast_is_an_error(home):
    with pytest.raises(UnknownNameError, match="No forecast under"):
        score(home=home)
    made(home, forecast("2024-01-03", "2024-01-04", 0.0))
    with pytest.raises(UnknownNameError, match="of these tickers"):
        score("MSFT", home=home)
