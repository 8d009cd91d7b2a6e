"""Tables (R rows) from files, with numbers parsed.

Paths and frames in; columns by field out, each text stored once.  Of a
large file only some rows are text at any time, so a table takes a hundred bytes a row.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import BAR_COLUMNS, OWN_NAME, PRICE_COLUMNS, most_flawed
from forecaster.data.sources.file_kinds import check_kind
from forecaster.data.sources.file_parts import FileTable, frame_parts, parts_of
from forecaster.data.sources.frames import flat_frame
from forecaster.data.sources.headers import (
    EVENTS,
    FIELDS,
    ColumnChoice,
    EventScan,
    field_of,
    volume_scale,
)
from forecaster.data.sources.layouts import split_pairs
from forecaster.data.sources.numbers import (
    DecimalMark,
    Flags,
    MarkCounts,
    parse_numbers,
    parse_splits,
    plain_numbers,
    read_number,
    read_ratio,
)
from forecaster.errors import DataError, Question, StorageError

NOTE: Final = "note"  # the column that says what of a row cannot be read
# The value of an empty cell, or of a column that is missing.
EMPTY_VALUES: Final = {"volume": 0.0, "dividend": 0.0, "split": 1.0}
# A dividend or split in a row of its own: 0.24 Dividend.
_EVENT: Final = re.compile(r"(?P<amount>\S+)\s+(?:cash\s+)?dividends?", re.IGNORECASE)
log = logging.getLogger(__name__)


def read_table(
    path: Path, choice: ColumnChoice | None = None, decimal: DecimalMark | None = None
) -> FileTable:
    """Read a file; the decimal mark is that of all numbers unless it is given.

    Raises:
        Question: the decimal mark is not clear.
        UsageError: no such file; a column is missing, named twice, or not there as chosen; a
            column may hold events.
        DataError: it is no table, or too many rows cannot be read.
        StorageError: the disk failed.
    """
    check_kind(path)
    chosen = choice or ColumnChoice()
    try:
        table = _parsed(path, chosen, decimal)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}. Check the disk.") from error
    _refuse_many(table)
    return table


def table_of(frame: pd.DataFrame, name: str) -> FileTable:
    """Build a table of a caller's frame in any shape that `flat_frame` knows.

    Raises:
        UsageError: a column is missing or named twice, or may hold events.
    """
    events, parts = EventScan(), []
    flat = flat_frame(frame, name)
    for part in frame_parts(name, flat, ColumnChoice(keep=_numeric(flat)), "iloc"):
        kept = part.frame.drop(columns=[*FIELDS], errors="ignore")
        for column, cells in pd.concat([part.cells, kept], axis=1).items():
            events.add(str(column), cells)
        parts.append(_compact(part, "point"))
    table = _joined(parts) if len(parts) > 1 else parts[0]
    events.review(name, table.headers)
    unread = sorted({column for part in parts for column in part.others})
    if unread:
        log.warning("%s: columns not used: %s", name, ", ".join(unread))
    return table


def _numeric(frame: pd.DataFrame) -> tuple[str, ...]:
    """List the columns of numbers that are no field, in a frame without columns by ticker."""
    names = [str(name) for name in frame.columns]
    if split_pairs(names) or len({name.casefold() for name in names}) < len(names):
        return ()
    return tuple(
        name.casefold()
        for name in names
        if OWN_NAME.fullmatch(name.casefold())
        and field_of(name) is None
        and field_of(name, 1) is None
        and pd.api.types.is_numeric_dtype(frame[name].dtype)
        and not pd.api.types.is_bool_dtype(frame[name].dtype)
    )


def _parsed(path: Path, choice: ColumnChoice, decimal: DecimalMark | None) -> FileTable:
    """Read all parts with one decimal mark: the one that is given, or that most cells show."""
    counts, events = MarkCounts(), EventScan()

    def compact(part: FileTable) -> FileTable:
        for name, cells in ({} if part.cells is None else part.cells).items():
            events.add(str(name), cells)
        return _compact(part, decimal or "point", None if decimal else counts)

    # map keeps no part as text, as a loop variable would.
    table = _joined(list(map(compact, parts_of(path, choice))))
    events.review(path, table.headers)
    if table.others:
        log.info("%s: columns not used: %s", path, ", ".join(table.others))
    if decimal is not None:
        return replace(table, decimal=decimal)
    mark, doubt = counts.decide(PRICE_COLUMNS)
    if mark == "point" and doubt is None:
        doubt = next(((name, "comma") for name in EVENTS if counts.counts[name]["comma"]), None)
    if doubt is not None:
        raise Question(_question(table, counts, *doubt), "decimal", ("point", "comma"))
    if mark == "comma":
        table = _joined(list(map(partial(_compact, mark=mark), parts_of(path, choice))))
    return replace(table, decimal=mark)


def _question(table: FileTable, counts: MarkCounts, field: str, key: str) -> str:
    example = counts.examples[field, key]
    where = f"{table.path}: column {table.headers[field]}: {example!r}"
    if key in ("point", "comma"):
        only = f" --ignore {field}" if field in EMPTY_VALUES else ""
        other = "comma" if key == "point" else "point"
        return (
            f"{where} has a decimal {key}, most other numbers a decimal {other}. "
            f"Add --decimal {other}{only}, or --decimal {key}."
        )
    readings = [
        f"--decimal {mark} ({read_number(example, mark, units=True):.12g})"
        for mark in ("point", "comma")
    ]
    return (
        f"{where} has two readings, and no other column shows which is meant. "
        f"Add {' or '.join(readings)}."
    )


def _compact(table: FileTable, mark: DecimalMark, counts: MarkCounts | None = None) -> FileTable:
    """Parse a part's numbers, and store each distinct text of its other columns once."""
    table = _without_headers(table)
    columns: dict[str, pd.Series] = {}
    unreadable: dict[str, Flags] = {}
    for name in table.frame.columns:
        cells = table.frame[name]
        if name in BAR_COLUMNS[1:] or name not in FIELDS:
            columns[name], unreadable[name] = _numbers(cells, name, mark, counts)
            if name == "volume":
                columns[name] *= volume_scale(table.headers[name])
        else:
            columns[name] = cells.astype("category") if _is_text(cells) else cells
    frame = pd.DataFrame(columns, index=table.frame.index)
    _move_events(table, frame, unreadable, mark)
    for name in unreadable:
        if name in EVENTS or name not in FIELDS:
            wrong = unreadable[name]
            if counts is not None:  # the decimal mark is not known yet
                wrong = wrong & _numbers(table.frame[name], name, "comma", None)[1]
            table.refuse(wrong, name, f"a number (or --ignore {name})")
    flagged = np.any(list(unreadable.values()), axis=0)
    if flagged.any():
        notes = np.full(len(frame), "", dtype=object)
        for name, wrong in reversed(unreadable.items()):
            shown = [str(cell)[:40] for cell in table.frame[name][wrong]]
            notes[wrong] = [f"column {table.headers[name]}: {one!r} is no number" for one in shown]
        frame[NOTE] = pd.Series(notes, index=frame.index, dtype=object).astype("category")
    return replace(table, frame=frame, cells=None)


