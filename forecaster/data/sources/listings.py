"""What a table and its user say of a ticker: how its closes are expressed, when it trades.

Columns of a table and options in, a listing out; contradictions are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from forecaster.data.bars import BASES, Basis, Listing
from forecaster.data.sessions import calendar_for, calendar_name
from forecaster.data.sources.cells import DateOrder
from forecaster.data.sources.file_table import FileTable
from forecaster.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the user says of the bars beside the file; None, or no entry, where nothing.

    `calendars` by ticker hold where neither `calendar` nor a column says otherwise.
    `dates` is the order of dates that could be read in two ways.
    """

    basis: Basis | None = None
    calendar: str | None = None
    calendars: Mapping[str, str] = field(default_factory=dict)
    dates: DateOrder | None = None


def listing_of(rows: FileTable, ticker: str, said: Said, source: str) -> Listing:
    """Tell a ticker's basis and calendar: by its columns, by what is said, by its name.

    Args:
        rows: of this ticker alone.
        ticker: upper case.
        said: beside the table.
        source: whose listing it becomes.

    Raises:
        DataError: a column says what is no basis or calendar, or not the same in all rows.
        UsageError: a column contradicts what is said; no calendar of the name that is said.
    """
    basis = _one_value(rows, "basis")
    if basis is not None and basis not in BASES:
        rows.refuse(_all(rows), "basis", " or ".join(BASES))
    calendar = _one_value(rows, "calendar")
    if calendar is not None:
        try:
            calendar = calendar_name(calendar)
        except UsageError:
            rows.refuse(
                _all(rows), "calendar", "a market code such as XNYS, or 24/7, 24/5, weekdays"
            )
    wanted = calendar_name(said.calendar) if said.calendar else None
    known = said.calendars.get(ticker) or calendar_for(ticker)
    return Listing(
        ticker=ticker,
        source=source,
        basis=cast(Basis, _agreed(rows, ticker, "basis", basis, said.basis) or "as-traded"),
        calendar=_agreed(rows, ticker, "calendar", calendar, wanted) or known,
        name=_mark(rows, "name"),
        exchange=_mark(rows, "exchange"),
        currency=_mark(rows, "currency"),
    )


def _one_value(rows: FileTable, column: str) -> str | None:
    """Read what a column says of a ticker in all rows alike; None without such a column."""
    if column not in rows.frame:
        return None
    cells = rows.frame[column].astype(object).astype(str).str.strip()
    rows.refuse((cells != cells.iloc[0]).to_numpy(np.bool_), column, f"one {column} per ticker")
    return str(cells.iloc[0])


def _mark(rows: FileTable, column: str) -> str:
    """Read a mark that all rows tell alike; empty where they do not."""
    if column not in rows.frame or rows.frame[column].isna().any():
        return ""
    told = rows.frame[column].astype(object).unique().tolist()
    # The apostrophe that keeps a spreadsheet from running what our own export writes.
    return str(told[0]).strip().removeprefix("'") if len(told) == 1 else ""


def _all(rows: FileTable) -> NDArray[np.bool_]:
    return np.ones(len(rows.frame), dtype=np.bool_)


def _agreed(
    rows: FileTable, ticker: str, column: str, told: str | None, said: str | None
) -> str | None:
    if told and said and told != said:
        raise UsageError(
            f"{rows.path}: {ticker}: column {rows.headers[column]} says {told}, --{column} "
            f"{said}. Drop the option, or remove the column if it is wrong."
        )
    return told or said
