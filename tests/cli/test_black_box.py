"""The unmodified command line against Yahoo's own protocol: a process, TLS, and nothing else.

Only what a user behind a company's proxy sets leads it to the loopback. The polite
pace of a request a second is real, so the first fetches run side by side.
"""

import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from curl_cffi.requests.exceptions import CertificateVerifyError

from forecaster.data.sources.yahoo_session import RecordingSession
from tests.yahoo import charts
from tests.yahoo.faults import claiming, limited
from tests.yahoo.proxy import YahooProxy
from tests.yahoo.server import CHART, LoopbackYahoo

FIRST_FETCHES = {
    "good": ["AAPL", "MSFT"],
    "mixed": ["GONE", "MSFT"],
    "limited": ["LIMIT", "MSFT"],
}
MORE_FETCHES = {
    "gone": ["GONE"],
    "partial": ["MSFT", "--end", "2024-06-28"],
    "abroad": ["AAPL"],
}
# What is unlike in an environment; Turkish has another lower case of I.
ABROAD = {"TZ": "Asia/Tokyo", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}
NO_PROXY_THERE = {"HTTPS_PROXY": "http://127.0.0.1:1"}
DISTRUSTED = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
# Tickers that always fail: environment, exit code, words of the error, tries at their charts.
FAULTS = {
    "DOWN": ({}, 69, "Yahoo answered 500 with something that is not a chart", 3),
    "HTML": ({}, 69, "Yahoo answered 200 with something that is not a chart", 3),
    "TRUNC": ({}, 69, "Yahoo answered 200 with something that is not a chart", 3),
    "CUT": ({}, 69, "no answer from Yahoo", 3),
    "LONG": ({}, 69, "no answer from Yahoo", 3),
    "EMPTY": ({}, 66, "Yahoo has no such ticker", 1),
    "OTHER": ({}, 65, "with the data of 'ELSE'", 2),
    "AAPL": (NO_PROXY_THERE, 69, "no answer from Yahoo", 0),
    "MSFT": (DISTRUSTED, 69, "no answer from Yahoo", 0),
}
COOKIE, CRUMB = "/", "/v1/test/getcrumb"
TINY = ["--hidden", "4", "--max-steps", "25"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The result of one command, and the paths it asked Yahoo for."""

    code: int
    stdout: str
    stderr: str
    asked: list[str]

    @property
    def content(self) -> dict[str, Any]:
        """What `--json` printed."""
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A user with an empty workspace, for whom the network is Yahoo alone."""

    yahoo: LoopbackYahoo
    proxy: YahooProxy
    user: Path
    home: Path
    unlike: Mapping[str, str]

    def run(self, *arguments: object) -> Done:
        """Run one command in a process of its own, with no more environment than it needs."""
        line = [sys.executable, "-m", "forecaster", *arguments, "--home", self.home]
        environment = {
            **self.proxy.environment,
            "HOME": str(self.user),
            "XDG_CACHE_HOME": str(self.user),
            "PATH": os.environ["PATH"],
            **self.unlike,
        }
        before = len(self.yahoo.calls)
        done = subprocess.run(
            list(map(str, line)), env=environment, capture_output=True, text=True, timeout=120
        )
        assert "Traceback" not in done.stderr, done.stderr
        asked = [call.path for call in self.yahoo.calls[before:]]
        return Done(code=done.returncode, stdout=done.stdout, stderr=done.stderr, asked=asked)


@contextmanager
def box(folder: Path, unlike: Mapping[str, str]) -> Iterator[Box]:
    """Open a box; when it closes, only Yahoo was asked and the user's folder is empty."""
    user, home = folder / "user", folder / "home"
    user.mkdir()
    home.mkdir()
    with LoopbackYahoo() as yahoo, YahooProxy(yahoo, folder) as proxy:
        yahoo.always("LIMIT", limited("600"))  # longer than the source waits
        yahoo.always("LONG", claiming(500))
        yield Box(yahoo=yahoo, proxy=proxy, user=user, home=home, unlike=unlike)
    assert proxy.refused == []
    assert list(user.iterdir()) == []


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Box]]:
    with ExitStack() as stack:
        unlike = {"abroad": ABROAD}
        yield {
            name: stack.enter_context(box(tmp_path_factory.mktemp(name), unlike.get(name, {})))
            for name in FIRST_FETCHES | MORE_FETCHES
        }


def at_once(boxes: dict[str, Box], fetches: dict[str, list[str]]) -> dict[str, Done]:
    """Fetch in each box, all at once."""
    with ThreadPoolExecutor(len(fetches)) as pool:
        running = {
            name: pool.submit(boxes[name].run, "fetch", *tickers, "--json")
            for name, tickers in fetches.items()
        }
        return {name: future.result() for name, future in running.items()}


