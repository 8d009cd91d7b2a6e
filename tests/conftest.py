"""What several rooms' tests need: a loopback Yahoo, and the real client led to it."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.yahoo.server import LoopbackYahoo

# Before torch is imported: two threads on a busy machine wait for each other at every step.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from typer.testing import Result

    from forecaster.data.sources.yahoo import YahooSource


@pytest.fixture
def yahoo(forgetful_yfinance: None) -> Iterator[LoopbackYahoo]:
    """A fresh loopback Yahoo, and a yfinance that remembers no earlier test."""
    with LoopbackYahoo() as server:
        yield server


@pytest.fixture
def forgetful_yfinance() -> Iterator[None]:
    """Drop yfinance's cookie, crumb, counters and database connections."""
    import yfinance
    from yfinance.data import SingletonMeta

    SingletonMeta._instances.clear()
    yfinance.base._tz_info_fetch_ctr = 0
    yield
    for manager in ("_TzDBManager", "_CookieDBManager", "_ISINDBManager"):
        getattr(yfinance.cache, manager).close_db()


@pytest.fixture(scope="session")
def run() -> Callable[..., "Result"]:
    """Run the command line in this process; stdout and stderr are kept apart."""
    from typer.testing import CliRunner

    from forecaster.cli import app

    runner, logger = CliRunner(), logging.getLogger("forecaster")

    def invoke(*arguments: object) -> "Result":
        try:
            return runner.invoke(app, [str(argument) for argument in arguments])
        finally:  # a process of its own would end here, and its notices with it
            logger.handlers, logger.propagate = [], True
            logger.setLevel(logging.NOTSET)

    return invoke


@pytest.fixture
def waits() -> list[float]:
    """Collect the seconds that the source would have waited."""
    return []


@pytest.fixture
def make_source(
    yahoo: LoopbackYahoo, waits: list[float], tmp_path: Path
) -> Callable[..., "YahooSource"]:
    """Build a source that asks the loopback; options go to its session."""
    from forecaster.data.sources.yahoo import YahooSource
    from tests.yahoo.session import LoopbackSession

    def make(folder: str = "yahoo", url: str = yahoo.url, **options: object) -> YahooSource:
        session = LoopbackSession(url, **options)
        return YahooSource(tmp_path / folder, session, waits.append)

    return make


@pytest.fixture
def source(make_source: Callable[..., "YahooSource"]) -> "YahooSource":
    return make_source()


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def logged_warnings() -> Iterator[list[str]]:
    """Every warning of the package while the test runs."""
    collector, logger = _Collector(), logging.getLogger("forecaster")
    logger.addHandler(collector)
    yield collector.messages
    logger.removeHandler(collector)
