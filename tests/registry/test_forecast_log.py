"""The forecast log: written once, read back as it was, refusing invalid forecasts."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import DataError
from forecaster.registry import forecast_log
from forecaster.registry.forecast_log import (
    FORECAST_LOG_COLUMNS,
    Selection,
    iter_forecasts,
    read_forecasts,
    record_forecasts,
)
from forecaster.registry.registry_file import MIGRATIONS, registry_path

MADE = datetime(2024, 3, 1, 22, 30, tzinfo=UTC)
DAY, CLOSE = pd.Timestamp("2024-03-01"), datetime(2024, 3, 4, 21, tzinfo=UTC)
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
    known = {"newest_session": DAY, "session_close": CLOSE} | {
        key: options.pop(key) for key in ("newest_session", "session_close") if key in options
    }
    return record_forecasts(home, "return", table.assign(**known), **options)


def test_recorded_forecasts_come_back_bit_for_bit(home):
    table = forecasts()
    assert write(home, table, session_close=[CLOSE, MADE]) == 2
    found = read_forecasts(home)
    assert list(found.columns) == list(FORECAST_LOG_COLUMNS)
    columns = list(table.columns)
    pd.testing.assert_frame_equal(found[columns], table, check_exact=True, check_dtype=False)
    assert found["late"].tolist() == [False, True] and found["scheduled"].all()
    assert found["made_at"].tolist() == [MADE] * 2 and set(found["fingerprint"]) == {HASH}
    assert found["as_of"].dtype == "datetime64[s]"
    assert found["newest_session"].tolist() == [DAY] * 2
    assert found["session_close"].tolist() == [CLOSE, MADE]


def test_a_row_that_is_there_is_never_changed(home):
    """Not by the same session run again a day later with other bars, nor in part."""
    write(home, forecasts())
    later = forecasts(forecast=9.0)
    later.loc[1, "ticker"] = "ACME"
    assert write(home, later, made_at=CLOSE) == 1
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
    table = forecasts(newest_session=DAY, session_close=CLOSE)
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


@pytest.mark.parametrize(
    ("known", "late"),
    [
        ({}, False),
        ({"session_close": MADE + timedelta(microseconds=1)}, False),
        ({"session_close": MADE}, True),
        ({"newest_session": pd.Timestamp("2024-03-04")}, True),
        # A session that no calendar knew: its bar is the outcome.
        ({"newest_session": pd.Timestamp("2024-03-02")}, True),
    ],
    ids=["before both", "just before the close", "at the close", "bar known", "a Saturday's bar"],
)
def test_a_forecast_is_late_once_its_outcome_can_be_known(home, known, late):
    write(home, forecasts(), **known)
    assert read_forecasts(home)["late"].tolist() == [late] * 2


@pytest.mark.parametrize(
    "change",
    [
        "late = 0, newest_session = '2024-03-04'",
        "late = 0, newest_session = '2024-03-02'",
        "late = 0, session_close = made_at",
        "late = 0, session_close = '2024-03-01T20:00:00.000000+00:00'",
        "late = 0, made_at = '2024-03-05T00:00:00.000000+00:00'",
    ],
)
def test_the_database_refuses_a_live_forecast_with_hindsight(home, change):
    """Whatever code writes it; a late one may know everything."""
    write(home, forecasts())
    with closing(sqlite3.connect(registry_path(home))) as file:
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            file.execute(f"UPDATE forecast_log SET {change}")
        file.execute(f"UPDATE forecast_log SET {change.replace('late = 0', 'late = 1')}")


def test_rows_from_before_are_kept_with_what_is_unknown(home):
    """A registry of the schema before: its live rows stay live."""
    registry_path(home).parent.mkdir()
    columns = FORECAST_LOG_COLUMNS[:-2]
    values = {"name": "return", "version": "v1", "ticker": "AAPL", "target": "return"}
    values |= {"as_of": "2024-03-01", "session": "2024-03-04", "forecast": 0.3, "q025": None}
    values |= {"q10": None, "q90": None, "q975": None, "prob_up": None, "last_close": 179.66}
    values |= {"fingerprint": HASH, "made_at": MADE.isoformat(timespec="microseconds")}
    with closing(sqlite3.connect(registry_path(home))) as file, file:
        for statement in [one for step in MIGRATIONS[:2] for one in step]:
            file.execute(statement)
        for scheduled, late in ((1, 0), (0, 1)):
            row = [(values | {"scheduled": scheduled, "late": late})[name] for name in columns]
            file.execute(
                f"INSERT INTO forecast_log ({', '.join(columns)}) "
                f"VALUES ({', '.join('?' for _ in row)})",
                row,
            )
        file.execute("PRAGMA user_version = 2")
    found = read_forecasts(home)
    assert found["late"].tolist() == [True, False] and found["forecast"].tolist() == [0.3] * 2
    assert found["newest_session"].isna().all() and found["session_close"].isna().all()
    assert write(home, forecasts(version="v2")) == 2 and len(read_forecasts(home)) == 4


def test_a_large_log_is_read_in_parts_of_whole_tickers(home, monkeypatch):
    """Of all names and versions together, and only what was chosen."""
    monkeypatch.setattr(forecast_log, "_AT_ONCE", 4)
    days = pd.bdate_range("2024-01-01", periods=3).astype("datetime64[s]")
    for ticker in ("AAPL", "ACME", "MSFT"):
        for number, day in enumerate(days):
            table = forecasts(as_of=day, session=day + pd.offsets.BDay(), ticker=ticker)
            write(home, table[:1].assign(version=f"v{number % 2}"), newest_session=day)
    write(home, forecasts(version="v9")[:1], scheduled=False)
    parts = list(iter_forecasts(home, Selection()))
    assert [sorted(set(part["ticker"])) for part in parts] == [["AAPL"], ["ACME"], ["MSFT"]]
    together = pd.concat(parts).sort_values(["as_of", "ticker"], ignore_index=True)
    pd.testing.assert_frame_equal(together, read_forecasts(home))
    assert [len(part) for part in parts] == [4, 3, 3]

    def rows(**chosen):
        return sum(len(part) for part in iter_forecasts(home, Selection(**chosen)))

    assert rows(tickers=("MSFT", "NONE")) == 3 and rows(scheduled_only=True) == 9
    assert rows(until=days[0].date()) == 3 and rows(since=days[1].date()) == 7
    assert rows(name="return") == 10 and rows(name="other") == 0
