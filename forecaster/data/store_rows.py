"""The SQL statements of the price store; bars (D trading days) to rows and back."""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import BAR_COLUMNS, Listing, own_names
from forecaster.data.trading_calendar import base_name

Row = tuple[Any, ...]
OLDEST: Final = "0000-01-01"
NEWEST: Final = "9999-12-31"
LISTING_COLUMNS: Final = "ticker source basis calendar name exchange currency first_trade".split()
_VALUES: Final = BAR_COLUMNS[1:]
_COLUMNS: Final = ", ".join(BAR_COLUMNS)
_UPDATED: Final = (*LISTING_COLUMNS[3:], "fetched_at")
LISTING: Final = f"SELECT {', '.join(LISTING_COLUMNS)} FROM listings WHERE ticker = ?"
UNKNOWN: Final = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT ticker FROM listings)"
UPSERT_LISTING: Final = f"""
    INSERT INTO listings ({", ".join(LISTING_COLUMNS)}, fetched_at, compared_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
    ON CONFLICT (ticker) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _UPDATED)}
"""
UPSERT_BAR: Final = f"""
    INSERT INTO bars (ticker, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (ticker, session) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}
    WHERE ({", ".join(_VALUES)}) IS NOT ({", ".join(f"excluded.{name}" for name in _VALUES)})
"""
UPSERT_OWN: Final = """
    INSERT INTO own_values (ticker, session, name, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (ticker, session, name) DO UPDATE SET value = excluded.value
    WHERE value IS NOT excluded.value
"""
OWN: Final = """
    SELECT ticker, session, name, own_values.value FROM json_each(?)
    CROSS JOIN own_values ON ticker = json_each.value
    WHERE session BETWEEN ? AND ?
"""
RAISE_REVISION: Final = """
    INSERT INTO revisions
    SELECT ?1, 1 + coalesce(max(revision), 0), ?2, ?3 FROM revisions WHERE ticker = ?1
"""
REVISIONS: Final = """
    SELECT revision, reason, raised_at FROM revisions WHERE ticker = ? ORDER BY revision
"""
# Numbers only, so that half a million rows become an array without a tuple for each.
BARS: Final = f"""
    SELECT key, julianday(session) - 2440587.5, {", ".join(_VALUES)}
    FROM json_each(?) CROSS JOIN bars ON ticker = value
    WHERE session BETWEEN ? AND ? ORDER BY key, session
"""
# Of each ticker the newest ones alone.
NEWEST_BARS: Final = f"""
    SELECT key, julianday(session) - 2440587.5, {", ".join(_VALUES)}
    FROM json_each(?1) CROSS JOIN bars ON ticker = value AND session >= coalesce((
        SELECT session FROM bars AS earlier WHERE earlier.ticker = value AND session <= ?2
        ORDER BY session DESC LIMIT 1 OFFSET ?3 - 1
    ), '{OLDEST}')
    WHERE session <= ?2 ORDER BY key, session
"""
# Together they determine the bars up to a day: whatever changes an earlier one raises the revision.
MARKS: Final = """
    SELECT ticker, source, basis, calendar, revision, raised_at,
        (SELECT max(session) FROM bars WHERE bars.ticker = listings.ticker AND session <= ?2)
    FROM json_each(?1) CROSS JOIN listings ON listings.ticker = value JOIN revisions USING (ticker)
    WHERE revision = (SELECT max(revision) FROM revisions AS r WHERE r.ticker = listings.ticker)
    ORDER BY ticker
"""
BAR_ROW: Any = np.dtype((np.float64, 1 + len(BAR_COLUMNS)))
# Seeks, two for each ticker: a store of 10,000 tickers answers at once.
STATES: Final = """
    SELECT ticker, calendar, max(fetched_at, compared_at),
           (SELECT min(session) FROM bars WHERE bars.ticker = listings.ticker),
           (SELECT max(session) FROM bars WHERE bars.ticker = listings.ticker)
    FROM listings WHERE ?1 = '[]' OR ticker IN (SELECT value FROM json_each(?1)) ORDER BY ticker
"""
NEWEST_SESSIONS: Final = """
    SELECT calendar, max((SELECT max(session) FROM bars WHERE bars.ticker = listings.ticker)),
           max(max(fetched_at, compared_at))
    FROM listings GROUP BY calendar ORDER BY calendar
"""
HAS_BARS: Final = """
    SELECT count(DISTINCT session) FROM bars
    WHERE ticker IN (SELECT ticker FROM listings WHERE calendar = ?)
        AND session > ? AND session < ?
"""
SPAN: Final = "SELECT count(*), min(session), max(session) FROM bars WHERE ticker = ?"
SESSION_BEFORE: Final = """
    SELECT min(session) FROM (
        SELECT session FROM bars WHERE ticker = ? AND session < ? ORDER BY session DESC LIMIT ?
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The number of a ticker's stored bars, and the sessions of the first and the last."""

    days: int
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class TickerState:
    """A ticker's calendar, when its source last served it, and its first and last session."""

    ticker: str
    calendar: str
    fetched_at: datetime
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class Mark:
    """What determines a ticker's bars up to a day, without reading them; `last` is the newest."""

    ticker: str
    source: str
    basis: str
    calendar: str
    revision: int
    raised_at: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A state of a ticker's past: its number, from 1, the reason for it, and when (UTC)."""

    number: int
    reason: str
    raised_at: datetime


