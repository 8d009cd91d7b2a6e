"""Features by hand, blind to the future, alone in their segment, and each one read."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data import panel as panel_module
from forecaster.data.columns import CALENDAR_INPUTS, own_columns
from forecaster.data.features import ECHO_DAYS, FEATURES, NETWORK_FEATURES, lagged, mean_over
from forecaster.data.history import History
from forecaster.data.loading import load_histories
from forecaster.data.panel import (
    Panel,
    build_panel,
    compute_features,
    feature_names,
    features_of_rows,
)
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
NAMES = feature_names(PANEL)
INPUTS = compute_features(PANEL, NAMES)


def column(name: str, panel: Panel = PANEL) -> np.ndarray:
    return compute_features(panel, [name])[:, 0]


def test_some_rows_have_the_features_of_all_rows() -> None:
    """Rows of both series, with the last of one and the first of the next."""
    chosen = np.array([0, 5, 419, 420, 421, 799])
    np.testing.assert_array_equal(features_of_rows(PANEL, NAMES, chosen), INPUTS[chosen])


def test_trailing_means_and_lags_by_hand() -> None:
    """1, (1+3)/2, 3 (2 is missing), 5; and nothing again once all of the window is missing."""
    nan = np.nan
    values = np.array([1.0, 3.0, nan, 5.0, nan, nan])
    np.testing.assert_array_equal(mean_over(values, 2), [1.0, 2.0, 3.0, 5.0, 5.0, nan])
    np.testing.assert_array_equal(lagged(values, 2), [nan, nan, 1.0, 3.0, nan, 5.0])
    assert np.isnan(lagged(values[:1], 4)).all()


def test_there_are_a_hundred_features_and_a_third_for_the_network() -> None:
    assert len(NAMES) == len(set(NAMES)) == 100
    assert len(feature_names(PANEL, NETWORK_FEATURES)) == 34
    assert set(feature_names(PANEL, NETWORK_FEATURES)) <= set(NAMES)


@pytest.mark.parametrize("kept", [TWO, TWO[:1]])
def test_one_ticker_alone_has_all_but_the_markets(kept: list[History]) -> None:
    panel = panel_of(kept)
    market = [name for name in feature_names(panel) if name.startswith("panel_")]
    assert bool(market) == (len(kept) > 1)
    assert compute_features(panel, feature_names(panel, NETWORK_FEATURES)).shape[0] == len(
        panel.days
    )


@given(day=st.integers(1, 379))
@settings(max_examples=25, deadline=None)
def test_what_follows_a_day_changes_no_bit_of_its_inputs(day: int) -> None:
    """Both histories are cut after the same date; a row's inputs stay as they are."""
    last = TWO[1].bars["session"].iloc[day]
    cut = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in TWO]
    panel = panel_of(cut)
    kept = PANEL.days <= np.datetime64(last, "D")
    np.testing.assert_array_equal(compute_features(panel, NAMES), INPUTS[kept])


def test_another_ticker_moves_the_markets_inputs_alone() -> None:
    other = ragged_bars({"AAA": 420, "BBB": 380})
    wild = (other["ticker"] == "BBB") & (other.index % 3 == 0)
    other.loc[wild, ["high", "volume"]] *= 1.1
    found = compute_features(panel_of(load_histories(other, "", (), None)), NAMES)  # type: ignore[arg-type]
    mine = PANEL.series == 0
    for number, name in enumerate(NAMES):
        same = np.array_equal(found[mine, number], INPUTS[mine, number], equal_nan=True)
        assert same or name.startswith("panel_"), name
        if name in ("panel_range_deviation", "panel_volume_deviation_week"):
            assert not same


def test_a_gap_starts_again() -> None:
    """After a lost quarter nothing depends on the days before it, not even an echo."""
    panel = panel_of(histories({"AAA": 420}, drop=slice(300, 365)))
    assert len(panel.offsets) == 3
    after = slice(int(panel.offsets[1]), None)
    names = [name for name in feature_names(panel) if not name.startswith(("today_",))]
    alone = panel_of(
        [History(listing=TWO[0].listing, bars=TWO[0].bars.iloc[365:].reset_index(drop=True))]
    )
    np.testing.assert_array_equal(
        compute_features(panel, names)[after], compute_features(alone, names), strict=True
    )


def test_volume_is_free_of_its_level() -> None:
    """A thousand times the volume on every day of a ticker changes no input of it."""
    bars = ragged_bars({"AAA": 420})
    bars["volume"] *= 1000.0
    panel = panel_of(load_histories(bars, "", (), None))  # type: ignore[arg-type]
    one = panel_of(TWO[:1])
    names = [name for name in feature_names(one) if name.startswith("volume")]
    np.testing.assert_allclose(
        compute_features(panel, names), compute_features(one, names), atol=1e-5, equal_nan=True
    )


def test_the_echo_is_of_the_day_so_long_before_the_next_session() -> None:
    """Volume jumps 182 calendar days before a session: the row before it has the echo."""
    panel = panel_of(TWO[:1])
    target = 300
    date_of = panel.days[target]
    echoed = np.searchsorted(panel.days, date_of - np.timedelta64(182, "D"))
    bars = TWO[0].bars.copy()
    bars.loc[echoed, "volume"] *= np.exp(5.0)
    loud = panel_of([History(listing=TWO[0].listing, bars=bars)])
    difference = column("volume_echo182", loud) - column("volume_echo182", panel)
    assert difference[target - 1] == pytest.approx(5.0, abs=1e-5)
    assert column("volume_echo", loud)[target - 1] > column("volume_echo", panel)[target - 1]
    assert np.isnan(column("volume_echo364", panel)[:240]).all()
    assert np.isnan(column("volume_echo", panel)[:60]).all()
    assert ECHO_DAYS == (91, 182, 273, 364)


def test_the_calendar_is_of_the_day_forecast_and_of_today() -> None:
    """17 September 2010, a third Friday of a quarter: known the day before."""
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


@pytest.mark.parametrize("name", PANEL.columns)
def test_every_column_of_a_panel_is_read_by_a_feature(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is computed for every row but reaches no model is a mistake."""

    def changed(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if name not in columns:
            return columns
        return {**columns, name: np.where(np.arange(len(columns[name])) % 2 == 0, 0.25, 1.0)}

    monkeypatch.setattr(panel_module, "own_columns", lambda bars, _: changed(own_columns(bars)))
    panel = panel_of(TWO)
    if name not in own_columns(TWO[0]):
        panel = replace(panel, columns=changed(panel.columns))
    assert not np.array_equal(compute_features(panel, NAMES), INPUTS, equal_nan=True)


def test_every_feature_is_listed_and_the_networks_are_among_them() -> None:
    assert tuple(FEATURES) == NAMES
    assert set(NETWORK_FEATURES) <= set(NAMES)


FLAGS = (
    *("range_missing", "volume_missing"),
    *(name for name in CALENDAR_INPUTS if name != "gap_days"),
    *("quarter_end", "triple_expiry", "year_end"),
    *(name for name in NAMES if name.startswith("today_")),
)
CYCLES = ("season_sin1", "season_cos1", "season_sin2", "season_cos2")


def test_flags_are_zero_or_one_and_days_are_counted() -> None:
    for number, name in enumerate(NAMES):
        values = INPUTS[:, number][np.isfinite(INPUTS[:, number])]
        if name in FLAGS:
            assert set(values) <= {0.0, 1.0}, name
        if name == "gap_days":
            assert (values == values.round()).all() and values.max() > 1, name
        if name in CYCLES:
            assert np.abs(values).max() <= 1.0, name
