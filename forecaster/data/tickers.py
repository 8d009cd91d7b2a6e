"""What may be called a ticker.

A ticker ends up in URLs and in tables, so its shape is checked at the door, before
anything is asked.  Knows no source: a well-formed ticker need not exist.
"""

import re
from collections.abc import Iterable

from forecaster.errors import UsageError

_SHAPE = re.compile(r"[A-Z0-9^][A-Z0-9.&=^-]{0,19}")
_SHOWN = 40


def normalise_ticker(text: str) -> str:
    """Upper-case a ticker and refuse whatever cannot be one.

    Args:
        text: what the user typed, e.g. `brk-b`, `^GSPC`, `EURUSD=X`, `M&M.NS`.

    Raises:
        UsageError: not 1-20 letters, digits or `.&=^-`, or the first is one of `.&=-`.
    """
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is not a ticker: need text, for example 'BRK-B'.")
    # Only ASCII is upper-cased: str.upper() would turn look-alikes such as U+0131 into letters.
    ticker = text.upper() if text.isascii() else text
    if not _SHAPE.fullmatch(ticker):
        raise UsageError(
            f"{_shown(text)} is not a ticker: need 1 to 20 letters, digits or .&=^- "
            "starting with a letter, digit or ^, for example BRK-B or ^GSPC."
        )
    return ticker


def normalise_tickers(tickers: str | Iterable[str]) -> list[str]:
    """Normalise each ticker, in order; a text by itself is one ticker, not its letters.

    Raises:
        UsageError: one cannot be a ticker.
    """
    return [normalise_ticker(one) for one in ([tickers] if isinstance(tickers, str) else tickers)]


def _shown(text: str) -> str:
    """Quote text so that it stays one short printable line."""
    quoted = ascii(text[:_SHOWN])
    return quoted if len(text) <= _SHOWN else f"{quoted}... ({len(text)} characters)"