def listing_row(listing: Listing) -> Row:
    """Convert a listing to a row of LISTING_COLUMNS."""
    first = listing.first_trade
    values = asdict(listing) | {"first_trade": first.isoformat() if first else ""}
    values["calendar"] = base_name(listing.calendar)
    return tuple(values[name] for name in LISTING_COLUMNS)


def listing_of(row: Row) -> Listing:
    """Convert a row of LISTING_COLUMNS to a listing."""
    *values, first = row
    first_trade = date.fromisoformat(first) if first else None
    return Listing(**dict(zip(LISTING_COLUMNS, values, strict=False)), first_trade=first_trade)


def state_of(row: Row) -> TickerState:
    """Convert a row of STATES."""
    ticker, calendar, fetched, *ends = row
    first, last = (date.fromisoformat(day) if day else None for day in ends)
    return TickerState(ticker, calendar, datetime.fromisoformat(fetched), first, last)


def bar_rows(ticker: str, bars: pd.DataFrame) -> list[Row]:
    """Convert bars (D,) to rows of ticker, ISO session and values."""
    sessions = np.datetime_as_string(bars["session"].to_numpy().astype("datetime64[D]")).tolist()
    columns = [bars[name].tolist() for name in _VALUES]
    return list(zip([ticker] * len(bars), sessions, *columns, strict=True))


def own_rows(ticker: str, bars: pd.DataFrame) -> list[Row]:
    """Convert the own columns of bars (D,) to rows of ticker, ISO session, name and value."""
    sessions = np.datetime_as_string(bars["session"].to_numpy().astype("datetime64[D]"))
    rows = [
        (ticker, str(sessions[row]), name, value)
        for name in own_names(bars)
        for row, value in enumerate(bars[name].tolist())
        if value == value  # NaN is a missing value
    ]
    return sorted(rows, key=lambda row: row[1])


def with_own_columns(bars: pd.DataFrame, rows: list[Row]) -> pd.DataFrame:
    """Add rows of OWN to bars as columns, NaN where there is none."""
    if not rows:
        return bars
    long = pd.DataFrame(rows, columns=["ticker", "session", "name", "value"])
    long["session"] = pd.to_datetime(long["session"]).astype("datetime64[s]")
    wide = long.pivot(index=["ticker", "session"], columns="name", values="value")
    return bars.join(wide, on=["ticker", "session"])


def bars_table(rows: NDArray[np.float64]) -> pd.DataFrame:
    """Convert rows of ticker number, day since 1970 and values to BAR_COLUMNS."""
    days = rows[:, 1].astype("datetime64[D]").astype("datetime64[s]")
    values = dict(zip(_VALUES, rows[:, 2:].T.copy(), strict=True))
    return pd.DataFrame({"session": days, **values})


def instant_text(moment: datetime) -> str:
    """Convert an aware instant to text in UTC, to the second."""
    if moment.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {moment.isoformat()}")
    return moment.astimezone(UTC).isoformat(timespec="seconds")