def _without_headers(table: FileTable) -> FileTable:
    """Leave out a header that is repeated among the rows of appended files."""
    same = np.ones(len(table.frame), dtype=np.bool_)
    for name in ("session", "close"):
        if name not in table.headers or not _is_text(table.frame[name]):
            return table
        same &= (table.frame[name].astype(str).str.strip() == table.headers[name]).to_numpy()
    return table.rows(~same) if same.any() else table


def _numbers(
    cells: pd.Series, name: str, mark: DecimalMark, counts: MarkCounts | None
) -> tuple[pd.Series, Flags]:
    """Parse a column; return it with empty cells filled, and which cells are no number."""
    unreadable = np.zeros(len(cells), dtype=np.bool_)
    if cells.dtype == np.float32:
        # 83.81 as it was meant, not 83.80999755859375 as the nearest float32 is.
        values = cells.to_numpy().astype(str).astype(np.float64)
    elif pd.api.types.is_numeric_dtype(cells.dtype):
        values = cells.to_numpy(np.float64, na_value=np.nan)
    else:
        text = cells.astype(object).where(cells.notna(), "").astype(str)
        plain = plain_numbers(text, mark)
        if counts is not None:
            counts.add(name, text, np.isfinite(plain))
        if name == "split":
            values, unreadable = parse_splits(text, mark, plain)
        else:
            values, unreadable = parse_numbers(text, mark, units=name == "volume", plain=plain)
    if name in EMPTY_VALUES:
        values = np.where(np.isnan(values) & ~unreadable, EMPTY_VALUES[name], values)
    if name == "split":
        values = np.where(values == 0.0, 1.0, values)  # Yahoo's 0 where there was no split
    return pd.Series(values, index=cells.index), unreadable