@pytest.fixture(scope="module")
def fetched(boxes: dict[str, Box]) -> dict[str, Done]:
    """The first fetch of each box."""
    return at_once(boxes, FIRST_FETCHES)


@pytest.fixture(scope="module")
def more(boxes: dict[str, Box]) -> dict[str, Done]:
    """The first fetch of each box that only the slow tests need."""
    return at_once(boxes, MORE_FETCHES)


def rows(done: Done) -> dict[str, dict[str, Any]]:
    return {row["ticker"]: row for row in done.content["tickers"]}


def chart_calls(done: Done) -> Counter[str]:
    """Count the charts asked for by ticker."""
    return Counter(path.removeprefix(CHART) for path in done.asked if path.startswith(CHART))


def test_a_first_fetch_asks_for_each_chart_twice_and_a_cookie_once(
    boxes: dict[str, Box], fetched: dict[str, Done]
) -> None:
    """Once for the time zone and once for the prices, over TLS to Yahoo's real host names."""
    first = fetched["good"]
    assert first.code == 0, first.stderr
    apple, microsoft = f"{CHART}AAPL", f"{CHART}MSFT"
    assert first.asked == [COOKIE, CRUMB, apple, apple, microsoft, microsoft]
    hosts = {"fc.yahoo.com", "query1.finance.yahoo.com", "query2.finance.yahoo.com"}
    assert set(boxes["good"].proxy.opened) == hosts


@pytest.mark.parametrize("ticker", ["AAPL", "MSFT"])
def test_the_served_bars_are_stored(
    boxes: dict[str, Box], fetched: dict[str, Done], ticker: str
) -> None:
    """Every final bar to the last digit, dividends and splits on their days."""
    shown = boxes["good"].run("data", "show", ticker, "--rows", 10_000, "--json").content
    bars, known = shown["bars"], charts.series(ticker)
    assert (shown["source"], shown["basis"]) == ("yahoo", "split-adjusted")
    days = [date.fromisoformat(bar["session"]) for bar in bars]
    assert days == list(known.days[: len(days)])
    assert len(known.days) - len(days) in (0, 1)  # today's, unless it has closed
    for name, values in known.quotes.items():
        assert [bar[name] for bar in bars] == values[: len(days)].tolist()
    dividends = {day: bar["dividend"] for day, bar in zip(days, bars, strict=True)}
    splits = {day: bar["split"] for day, bar in zip(days, bars, strict=True)}
    served = {day: new / old for day, (new, old) in charts.SPLITS.get(ticker, {}).items()}
    assert {d: v for d, v in dividends.items() if v != 0} == charts.DIVIDENDS.get(ticker, {})
    assert {d: v for d, v in splits.items() if v != 1} == served


@pytest.mark.slow
def test_a_second_fetch_asks_half_as_much_and_changes_nothing(
    boxes: dict[str, Box], fetched: dict[str, Done]
) -> None:
    """The cookie and the time zones are kept in the workspace."""
    again = boxes["good"].run("fetch", "AAPL", "MSFT", "--json")
    assert again.code == 0, again.stderr
    assert again.asked == [CRUMB, f"{CHART}AAPL", f"{CHART}MSFT"]
    assert len(fetched["good"].asked) == 2 * len(again.asked)
    assert [row["rows_changed"] for row in again.content["tickers"]] == [0, 0]
    assert [row["days"] for row in again.content["tickers"]] == [
        row["days"] for row in fetched["good"].content["tickers"]
    ]


@pytest.mark.slow
def test_what_is_missing_costs_one_call(
    boxes: dict[str, Box], fetched: dict[str, Done], more: dict[str, Done]
) -> None:
    """From the overlap on: two years of sessions and the two weeks before them."""
    assert more["partial"].code == 0, more["partial"].stderr
    before = rows(more["partial"])["MSFT"]
    assert before["last"] == "2024-06-28"
    again = boxes["partial"].run("fetch", "--json")
    assert again.asked == [CRUMB, f"{CHART}MSFT"]
    after = rows(again)["MSFT"]
    assert after["days"] == rows(fetched["good"])["MSFT"]["days"]
    assert after["rows_changed"] == after["days"] - before["days"] > 0


@pytest.mark.slow
def test_a_machine_abroad_stores_the_same_bars(
    boxes: dict[str, Box], fetched: dict[str, Done], more: dict[str, Done]
) -> None:
    """In Tokyo's time, in Turkish: the same listing, the same hash."""
    assert more["abroad"].code == 0, more["abroad"].stderr
    here, there = (
        boxes[name].run("data", "show", "AAPL", "--fingerprint", "--json").content
        for name in ("good", "abroad")
    )
    assert here["fingerprint"] == there["fingerprint"]
    assert here["first_trade"] == there["first_trade"] == charts.FIRST


