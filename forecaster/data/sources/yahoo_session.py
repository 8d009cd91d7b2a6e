"""The one HTTP session of yfinance, and the meaning of Yahoo's answers.

yfinance raises different exceptions for the same fault as a process goes on, so the recorded
answer of the chart service alone decides which error is raised.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from curl_cffi.requests import Response, Session

from forecaster.data.sources.yahoo_chart import check_chart
from forecaster.errors import (
    DataError,
    ForecasterError,
    SourceDownError,
    TryLaterError,
    UnknownNameError,
)

_SNIPPET: Final = 80
_CHART: Final = "/v8/finance/chart/"
_MOVED: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 5
# yfinance asks these after a failed time zone look-up; the reason of the failure is known already.
_POINTLESS: Final = ("/v10/finance/quoteSummary/", "/v7/finance/quote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The last answer of Yahoo's chart service.

    `status` is 0 and `trouble` the reason if no complete HTTP answer came back. `for_span` is
    False for the one-day look-up of the time zone, which precedes the first span of a ticker.
    """

    for_span: bool
    status: int = 0
    retry_after: str = ""
    body: bytes = b""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One ticker, and the span of days asked for, in words; `is_complete` without a start."""

    ticker: str
    span: str
    is_complete: bool


def read_chart(question: Question, answer: Answer) -> dict[str, Any]:
    """Return the chart in an answer, as in Yahoo's JSON, or raise the error that it stands for.

    Raises:
        TryLaterError: 429.
        UnknownNameError: 404, or nothing known under that name.
        SourceDownError: no answer, another bad status, or not the JSON of a chart.
        DataError: another ticker's data, no bars in the span asked for, or a part that is not
            what it is in a chart.
    """
    ticker = question.ticker
    if answer.trouble:
        raise SourceDownError(
            f"{ticker}: no answer from Yahoo ({answer.trouble}). Check the network, or try later."
        )
    if answer.status == 429:
        asked = f" and asks to wait {answer.retry_after}" if answer.retry_after else ""
        raise TryLaterError(
            f"{ticker}: Yahoo limits our rate (answered 429{asked}). Try again in an hour."
        )
    if answer.status == 404:
        raise _unknown(ticker, "answered 404")
    chart = _first_result(question, answer)
    symbol = chart["meta"].get("symbol")
    if symbol != ticker:
        raise DataError(
            f"{ticker}: Yahoo answered with the data of {_short(symbol)}; nothing was "
            "stored. The ticker may have been renamed: check it on finance.yahoo.com."
        )
    if answer.for_span and not chart.get("timestamp"):
        raise no_bars(question, answer)
    check_chart(ticker, chart, has_bars=answer.for_span)
    return chart


def _first_result(question: Question, answer: Answer) -> dict[str, Any]:
    """Parse the chart of an answer; raise for a bad status and an error that Yahoo explains."""
    ticker = question.ticker
    try:
        payload = json.loads(answer.body)["chart"]
        reason, results = payload.get("error"), payload.get("result")
    # Too deep a nesting is a RecursionError.
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _unreadable(ticker, answer) from error
    if answer.status >= 400 or reason:
        reason = reason if isinstance(reason, dict) else {}
        if reason.get("code") == "Not Found":
            raise _unknown(ticker, f"answered {answer.status}, Not Found")
        # Yahoo's 400 for a span before the first or after the last day of a listing.
        if str(reason.get("description", "")).startswith("Data doesn't exist"):
            raise no_bars(question, answer)
        raise _unreadable(ticker, answer)
    if not results:
        if answer.for_span and not question.is_complete:
            raise no_bars(question, answer)
        raise _unknown(ticker, f"answered {answer.status} with an empty result")
    chart = results[0] if isinstance(results, list) else None
    if not isinstance(chart, dict) or not isinstance(chart.get("meta"), dict):
        raise _unreadable(ticker, answer)
    return chart


def no_bars(question: Question, answer: Answer) -> ForecasterError:
    """Build the error for a readable answer without a single bar."""
    sentence = f"{question.ticker}: Yahoo answered {answer.status} with no bars {question.span}"
    if question.is_complete:
        return UnknownNameError(f"{sentence}. Check the spelling of the ticker.")
    return DataError(f"{sentence}. Ask for a longer period.")


def retry_seconds(text: str, now: datetime) -> float | None:
    """Parse a Retry-After header, in seconds or an HTTP date; None if it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - now).total_seconds(), 0.0)


def _unknown(ticker: str, answered: str) -> UnknownNameError:
    return UnknownNameError(
        f"{ticker}: Yahoo has no such ticker ({answered}). Check the spelling; class shares "
        "are written BRK-B, other exchanges SAP.DE or 7203.T."
    )


def _unreadable(ticker: str, answer: Answer) -> SourceDownError:
    snippet = _short(answer.body[:_SNIPPET].decode("utf-8", "replace"))
    return SourceDownError(
        f"{ticker}: Yahoo answered {answer.status} with something that is not a chart "
        f"({len(answer.body)} bytes, {snippet}). Try later."
    )


