"""Files in parts of some rows: columns by field, still as they are written.

Paths in; frames with the place of each row out.  Parses no cell.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.sources.file_kinds import is_parquet, read_parquet
from forecaster.data.sources.headers import ColumnChoice, Columns, choose_columns
from forecaster.data.sources.layouts import Layout, find_layout, split_pairs
from forecaster.data.sources.numbers import DecimalMark, Flags
from forecaster.errors import DataError

CHUNK_ROWS: Final = 200_000
_CHUNK_CELLS: Final = 10 * CHUNK_ROWS
_SKIPPED: Final = re.compile(r"line ([0-9]+): expected [0-9]+ fields, saw ([0-9]+)")
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row that no history has, since its cells, date or ticker cannot be read.

    `place` is "line 17" or "row 17", `ticker` empty where it is not known.
    """

    place: str
    ticker: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """Columns by field (R rows), each row with its place: a line of text, a row of parquet.

    `path` is their file, `headers` the name of each field's column there, `others` the names of
    the columns that are no field, and `cells` what these have, while it is read.
    """

    path: Path | str
    frame: pd.DataFrame
    headers: dict[str, str]
    unit: str
    others: tuple[str, ...] = ()
    cells: pd.DataFrame | None = None
    left_out: tuple[LeftOut, ...] = ()
    decimal: DecimalMark = "point"

    @property
    def places(self) -> Places:
        """The line or row number of each row (R,)."""
        return self.frame.index.to_numpy(np.intp)

    def rows(self, kept: Flags | Places) -> "FileTable":
        """Select some rows, by flags or by position, with their places."""
        return replace(self, frame=self.frame.iloc[kept])

    def refuse(self, wrong: Flags, field: str, needed: str) -> None:
        """Raise DataError for the first wrong cell (R,) of a field, if there is any."""
        if wrong.any():
            raise DataError(
                f"{self.describe(wrong, field)}; {needed} is needed ({int(wrong.sum())} such). "
                "Correct or remove these rows."
            )

    def describe(self, wrong: Flags, field: str) -> str:
        """Return place, column and content of the first wrong cell (R,) of a field."""
        first = int(np.argmax(wrong))
        value = str(self.frame[field].iloc[first])[:40]
        named = "ticker" in self.frame and field != "ticker"
        whose = f"{str(self.frame['ticker'].iloc[first])[:20]}: " if named else ""
        return (
            f"{self.path}: {whose}{self.unit} {self.places[first]}, "
            f"column {self.headers[field]}: {value!r}"
        )


def parts_of(path: Path, choice: ColumnChoice) -> Iterator[FileTable]:
    """Yield the parts of a file, at least one.

    Raises:
        UsageError: a column is missing, named twice, or not there as chosen.
        DataError: it is no table.
    """
    if is_parquet(path):
        yield from frame_parts(path, read_parquet(path), choice, "row")
        return
    try:
        yield from _text_parts(path, choice, find_layout(path, choice))
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        why = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
        raise DataError(
            f"{path}: cannot be read as a table of text: {why}. Save it as CSV in UTF-8 with "
            "as many cells in each line as the header has."
        ) from error


def frame_parts(
    path: Path | str, frame: pd.DataFrame, choice: ColumnChoice, unit: str
) -> Iterator[FileTable]:
    """Yield the parts of a frame with text as columns: one, or one for each ticker of a header.

    The index numbers the rows. Raises UsageError as `choose_columns`.
    """
    names, tickers = split_pairs(list(frame.columns)) or (list(frame.columns), None)
    for ticker, places in _groups(names, tickers).items():
        columns = choose_columns(path, [names[at] for at in places], choice)
        own = frame.iloc[:, places]
        if ticker is not None:
            own = own[own.iloc[:, 1:].notna().any(axis=1)]
        yield _named(part_of(path, own, columns, unit), ticker)


