"""The real yfinance client against a Yahoo on the loopback."""

import gzip
import logging
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from curl_cffi.requests.exceptions import Timeout
from yfinance.data import SingletonMeta

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS
from forecaster.data.sources import Source
from forecaster.data.sources.yahoo import YahooSource, bars_from
from forecaster.data.sources.yahoo_session import RefusedRequestError, retry_seconds
from forecaster.errors import (
    CannotWriteError,
    DataError,
    ForecasterError,
    SourceDownError,
    StorageError,
    TryLaterError,
    UnknownNameError,
    UsageError,
)
from tests.yahoo import charts, faults
from tests.yahoo.server import LoopbackYahoo
from tests.yahoo.session import LoopbackSession

START, END = date(2024, 2, 1), date(2024, 2, 15)
ZONE = "exchangeTimezoneName"
MakeSource = Callable[..., YahooSource]
# Zone and first of three days: days on which the clocks change, a year's end, a leap day.
CLOCK_CHANGES = [
    ("America/New_York", "2024-03-09"),
    ("America/New_York", "2024-11-02"),
    ("America/Sao_Paulo", "2018-11-03"),
    ("Asia/Tokyo", "2023-12-30"),
    ("Europe/London", "2024-02-28"),
    ("Pacific/Auckland", "2024-04-06"),
]


@pytest.fixture
def machine_in() -> Iterator[Callable[[str], None]]:
    """Move the machine to another time zone until the test is over."""
    with pytest.MonkeyPatch.context() as patch:

        def move(zone: str) -> None:
            patch.setenv("TZ", zone)
            time.tzset()

        yield move
    time.tzset()


def served(ticker: str, start: date, end: date) -> pd.DataFrame:
    """What the loopback holds, in our columns, without dividends and splits."""
    known = charts.series(ticker)
    rows = [row for row, day in enumerate(known.days) if start <= day <= end]
    return pd.DataFrame(
        {
            "session": np.array([known.days[row] for row in rows], dtype="datetime64[s]"),
            **{name: known.quotes[name][rows] for name in (*PRICE_COLUMNS, "volume")},
        }
    )


