"""Prices from Yahoo, through the real yfinance client; the only file that imports it.

yfinance hides why it failed, so the HTTP answer that its session records decides which error is
raised.  Bars are as served: split-adjusted, with today's unfinished bar.
"""

import logging
import re
import shlex
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pandas as pd

from forecaster import clock
from forecaster.data.calendar_names import calendar_for
from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, History, Listing, normalise_ticker
from forecaster.data.sources.yahoo_chart import day_of
from forecaster.data.sources.yahoo_session import (
    Question,
    RecordingSession,
    no_bars,
    read_chart,
    retry_seconds,
    shared_session,
)
from forecaster.errors import (
    CannotWriteError,
    DataError,
    SourceDownError,
    StorageError,
    TryLaterError,
    UsageError,
)
from forecaster.files import make_private, touch_private

SOURCE = "yahoo"
# Left to itself yfinance reads "no start" as one month; this is its own oldest date.
OLDEST = date(1900, 1, 1)
log = logging.getLogger(__name__)


def bars_from(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert yfinance's table to bars, row by row, without filling anything in."""
    theirs = [*(name.title() for name in BAR_COLUMNS[1:-2]), "Dividends", "Stock Splits"]
    bars = frame[theirs].astype("float64").set_axis(list(BAR_COLUMNS[1:]), axis=1)
    bars["split"] = bars["split"].replace(0.0, 1.0)
    # Normalised: where clocks change at midnight, a day begins at one o'clock.
    sessions = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    bars.insert(0, "session", sessions.astype("datetime64[s]"))
    return bars.reset_index(drop=True)


def _listing(ticker: str, meta: dict[str, Any]) -> Listing:
    """Read a ticker's listing from the header of its chart."""
    zone = meta["exchangeTimezoneName"]
    return Listing(
        ticker=ticker,
        source=SOURCE,
        basis="split-adjusted",
        calendar=calendar_for(ticker, zone),
        name=_printable(meta.get("longName") or meta.get("shortName")),
        exchange=_printable(meta.get("exchangeName")),
        currency=_printable(meta.get("currency")),
        first_trade=day_of(meta.get("firstTradeDate"), zone),
    )


def _printable(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(character for character in text if character.isprintable())[:80]


_TRIES = 3
_LIMITED_PAUSE = 60.0
_LONGEST_PAUSE = 300.0
_FAILED_PAUSE = 2.0
_CACHE_FILES = ("tkr-tz.db", "cookies.db", "isin-tkr.db")
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_CHECKED: Final = "SPY"  # a ticker that Yahoo has always had


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """The result of one call of yfinance: a table, possibly empty, or an error."""

    frame: pd.DataFrame | None = None
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """The error on one short line."""
        return ascii(self.error)[:160]

    @property
    def cause(self) -> BaseException | None:
        """The error that the error wraps, such as peewee's one of SQLite."""
        return self.error.__context__ if self.error else None


class YahooSource:
    """Yahoo's daily prices; once it has limited our rate in all tries, no more are asked for."""

    name = SOURCE

    def __init__(
        self,
        cache_dir: Path,
        session: RecordingSession | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache_dir, self._sleep = cache_dir, sleep
        self._session = session or shared_session()
        self._is_limited = self._is_placed = False

    def tickers(self) -> tuple[str, ...]:
        """Return nothing: Yahoo has no fixed list."""
        return ()

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Return one ticker's bars; see `Source.history`, and `read_chart` for the errors.

        Raises:
            UsageError: malformed ticker, or `start` after `end`.
            CannotWriteError, StorageError: yfinance's cache folder cannot be used.
        """
        ticker = normalise_ticker(ticker)
        if _ISIN.fullmatch(ticker):
            raise UsageError(f"{ticker} is an ISIN; Yahoo is asked by ticker, for example AAPL.")
        if start and end and start > end:
            raise UsageError(f"{ticker}: start {start} is after end {end}. Swap them.")
        span = f"between {start or 'the beginning'} and {end or 'today'}"
        question = Question(ticker=ticker, span=span, is_complete=start is None)
        if self._is_limited:
            raise TryLaterError(
                f"{ticker}: not asked, Yahoo limits our rate. Try again in an hour."
            )
        # A loop of our own: stamina cannot wait through an injected sleep.
        done = 0
        while True:
            try:
                return self._try(question, start, end)
            except (TryLaterError, SourceDownError) as error:
                limited, answer = isinstance(error, TryLaterError), self._session.last_answer
                pause = (_LIMITED_PAUSE if limited else _FAILED_PAUSE) * 2.0**done
                if limited and answer:
                    asked = retry_seconds(answer.retry_after, clock.now())
                    pause = pause if asked is None else asked
                done += 1
                if done == _TRIES or pause > _LONGEST_PAUSE:
                    self._is_limited = limited
                    raise
                log.info("%s Waiting %.0f s.", error, pause)
            self._sleep(pause)

    def _try(self, question: Question, start: date | None, end: date | None) -> History:
        """Ask once; read the recorded answer, and raise the error that it stands for."""
        tried = self._ask_past_broken_cache(question.ticker, start, end)
        answer = self._session.last_answer
        if answer is None:
            raise SourceDownError(
                f"{question.ticker}: yfinance never asked Yahoo for prices ({tried.reason}). "
                "Check the network, or try later."
            ) from tried.error
        chart = read_chart(question, answer)
        if tried.frame is None or not answer.for_span:
            # What is odd in one ticker's chart says nothing about the source.
            kind = DataError if answer.for_span else SourceDownError
            raise kind(
                f"{question.ticker}: Yahoo answered {answer.status}, but yfinance could not read "
                f"the chart ({tried.reason}). Try later."
            ) from tried.error
        if tried.frame.empty:  # it lacks columns then
            raise no_bars(question, answer)
        # Yahoo adds the latest price even after the end of the span.
        span = pd.Timestamp(start or OLDEST), pd.Timestamp(end or date.max)
        bars = bars_from(tried.frame)
        bars = bars[bars["session"].between(*span)].reset_index(drop=True)
        priced = bars[list(PRICE_COLUMNS)].notna().all(axis=1).to_numpy()
        kept = int(priced.nonzero()[0].max(initial=-1)) + 1
        if kept < len(bars):
            log.info("%s: dropped %d last rows without prices", question.ticker, len(bars) - kept)
        if not kept:
            raise no_bars(question, answer)
        return History(listing=_listing(question.ticker, chart["meta"]), bars=bars[:kept])

    def _ask_past_broken_cache(self, ticker: str, start: date | None, end: date | None) -> _Try:
        """Ask; if yfinance's cache is broken, empty it and ask once more."""
        tried = self._ask(ticker, start, end)
        # A locked or full database is an OperationalError; deleting the files cures neither.
        if self._is_cache_suspect(tried) and not isinstance(tried.cause, sqlite3.OperationalError):
            log.info("rebuilding yfinance's cache in %s", self._cache_dir)
            self._is_placed = False
            try:
                for path in chain(*(self._cache_dir.glob(f"{name}*") for name in _CACHE_FILES)):
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(
                    f"{error.filename}: broken, and cannot be deleted ({error.strerror}). "
                    "Delete it by hand; it holds nothing but yfinance's cookie and time zones."
                ) from error
            tried = self._ask(ticker, start, end)
        if self._is_cache_suspect(tried):
            raise StorageError(
                f"{ticker}: yfinance cannot use its cache in {self._cache_dir} "
                f"({tried.reason}). Check its permissions and the disk, or delete the folder."
            ) from tried.error
        return tried

    def _is_cache_suspect(self, tried: _Try) -> bool:
        """Whether a call failed on our own disk: before anything was sent, or in SQLite."""
        return not self._session.requests_sent or isinstance(tried.cause, sqlite3.Error)

    def _ask(self, ticker: str, start: date | None, end: date | None) -> _Try:
        """Call yfinance once, and catch any error."""
        self._session.last_answer, self._session.requests_sent = None, 0
        with warnings.catch_warnings():
            # Importing it enables its deprecation warnings, and pandas 3 causes many.
            import yfinance

            # Of deprecations, and of numbers in an answer that fit no type.
            warnings.simplefilter("ignore")
            logging.getLogger("yfinance").setLevel(logging.CRITICAL + 1)
            self._place_cache(yfinance.cache)
            # It caches bad answers, too.
            yfinance.data.YfData.cache_get.cache_clear()
            try:
                asset = yfinance.Ticker(ticker, session=self._session)
                frame = asset.history(
                    start=(start or OLDEST).isoformat(),
                    end=(end + timedelta(days=1)).isoformat() if end else None,
                    interval="1d",
                    prepost=False,
                    actions=True,
                    auto_adjust=False,
                    back_adjust=False,
                    repair=False,
                    keepna=False,
                    rounding=False,
                    timeout=self._session.timeout_seconds,
                )
                return _Try(frame=frame)
            # Any error is possible: KeyError, JSONDecodeError, peewee's and curl's.
            except Exception as error:
                return _Try(error=error)

    def _place_cache(self, cache: Any) -> None:
        """Set yfinance's cache to our folder, which it unpickles a cookie from."""
        if self._is_placed:
            return
        try:
            make_private(self._cache_dir)
            for path in map(self._cache_dir.joinpath, _CACHE_FILES):
                if not path.exists():
                    touch_private(path)
        except OSError as error:
            raise CannotWriteError(
                f"{self._cache_dir}: cannot be made a private folder ({error.strerror}). "
                "Choose another --home."
            ) from error
        if self._cache_dir.stat().st_mode & 0o022:
            raise CannotWriteError(
                f"{self._cache_dir}: others may write in it, and a cookie in it is unpickled; run: "
                f"chmod go-w {shlex.quote(str(self._cache_dir))}"
            )
        cache.set_cache_location(str(self._cache_dir))
        # The managers keep the connection to an earlier folder until they are reset.
        cache._TzCacheManager._tz_cache = None
        cache._CookieCacheManager._Cookie_cache = None
        cache._ISINCacheManager._isin_cache = None
        self._is_placed = True


def open_source(home: Path) -> YahooSource:
    """Open Yahoo with the cache of a home."""
    return YahooSource(home / "data" / "yahoo")


def check() -> str:
    """Ask Yahoo for a few days of one ticker, as a fetch does; store nothing."""
    with tempfile.TemporaryDirectory() as folder:
        start = clock.now().date() - timedelta(days=14)
        bars = open_source(Path(folder)).history(_CHECKED, start, None).bars
    return f"Yahoo answers: {len(bars)} days of {_CHECKED}"
