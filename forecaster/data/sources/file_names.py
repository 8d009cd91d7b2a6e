"""Which files are meant, and the ticker that the name of one has.

Names only: nothing is read but the listing of a folder.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from forecaster.data.history import normalise_ticker
from forecaster.errors import UsageError

_ENDINGS: Final = (".csv", ".tsv", ".txt", ".parquet", ".pq")
# Beside a ticker: aapl_us_d.csv, daily_adjusted_IBM.csv, "AAPL Historical Data.csv".
_BESIDE: Final = frozenset(
    "d w 1d day daily adj adjusted unadjusted raw eod max full all time series yahoo stooq "
    "nasdaq nyse".split()
)
# Never a ticker, with or without others.
_NEVER: Final = frozenset(
    "data prices price history historical historicaldata historicalquotes hist stock stocks quote "
    "quotes ohlc ohlcv bars candles table chart export download input output file files test "
    "sample example".split()
)
_DATE: Final = re.compile(r"(?:19|20)\d\d(?:[.-]?\d\d){0,2}(?:-(?:19|20)\d\d(?:[.-]?\d\d){0,2})?")
_SPAN: Final = re.compile(r"\d+(?:y|yr|yrs|years|mo|d)")
_AFTER_HYPHEN: Final = re.compile(r"(?i)-(?:1d|daily|eod|history|historical|prices|data)$")
_MARKETS: Final = frozenset("us uk de jp hk hu pl".split())  # of Stooq


def expanded(files: Iterable[Path]) -> list[Path]:
    """Return the files, with the tables in and below each folder in its place, sorted.

    Raises:
        UsageError: a folder has none.
    """
    found: list[Path] = []
    for file in files:
        if not file.is_dir():
            found.append(file)
            continue
        inside = [
            path
            for path in sorted(file.rglob("*"))
            if path.suffix.lower() in _ENDINGS and path.is_file() and not _is_hidden(path, file)
        ]
        if not inside:
            raise UsageError(f"{file}: no file in this folder ends in {', '.join(_ENDINGS)}.")
        found += inside
    return found


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def ticker_of(path: Path) -> str | None:
    """Return the ticker in a file's name: what is left without endings, words and dates.

    None where nothing is left, or more than one word.
    """
    name = path.name
    while name.lower().endswith(_ENDINGS):
        name = name[: name.rindex(".")]
    words = [word for word in re.split(r"[_\s]+", name) if word]
    alone = len(words) == 1
    left: list[str] = []
    for word in words:
        low = word.lower()
        if low in _MARKETS and len(left) == 1:
            left[0] = f"{left[0]}.{word}"
        elif not (low in _NEVER or _DATE.fullmatch(low)) and (
            alone or not (low in _BESIDE or low.isdigit() or _SPAN.fullmatch(low))
        ):
            left.append(word)
    if len(left) != 1:
        return None
    bare = _AFTER_HYPHEN.sub("", left[0])
    try:
        return normalise_ticker(bare)
    except UsageError:
        return None