class TestBars:
    """What comes of a good answer."""

    def test_bars_are_the_numbers_that_were_served(self, source: YahooSource) -> None:
        """Both ends are included, oldest first, unrounded and unadjusted."""
        bars = source.history("MSFT", START, END).bars
        assert tuple(bars.columns) == BAR_COLUMNS
        assert bars["session"].dtype == "datetime64[s]"
        assert all(bars[name].dtype == "float64" for name in BAR_COLUMNS[1:])
        assert isinstance(bars.index, pd.RangeIndex)
        assert len(bars) == 11
        pd.testing.assert_frame_equal(bars[list(BAR_COLUMNS[:6])], served("MSFT", START, END))
        assert (bars["dividend"] == 0).all() and (bars["split"] == 1).all()

    def test_dividends_and_splits_stand_on_their_days(self, source: YahooSource) -> None:
        """A split is new shares per old, 1 on other days; a dividend is 0 on other days."""
        bars = source.history("AAPL", date(2020, 8, 1), date(2020, 9, 30)).bars
        bars = bars.set_index("session")
        assert bars["split"][bars["split"] != 1].to_dict() == {pd.Timestamp("2020-08-31"): 4.0}
        dividends = bars["dividend"][bars["dividend"] != 0].to_dict()
        assert dividends == {pd.Timestamp("2020-08-07"): 0.205}
        assert bars.loc["2020-08-28", "close"] == pytest.approx(
            charts.series("AAPL").quotes["close"][
                charts.series("AAPL").days.index(date(2020, 8, 28))
            ]
        )

    def test_without_ends_the_whole_history_comes(self, source: YahooSource) -> None:
        """None means the oldest and the newest there is, not yfinance's one month."""
        days = charts.series("MSFT").days
        everything = source.history("MSFT", None, None).bars["session"]
        assert everything.iloc[0] == pd.Timestamp(days[0])
        assert everything.iloc[-1] >= pd.Timestamp(days[-2])
        assert len(source.history("MSFT", None, END).bars) == days.index(END) + 1

    def test_the_listing_is_read_from_the_chart(self, source: YahooSource) -> None:
        """Name, exchange, currency and calendar come from the chart's header."""
        listing = source.history("MSFT", START, END).listing
        assert (listing.ticker, listing.source, listing.basis) == (
            "MSFT",
            "yahoo",
            "split-adjusted",
        )
        assert (listing.name, listing.exchange) == ("MSFT Incorporated", "NMS")
        assert (listing.currency, listing.calendar) == ("USD", "XNYS")

    def test_sessions_are_dates_of_the_exchange(self, source: YahooSource) -> None:
        """Tokyo opens at midnight UTC, the day before in New York."""
        history = source.history("7203.T", START, END)
        assert history.bars["session"].equals(served("7203.T", START, END)["session"])
        assert history.listing.currency == "JPY"

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize(("zone", "first"), CLOCK_CHANGES)
    def test_a_day_is_its_date_in_any_unit_and_on_any_date(
        self, zone: str, first: str, unit: str
    ) -> None:
        """Where the clocks change at midnight, yfinance moves the stamp to one o'clock."""
        days = pd.date_range(first, periods=3)
        index = days.tz_localize(zone, nonexistent="shift_forward").as_unit(unit)
        columns = ("Open", "High", "Low", "Close", "Volume", "Dividends", "Stock Splits")
        bars = bars_from(pd.DataFrame(1.0, index=index, columns=columns))
        assert bars["session"].tolist() == days.tolist()
        assert bars["session"].dtype == "datetime64[s]"

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Sao_Paulo", "Pacific/Kiritimati"])
    def test_the_zone_of_the_machine_changes_nothing(
        self, source: YahooSource, machine_in: Callable[[str], None], zone: str
    ) -> None:
        """Nine years with their DST changes, leap days and year ends, from three markets."""
        machine_in(zone)
        for ticker in ("MSFT", "7203.T", "BTC-USD"):
            bars = source.history(ticker, None, END).bars
            first = charts.series(ticker).days[0]
            assert bars["session"].tolist() == served(ticker, first, END)["session"].tolist()
            assert source.history(ticker, None, END).listing.first_trade == first

    @pytest.mark.parametrize("moment", [None, "1986-03-13"])
    def test_a_first_trade_that_is_no_instant_is_not_known(
        self, yahoo: LoopbackYahoo, source: YahooSource, moment: object
    ) -> None:
        """Left out, or in words."""
        yahoo.always("MSFT", faults.edited(lambda r: r["meta"].update(firstTradeDate=moment)))
        assert source.history("MSFT", START, END).listing.first_trade is None

    def test_pence_stay_pence(self, yahoo: LoopbackYahoo, source: YahooSource) -> None:
        """Neither the code nor the prices are turned into pounds."""
        yahoo.always("VOD.L", faults.edited(lambda result: result["meta"].update(currency="GBp")))
        history = source.history("VOD.L", START, END)
        assert history.listing.currency == "GBp"
        assert history.bars["close"].equals(served("VOD.L", START, END)["close"])

    def test_tickers_are_upper_cased(self, source: YahooSource) -> None:
        """What is typed in lower case is asked in upper case."""
        assert source.history("msft", START, END).listing.ticker == "MSFT"

    def test_warnings_as_errors_change_nothing(self, source: YahooSource) -> None:
        """Inside yfinance pandas deprecates things at each dividend and split; none show."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bars = source.history("AAPL", date(2020, 8, 1), date(2020, 9, 30)).bars
        assert (bars["split"] != 1).sum() == 1

    def test_is_a_source(self, source: YahooSource) -> None:
        """It serves the one interface, and has no list of tickers."""
        checked: Source = source
        assert (checked.name, checked.tickers()) == ("yahoo", ())

    def test_a_known_ticker_costs_one_call(self, yahoo: LoopbackYahoo, source: YahooSource) -> None:
        """The time zone is looked up once, the cookie and the crumb once per process."""
        source.history("MSFT", START, END)
        assert [call.is_span for call in yahoo.calls if call.ticker] == [False, True]
        assert len(yahoo.calls) == 4
        source.history("MSFT", START, END)
        assert len(yahoo.calls) == 5

    def test_an_unfinished_bar_stands_on_its_day(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """Fault 9: stamped with its last trade, it is still that day's bar."""
        yahoo.always("MSFT", faults.live)
        bars = source.history("MSFT", START, END).bars
        assert bars["session"].equals(served("MSFT", START, END)["session"])

    def test_today_sent_twice_is_one_bar(self, yahoo: LoopbackYahoo, source: YahooSource) -> None:
        """Of the finished and the live row of one day the later stays."""
        yahoo.always("MSFT", faults.live_beside)
        bars, wanted = source.history("MSFT", START, END).bars, served("MSFT", START, END)
        assert bars["session"].equals(wanted["session"])
        assert bars["close"].iloc[-1] == pytest.approx(wanted["close"].iloc[-1] * 1.01)

    def test_a_last_row_without_prices_is_dropped(
        self, yahoo: LoopbackYahoo, source: YahooSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Fault 10: dropped and logged, nothing filled in."""
        yahoo.always("MSFT", faults.null_row(-1))
        with caplog.at_level(logging.INFO, "forecaster"):
            bars = source.history("MSFT", START, END).bars
        pd.testing.assert_frame_equal(
            bars[list(BAR_COLUMNS[:6])], served("MSFT", START, date(2024, 2, 14))
        )
        assert "MSFT: dropped 1 last rows without prices" in caplog.text

    def test_a_null_row_inside_is_left_to_validation(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """A gap in the middle stays a gap: neither filled nor hidden."""
        yahoo.always("MSFT", faults.null_row(3))
        bars = source.history("MSFT", START, END).bars
        assert len(bars) == 11
        assert bars["close"].isna().to_numpy().nonzero()[0].tolist() == [3]

    def test_bars_after_the_end_are_not_taken(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """Yahoo ignoring the span asked for changes nothing."""
        wide = charts.chart("MSFT", 1_706_000_000, 1_710_000_000)
        yahoo.always("MSFT", lambda _: faults.fine(wide))
        bars = source.history("MSFT", START, END).bars
        assert bars["session"].equals(served("MSFT", START, END)["session"])


FAULTS = {
    "limited": (faults.limited(), TryLaterError, 3, [60, 120]),
    "limited, with a time": (faults.limited("7"), TryLaterError, 3, [7, 7]),
    "limited for long": (faults.limited("3600"), TryLaterError, 1, []),
    "server error": (faults.status(500), SourceDownError, 3, [2, 4]),
    "gateway": (faults.status(502, b"<html>bad gateway</html>"), SourceDownError, 3, [2, 4]),
    "html": (faults.html, SourceDownError, 3, [2, 4]),
    "limit note with 200": (faults.body(b"Too Many Requests"), SourceDownError, 3, [2, 4]),
    "back soon": (faults.body(b"Will be right back..."), SourceDownError, 3, [2, 4]),
    "truncated": (faults.truncated, SourceDownError, 3, [2, 4]),
    "cut": (faults.cut, SourceDownError, 3, [2, 4]),
    "slow": (faults.slow(60), SourceDownError, 3, [2, 4]),
    "dripping": (faults.dripping(0.1), SourceDownError, 3, [2, 4]),
    "longer than it is": (faults.claiming(500), SourceDownError, 3, [2, 4]),
    "shorter than it is": (faults.claiming(-500), SourceDownError, 3, [2, 4]),
    "sent elsewhere": (faults.elsewhere, SourceDownError, 3, [2, 4]),
    "deep": (faults.body(b"[" * 100_000), SourceDownError, 3, [2, 4]),
    "null": (faults.body(b"null"), SourceDownError, 3, [2, 4]),
    "null chart": (faults.body(b'{"chart": null}'), SourceDownError, 3, [2, 4]),
    "result no list": (faults.body(b'{"chart": {"result": "x"}}'), SourceDownError, 3, [2, 4]),
    "no meta": (faults.body(b'{"chart": {"result": [{}]}}'), SourceDownError, 3, [2, 4]),
    "odd error": (faults.explained(422, "Oops", "Invalid"), SourceDownError, 3, [2, 4]),
    "gone": (faults.gone, UnknownNameError, 1, []),
    "gone with 200": (
        faults.explained(200, "Not Found", "symbol may be delisted"),
        UnknownNameError,
        1,
        [],
    ),
    "empty": (faults.empty, UnknownNameError, 1, []),
    "other symbol": (faults.symbol("ELSE"), DataError, 2, []),
    "no symbol": (faults.symbol(None), DataError, 2, []),
    "no rows": (faults.no_rows, DataError, 2, []),
    "no quotes": (faults.no_quotes, DataError, 2, []),
    "before listing": (faults.before_listing, DataError, 1, []),
}


ELSEWHERE = (
    *(
        "http://127.0.0.1:PORT/v8/finance/chart/MSFT",
        "file:///etc/passwd",
        "http://[::1]/",
        "//x:y/",
    ),
    *("https://127.0.0.1:PORT/v8/finance/chart/MSFT", "ftp://query2.finance.yahoo.com/v8/"),
    *("http://query2.finance.yahoo.com/v8/finance/chart/MSFT", "https://yahoo.com.evil.org/"),
    *("https://evil.org/v8/finance/chart/MSFT#.yahoo.com", "https://notyahoo.com/", "https://[::1"),
    *("https://query2.finance.yahoo.com@evil.org/", "https://evil.org\\@query2.finance.yahoo.com/"),
    *("https://query2.finance.yahoo.com:8443/", "gopher://x", "/elsewhere", "https:/v8/", "?q#"),
)
HARMLESS = {"/", "/v1/test/getcrumb", "/consent", "/elsewhere"}


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that is asked and is not one of Yahoo's."""
    asked, send = list[str](), LoopbackSession.send

    def watched(self: LoopbackSession, method: object, url: str, **options: object) -> object:
        known = (
            "https://fc.yahoo.com",
            "https://query1.finance.yahoo.com/",
            "https://query2.finance.yahoo.com/",
        )
        if not url.startswith(known):
            asked.append(url)
        return send(self, method, url, **options)

    monkeypatch.setattr(LoopbackSession, "send", watched)
    return asked


class TestFaults:
    """What comes of a bad one."""

    @pytest.mark.parametrize(
        ("fault", "kind", "calls", "pauses"), FAULTS.values(), ids=FAULTS.keys()
    )
    def test_a_lasting_fault_ends_in_its_exit_code(
        self,
        yahoo: LoopbackYahoo,
        make_source: MakeSource,
        waits: list[float],
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
        fault: faults.Fault,
        kind: type[ForecasterError],
        calls: int,
        pauses: list[float],
    ) -> None:
        """Each fault: its class, its number of chart calls, its waits, one quiet line."""
        yahoo.always("MSFT", fault)
        patience = 0.2 if fault in (FAULTS["slow"][0], FAULTS["dripping"][0]) else 10.0
        with pytest.raises(ForecasterError) as failed:
            make_source(timeout_seconds=patience).history("MSFT", START, END)
        message = str(failed.value)
        assert type(failed.value) is kind
        assert (yahoo.charts("MSFT"), waits) == (calls, pauses)
        assert message.startswith("MSFT: ") and message.isprintable() and len(message) < 300
        assert "delisted" not in message
        assert capfd.readouterr() == ("", "")
        assert not [record for record in caplog.records if record.name.startswith("yfinance")]
        assert {call.path for call in yahoo.calls if not call.ticker} <= HARMLESS

    @pytest.mark.parametrize(
        ("fault", "pauses"),
        [
            (faults.status(500), [2]),
            (faults.html, [2]),
            (faults.truncated, [2]),
            (faults.cut, [2]),
            (faults.status(401), []),  # yfinance itself comes back with a new cookie
        ],
        ids=["500", "html", "truncated", "cut", "401"],
    )
    @pytest.mark.parametrize("place", [0, 1], ids=["zone", "span"])
    def test_a_passing_fault_is_survived(
        self,
        yahoo: LoopbackYahoo,
        source: YahooSource,
        waits: list[float],
        fault: faults.Fault,
        pauses: list[float],
        place: int,
    ) -> None:
        """Fault 27: asked again in the same run, past yfinance's memory of bad answers."""
        yahoo.script("MSFT", *[faults.fine] * place, fault)
        assert len(source.history("MSFT", START, END).bars) == 11
        assert waits == pauses

    def test_a_passing_limit_is_waited_out(
        self, yahoo: LoopbackYahoo, source: YahooSource, waits: list[float]
    ) -> None:
        """Fault 26: two refusals, then prices; one chart call per refusal."""
        yahoo.script("MSFT", faults.limited(), faults.limited("90"))
        assert len(source.history("MSFT", START, END).bars) == 11
        assert (yahoo.charts("MSFT"), waits) == (4, [60, 90])

    def test_a_lasting_limit_shuts_the_source(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """After giving up no further ticker is asked, not even a healthy one."""
        yahoo.always("MSFT", faults.limited())
        with pytest.raises(TryLaterError):
            source.history("MSFT", START, END)
        before = len(yahoo.calls)
        with pytest.raises(TryLaterError, match="AAPL: not asked"):
            source.history("AAPL", START, END)
        assert len(yahoo.calls) == before

    @pytest.mark.parametrize("fault", [faults.status(500), faults.gone, faults.cut])
    def test_one_bad_ticker_spoils_no_other(
        self, yahoo: LoopbackYahoo, source: YahooSource, fault: faults.Fault
    ) -> None:
        """Only a rate limit is everybody's."""
        yahoo.always("MSFT", fault)
        for _ in range(3):
            with pytest.raises(ForecasterError):
                source.history("MSFT", START, END)
        assert len(source.history("AAPL", START, END).bars) == 11

    @pytest.mark.parametrize("fault", [faults.empty, faults.no_rows, faults.before_listing])
    def test_a_known_ticker_without_bars_names_the_span(
        self, yahoo: LoopbackYahoo, source: YahooSource, fault: faults.Fault
    ) -> None:
        """Fault 31: an empty answer is an error that says what was asked."""
        source.history("MSFT", START, END)
        yahoo.always("MSFT", fault)
        with pytest.raises(
            DataError, match=r"answered \d00 with no bars between 2024-02-01 and 2024-02-15"
        ):
            source.history("MSFT", START, END)
        with pytest.raises(UnknownNameError):
            source.history("MSFT", None, END)

    def test_only_null_rows_are_no_bars(self, yahoo: LoopbackYahoo, source: YahooSource) -> None:
        """Dropping all rows leaves an error, never an empty table."""
        day = date(2024, 2, 15)
        blank = faults.edited(
            lambda result: result["indicators"]["quote"][0].update(
                {name: [None] * len(result.get("timestamp", [])) for name in PRICE_COLUMNS}
            )
        )
        yahoo.always("MSFT", blank)
        with pytest.raises(DataError, match="no bars between"):
            source.history("MSFT", day, day)

    def test_a_chart_that_yfinance_cannot_read_is_said_so(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """Parts that we do not read and yfinance does: the ticker's trouble, not a crash."""
        odd = faults.edited(lambda result: result["meta"].update(currentTradingPeriod=7))
        yahoo.always("MSFT", odd)
        with pytest.raises(DataError, match="could not read the chart"):
            source.history("MSFT", START, END)

    def test_a_header_without_a_zone_ends_alike_every_time(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """Twice yfinance raises, then it returns an empty table for the same answer."""
        yahoo.always("MSFT", faults.edited(lambda result: result["meta"].pop(ZONE)))
        for _ in range(2):
            with pytest.raises(DataError, match="exchangeTimezoneName: Field required"):
                source.history("MSFT", START, END)

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_flood_is_refused(
        self, yahoo: LoopbackYahoo, make_source: MakeSource, packed: bool
    ) -> None:
        """Fault 33: the cap counts bytes after decompression."""
        flood = b" " * 1_000_000
        headers = {"Content_Encoding": "gzip"} if packed else {}
        body = gzip.compress(flood) if packed else flood
        yahoo.always("MSFT", faults.status(200, body, **headers))
        with pytest.raises(SourceDownError, match="MSFT: no answer"):
            make_source(max_bytes=100_000).history("MSFT", START, END)

    @pytest.mark.parametrize("place", ELSEWHERE)
    def test_a_redirect_to_another_place_is_not_followed(
        self, yahoo: LoopbackYahoo, source: YahooSource, stranger: list[str], place: str
    ) -> None:
        """Neither asked nor read, whatever it would answer."""
        url = place.replace("PORT", yahoo.url.rpartition(":")[2])
        yahoo.always("MSFT", faults.status(302, b"", Location=url))
        with pytest.raises(SourceDownError, match="no answer from Yahoo"):
            source.history("MSFT", START, END)
        assert stranger == []

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_redirect_to_another_host_of_yahoo_is_followed(
        self, yahoo: LoopbackYahoo, source: YahooSource, code: int
    ) -> None:
        """As it says, for a chart."""
        there = (
            "https://query1.finance.yahoo.com/v8/finance/chart/MSFT?period1=1&period2=1708100000"
        )
        yahoo.script("MSFT", faults.fine, faults.status(code, b"", Location=there))
        assert len(source.history("MSFT", START, END).bars) == 11

    def test_a_circle_of_redirects_ends(self, yahoo: LoopbackYahoo, source: YahooSource) -> None:
        """After five of them."""
        yahoo.always("MSFT", faults.status(302, b"", Location="/v8/finance/chart/MSFT"))
        with pytest.raises(SourceDownError, match="redirected more than 5 times"):
            source.history("MSFT", START, END)

    def test_packed_charts_are_read(self, yahoo: LoopbackYahoo, source: YahooSource) -> None:
        """Collecting the body ourselves keeps curl's decompression."""
        yahoo.always(
            "MSFT",
            lambda chart: faults.Reply(
                body=gzip.compress(faults.fine(chart).body), headers={"Content-Encoding": "gzip"}
            ),
        )
        assert len(source.history("MSFT", START, END).bars) == 11

    def test_no_network_is_one_line(self, make_source: MakeSource, waits: list[float]) -> None:
        """Fault 32: a refused connection is exit 69."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            with pytest.raises(SourceDownError, match="MSFT: no answer from Yahoo") as failed:
                make_source(url=url).history("MSFT", START, END)
        assert waits == [2, 4]
        assert failed.value.exit_code == 69


class TestDoor:
    """What is refused before anything is sent."""

    @pytest.mark.parametrize("ticker", ["../../v1/test/getcrumb?x=", "-A", "US0378331005", ""])
    def test_a_malformed_ticker_sends_nothing(
        self, yahoo: LoopbackYahoo, source: YahooSource, ticker: str
    ) -> None:
        """Fault 43: refused before anything is pasted into a URL; an ISIN is no ticker."""
        with pytest.raises(UsageError):
            source.history(ticker, START, END)
        assert yahoo.calls == []

    def test_a_span_backwards_sends_nothing(
        self, yahoo: LoopbackYahoo, source: YahooSource
    ) -> None:
        """Left to itself yfinance would answer it with an empty table."""
        with pytest.raises(UsageError, match="start 2024-02-15 is after end 2024-02-01"):
            source.history("MSFT", END, START)
        assert yahoo.calls == []


class TestCache:
    """Where yfinance keeps its cookie and its time zones."""

    def test_the_cache_lies_in_a_private_folder(self, source: YahooSource, tmp_path: Path) -> None:
        """Its files too, as they are created."""
        source.history("MSFT", START, END)
        folder = tmp_path / "yahoo"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name for path in folder.iterdir()} >= {"tkr-tz.db", "cookies.db"}
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert set(modes.values()) == {0o600}, modes

    def test_a_folder_that_others_may_change_is_refused_as_it_is(
        self, source: YahooSource, tmp_path: Path
    ) -> None:
        """A pickled cookie lies in it."""
        (tmp_path / "yahoo").mkdir()
        (tmp_path / "yahoo").chmod(0o777)
        with pytest.raises(CannotWriteError, match=r"run: chmod go-w .*yahoo"):
            source.history("MSFT", START, END)
        assert (tmp_path / "yahoo").stat().st_mode & 0o777 == 0o777

    def test_a_second_home_has_its_own_cache(
        self, yahoo: LoopbackYahoo, make_source: MakeSource, tmp_path: Path
    ) -> None:
        """A later source moves yfinance, although that keeps its first folder open."""
        make_source("one").history("MSFT", START, END)
        make_source("two").history("MSFT", START, END)
        assert (tmp_path / "two" / "tkr-tz.db").exists()
        assert yahoo.charts("MSFT") == 4

    @pytest.mark.parametrize("name", ["tkr-tz.db", "cookies.db"])
    def test_a_broken_cache_is_rebuilt(
        self, make_source: MakeSource, waits: list[float], tmp_path: Path, name: str
    ) -> None:
        """Fault 37: yfinance's own files hold no data, so they are made again, silently."""
        folder = tmp_path / "yahoo"
        folder.mkdir()
        (folder / name).write_bytes(b"not a database" * 1000)
        assert len(make_source().history("MSFT", START, END).bars) == 11
        assert waits == []

    def test_a_broken_cache_that_cannot_be_deleted_is_exit_74(
        self, make_source: MakeSource, tmp_path: Path
    ) -> None:
        """A folder beside the junk stands for a file that resists; it is named."""
        folder = tmp_path / "yahoo"
        (folder / "tkr-tz.db-old").mkdir(parents=True)
        (folder / "tkr-tz.db").write_bytes(b"not a database" * 1000)
        with pytest.raises(StorageError, match=r"tkr-tz\.db-old: broken, and cannot be deleted"):
            make_source().history("MSFT", START, END)

    def test_a_cookie_that_is_no_pickle_is_forgotten(
        self, make_source: MakeSource, tmp_path: Path
    ) -> None:
        """A sound database may hold a broken cookie; a new one is fetched."""
        make_source().history("MSFT", START, END)
        with closing(sqlite3.connect(tmp_path / "yahoo" / "cookies.db")) as cookies:
            cookies.execute("UPDATE _cookieschema SET cookie_bytes = x'00'")
            cookies.commit()
        SingletonMeta._instances.clear()
        assert len(make_source().history("MSFT", START, END).bars) == 11

    def test_a_cache_that_cannot_be_written_is_exit_74(
        self, make_source: MakeSource, tmp_path: Path
    ) -> None:
        """A view in the place of the table can be read, but refuses the zone just learnt."""
        folder = tmp_path / "yahoo"
        folder.mkdir()
        with closing(sqlite3.connect(folder / "tkr-tz.db")) as zones:
            zones.execute("CREATE VIEW _tz_kv AS SELECT 'X' AS key, 'UTC' AS value")
        with pytest.raises(StorageError, match="cannot use its cache") as failed:
            make_source().history("MSFT", START, END)
        assert failed.value.exit_code == 74

    def test_a_folder_that_cannot_be_made_is_exit_73(
        self, make_source: MakeSource, tmp_path: Path, yahoo: LoopbackYahoo
    ) -> None:
        """A file in its place is named, and nothing is sent."""
        (tmp_path / "yahoo").write_text("a file")
        with pytest.raises(CannotWriteError, match="yahoo: cannot be made a private folder"):
            make_source().history("MSFT", START, END)
        assert yahoo.calls == []

    def test_a_cache_beyond_repair_is_exit_74(
        self, make_source: MakeSource, tmp_path: Path
    ) -> None:
        """A folder where the database should be cannot be opened; it is not deleted either."""
        (tmp_path / "yahoo" / "tkr-tz.db").mkdir(parents=True)
        with pytest.raises(StorageError, match="cannot use its cache"):
            make_source().history("MSFT", START, END)
        assert (tmp_path / "yahoo" / "tkr-tz.db").is_dir()


class TestSession:
    """The manners of the session."""

    @pytest.mark.parametrize(
        "url",
        ["https://example.com/", "https://notyahoo.com/", "http://query2.finance.yahoo.com/x"],
    )
    def test_other_addresses_are_refused(self, yahoo: LoopbackYahoo, url: str) -> None:
        """Only Yahoo's hosts, only over TLS."""
        with pytest.raises(RefusedRequestError, match="unexpected address"):
            LoopbackSession(yahoo.url).get(url)
        assert yahoo.calls == []

    def test_nothing_waits_longer_than_the_session_allows(self, yahoo: LoopbackYahoo) -> None:
        """Left alone yfinance would wait half a minute for a crumb."""
        yahoo.always("MSFT", faults.slow(5))
        session = LoopbackSession(yahoo.url, timeout_seconds=0.1)
        with pytest.raises(Timeout):
            session.get("https://query2.finance.yahoo.com/v8/finance/chart/MSFT", timeout=30)

    def test_requests_keep_their_distance(self, yahoo: LoopbackYahoo) -> None:
        """One request a second and a little more, never less."""
        now, slept = [100.0], []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

        session = LoopbackSession(yahoo.url, gap_seconds=1.0, sleep=sleep, clock=lambda: now[0])
        for _ in range(5):
            session.get("https://query1.finance.yahoo.com/v1/test/getcrumb")
        assert len(slept) == 4
        assert all(1.0 <= seconds <= 1.3 for seconds in slept)
        assert len(set(slept)) > 1

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("", None),
            ("soon", None),
            ("120", 120.0),
            ("0", 0.0),
            ("-5", None),
            ("Wed, 01 Jan 2025 00:01:30 GMT", 90.0),
            ("Tue, 31 Dec 2024 00:00:00 GMT", 0.0),
        ],
    )
    def test_retry_after_is_read_in_both_forms(self, text: str, seconds: float | None) -> None:
        """Seconds or a date; anything else says nothing."""
        assert retry_seconds(text, datetime(2025, 1, 1, tzinfo=UTC)) == seconds


def test_the_loopback_runs_as_a_process() -> None:
    """`python -m tests.yahoo` prints its address and serves charts there."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.yahoo", "--port", "0"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with urllib.request.urlopen(f"{url}/v8/finance/chart/MSFT?range=1d") as answer:
                assert answer.status == 200
        finally:
            process.terminate()