@pytest.mark.slow
def test_every_fault_of_the_network_ends_in_its_exit_code(tmp_path: Path) -> None:
    """Faults 26 to 33 as a user meets them: one line, nothing stored, no call too many."""
    with ExitStack() as stack, ThreadPoolExecutor(len(FAULTS)) as pool:
        running = {}
        for ticker, (unlike, *_) in FAULTS.items():
            (tmp_path / ticker).mkdir()
            one = stack.enter_context(box(tmp_path / ticker, unlike))
            running[ticker] = pool.submit(one.run, "fetch", ticker, "--quiet")
        for ticker, (_, code, words, tries) in FAULTS.items():
            done = running[ticker].result()
            assert (done.code, chart_calls(done)[ticker]) == (code, tries), done.stderr
            assert done.stderr.count("\n") == 1 and f"{ticker}: " in done.stderr
            assert words in done.stderr and "delisted" not in done.stderr


@pytest.mark.slow
def test_fetched_prices_train_a_version_that_forecasts(
    boxes: dict[str, Box], fetched: dict[str, Done]
) -> None:
    """The whole job, from Yahoo's JSON to the next session's price."""
    trained = boxes["good"].run("train", *TINY, "--device", "cpu", "--json")
    assert trained.code == 0, trained.stderr
    assert trained.content["tickers"] == ["AAPL", "MSFT"]
    last = rows(fetched["good"])["AAPL"]["last"]
    predicted = boxes["good"].run("predict", "--as-of", last, "--json")
    assert predicted.code == 0, predicted.stderr
    for ticker, row in zip(("AAPL", "MSFT"), predicted.content["forecasts"], strict=True):
        close = charts.series(ticker).quotes["close"][rows(fetched["good"])[ticker]["days"] - 1]
        assert (row["ticker"], row["as_of"], row["last_close"]) == (ticker, last, close)
        assert row["session"] > last
        assert row["price_q10"] < row["price_forecast"] < row["price_q90"]
        assert row["price_forecast"] == pytest.approx(close, rel=0.05)
    assert trained.asked == predicted.asked == []


@pytest.mark.slow
def test_a_ticker_that_yahoo_does_not_know_exits_66(more: dict[str, Done]) -> None:
    gone = more["gone"]
    assert gone.code == 66 and "GONE: Yahoo has no such ticker" in gone.stderr
    assert chart_calls(gone) == {"GONE": 1}


def test_a_bad_ticker_does_not_stop_a_good_one_and_exits_3(fetched: dict[str, Done]) -> None:
    mixed = fetched["mixed"]
    assert mixed.code == 3 and "1 of 2 tickers failed: GONE" in mixed.stderr
    assert chart_calls(mixed) == {"GONE": 1, "MSFT": 2}
    assert rows(mixed)["GONE"]["days"] == 0
    assert rows(mixed)["MSFT"]["days"] == rows(fetched["good"])["MSFT"]["days"]


def test_a_limit_of_rate_exits_75_and_nothing_more_is_asked(fetched: dict[str, Done]) -> None:
    done = fetched["limited"]
    assert done.code == 75 and "asks to wait 600" in done.stderr
    assert chart_calls(done) == {"LIMIT": 1}
    assert "not asked" in rows(done)["MSFT"]["error"]


@pytest.mark.parametrize("address", ["example.com:443", "yahoo.com.example:443", "fc.yahoo.com:80"])
def test_a_request_to_another_host_would_be_noticed(tmp_path: Path, address: str) -> None:
    """The proof of the proof: the proxy refuses and records what is not Yahoo."""
    host, port = address.split(":")
    with LoopbackYahoo() as yahoo, YahooProxy(yahoo, tmp_path) as proxy:
        connection = http.client.HTTPSConnection(urlsplit(proxy.url).netloc)
        connection.set_tunnel(host, int(port))
        with pytest.raises(OSError, match="403"):
            connection.connect()
    assert proxy.refused == [f"CONNECT {address}"] and proxy.opened == []


def test_an_unknown_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session checks the server, so that a proxy cannot invent prices."""
    with LoopbackYahoo() as yahoo, YahooProxy(yahoo, tmp_path) as proxy:
        for name in proxy.environment:
            monkeypatch.delenv(name, raising=False)
        with RecordingSession() as session, pytest.raises(CertificateVerifyError):
            session.get("https://fc.yahoo.com", proxies={"https": proxy.url})
    assert proxy.opened == ["fc.yahoo.com"] and yahoo.calls == []


@pytest.mark.parametrize("module", ["typer", "pandas", "logging"])
def test_nothing_is_imported_from_the_working_directory(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("raise SystemExit('executed')")
    line = [sys.executable, "-m", "forecaster", "models", "list", "--home", str(tmp_path)]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}
    ran = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ran.returncode, "executed" in ran.stderr) == (0, False), ran.stderr
