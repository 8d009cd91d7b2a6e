"""A fresh loopback Yahoo per test, and a yfinance that remembers no earlier test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yfinance
from yfinance.data import SingletonMeta

from forecaster.data.sources.yahoo import YahooSource
from tests.yahoo.server import LoopbackYahoo
from tests.yahoo.session import LoopbackSession


@pytest.fixture
def yahoo() -> Iterator[LoopbackYahoo]:
    with LoopbackYahoo() as server:
        yield server


@pytest.fixture(autouse=True)
def _forgetful_yfinance() -> Iterator[None]:
    """Drop yfinance's cookie, crumb, counters and database connections."""
    SingletonMeta._instances.clear()
    yfinance.base._tz_info_fetch_ctr = 0
    yield
    for manager in ("_TzDBManager", "_CookieDBManager", "_ISINDBManager"):
        getattr(yfinance.cache, manager).close_db()


@pytest.fixture
def waits() -> list[float]:
    """Collect the seconds that the source would have waited."""
    return []


@pytest.fixture
def make_source(
    yahoo: LoopbackYahoo, waits: list[float], tmp_path: Path
) -> Callable[..., YahooSource]:
    """Build a source that asks the loopback; options go to its session."""

    def make(folder: str = "yahoo", url: str = yahoo.url, **options: object) -> YahooSource:
        session = LoopbackSession(url, **options)
        return YahooSource(tmp_path / folder, session, waits.append)

    return make


@pytest.fixture
def source(make_source: Callable[..., YahooSource]) -> YahooSource:
    return make_source()
