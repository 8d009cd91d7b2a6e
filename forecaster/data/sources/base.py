"""The one interface of every source of prices.

Holds a Protocol and nothing else: no source, no network, no file.
"""

from datetime import date
from typing import Protocol

from forecaster.data.history import History


class Source(Protocol):
    """A place that prices come from."""

    @property
    def name(self) -> str:
        """Short name, as stored beside the bars: `yahoo`, `sample`, `files`."""

    def tickers(self) -> tuple[str, ...]:
        """Name all that the source can serve; empty where that has no bound."""

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve one ticker's bars, oldest first, only the rows that the source has.

        Args:
            ticker: name in the source's own spelling, upper case.
            start: first exchange-local date wanted, inclusive; None for the oldest there is.
            end: last exchange-local date wanted, inclusive; None for the newest there is.

        Raises:
            ForecasterError: one of its subclasses; which one tells what the caller can do.
        """
