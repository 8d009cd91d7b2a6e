"""The table of price sources, each imported only when it is opened.

To add a source, write a module with `open_source(home)` and `check()` and add a line to SOURCES.
Nothing here imports pandas or a source: settings and the command line read the table.
"""

import os
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol

from forecaster.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from forecaster.data.history import History


class Source(Protocol):
    """A place that prices come from."""

    @property
    def name(self) -> str:
        """Short name, as stored with the bars: `yahoo`, `sample`, `files`."""

    def tickers(self) -> tuple[str, ...]:
        """Return every ticker that the source serves; empty if there is no fixed list."""

    def history(self, ticker: str, start: date | None, end: date | None) -> "History":
        """Return one ticker's bars, oldest first, only the rows that the source has.

        `ticker` is in the source's own spelling, upper case; `start` and `end` are exchange-local
        dates, both included, None for the oldest and the newest there is.

        Raises:
            ForecasterError: one of its subclasses, by what the caller can do about it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One line of the table.

    `module` has `open_source(home) -> Source` and `check() -> str`, see `check_source`. `key` is
    the environment variable with the access key, empty if none is needed.
    """

    module: str
    summary: str
    key: str = ""


SOURCES: Final[dict[str, SourceEntry]] = {
    "yahoo": SourceEntry(module="forecaster.data.sources.yahoo", summary="Yahoo Finance"),
    "sample": SourceEntry(
        module="forecaster.data.sources.sample", summary="S&P 500 and NASDAQ 1999-2018, offline"
    ),
}


def open_source(name: str, home: Path) -> Source:
    """Open a source of the table.

    Raises:
        UsageError: no source of this name.
        SettingsError: its access key is not in the environment.
    """
    source: Source = _module(name).open_source(home)
    return source


def check_source(name: str) -> str:
    """Ask a source for a few bars, store nothing; return what it answered, in words.

    Raises:
        SourceDownError, TryLaterError: it does not answer, or limits our rate.
    """
    answer: str = _module(name).check()
    return answer


def describe_sources() -> str:
    """Return the names and summaries of all sources, for help texts."""
    return "; ".join(f"{name}: {entry.summary}" for name, entry in SOURCES.items())


def _module(name: str) -> ModuleType:
    if name not in SOURCES:
        raise UsageError(f"source {name!r} is unknown; choose one of {', '.join(SOURCES)}.")
    entry = SOURCES[name]
    if entry.key and not os.environ.get(entry.key):
        raise SettingsError(
            f"source {name}: needs an access key; set {entry.key} in the environment."
        )
    return import_module(entry.module)
