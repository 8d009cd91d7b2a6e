"""Fetch, crash, fetch: whatever happens in between, the store agrees with a plain dictionary."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, History, Listing
from forecaster.data.price_database import store_path
from forecaster.data.store import PriceStore
from forecaster.errors import SourceDownError
from forecaster.pipeline.fetch import FetchReport, fetch
from tests.synthetic import bars_of

NAMES = ("AAA", "BBB")
VALUES = list(BAR_COLUMNS[1:])
PRICES = list(PRICE_COLUMNS)
DAYS = 120
FIRST = 60  # days that the store begins with
LONG_AGO = 32  # row that is not forgotten, and not in the overlap of these
names = st.sampled_from(NAMES)
# How far before the newest stored session a late change lies: within the overlap.
recent = st.integers(0, 6)


class Killed(BaseException):
    """The process ends here; nothing catches it."""


@dataclass
class Fickle:
    """A source that jitters and forgets: what it holds to be true, and up to which day."""

    truth: dict[str, pd.DataFrame]
    upto: int = FIRST
    lacks: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in NAMES})
    down: set[str] = field(default_factory=set)
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    name: str = "fickle"

    def tickers(self) -> tuple[str, ...]:
        """Serve these and no others."""
        return NAMES

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve the truth, a little off each time."""
        if ticker in self.down:
            raise SourceDownError(f"{ticker}: down")
        bars = self.served(ticker)
        jitter = self.draw.uniform(-4e-5, 4e-5, (len(bars), len(VALUES) - 1))
        bars[VALUES[:-1]] *= 1 + jitter  # a split is a ratio of whole numbers
        bars = bars[bars["session"] >= pd.Timestamp(start or "1900-01-01")]
        listing = Listing(ticker=ticker, source=self.name, basis="split-adjusted", calendar="XNYS")
        return History(listing=listing, bars=bars.reset_index(drop=True))

    def served(self, ticker: str) -> pd.DataFrame:
        """What would be served if nothing jittered."""
        return self.truth[ticker][: self.upto].drop(index=list(self.lacks[ticker])).copy()


