"""The one HTTP session that yfinance talks through.

It keeps a polite pace, refuses every host but Yahoo's, caps the size of an answer and
remembers the last answer of the chart service.  Judges nothing: see `yahoo_answer.py`.
"""

import random
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from curl_cffi.requests import Response, Session

from forecaster.data.sources.yahoo_answer import Answer

_CHART = "/v8/finance/chart/"
# yfinance asks these when the time zone look-up failed; why it failed is known already.
_POINTLESS = ("/v10/finance/quoteSummary/", "/v7/finance/quote")


class RefusedRequestError(OSError):
    """A request that is not sent; an OSError, because yfinance goes on without cookies then."""


class RecordingSession(Session[Response]):
    """A browser-like session with manners and a memory of one answer.

    Meant for one thread and one per process: yfinance keeps the last session it was
    given for everybody.
    """

    def __init__(
        self,
        *,
        gap_seconds: float = 1.0,
        timeout_seconds: float = 20.0,
        max_bytes: int = 64 * 2**20,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(impersonate="chrome")
        self.timeout_seconds = timeout_seconds
        self.last_answer: Answer | None = None
        self.requests_sent = 0
        self._gap_seconds = gap_seconds
        self._max_bytes = max_bytes
        self._sleep = sleep
        self._clock = clock
        self._next_turn = clock()

    def forget(self) -> None:
        """Forget the last answer and count anew, before the next try."""
        self.last_answer = None
        self.requests_sent = 0

    def request(self, method: Any, url: str, **options: Any) -> Response:  # type: ignore[override]
        """Send one request at the session's pace, and record it if it asks for a chart.

        Raises:
            RefusedRequestError: not Yahoo's host, or the answer is known to be useless.
        """
        self._refuse_useless(url)
        self._wait_for_turn()
        self.requests_sent += 1
        patience = options.get("timeout") or self.timeout_seconds
        options["timeout"] = min(patience, self.timeout_seconds)
        is_chart = urlsplit(url).path.startswith(_CHART)
        for_span = "period1" in (options.get("params") or {})
        try:
            response = self._exchange(method, url, options)
        except OSError as error:
            if is_chart:
                self.last_answer = Answer(for_span=for_span, trouble=_first_sentence(error))
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
        """Make one HTTP exchange; a test's subclass sends it elsewhere."""
        return super().request(method, url, **options)

    def _exchange(self, method: Any, url: str, options: dict[str, Any]) -> Response:
        """Collect the body ourselves: curl's own limit counts bytes before decompression."""
        body = bytearray()

        def take(chunk: bytes) -> int:
            if len(body) + len(chunk) > self._max_bytes:
                raise OSError(f"the answer is larger than {self._max_bytes} bytes")
            body.extend(chunk)
            return len(chunk)

        response = self.send(method, url, content_callback=take, **options)
        _check_host(response.url)
        response.content = bytes(body)
        return response

    def _refuse_useless(self, url: str) -> None:
        _check_host(url)
        if urlsplit(url).path.startswith(_POINTLESS):
            raise RefusedRequestError("not needed for prices")
        # yfinance repeats every request that failed with a status >= 400.
        if self.last_answer is not None and self.last_answer.is_final:
            raise RefusedRequestError("this try is over")

    def _wait_for_turn(self) -> None:
        wait = self._next_turn - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._next_turn = self._clock() + self._gap_seconds * random.uniform(1.0, 1.3)


@cache
def shared_session() -> RecordingSession:
    """Return the one session of this process."""
    return RecordingSession()


def _check_host(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not (parts.hostname or "").endswith(".yahoo.com"):
        raise RefusedRequestError(f"unexpected address {url[:80]!a}")


def _first_sentence(error: Exception) -> str:
    """Drop curl's preamble and its pointer to the manual."""
    text = " ".join(str(error).split(" See https://")[0].split())
    return text.removeprefix("Failed to perform, ").rstrip(".")