def _text_parts(path: Path, choice: ColumnChoice, layout: Layout) -> Iterator[FileTable]:
    """Read a file as text, some rows at a time; each row keeps its line number."""
    groups = _groups(layout.names, layout.tickers)
    chosen = {
        ticker: choose_columns(path, [layout.names[at] for at in places], choice)
        for ticker, places in groups.items()
    }
    width = len(layout.names)

    def split(chunk: _Chunk) -> Iterator[FileTable]:
        extra = (chunk.cells[width] != "").to_numpy(np.bool_)
        too_long = [_too_many(place, width + 1, width) for place in chunk.cells.index[extra]]
        left_out = (*chunk.left_out, *too_long)
        for ticker, places in groups.items():
            own = chunk.cells[~extra].iloc[:, places].set_axis(range(len(places)), axis=1)
            # Of several tickers, each lacks the days of the others.
            is_row = (own if ticker is None else own.iloc[:, 1:]) != ""
            part = part_of(path, own[is_row.any(axis=1)], chosen[ticker], "line")
            yield replace(_named(part, ticker), left_out=left_out)
            left_out = ()

    # map keeps no chunk as text, as a loop variable would.
    return chain.from_iterable(map(split, _chunks(path, layout)))


def _named(part: FileTable, ticker: str | None) -> FileTable:
    """Add the column of a ticker whose columns have its name."""
    if ticker is None:
        return part
    frame = part.frame.assign(ticker=ticker)
    return replace(part, frame=frame, headers=part.headers | {"ticker": "Ticker"})


def _groups(names: Sequence[str], tickers: Sequence[str] | None) -> dict[str | None, list[int]]:
    """Return the positions of each ticker's columns, the first column in all of them."""
    if tickers is None:
        return {None: list(range(len(names)))}
    groups: dict[str | None, list[int]] = {}
    for place, ticker in enumerate(tickers[1:], start=1):
        if ticker:
            groups.setdefault(ticker, [0]).append(place)
    return groups


class _Chunk(NamedTuple):
    """Rows as text, with one cell more than the header has, and lines that have more."""

    cells: pd.DataFrame
    left_out: list[LeftOut]


def _chunks(path: Path, layout: Layout) -> Iterator[_Chunk]:
    """Read rows as text, with their lines as index."""
    width = len(layout.names)
    reader = pd.read_csv(
        path,
        sep=layout.delimiter,
        header=None,
        names=range(width + 1),
        index_col=False,
        skiprows=layout.first_line - 1,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,
        encoding="utf-8-sig",
        compression=None,
        on_bad_lines="warn",
        chunksize=max(1, min(CHUNK_ROWS, _CHUNK_CELLS // width)),
    )
    following = layout.first_line

    def read_next() -> _Chunk | None:
        nonlocal following
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            cells = next(reader, None)
        if cells is None:
            return None
        skipped = [
            (int(line), int(saw))
            for one in caught
            for line, saw in _SKIPPED.findall(str(one.message))
        ]
        lines = np.arange(following, following + len(cells) + len(skipped))
        lines = lines[~np.isin(lines, [line for line, _ in skipped])][: len(cells)]
        following = int(lines[-1]) + 1 if len(lines) else following
        left_out = [_too_many(line, saw, width) for line, saw in skipped]
        return _Chunk(cells.fillna("").set_axis(lines, axis=0), left_out)

    with reader:
        yield from iter(read_next, None)


def _too_many(line: int, cells: int, width: int) -> LeftOut:
    reason = f"{cells} cells where the header has {width}"
    return LeftOut(place=f"line {line}", ticker="", reason=reason)


def part_of(path: Path | str, cells: pd.DataFrame, columns: Columns, unit: str) -> FileTable:
    """Select the columns that are fields."""
    frame = pd.DataFrame({name: cells.iloc[:, at] for name, at in columns.fields.items()})
    others = pd.DataFrame({name: cells.iloc[:, at] for name, at in columns.others.items()})
    headers = {name: columns.names[at] for name, at in columns.fields.items()}
    return FileTable(
        path=path,
        frame=frame,
        headers=headers,
        unit=unit,
        others=tuple(columns.others),
        cells=others,
    )
