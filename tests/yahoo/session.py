"""The product's own session, led to the loopback instead of to Yahoo."""

import time
from http.cookiejar import Cookie
from typing import Any
from urllib.parse import urlsplit

from curl_cffi import CurlOpt
from curl_cffi.requests import Response

from forecaster.data.sources.yahoo_session import RecordingSession


class LoopbackSession(RecordingSession):
    """Everything as in production but for the address, the cookie's domain and the pace."""

    def __init__(self, base: str, **options: Any) -> None:
        super().__init__(**{"gap_seconds": 0.0, **options})
        self._base = base
        self.curl_options = {CurlOpt.NOPROXY: "*"}

    def send(self, method: Any, url: str, **options: Any) -> Response:
        """Send it to the loopback, and let the answer look as if it came from Yahoo."""
        parts = urlsplit(url)
        options["headers"] = {**(options.get("headers") or {}), "X-Orig-Host": parts.netloc}
        query = f"?{parts.query}" if parts.query else ""
        response = super().send(method, f"{self._base}{parts.path}{query}", **options)
        response.url = url
        if parts.hostname == "fc.yahoo.com":
            self.cookies.jar.set_cookie(_yahoo_cookie())
        return response


def _yahoo_cookie() -> Cookie:
    """Build the cookie by hand: 127.0.0.1 may not set one for .yahoo.com."""
    return Cookie(
        version=0,
        name="A3",
        value="d=fake",
        port=None,
        port_specified=False,
        domain=".yahoo.com",
        domain_specified=True,
        domain_initial_dot=True,
        path="/",
        path_specified=True,
        secure=True,
        expires=int(time.time()) + 31_536_000,
        discard=False,
        comment=None,
        comment_url=None,
        rest={},
    )
