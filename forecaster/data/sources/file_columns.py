"""The columns of one piece of a table: numbers read, texts kept once each, strays left out.

Tables in, tables out; knows no file and no ticker.

Shape letters: R rows of a piece.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.bars import BAR_COLUMNS, PRICE_COLUMNS
from forecaster.data.sources.cells import is_empty, is_time_of_day, parse_numbers
from forecaster.data.sources.file_table import FileTable

NUMBERS: Final = BAR_COLUMNS[1:]
# What one meets: the day's running price among the dates, a holiday without prices.
_MOST_STRAYS: Final = 5
_LARGEST_STRAY_SHARE: Final = 0.01

_log = logging.getLogger(__name__)

Flags = NDArray[np.bool_]


def compact(table: FileTable, *, decimal_comma: bool = False) -> FileTable:
    """Read a piece's numbers, and keep each distinct text of its other columns once.

    Rows that are no bars, a time instead of a date or no price at all, are left out and told,
    unless they are many.

    Args:
        table: (R,) rows of fields, as text or typed.
        decimal_comma: 1.234,5 is meant instead of 1,234.5.

    Raises:
        DataError: a cell that is no number, or a price that is missing.
    """
    table = _without_strays(table)
    columns: dict[str, pd.Series] = {}
    for name in table.frame.columns:
        cells = table.frame[name]
        if name in NUMBERS:
            numbers = _numbers(table, name, decimal_comma=decimal_comma)
            if name in PRICE_COLUMNS:
                table.refuse(np.isnan(numbers), name, "a price")
            columns[name] = pd.Series(numbers, index=cells.index)
        else:
            columns[name] = cells.astype("category") if _is_text(cells) else cells
    return replace(table, frame=pd.DataFrame(columns, index=table.frame.index))


def joined(pieces: Sequence[FileTable]) -> FileTable:
    """Put the pieces of one table together again."""
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    columns = {}
    for name in first.frame.columns:
        parts = [piece.frame[name] for piece in pieces]
        columns[name] = (
            pd.api.types.union_categoricals(parts)
            if isinstance(parts[0].dtype, pd.CategoricalDtype)
            else np.concatenate([part.to_numpy() for part in parts])
        )
    places = np.concatenate([piece.places for piece in pieces])
    return replace(first, frame=pd.DataFrame(columns, index=places))


def _without_strays(table: FileTable) -> FileTable:
    no_price = np.all([_is_nothing(table.frame[name]) for name in PRICE_COLUMNS], axis=0)
    for name, nothing in (("dividend", "0"), ("split", "1")):
        if name in table.frame:
            cells = table.frame[name].astype(object).astype(str).str.strip()
            says_so = cells.str.fullmatch(rf"[0{nothing}](\.0*)?").to_numpy(np.bool_)
            no_price &= _is_nothing(table.frame[name]) | says_so
    session = table.frame["session"]
    no_date = is_time_of_day(session) if _is_text(session) else np.zeros_like(no_price)
    strays = no_price | no_date
    count = int(strays.sum())
    if count == 0 or count > max(_MOST_STRAYS, _LARGEST_STRAY_SHARE * len(strays)):
        return table
    shown = ", ".join(str(place) for place in table.places[strays][:5])
    _log.warning(
        "%s: %d rows without a date or without any price left out (%s %s)",
        *(table.path, count, table.unit, shown + " ..." * (count > 5)),
    )
    return table.rows(~strays)


def _is_nothing(cells: "pd.Series[str]") -> Flags:
    missing = cells.isna().to_numpy(np.bool_)
    return missing | is_empty(cells) if _is_text(cells) else missing


def _is_text(cells: "pd.Series[str]") -> bool:
    return not (
        pd.api.types.is_numeric_dtype(cells.dtype)
        or pd.api.types.is_datetime64_any_dtype(cells.dtype)
    )


def _numbers(table: FileTable, field: str, *, decimal_comma: bool) -> NDArray[np.float64]:
    cells = table.frame[field]
    if cells.dtype == np.float32:
        # 83.81 as it was meant, not 83.80999755859375 as the nearest float32 is.
        return cells.to_numpy().astype(str).astype(np.float64)
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.to_numpy(np.float64, na_value=np.nan)
    text = cells.astype(object).where(cells.notna(), "").astype(str)
    values, unreadable = parse_numbers(text, decimal_comma=decimal_comma)
    table.refuse(unreadable, field, "a number")
    return values
