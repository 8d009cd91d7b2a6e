"""Inputs derived from a panel: worked by hand, blind to the future, alone in their piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.derived_features import (
    ECHO_DAYS,
    compact_names,
    derived_inputs,
    derived_names,
    lagged,
    mean_of,
)
from forecaster.data.history import History
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from tests.synthetic import ragged_bars

TARGETS = ("return", "range", "volume")


def histories(lengths: dict[str, int], drop: slice | None = None) -> list[History]:
    bars = ragged_bars(lengths)
    if drop is not None:
        bars = bars.drop(bars.index[drop])
    return load_histories(bars, "", (), None)  # type: ignore[arg-type]


def panel_of(kept: list[History]) -> Panel:
    names = [history.listing.ticker for history in kept]
    return build_panel(kept, TARGETS, universe=names if len(names) > 1 else None)


TWO = histories({"AAA": 420, "BBB": 380})
PANEL = panel_of(TWO)
NAMES = derived_names(PANEL)
INPUTS = derived_inputs(PANEL, NAMES)


def column(name: str, panel: Panel = PANEL) -> np.ndarray:
    return derived_inputs(panel, [name])[:, 0]


def test_trailing_means_and_lags_by_hand() -> None:
    """1, (1+3)/2, 3 (2 is missing), 5; and nothing again once all of the window is missing."""
    nan = np.nan
    values = np.array([1.0, 3.0, nan, 5.0, nan, nan])
    np.testing.assert_array_equal(mean_of(values, 2), [1.0, 2.0, 3.0, 5.0, 5.0, nan])
    np.testing.assert_array_equal(lagged(values, 2), [nan, nan, 1.0, 3.0, nan, 5.0])
    assert np.isnan(lagged(values[:1], 4)).all()


def test_there_are_about_ninety_inputs_and_a_third_for_the_network() -> None:
    assert len(NAMES) == len(set(NAMES)) == 100
    assert len(compact_names(PANEL)) == 34
    assert set(compact_names(PANEL)) <= set(NAMES)


@pytest.mark.parametrize("kept", [TWO, TWO[:1]])
def test_one_ticker_alone_has_all_but_the_markets(kept: list[History]) -> None:
    panel = panel_of(kept)
    market = [name for name in derived_names(panel) if name.startswith("panel_")]
    assert bool(market) == (len(kept) > 1)
    assert derived_inputs(panel, compact_names(panel)).shape[0] == len(panel.days)


@given(day=st.integers(1, 379))
@settings(max_examples=25, deadline=None)
def test_what_follows_a_day_changes_no_bit_of_its_inputs(day: int) -> None:
    """Both histories are cut after the same date; a row's inputs stay as they are."""
    last = TWO[1].bars["session"].iloc[day]
    cut = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in TWO]
    panel = panel_of(cut)
    kept = PANEL.days <= np.datetime64(last, "D")
    np.testing.assert_array_equal(derived_inputs(panel, NAMES), INPUTS[kept])


def test_another_ticker_moves_the_markets_inputs_alone() -> None:
    other = ragged_bars({"AAA": 420, "BBB": 380})
    wild = (other["ticker"] == "BBB") & (other.index % 3 == 0)
    other.loc[wild, ["high", "volume"]] *= 1.1
    found = derived_inputs(panel_of(load_histories(other, "", (), None)), NAMES)  # type: ignore[arg-type]
    mine = PANEL.series == 0
    for number, name in enumerate(NAMES):
        same = np.array_equal(found[mine, number], INPUTS[mine, number], equal_nan=True)
        assert same or name.startswith("panel_"), name
        if name in ("panel_range_deviation", "panel_volume_deviation_week"):
            assert not same


def test_a_hole_begins_anew() -> None:
    """After a lost quarter nothing of the days before it is left, least of all an echo."""
    panel = panel_of(histories({"AAA": 420}, drop=slice(300, 365)))
    assert len(panel.offsets) == 3
    after = slice(int(panel.offsets[1]), None)
    names = [name for name in derived_names(panel) if not name.startswith(("today_",))]
    alone = panel_of(
        [History(listing=TWO[0].listing, bars=TWO[0].bars.iloc[365:].reset_index(drop=True))]
    )
    np.testing.assert_array_equal(
        derived_inputs(panel, names)[after], derived_inputs(alone, names), strict=True
    )


def test_volume_is_free_of_its_level() -> None:
    """A thousand times the volume on every day of a ticker changes no input of it."""
    bars = ragged_bars({"AAA": 420})
    bars["volume"] *= 1000.0
    panel = panel_of(load_histories(bars, "", (), None))  # type: ignore[arg-type]
    one = panel_of(TWO[:1])
    names = [name for name in derived_names(one) if name.startswith("volume")]
    np.testing.assert_allclose(
        derived_inputs(panel, names), derived_inputs(one, names), atol=1e-5, equal_nan=True
    )


def test_the_echo_is_of_the_day_so_long_before_the_next_session() -> None:
    """Volume jumps 182 calendar days before a session: the evening before it hears the echo."""
    panel = panel_of(TWO[:1])
    target = 300
    date_of = panel.days[target]
    heard = np.searchsorted(panel.days, date_of - np.timedelta64(182, "D"))
    bars = TWO[0].bars.copy()
    bars.loc[heard, "volume"] *= np.exp(5.0)
    loud = panel_of([History(listing=TWO[0].listing, bars=bars)])
    difference = column("volume_echo182", loud) - column("volume_echo182", panel)
    assert difference[target - 1] == pytest.approx(5.0, abs=1e-5)
    assert column("volume_echo", loud)[target - 1] > column("volume_echo", panel)[target - 1]
    assert np.isnan(column("volume_echo364", panel)[:240]).all()
    assert np.isnan(column("volume_echo", panel)[:60]).all()
    assert ECHO_DAYS == (91, 182, 273, 364)


def test_the_calendar_is_of_the_day_forecast_and_of_today() -> None:
    """17 September 2010, a third Friday of a quarter: known the evening before, felt on the day."""
    panel = panel_of(TWO[:1])
    row = int(np.flatnonzero(panel.days == np.datetime64("2010-09-16"))[0])
    for name in ("option_expiry", "triple_expiry"):
        assert column(name, panel)[row : row + 2].tolist() == [1.0, 0.0]
        assert column(f"today_{name}", panel)[row : row + 2].tolist() == [0.0, 1.0]
    quarter = int(np.flatnonzero(panel.days == np.datetime64("2010-09-29"))[0])
    assert column("quarter_end", panel)[quarter] == 1.0
    christmas = panel.days[column("year_end", panel) == 1.0]
    assert christmas[0] == np.datetime64("2010-12-23") and len(christmas) < 12


def test_garman_klass_by_hand() -> None:
    """High 110, low 100, open 102, close 105."""
    bars = ragged_bars({"AAA": 30}).assign(open=102.0, high=110.0, low=100.0, close=105.0)
    panel = panel_of(load_histories(bars, "", (), None))  # type: ignore[arg-type]
    horizon, body = np.log(1.1), np.log(105 / 102)
    expected = 0.5 * np.log(0.5 * horizon**2 - (2 * np.log(2) - 1) * body**2) - np.log(horizon)
    np.testing.assert_allclose(column("gk", panel)[1:], expected, rtol=1e-5)
