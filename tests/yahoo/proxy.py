"""An HTTPS proxy on the loopback behind which every host of Yahoo's is the loopback Yahoo.

A process is led here by its environment alone.  Whatever else it asks for is refused and
kept in `refused`; nothing is ever passed on.
"""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests.yahoo.server import LoopbackYahoo, handler_for

NAMES = ("*.finance.yahoo.com", "*.yahoo.com")


class YahooProxy:
    """A context: proxying on 127.0.0.1 inside, gone outside."""

    def __init__(self, yahoo: LoopbackYahoo, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*NAMES).configure_cert(self.tls)
        self.opened: list[str] = []
        self.refused: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self, yahoo))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What leads a process here; plain HTTP too, which is always refused."""
        return {
            "HTTPS_PROXY": self.url,
            "http_proxy": self.url,
            "NO_PROXY": "",
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            "CURL_CA_BUNDLE": str(self.ca_file),
        }


def _handler_for(proxy: YahooProxy, yahoo: LoopbackYahoo) -> type[BaseHTTPRequestHandler]:
    behind = handler_for(yahoo)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            self.close_connection = True
            host, _, port = self.path.rpartition(":")
            if port != "443" or not host.endswith(".yahoo.com"):
                self._refuse()
                return
            proxy.opened.append(host)
            self.send_response_only(200)
            self.end_headers()
            try:
                with proxy.tls.wrap_socket(self.connection, server_side=True) as inside:
                    behind(inside, self.client_address, self.server)
            except OSError:  # the process on the other side has ended, or does not trust us
                pass

        def _refuse(self) -> None:
            proxy.refused.append(f"{self.command} {self.path}")
            self.close_connection = True
            self.send_error(403)

        do_GET = do_HEAD = do_POST = _refuse

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