class Fetching(RuleBasedStateMachine):
    """A fickle source, a store, and a model: what was stored when it was last looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.source = Fickle({name: bars_of(name, DAYS)[list(BAR_COLUMNS)] for name in NAMES})
        self.stored = {name: self.source.truth[name][:0] for name in NAMES}
        self.revision = dict.fromkeys(NAMES, 0)

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.home)

    @rule(sessions=st.integers(1, 4))
    def time_passes(self, sessions: int) -> None:
        """New sessions close."""
        self.source.upto = min(self.source.upto + sessions, DAYS)

    @rule(name=names, back=recent, new=st.sampled_from([2.0, 4.0, 0.1]), lost=st.booleans())
    def splits(self, name: str, back: int, new: float, lost: bool) -> None:
        """The past is rescaled, and may lack a day; the split is of the day after, or late."""
        if lost:
            self.source.lacks[name].add(7)
        table, row = self.source.truth[name], self.newest(name) + 1 - back
        table.loc[: row - 1, PRICES] /= new
        table.loc[row, "split"] *= new

    @rule(name=names, back=recent, amount=st.sampled_from([0.0, 0.5, 0.25]))
    def pays(self, name: str, back: int, amount: float) -> None:
        """A dividend comes late, or goes again, and with it one of long before the overlap."""
        dividends = self.source.truth[name]["dividend"].to_numpy(copy=True)
        dividends[self.newest(name) - back] = amount
        dividends[LONG_AGO] = dividends[LONG_AGO + 1 :].sum()
        self.source.truth[name]["dividend"] = dividends

    @rule(name=names, back=recent, column=st.sampled_from(["open", "high", "close", "volume"]))
    def corrects(self, name: str, back: int, column: str) -> None:
        """One value of a stored day becomes another."""
        table, row = self.source.truth[name], self.newest(name) - back
        table.loc[row, column] *= 1.01
        table.loc[row, "high"] = table.loc[row, PRICES].max()

    @rule(name=names, row=st.none() | st.integers(0, 30))
    def forgets_a_day(self, name: str, row: int | None) -> None:
        """An old day is missing from all answers, or none is."""
        self.source.lacks[name] = set() if row is None else {row}

    @rule(name=names)
    def goes_up_or_down(self, name: str) -> None:
        """A ticker cannot be had for a while."""
        self.source.down ^= {name}

    @initialize()
    def begins(self) -> None:
        """A store with sixty days."""
        self.is_fetched()

    @rule()
    def is_fetched(self) -> None:
        """A ticker that failed is as it was; any other is as the source has it."""
        report = self.run()
        for name in NAMES:
            now = self.held(name)
            if name in report.failures:
                pd.testing.assert_frame_equal(now, self.stored[name])
            else:
                self.check_truth(name, now)
            self.keep(name, now)

    @rule()
    def is_fetched_twice(self) -> None:
        """The second time, with nothing new, writes nothing."""
        self.is_fetched()
        before = store_path(self.home).read_bytes()
        assert self.run().table["rows_changed"].sum() == 0
        assert store_path(self.home).read_bytes() == before

    @rule(name=names, back=recent, amount=st.sampled_from([0.5, 0.25]))
    def is_fetched_after_paying(self, name: str, back: int, amount: float) -> None:
        """What changed long ago comes with the overlap's dividend."""
        self.source.down.discard(name)
        self.pays(name, back, amount)
        self.is_fetched()

    @rule(name=names, back=recent, after=st.integers(1, 4))
    def crashes(self, name: str, back: int, after: int) -> None:
        """Each ticker is as it was, or as it should be, and nothing between."""
        self.splits(name, back, 2.0, lost=False)
        left = [after]

        def dying_in_time(write: Callable[..., int]) -> Callable[..., int]:
            def die_in_time(*arguments: object) -> int:
                done = write(*arguments)
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                return done

            return die_in_time

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PriceStore, "_write", dying_in_time(PriceStore._write))
            try:
                self.run()
            except Killed:
                pass
        for name in NAMES:
            now = self.held(name)
            if not now.equals(self.stored[name]):
                self.check_truth(name, now)
            self.keep(name, now)

    def run(self) -> FetchReport:
        """Fetch both."""
        return fetch(NAMES, home=self.home, source=self.source)

    def newest(self, name: str) -> int:
        """Row of the newest stored day in the truth, of which the first rows are stored."""
        return max(len(self.stored[name]), 10) - 1

    def held(self, name: str) -> pd.DataFrame:
        """What is in the store now."""
        with PriceStore.open_for_reading(self.home) as store:
            return store.bars(name) if store.span(name) else self.stored[name]

    def check_truth(self, name: str, now: pd.DataFrame) -> None:
        """All that the source serves is stored, and all that is stored is on one scale."""
        assert self.source.served(name)["session"].isin(now["session"]).all()
        expected = self.source.truth[name].set_index("session").loc[now["session"], VALUES]
        np.testing.assert_allclose(now[VALUES], expected, rtol=1.5e-4, atol=0)

    def keep(self, name: str, now: pd.DataFrame) -> None:
        """History never shrinks, and a revision stands for each past that became another."""
        before = self.stored[name]
        assert before["session"].isin(now["session"]).all()
        past = now[now["session"] <= before["session"].max()] if len(before) else before
        changed = not past.reset_index(drop=True).equals(before.reset_index(drop=True))
        self.revision[name] += changed or (before.empty and len(now) > 0)
        self.stored[name] = now
        with PriceStore.open_for_reading(self.home) as store:
            raised = store.revisions(name) if self.revision[name] else []
        assert [one.number for one in raised] == list(range(1, self.revision[name] + 1))


TestFetching = pytest.mark.slow(Fetching.TestCase)
# No shrinking: a step costs 50 ms, and the steps that failed are printed anyway.
TestFetching.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, phases=[Phase.reuse, Phase.generate]
)
