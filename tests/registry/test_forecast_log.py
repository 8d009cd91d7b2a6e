"""The forecast log: written once, read back as it was, refusing invalid forecasts."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import DataError
from forecaster.registry.forecast_log import FORECAST_LOG_COLUMNS, read_forecasts, record_forecasts

MADE = datetime(2024, 3, 1, 22, 30, tzinfo=UTC)
HASH = "0" * 64


@pytest.fixture
def home(tmp_path):
    return tmp_path


def forecasts(**changes):
    """Two tickers, one of them without intervals."""
    row = {
        **{"as_of": pd.Timestamp("2024-03-01"), "session": pd.Timestamp("2024-03-04")},
        **{"target": "return", "forecast": 0.1 + 0.2, "q025": -0.04, "q10": -0.02},
        **{"q90": 0.02, "q975": 0.04, "prob_up": 0.51, "last_close": 179.66, "version": "v1"},
    }
    bare = dict.fromkeys(("q025", "q10", "q90", "q975", "prob_up"), np.nan)
    return pd.DataFrame([{**row, "ticker": "AAPL"}, {**row, **bare, "ticker": "MSFT"}]).assign(
        **changes
    )


def write(home, table, **changes):
    options = {"fingerprint": HASH, "made_at": MADE, "scheduled": True} | changes
    late = options.pop("late", False)
    return record_forecasts(home, "return", table.assign(late=late), **options)


def test_recorded_forecasts_come_back_bit_for_bit(home):
    table = forecasts()
    assert write(home, table, late=[False, True]) == 2
    found = read_forecasts(home)
    assert list(found.columns) == list(FORECAST_LOG_COLUMNS)
    columns = list(table.columns)
    pd.testing.assert_frame_equal(found[columns], table, check_exact=True, check_dtype=False)
    assert found["late"].tolist() == [False, True] and found["scheduled"].all()
    assert found["made_at"].tolist() == [MADE] * 2 and set(found["fingerprint"]) == {HASH}
    assert found["as_of"].dtype == "datetime64[s]"


def test_a_row_that_is_there_is_never_changed(home):
    """Not by the same session run again a day later with other bars, nor in part."""
    write(home, forecasts())
    later = forecasts(forecast=9.0)
    later.loc[1, "ticker"] = "ACME"
    assert write(home, later, made_at=MADE + timedelta(days=1), late=True) == 1
    found = read_forecasts(home).set_index("ticker")
    assert found.loc["AAPL", "forecast"] == 0.1 + 0.2 and not found.loc["AAPL", "late"]
    assert found.loc["ACME", "forecast"] == 9.0 and len(found) == 3


def test_a_forecast_by_hand_is_not_a_scheduled_one(home):
    """Otherwise a forecast by hand would take the place of the daily run's."""
    assert write(home, forecasts(), scheduled=False) == 2
    assert write(home, forecasts()) == 2
    assert read_forecasts(home)["scheduled"].tolist() == [False, True, False, True]


def test_of_one_name_and_since_a_day(home):
    write(home, forecasts())
    table = forecasts(late=False)
    record_forecasts(home, "b", table, fingerprint=HASH, made_at=MADE, scheduled=True)
    assert len(read_forecasts(home)) == 4 and len(read_forecasts(home, "b")) == 2
    assert len(read_forecasts(home, since=date(2024, 3, 1))) == 4
    assert len(read_forecasts(home, since=date(2024, 3, 2))) == 0


def test_without_a_registry_the_log_is_empty_but_has_its_columns(home):
    found = read_forecasts(home)
    assert list(found.columns) == list(FORECAST_LOG_COLUMNS) and len(found) == 0
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"forecast": float("nan")},
        {"forecast": float("inf")},
        {"session": pd.Timestamp("2024-03-01")},
        {"last_close": 0.0},
    ],
    ids=["nan", "inf", "the same day", "no price"],
)
def test_an_invalid_forecast_is_refused_with_all_others_of_its_table(home, change):
    table = pd.concat([forecasts(), forecasts(**change, ticker="BAD")])
    with pytest.raises(DataError, match="refused a row"):
        write(home, table)
    assert len(read_forecasts(home)) == 0
