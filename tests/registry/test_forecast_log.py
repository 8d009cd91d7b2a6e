"""The ledger: written once, read back as it was, refusing what is no forecast."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import DataError
from forecaster.registry.forecast_log import LEDGER_COLUMNS, ledger, remember

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
        **{"q90": 0.02, "q975": 0.04, "rise": 0.51, "last_close": 179.66, "version": "v1"},
    }
    bare = dict.fromkeys(("q025", "q10", "q90", "q975", "rise"), np.nan)
    return pd.DataFrame([{**row, "ticker": "AAPL"}, {**row, **bare, "ticker": "MSFT"}]).assign(
        **changes
    )


def write(home, table, **changes):
    told = {"fingerprint": HASH, "made_at": MADE, "night": True, "late": False} | changes
    return remember(home, "return", table, **told)


def test_what_is_remembered_comes_back_bit_for_bit(home):
    table = forecasts()
    assert write(home, table, late=[False, True]) == 2
    found = ledger(home)
    assert list(found.columns) == list(LEDGER_COLUMNS)
    columns = list(table.columns)
    pd.testing.assert_frame_equal(found[columns], table, check_exact=True, check_dtype=False)
    assert found["late"].tolist() == [False, True] and found["night"].all()
    assert found["made_at"].tolist() == [MADE] * 2 and set(found["fingerprint"]) == {HASH}
    assert found["as_of"].dtype == "datetime64[s]"


def test_a_row_that_is_there_is_never_changed(home):
    """Not by the same night run again a day later with other bars, nor by halves."""
    write(home, forecasts())
    later = forecasts(forecast=9.0)
    later.loc[1, "ticker"] = "ACME"
    assert write(home, later, made_at=MADE + timedelta(days=1), late=True) == 1
    found = ledger(home).set_index("ticker")
    assert found.loc["AAPL", "forecast"] == 0.1 + 0.2 and not found.loc["AAPL", "late"]
    assert found.loc["ACME", "forecast"] == 9.0 and len(found) == 3


def test_a_persons_forecast_is_no_nights(home):
    """Else whoever looks in the evening takes the night's row away."""
    assert write(home, forecasts(), night=False) == 2
    assert write(home, forecasts()) == 2
    assert ledger(home)["night"].tolist() == [False, True, False, True]


def test_of_one_name_and_since_a_day(home):
    write(home, forecasts())
    remember(home, "b", forecasts(), fingerprint=HASH, made_at=MADE, night=True, late=False)
    assert len(ledger(home)) == 4 and len(ledger(home, "b")) == 2
    assert len(ledger(home, since=date(2024, 3, 1))) == 4
    assert len(ledger(home, since=date(2024, 3, 2))) == 0


def test_without_a_registry_the_ledger_is_empty_but_has_its_columns(home):
    found = ledger(home)
    assert list(found.columns) == list(LEDGER_COLUMNS) and len(found) == 0
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
def test_what_is_no_forecast_is_refused_with_all_that_came_beside_it(home, change):
    table = pd.concat([forecasts(), forecasts(**change, ticker="BAD")])
    with pytest.raises(DataError, match="refused a row"):
        write(home, table)
    assert len(ledger(home)) == 0
