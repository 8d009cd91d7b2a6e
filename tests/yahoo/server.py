"""The server: answers charts, crumbs and cookies, plays faults, counts what was asked."""

import json
import random
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.yahoo.charts import chart, sessions
from tests.yahoo.faults import CHARTS, SPECIAL, WIRE, Fault, Reply, fine

CHART = "/v8/finance/chart/"
_SPAN = ("period1", "period2")
COOKIE = "A3=d=fake; Domain=.yahoo.com; Path=/; Max-Age=31557600; Secure"


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `ticker` is empty where it asked for no chart."""

    path: str
    ticker: str = ""
    is_span: bool = False


class LoopbackYahoo:
    """A context: serving on 127.0.0.1 inside, gone outside."""

    def __init__(self, port: int = 0) -> None:
        sessions()
        self.calls: list[Call] = []
        self.newest: date | None = None  # of later days nothing is known yet
        self.ended: dict[str, date] = {}  # last days of tickers that are gone since
        # Days on which the exchange was open against its calendar, and closed.
        self.opened: frozenset[date] = frozenset()
        self.closed: frozenset[date] = frozenset()
        self.played: Counter[str] = Counter()  # faults at random, by name
        self._deck: list[str] = []
        self._trouble: tuple[float, random.Random] | None = None
        self.closing = threading.Event()
        self._scripts: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = dict(SPECIAL)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler_for(self))
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
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def script(self, ticker: str, *faults: Fault) -> None:
        """Play these faults on the next chart calls of a ticker, one each."""
        self._scripts[ticker].extend(faults)

    def always(self, ticker: str, fault: Fault) -> None:
        """Play this fault on every chart call that no script covers."""
        self._always[ticker] = fault

    def at_random(self, share: float, seed: int) -> None:
        """Let a share of all calls, cookie and crumb included, go wrong in every way there is."""
        self._trouble = (share, random.Random(seed)) if share else None

    def charts(self, ticker: str) -> int:
        """Count the chart calls of a ticker, time zone look-ups included."""
        return sum(call.ticker == ticker for call in self.calls)

    def answer(self, host: str, target: str) -> Reply:
        """Answer one request for a host of Yahoo's."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        ticker = unquote(parts.path.removeprefix(CHART))
        has_chart = parts.path.startswith(CHART) and ticker not in self.ended
        trouble = self._drawn(WIRE | CHARTS if has_chart else WIRE)
        if not parts.path.startswith(CHART):
            self.calls.append(Call(parts.path))
            return trouble({}) if trouble else _odds_and_ends(host, parts.path)
        self.calls.append(Call(parts.path, ticker, "period1" in query))
        script = self._scripts[ticker]
        fault = script.popleft() if script else self._always.get(ticker, fine)
        begin, end = (int(query[name][0]) if name in query else None for name in _SPAN)
        newest = self.ended.get(ticker, self.newest)
        changed = self.opened, self.closed
        return (trouble or fault)(chart(ticker, begin, end, newest, changed))

    def _drawn(self, faults: Mapping[str, Fault]) -> Fault | None:
        """Draw whether this call goes wrong, and how: each way once before any comes again."""
        if self._trouble is None:
            return None
        share, draw = self._trouble
        if draw.random() >= share:
            return None
        if not any(name in faults for name in self._deck):
            self._deck += draw.sample(sorted(WIRE | CHARTS), len(WIRE | CHARTS))
        name = next(name for name in self._deck if name in faults)
        self._deck.remove(name)
        self.played[name] += 1
        return faults[name]


def _odds_and_ends(host: str, path: str) -> Reply:
    """Cookie, crumb, and an empty answer to whatever prices do not need."""
    if path == "/v1/test/getcrumb":
        return Reply(body=b"crumb")
    if host == "fc.yahoo.com":
        return Reply(status=404, headers={"Set-Cookie": COOKIE})
    if path.startswith(("/v10/finance/quoteSummary/", "/v7/finance/quote")):
        return Reply(body=json.dumps({"quoteSummary": {"result": [], "error": None}}).encode())
    return Reply(status=404)


def handler_for(yahoo: LoopbackYahoo) -> type[BaseHTTPRequestHandler]:
    """Make the class that speaks HTTP for one loopback Yahoo."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Both together, or every answer waits 40 ms for a delayed acknowledgement.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            host = self.headers.get("X-Orig-Host") or self.headers.get("Host", "")
            self._reply(yahoo.answer(host, self.path))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def _reply(self, reply: Reply) -> None:
            if reply.delay_seconds and yahoo.closing.wait(reply.delay_seconds):
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.claimed_more))
            self.end_headers()
            for piece in reply.pieces:
                self.wfile.write(piece)
                yahoo.closing.wait(reply.drip_seconds)
            self.close_connection = self.close_connection or reply.kept_bytes is not None

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the client did not wait for a slow answer
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