def _short(value: object) -> str:
    """Quote foreign text on one short line of plain ASCII."""
    return ascii(str(value)[:_SNIPPET])


class RefusedRequestError(OSError):
    """A request that is not sent; an OSError, after which yfinance continues without cookies."""


class RecordingSession(Session[Response]):
    """A browser-like session that limits its pace, hosts and sizes, and records the last answer.

    For one thread, and one per process: yfinance shares the last session it was given.
    """

    def __init__(
        self,
        *,
        gap_seconds: float = 1.0,
        timeout_seconds: float = 20.0,
        max_bytes: int = 16 * 2**20,  # sixty years of a ticker are two
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(impersonate="chrome")
        self.timeout_seconds = timeout_seconds
        self.last_answer: Answer | None = None
        self.requests_sent = 0
        self._gap_seconds, self._max_bytes = gap_seconds, max_bytes
        self._sleep, self._clock, self._next_turn = sleep, clock, clock()

    def request(self, method: Any, url: str, **options: Any) -> Response:  # type: ignore[override]
        """Send one request, unless it is refused, and record the answer if it is a chart."""
        _check_host(url)
        path, for_span = urlsplit(url).path, "period1" in (options.get("params") or {})
        if path.startswith(_POINTLESS):
            raise RefusedRequestError("not needed for prices")
        # yfinance repeats every request that failed with a status >= 400; new cookies cure only
        # 401 and 403.
        last = self.last_answer
        if last and (last.trouble or (last.status >= 400 and last.status not in (401, 403))):
            raise RefusedRequestError("this try is over")
        wait = self._next_turn - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._next_turn = self._clock() + self._gap_seconds * random.uniform(1.0, 1.3)
        self.requests_sent += 1
        patience = options.get("timeout") or self.timeout_seconds
        options["timeout"] = min(patience, self.timeout_seconds)
        is_chart = path.startswith(_CHART)
        try:
            response = self._exchange(method, url, options)
        except OSError as error:
            if is_chart:
                # curl's message without its preamble and its link to the manual.
                text = " ".join(str(error).split(" See https://")[0].split())
                trouble = text.removeprefix("Failed to perform, ").rstrip(".")
                self.last_answer = Answer(for_span=for_span, trouble=trouble)
            raise
        if is_chart:
            self.last_answer = Answer(
                for_span=for_span,
                status=response.status_code,
                retry_after=response.headers.get("Retry-After") or "",
                body=response.content,
            )
        return response

    def send(self, method: Any, url: str, **options: Any) -> Response:
        """Send one HTTP request; a test's subclass sends it elsewhere."""
        return super().request(method, url, **options)

    def _exchange(self, method: Any, url: str, options: dict[str, Any]) -> Response:
        """Send a request, and follow its redirects once each is checked."""
        options["allow_redirects"] = False
        for _ in range(_MOST_REDIRECTS):
            response = self._collect(method, url, options)
            target = response.headers.get("Location") if response.status_code in _MOVED else None
            if not target:
                return response
            url = _redirected(url, target)
            # The new address is complete; only 307 and 308 repeat what was sent.
            dropped = ("params",) if response.status_code > 303 else ("params", "data", "json")
            options = {name: value for name, value in options.items() if name not in dropped}
            method = method if response.status_code > 303 else "GET"
        raise RefusedRequestError(f"redirected more than {_MOST_REDIRECTS} times")

    def _collect(self, method: Any, url: str, options: dict[str, Any]) -> Response:
        """Collect the body here: curl's own limit counts bytes before decompression."""
        body = bytearray()

        def take(chunk: bytes) -> int:
            if len(body) + len(chunk) > self._max_bytes:
                raise OSError(f"the answer is larger than {self._max_bytes} bytes")
            body.extend(chunk)
            return len(chunk)

        response = self.send(method, url, content_callback=take, **options)
        response.content = bytes(body)
        return response


@cache
def shared_session() -> RecordingSession:
    """Return the one session of this process."""
    return RecordingSession()


def _redirected(url: str, target: str) -> str:
    """Return where a redirect leads; refuse what is not Yahoo's, and no chart after a chart."""
    try:
        found = urljoin(url, target)
    except ValueError:
        found = target
    _check_host(found)
    if urlsplit(url).path.startswith(_CHART) and not urlsplit(found).path.startswith(_CHART):
        raise RefusedRequestError(f"sent from a chart to {found[:80]!a}")
    return found


def _check_host(url: str) -> None:
    """Refuse an address that is not plainly one of Yahoo's, over https."""
    is_plain = url.isascii() and url.isprintable() and not set(url) & {" ", "\\"}
    try:
        parts = urlsplit(url)
        place, host = (parts.scheme, parts.username, parts.port or 443), parts.hostname or ""
    except ValueError:
        is_plain = False
    if not (is_plain and place == ("https", None, 443) and host.endswith(".yahoo.com")):
        raise RefusedRequestError(f"unexpected address {url[:80]!a}")
