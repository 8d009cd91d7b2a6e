"""Days without a session that a source has filled: copies of the bar before, and nothing else."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from forecaster.data.filled_days import filled_days
from forecaster.data.history import PRICE_COLUMNS
from forecaster.data.screening import screen
from forecaster.data.sessions import sessions_between
from forecaster.data.store import PriceStore
from tests.data.histories import walk, with_bars

NOW = datetime(2016, 3, 4, 22, tzinfo=UTC)
DAYS = 500
OLD = walk(DAYS, seed=4)
VOLUME = 1e5 + 1e3 * np.arange(DAYS)
SESSIONS = with_bars(OLD, OLD.bars.assign(volume=VOLUME))


def copied(bars: pd.DataFrame, freq: str = "B") -> pd.DataFrame:
    """Every column of the bar before."""
    return bars.set_index("session").asfreq(freq).ffill().reset_index()


def quiet(bars: pd.DataFrame, freq: str = "B") -> pd.DataFrame:
    """Its prices, without a volume."""
    filled = copied(bars, freq)
    is_old = filled["session"].isin(bars["session"])
    return filled.assign(volume=filled["volume"].where(is_old, 0.0))


def flat(bars: pd.DataFrame, freq: str = "B") -> pd.DataFrame:
    """Its close in all prices, without a volume."""
    filled = quiet(bars, freq)
    is_old = filled["session"].isin(bars["session"])
    closes = {name: filled[name].where(is_old, filled["close"]) for name in PRICE_COLUMNS}
    return filled.assign(**closes)


def without_volume(bars: pd.DataFrame) -> pd.DataFrame:
    return flat(bars.assign(volume=0.0))


def with_dividend(bars: pd.DataFrame) -> pd.DataFrame:
    """A dividend on the eve of a holiday is copied with the rest."""
    return copied(bars.assign(dividend=np.where(bars["session"] == "2014-07-03", 0.3, 0.0)))


def one_day(bars: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([flat(bars).head(14), bars[bars["session"] > "2014-01-21"]])


SHAPES = {
    "copies": (copied, 16),
    "copies without volume": (quiet, 16),
    "flat without volume": (flat, 16),
    "weekends too": (lambda bars: flat(bars, "D"), 222),
    "copies of weekends too": (lambda bars: copied(bars, "D"), 222),
    "an index without volumes": (without_volume, 16),
    "a copied dividend": (with_dividend, 16),
    "one holiday": (one_day, 1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_filled_days_are_quarantined_and_the_sessions_stored(shape: str, tmp_path) -> None:
    build, count = SHAPES[shape]
    served = with_bars(SESSIONS, build(SESSIONS.bars))
    with PriceStore.open_for_writing(tmp_path) as store:
        kept = screen(store, served, NOW)
        entries = store.quarantine.entries()
        assert kept.bars["session"].tolist() == SESSIONS.bars["session"].tolist()
        assert [one.rule for one in entries] == ["filled-day"] * count
        assert not any(one.blocks for one in entries)
        store.quarantine.decide(entries, "released", NOW)
        assert len(screen(store, served, NOW).bars) == DAYS + count


def test_a_filled_day_alone_is_compared_with_the_stored_bar_before(tmp_path) -> None:
    """Presidents' Day of 2014, imported by itself."""
    eve = SESSIONS.bars[SESSIONS.bars["session"] <= "2014-02-14"]
    filled = flat(pd.concat([eve, eve.tail(1).assign(session=pd.Timestamp("2014-02-17"))]))
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(with_bars(SESSIONS, eve), NOW)
        assert screen(store, with_bars(SESSIONS, filled.tail(1)), NOW).bars.empty


def traded_holidays(bars: pd.DataFrame) -> pd.DataFrame:
    rise = 1.0 + 0.001 * np.arange(len(copied(bars)))
    return copied(bars).assign(**{name: copied(bars)[name] * rise for name in PRICE_COLUMNS})


def halted(bars: pd.DataFrame) -> pd.DataFrame:
    return flat(bars.assign(**dict.fromkeys(PRICE_COLUMNS, 50.0), volume=0.0))


def with_new_dividend(bars: pd.DataFrame) -> pd.DataFrame:
    table = flat(bars)
    is_holiday = ~table["session"].isin(bars["session"])
    return table.assign(dividend=0.3 * is_holiday)


@pytest.mark.parametrize("build", [traded_holidays, halted, with_new_dividend, lambda bars: bars])
def test_what_may_have_been_traded_is_kept(build) -> None:
    served = with_bars(SESSIONS, build(SESSIONS.bars))
    assert not filled_days(served).any()


def test_a_rarely_traded_share_of_another_exchange_is_not_taken_for_filled() -> None:
    """Tokyo's days under New York's calendar: on its holidays, too, some bars move."""
    days = sessions_between("XTKS", date(2014, 1, 6), date(2016, 3, 31))[:DAYS]
    rests = np.random.default_rng(1).random(DAYS) < 0.45
    bars = SESSIONS.bars.assign(session=days.astype("datetime64[s]"))
    bars.loc[rests, ["volume", *PRICE_COLUMNS]] = np.nan
    bars["close"] = bars["close"].ffill().bfill()
    bars["volume"] = bars["volume"].fillna(0.0)
    for name in PRICE_COLUMNS:
        bars[name] = bars[name].fillna(bars["close"])
    assert not filled_days(with_bars(SESSIONS, bars)).any()
