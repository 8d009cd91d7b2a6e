"""Callers' frames in the shapes that people have, as one flat table with text as column names.

A frame in; a frame out.  What its columns are is decided by `headers`, as for a file.
"""

from datetime import date

import pandas as pd

from forecaster.data.sources.headers import field_of
from forecaster.errors import DataError, UsageError


def flat_frame(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Convert the index to columns and the columns to text; the rows are numbered from 0.

    Known are a long table, an index of dates or of tickers and dates, and columns of two levels,
    the field and the ticker in either order. An index that is neither named as a field nor made of
    dates only numbers the rows.

    Raises:
        UsageError: two columns have one name.
        DataError: there are no rows.
    """
    if not frame.columns.is_unique:
        raise UsageError(f"{name} has two columns of one name; rename or drop one.")
    if frame.empty:
        raise DataError(f"{name} has no rows; at least one bar is needed.")
    labels = [_text_of(label) for label in frame.columns]
    columns = frame.set_axis(pd.RangeIndex(len(frame)), axis=0).set_axis(labels, axis=1)
    levels = _levels_of(frame.index)
    # Dates first: only there may the column of dates have no name.
    names = sorted(levels, key=lambda level: field_of(level) == "ticker")
    index = pd.DataFrame({level: levels[level].array for level in names})
    return pd.concat([index, columns], axis=1) if levels else columns


def _text_of(label: object) -> str:
    """Return a column's name; two levels as pandas writes them, an empty one left out."""
    if not isinstance(label, tuple):
        return str(label)
    parts = [str(part) for part in label if str(part)]
    return parts[0] if len(parts) == 1 else str(tuple(parts))


def _levels_of(index: pd.Index) -> dict[str, pd.Index]:
    """Select the levels that are dates or tickers, by name; dates without a field's name are ""."""
    found: dict[str, pd.Index] = {}
    for number in range(index.nlevels):
        level = index.get_level_values(number)
        name = "" if level.name is None else str(level.name)
        if field_of(name) in ("session", "ticker"):
            found[name] = level
        elif isinstance(level, pd.DatetimeIndex | pd.PeriodIndex) or isinstance(level[0], date):
            found[""] = level
        elif index.nlevels > 1 and isinstance(level[0], str):
            found.setdefault("ticker", level)
    return found
