"""How a text file is laid out: its delimiter, its header, and bars of several tickers in a line.

A path in; a layout out.  Reads the first lines only, each up to a limit.
"""

import csv
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from forecaster.data.history import normalise_ticker
from forecaster.data.sources.headers import REQUIRED, ColumnChoice, field_of, word_of
from forecaster.errors import DataError, UsageError

_DELIMITERS: Final = ",;\t|"
_PREAMBLE: Final = 40  # lines before the header, at most
_LONGEST_LINE: Final = 2**20
_MOST_COLUMNS: Final = 50_000
_ENOUGH_FIELDS: Final = 3  # of those required, to see that a line is the header
_LEVEL_NAMES: Final = ("", "ticker", "tickers", "symbol", "symbols", "price", "date", "datetime")
# A header of two levels in one cell: ('Close', 'ACME') or Close_ACME.
_PAIRS: Final = (r"\('(.*)', '(.*)'\)", r"(.+)_([^_]+)", r"([^_]+)_(.+)")
Cells = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a table is in a text file.

    `first_line` is the line of the first row, from 1. Where a line has the bars of several tickers,
    `tickers` has the ticker of each column, empty for the date's.
    """

    delimiter: str
    names: list[str]
    first_line: int
    tickers: list[str] | None = None


def find_layout(path: Path, choice: ColumnChoice) -> Layout:
    """Find the header among the first lines, or take the first line that is not blank.

    Raises:
        DataError: there is no line, one is too long for a table of prices, or cells are separated
            by spaces.
    """
    with path.open(encoding="utf-8-sig") as file:
        lines = list(islice(_bounded(path, file), _PREAMBLE))
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: no columns, the file is empty; a header and rows are needed.")
    header, delimiter = _header(path, lines, choice)
    rows = [_cells(line, delimiter) for line in lines]
    if len(rows[header]) > _MOST_COLUMNS:
        raise DataError(
            f"{path}: line {header + 1} has {len(rows[header]):,} columns; a table of prices has "
            f"at most {_MOST_COLUMNS:,}. Choose another file."
        )
    return _two_levels(rows, header, delimiter) or Layout(
        delimiter=delimiter, names=rows[header], first_line=header + 2
    )


def first_ticker(path: Path) -> str | None:
    """Return the ticker of a text file's first row; None without a column of tickers."""
    try:
        layout = find_layout(path, ColumnChoice(mapping={}, ignore=()))
        if layout.tickers:
            return next(filter(None, layout.tickers), None)
        fields = [field_of(name) for name in layout.names]
        with path.open(encoding="utf-8-sig") as file:
            (line,) = islice(_bounded(path, file), layout.first_line - 1, layout.first_line)
        return normalise_ticker(_cells(line, layout.delimiter)[fields.index("ticker")])
    except (DataError, UsageError, OSError, ValueError, IndexError):  # its reader says why
        return None


def _bounded(path: Path, file: "Iterator[str]") -> Iterator[str]:
    number = 0
    while line := file.readline(_LONGEST_LINE):  # type: ignore[attr-defined]
        number += 1
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise DataError(
                f"{path}: line {number} is longer than {_LONGEST_LINE:,} characters; a table of "
                "prices has one row per line. Choose another file."
            )
        yield line


def _cells(line: str, delimiter: str) -> Cells:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a cell is too long for a name
        return [line.strip()]


def _header(path: Path, lines: Sequence[str], choice: ColumnChoice) -> tuple[int, str]:
    """Return the position of the header and its delimiter."""
    mapped = {column.casefold(): name for name, column in choice.mapping.items()}
    best = 0, 0, 0, ","
    for place, line in enumerate(lines):
        for delimiter in _DELIMITERS:
            cells = _cells(line, delimiter)
            found = {mapped.get(cell.casefold()) or _field(cell) for cell in cells}
            known = len(found.intersection(REQUIRED))
            if known >= _ENOUGH_FIELDS and known > best[0]:
                best = known, 0, place, delimiter
        if best[0]:
            return best[2], best[3]
    for line in lines:
        if len({_field(word) for word in line.split()}.intersection(REQUIRED)) >= _ENOUGH_FIELDS:
            raise DataError(
                f"{path}: cells are separated by spaces. Separate them by commas: tr -s ' ' ',' < "
                f"{shlex.quote(str(path))} > {shlex.quote(f'{path.stem}-commas.csv')}"
            )
    first = next(
        place
        for place, line in enumerate(lines)
        if line.strip() and not re.match("sep=.$", line.strip())
    )
    return first, max(_DELIMITERS, key=lambda mark: len(_cells(lines[first], mark)))


def _field(cell: str) -> str | None:
    return field_of(cell) or field_of(cell, rank=1)


def _two_levels(rows: Sequence[Cells], header: int, delimiter: str) -> Layout | None:
    """Return the layout of a header with a field and a ticker for each column, if it is one."""
    fields, following = rows[header], [*rows[header + 1 :], []]
    if header > 0 and _are_tickers(rows[header - 1], fields):
        tickers, rest = rows[header - 1], following
    elif _are_tickers(following[0], fields):
        tickers, rest = following[0], following[1:]
    else:
        return _pairs(fields, header, delimiter)
    named = [word_of(fields[0]), word_of(tickers[0])]
    names = [fields[0] if named[0] in ("date", "datetime") else "Date", *fields[1:]]
    first = header + 2 + (tickers is following[0])
    if rest and rest[0] and not any(rest[0][1:]) and word_of(rest[0][0]) in _LEVEL_NAMES:
        first += 1
    return Layout(delimiter=delimiter, names=names, first_line=first, tickers=["", *tickers[1:]])


def _are_tickers(row: Cells, fields: Cells) -> bool:
    """Whether a line beside that of the fields has a ticker above or below each."""
    if len(row) != len(fields) or word_of(row[0]) not in _LEVEL_NAMES or len(row) < len(REQUIRED):
        return False
    # Each ticker has all fields; the cells of one day are of many sizes.
    if len(set(row[1:])) * len(REQUIRED[1:]) > len(row[1:]):
        return False
    fields_too = set(map(field_of, row[1:])).intersection(REQUIRED)
    return all(map(_is_ticker, row[1:])) and len(fields_too) < _ENOUGH_FIELDS


def _is_ticker(text: str) -> bool:
    try:
        return bool(normalise_ticker(text))
    except UsageError:
        return False


def _pairs(cells: Cells, header: int, delimiter: str) -> Layout | None:
    """Return the layout of a header whose cells have the field and the ticker, if it is one."""
    found = split_pairs(cells)
    if found is None:
        return None
    names, tickers = found
    return Layout(delimiter=delimiter, names=names, first_line=header + 2, tickers=tickers)


def split_pairs(cells: Sequence[str]) -> tuple[Cells, Cells] | None:
    """Return the field and the ticker of each column, if names are pairs of them."""
    known = {_field(cell) for cell in cells}
    if "ticker" in known or len(known.intersection(REQUIRED)) >= _ENOUGH_FIELDS:
        return None
    for pattern in _PAIRS:
        found = [re.fullmatch(pattern, cell) for cell in cells[1:]]
        for name, ticker in ((1, 2), (2, 1)):
            names = [one[name] if one else "" for one in found]
            if len(set(map(field_of, names)).intersection(REQUIRED)) >= _ENOUGH_FIELDS:
                tickers = [one[ticker] if one else "" for one in found]
                return ["Date", *names], ["", *tickers]
    return None
