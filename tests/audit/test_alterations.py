"""Other futures: the past is kept, every table stays valid, nothing of the future remains."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecaster.audit.alterations import KINDS, Alteration, Kind, with_gaps
from forecaster.data.history import History, validate_bars
from tests.data.histories import drawn

CUT = np.datetime64("2024-03-01")


def sound(ticker: str, days: int, seed: int, first: str = "2024-01-02") -> History:
    """A drawn history whose every bar is one that can be."""
    found = drawn(ticker, days, seed, first=first)
    bars = found.bars
    high, low = (
        bars[["open", "high", "close"]].max(axis=1),
        bars[["open", "low", "close"]].min(axis=1),
    )
    return replace(found, bars=bars.assign(high=high, low=low))


def ragged() -> list[History]:
    """Three histories: one around the cut, one that ends before it, one that begins after."""
    return [sound("AAA", 90, 1), sound("BBB", 30, 2), sound("CCC", 50, 3, "2024-03-15")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_future_keeps_the_past_and_is_what_the_reader_takes(kind: Kind) -> None:
    histories = ragged()
    altered = {h.listing.ticker: h for h in Alteration(kind=kind, cut=CUT).of(histories)}
    for history in histories:
        later = history.days > CUT
        if history.listing.ticker not in altered:
            assert kind == "cut" and later.all()
            continue
        found = altered[history.listing.ticker].bars
        validate_bars(history.listing.ticker, found)
        pd.testing.assert_frame_equal(found[: (~later).sum()], history.bars[~later])
        if kind == "cut":
            assert len(found) == (~later).sum()
        else:
            assert len(found) == len(history.bars)
            assert later.any() != found.equals(history.bars)


def test_corrupted_bars_share_no_value_with_the_real_ones() -> None:
    """Prices, volume and dates; the first session after the date has no bar at all."""
    (history,) = histories = ragged()[:1]
    later = history.days > CUT
    (found,) = Alteration(kind="corrupted", cut=CUT).of(histories)
    now, before = found.bars[later], history.bars[later]
    for name in ("open", "high", "low", "close"):
        assert not (now[name] == before[name]).any()
    assert (now["session"].to_numpy() > before["session"].to_numpy()).all()
    assert now["dividend"].any() and (now["split"] != 1.0).any()


def test_blanked_bars_keep_the_close_before_the_date_and_nothing_else() -> None:
    (history,) = histories = ragged()[:1]
    later = np.flatnonzero(history.days > CUT)
    (found,) = Alteration(kind="blanked", cut=CUT).of(histories)
    first = found.bars.iloc[later[0]]
    assert (first[["open", "high", "low", "close"]] == history.bars["close"][later[0] - 1]).all()
    assert (first["volume"], first["dividend"], first["split"]) == (0.0, 0.0, 1.0)
    kept = (found.bars["close"] == history.bars["close"])[later].mean()
    assert 0.2 < kept < 0.8


def test_gaps_stand_on_the_day_of_the_cut_alone() -> None:
    """What a fill would fill: no range, no volume, a ticker on its first day."""
    histories = [sound(name, 90, number) for number, name in enumerate(("AAA", "BBB", "CCC"))]
    for turn in range(3):
        found = with_gaps(histories, CUT, turn)
        for number, (history, real) in enumerate(zip(found, histories, strict=True)):
            validate_bars(history.listing.ticker, history.bars)
            here = history.bars[history.bars["session"] == pd.Timestamp(CUT)].iloc[0]
            if (number + turn) % 2 == 0:
                assert here["high"] == here["low"] and here["volume"] == 0.0
            begins = pd.Timestamp(CUT) if number == turn else real.bars["session"].iloc[0]
            assert history.bars["session"].iloc[0] == begins
    assert len(with_gaps(histories[:1], CUT, 0)[0].bars) == 90