def _move_events(
    table: FileTable, frame: pd.DataFrame, unreadable: dict[str, Flags], mark: DecimalMark
) -> None:
    """Move events that are written where a price belongs to their columns, as on Yahoo's page."""
    moved: dict[str, dict[int, float]] = {name: {} for name in EVENTS}
    for name in PRICE_COLUMNS:
        for row in np.flatnonzero(unreadable.get(name, ())).tolist():
            text = str(table.frame[name].iloc[row]).strip()
            paid = _EVENT.fullmatch(text)
            amount = read_number(paid["amount"], mark) if paid else read_ratio(text, mark)
            if not np.isnan(amount):
                moved["dividend" if paid else "split"][row] = amount
                unreadable[name][row] = False
    for name, amounts in moved.items():
        if amounts:
            values = np.full(len(frame), EMPTY_VALUES[name])
            values = frame[name].to_numpy(copy=True) if name in frame else values
            values[list(amounts)] = list(amounts.values())
            frame[name] = values


def _joined(tables: Sequence[FileTable]) -> FileTable:
    """Join the parts of one table."""
    columns: dict[str, object] = {}
    for name in dict.fromkeys(name for table in tables for name in table.frame.columns):
        absent = "" if name == NOTE else EMPTY_VALUES.get(name, np.nan)
        parts = [
            table.frame[name] if name in table.frame else pd.Series([absent] * len(table.frame))
            for table in tables
        ]
        columns[name] = (
            pd.api.types.union_categoricals([part.astype("category") for part in parts])
            if any(isinstance(part.dtype, pd.CategoricalDtype) for part in parts)
            else np.concatenate([part.to_numpy() for part in parts])
        )
    places = np.concatenate([table.places for table in tables])
    left_out = tuple(one for table in tables for one in table.left_out)
    headers = {name: text for table in reversed(tables) for name, text in table.headers.items()}
    frame = pd.DataFrame(columns, index=places)
    return replace(tables[0], frame=frame, left_out=left_out, headers=headers)


def _refuse_many(table: FileTable) -> None:
    """Refuse a table of which too many rows cannot be read to trust the others."""
    rows = len(table.frame) + len(table.left_out)
    if len(table.left_out) > most_flawed(rows):
        one = table.left_out[0]
        raise DataError(
            f"{table.path}: {one.place}: {one.reason} ({len(table.left_out):,} such rows). "
            "Save it again as CSV, with as many cells in each line as the header has."
        )
    if NOTE not in table.frame:
        return
    wrong = (table.frame[NOTE] != "").to_numpy(np.bool_)
    if wrong.sum() > most_flawed(rows):
        first = int(np.argmax(wrong))
        note = str(table.frame[NOTE].iloc[first])
        optional = [name for name in EMPTY_VALUES if f"column {table.headers.get(name)}:" in note]
        remedy = f"leave it out: --ignore {optional[0]}" if optional else "name another: --map"
        raise DataError(
            f"{table.path}: {table.unit} {table.places[first]}, {note}; a number is needed "
            f"({int(wrong.sum()):,} such rows). Correct the column, or {remedy}."
        )


def _is_text(cells: pd.Series) -> bool:
    kinds = pd.api.types
    return not (kinds.is_numeric_dtype(cells.dtype) or kinds.is_datetime64_any_dtype(cells.dtype))
