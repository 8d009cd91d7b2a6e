"""A panel on disk: flat arrays that are mapped into memory, and an index that vouches for them.

Series in one after another, a panel out; holds a few series at a time.  No pickle: numbers and
JSON.  What was written is read back bit for bit, or not at all.

Shape letters: N rows, F inputs, K targets.
"""

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np

from forecaster.data.panel import (
    CROSS_SECTION,
    OWN_NAMES,
    TARGETS,
    DailyMeans,
    Panel,
    SeriesRows,
    offsets_of,
)

INDEX: Final = "index.json"
_PLAIN: Final = {"days": "<M8[D]", "outcome_days": "<M8[D]", "close": "<f8"}
_PER_TARGET: Final = ("today", "level", "y")
_PIECE: Final = 1 << 22  # bytes


class DamagedPanelError(Exception):
    """What is on disk is not the panel that was written."""


class PanelWriter:
    """Write a panel into an empty folder, series by series, with all of `TARGETS`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series: list[tuple[str, str, tuple[int, ...], int]] = []
        self._means = DailyMeans()
        self._own = _Column(folder / "own", "<f8")
        names = [*_PLAIN, *(f"{kind}_{target}" for kind in _PER_TARGET for target in TARGETS)]
        self._columns = {name: _Column(folder / name, _PLAIN.get(name, "<f8")) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files, also those that a full disk keeps from being finished."""
        for column in (self._own, *self._columns.values()):
            with suppress(OSError):
                column.close()

    @property
    def tickers(self) -> list[str]:
        """Name the tickers written so far."""
        return [entry[0] for entry in self._series]

    def add(self, series: SeriesRows) -> None:
        """Write the rows of a ticker, made for all of `TARGETS` in their order."""
        self._means.add(series)
        entry = (series.ticker, series.calendar, series.pieces, len(series.days))
        self._series.append(entry)
        self._own.write(series.inputs)
        for name in _PLAIN:
            self._columns[name].write(getattr(series, name))
        for kind in _PER_TARGET:
            for target, values in zip(TARGETS, getattr(series, kind).T, strict=True):
                self._columns[f"{kind}_{target}"].write(values)

    def finish(self, about: dict[str, Any]) -> None:
        """Write the inputs and the index; `about` comes back with the panel.

        Inputs get the cross-section of all tickers where there are several.
        """
        inputs = self._columns["inputs"] = _Column(self._folder / "inputs", "<f8")
        several = len(self._series) > 1
        self._own.close()
        self._columns["days"].close()
        days = np.fromfile(self._folder / "days", dtype="<M8[D]")
        with (self._folder / "own").open("rb") as own:
            row = 0
            for _, calendar, _, length in self._series:
                rows = np.fromfile(own, dtype="<f8", count=length * len(OWN_NAMES))
                rows = rows.reshape(length, len(OWN_NAMES))
                if several:
                    market = self._means.at(calendar, days[row : row + length])
                    rows = np.column_stack([rows, market])
                inputs.write(rows)
                row += length
        self._write_index(about)
        (self._folder / "own").unlink()

    def _write_index(self, about: dict[str, Any]) -> None:
        for column in self._columns.values():
            column.close()
        sums = {name: [column.bytes, column.sum] for name, column in self._columns.items()}
        index = {
            "about": about,
            "tickers": self.tickers,
            "pieces": [entry[2] for entry in self._series],
            "columns": sums,
        }
        text = json.dumps(index)
        whole = {"sum": zlib.crc32(text.encode()), "index": text}
        (self._folder / INDEX).write_text(json.dumps(whole))


class _Column:
    """A file that grows, with its length in bytes and its checksum."""

    def __init__(self, path: Path, kind: str) -> None:
        self._file: BinaryIO = path.open("xb")
        self._kind = np.dtype(kind)
        self.bytes = self.sum = 0

    def write(self, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, dtype=self._kind).view(np.uint8).data
        self._file.write(data)
        self.bytes += data.nbytes
        self.sum = zlib.crc32(data, self.sum)

    def close(self) -> None:
        self._file.close()


def read_about(folder: Path) -> dict[str, Any]:
    """Read what was said about a panel.

    Raises:
        DamagedPanelError: there is none, or it was changed.
    """
    about: dict[str, Any] = _index(folder)["about"]
    return about


def read_panel(folder: Path, targets: Sequence[str]) -> Panel:
    """Map a panel into memory, read-only, after a look at every byte.

    Raises:
        DamagedPanelError: a file is missing or is not the one that was written.
    """
    index = _index(folder)
    lengths = [sum(pieces) for pieces in index["pieces"]]
    names = (*OWN_NAMES, *CROSS_SECTION) if len(lengths) > 1 else OWN_NAMES
    plain = {name: _mapped(folder, index, name, kind) for name, kind in _PLAIN.items()}
    inputs = _mapped(folder, index, "inputs", "<f8").reshape(sum(lengths), len(names))
    per_target = {
        kind: _beside([_mapped(folder, index, f"{kind}_{target}", "<f8") for target in targets])
        for kind in _PER_TARGET
    }
    return Panel(
        tickers=tuple(index["tickers"]),
        series_offsets=offsets_of(lengths),
        offsets=offsets_of([length for pieces in index["pieces"] for length in pieces]),
        inputs=inputs,
        input_names=names,
        targets=tuple(targets),
        **plain,
        **per_target,
    )


def _index(folder: Path) -> dict[str, Any]:
    try:
        whole = json.loads((folder / INDEX).read_bytes())
        if zlib.crc32(whole["index"].encode()) != whole["sum"]:
            raise DamagedPanelError(f"{folder / INDEX}: was changed")
        index: dict[str, Any] = json.loads(whole["index"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedPanelError(f"{folder / INDEX}: cannot be read ({error})") from error
    return index


def _mapped(folder: Path, index: dict[str, Any], name: str, kind: str) -> np.ndarray:
    """Map a column after comparing its length and checksum."""
    path, (length, expected) = folder / name, index["columns"][name]
    try:
        with path.open("rb") as file:
            found, size = 0, 0
            while piece := file.read(_PIECE):
                found, size = zlib.crc32(piece, found), size + len(piece)
        if (size, found) != (length, expected):
            raise DamagedPanelError(f"{path}: is not what was written")
        mapped: np.ndarray = np.memmap(path, dtype=kind, mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise DamagedPanelError(f"{path}: cannot be read ({error})") from error
    return mapped


def _beside(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(N, K) columns; one alone stays where it is."""
    return columns[0][:, None] if len(columns) == 1 else np.column_stack(columns)
