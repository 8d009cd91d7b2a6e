"""The panel: its arrays by hand, its gaps, and that no later bar touches a row."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from forecaster.data.columns import CALENDAR_INPUTS, MARKET_COLUMNS, TRAILING_DAYS, own_columns
from forecaster.data.loading import load_histories
from forecaster.data.panel import TARGETS, Panel, build_panel, compute_features, feature_names
from forecaster.data.panel import cut as cut_panel
from forecaster.errors import DataError, UsageError
from tests.data.histories import drawn, history, with_bars
from tests.synthetic import ragged_bars

nan = np.nan
T = np.arange(25)


def by_hand(**changes):
    """25 days: log returns (2t - 1) / 1000, log ranges t / 10, log volumes 0, 1, 0, 1, ..."""
    close = np.exp(T**2 / 1000)
    columns = {
        "close": close,
        "high": np.exp(np.exp(T / 10)),
        "volume": np.exp(T % 2) / close,
    }
    return history(**columns | changes)


def without(one, begin, end):
    """The history without the bars `begin` to `end - 1`."""
    return with_bars(one, one.bars.drop(index=range(begin, end)))


def column(panel, name):
    return panel.columns[name].astype(np.float64)


def table(panel):
    """All columns side by side."""
    return np.column_stack([column(panel, name) for name in panel.columns])


def rows_of(panel, ticker):
    number = panel.tickers.index(ticker)
    return slice(*panel.series_offsets[number : number + 2])


def test_y_is_the_next_day_less_the_level_by_hand():
    """On the 22nd day: 43/1000; 2.2 - (0 + 2.1)/2; 0 - 1/2; and so on for two days more."""
    panel = build_panel([by_hand()], TARGETS, universe=None)
    expected = [[0.043, 1.15, -0.5], [0.045, 1.15, 0.5], [0.047, 1.15, -0.5]]
    np.testing.assert_allclose(panel.y[21:24], expected, atol=1e-12)
    np.testing.assert_allclose(panel.today[22], [0.043, 2.2, 0.0], atol=1e-12)
    np.testing.assert_allclose(panel.level[22], [0.0, 1.15, 0.5], atol=1e-12)
    # The next day's quantity is the forecast of y plus today's level.
    np.testing.assert_allclose((panel.y + panel.level)[21:24], panel.today[22:25], atol=1e-12)


def test_the_first_22_outcomes_and_the_unknown_one_are_not_scored():
    """Of 25 days, three are forecast: the 23rd, 24th and 25th, from the day before each."""
    panel = build_panel([by_hand()], TARGETS, universe=None)
    assert np.isfinite(panel.y).all(axis=1).nonzero()[0].tolist() == [21, 22, 23]
    assert np.isnan(np.delete(panel.y, [21, 22, 23], axis=0)).all()


@pytest.mark.parametrize(("days", "scored"), [(1, 0), (22, 0), (23, 1), (24, 2)])
def test_a_history_needs_23_days_to_be_scored_once(days, scored):
    """The 22 days of warm-up and the outcome of the day after; shorter ones are rows all the same.

    Each has a neighbour, whose rows must not be reached by the shift.
    """
    short = with_bars(by_hand(), by_hand().bars[:days])
    panel = build_panel([short, by_hand(), short], ("return",), universe=None)
    mine = panel.y[[*range(days), *range(days + 25, 25 + 2 * days)]]
    assert np.isfinite(mine).sum() == 2 * scored
    np.testing.assert_allclose(panel.y[days + 21 : days + 24, 0], [0.043, 0.045, 0.047])


def test_the_columns_of_y_follow_the_targets_asked_for():
    """Two of three, in the order given."""
    whole = build_panel([by_hand()], TARGETS, universe=None)
    some = build_panel([by_hand()], ("volume", "return"), universe=None)
    assert some.targets == ("volume", "return")
    for field in ("y", "today", "level"):
        np.testing.assert_array_equal(getattr(some, field), getattr(whole, field)[:, [2, 0]])


def test_a_day_without_range_is_masked_indicated_and_skipped():
    """High equals low on day 23: no outcome for day 22, and day 23's level is a mean of 21."""
    high = np.exp(np.exp(T / 10))
    high[23] = 1.0
    panel = build_panel([by_hand(high=high)], ("range",), universe=None)
    assert np.isnan(panel.y[22, 0])
    assert column(panel, "range_missing")[21:25].tolist() == [0, 0, 1, 0]
    assert np.isnan(column(panel, "log_range")[23])
    assert panel.level[23, 0] == pytest.approx(1.2)  # days 2..22
    assert panel.y[23, 0] == pytest.approx(2.4 - 1.2)
    assert panel.y[21, 0] == pytest.approx(1.15)


def test_a_day_without_volume_is_masked_indicated_and_skipped():
    """Nothing traded on day 23: days 2..22 hold eleven zeros and ten ones."""
    volume = by_hand().bars["volume"].to_numpy().copy()
    volume[23] = 0.0
    panel = build_panel([by_hand(volume=volume)], ("volume", "return"), universe=None)
    assert np.isnan(panel.y[22, 0])
    assert panel.y[22, 1] == pytest.approx(0.045)  # the return of that day stays
    assert column(panel, "volume_missing")[21:25].tolist() == [0, 0, 1, 0]
    assert panel.level[23, 0] == pytest.approx(10 / 21)
    assert panel.y[23, 0] == pytest.approx(0 - 10 / 21)


def test_rows_are_laid_end_to_end():
    """Offsets, series numbers, days and the day of each outcome, none across a border."""
    one, two = by_hand(), history("MSFT", first="2024-01-05", close=[1.0, 2.0])
    panel = build_panel([one, two], ("return",), universe=None)
    assert panel.tickers == ("AAPL", "MSFT")
    assert panel.offsets.tolist() == [0, 25, 27]
    assert panel.series.tolist() == [0] * 25 + [1] * 2
    assert panel.days[[0, 1, 25]].astype(str).tolist() == ["2024-01-02", "2024-01-03", "2024-01-05"]
    assert panel.close[25:].tolist() == [1.0, 2.0]
    outcomes = panel.outcome_days
    assert np.isnat(outcomes).nonzero()[0].tolist() == [24, 26]
    assert str(outcomes[25]) == "2024-01-08"
    np.testing.assert_array_equal(outcomes[:24], panel.days[1:25])
    assert np.isnan(column(panel, "log_return")[25])


def test_nothing_crosses_a_gap():
    """Every row of the segment after a gap is what it would be if the bars began there."""
    whole, neighbour = drawn("A", 100, seed=1), drawn("B", 60, seed=2)
    begun = with_bars(whole, whole.bars[50:])
    panel = build_panel([without(whole, 40, 50), neighbour], TARGETS, universe=None)
    alone = build_panel([begun, neighbour], TARGETS, universe=None)
    np.testing.assert_array_equal(table(panel)[40:], table(alone))
    for field in ("today", "level", "y", "outcome_days", "days"):
        np.testing.assert_array_equal(getattr(panel, field)[40:], getattr(alone, field))
    for name in TARGETS:
        np.testing.assert_array_equal(panel.lags(name, 5)[40:], alone.lags(name, 5))
        np.testing.assert_array_equal(panel.har_terms(name)[40:], alone.har_terms(name))
    assert np.isnan(panel.y[39]).all() and np.isnat(panel.outcome_days[39])
    assert np.isnan(column(panel, "log_return")[40])
    assert np.isfinite(panel.y[:39, 0]).sum() == 39 - 21


def test_a_gap_splits_a_series_into_segments_of_one_ticker():
    """Reading in sequence begins at an offset; there are still two tickers."""
    panel = build_panel(
        [without(drawn("A", 100, seed=1), 40, 50), drawn("B", 60, seed=2)], TARGETS, universe=None
    )
    assert panel.tickers == ("A", "B")
    assert panel.offsets.tolist() == [0, 40, 90, 150]
    assert panel.series_offsets.tolist() == [0, 90, 150]
    assert panel.series.tolist() == [0] * 90 + [1] * 60
    assert panel.newest.tolist() == [89, 149]


def test_a_few_missed_sessions_cut_nothing():
    """Five lost bars leave one segment, whose outcome is that of the next bar there is."""
    panel = build_panel([without(drawn("A", 60, seed=1), 40, 45)], TARGETS, universe=None)
    assert panel.offsets.tolist() == [0, 55]
    assert np.isfinite(panel.y[39, 0])


def test_columns_are_own_scheduled_and_the_markets():
    """With a universe, or as one of several tickers, a panel has the market's columns."""
    alone = build_panel([by_hand()], ("return",), universe=None)
    both = build_panel([by_hand()], ("return",), universe=["AAPL"])
    assert tuple(alone.columns) == (*own_columns(by_hand()), *CALENDAR_INPUTS)
    assert tuple(both.columns) == (*alone.columns, *MARKET_COLUMNS)
    for panel in (alone, both):
        shared = [name for name in panel.columns if name in (*CALENDAR_INPUTS, *MARKET_COLUMNS)]
        expected = np.column_stack([column(panel, name) for name in shared])
        np.testing.assert_array_equal(panel.shared_inputs, expected)


def test_a_universe_of_all_is_that_of_several_tickers():
    """Alone a ticker has no market; histories that are read one by one make the same panel."""
    pair = [drawn("A", 40, seed=1), drawn("B", 35, seed=2)]
    alone = build_panel(iter(pair[:1]), TARGETS, universe="all")
    assert not set(MARKET_COLUMNS) & set(alone.columns)
    panel, expected = (
        build_panel(iter(pair), TARGETS, universe="all"),
        build_panel(pair, TARGETS, universe=["A", "B"]),
    )
    np.testing.assert_array_equal(table(panel), table(expected))


def test_lags_by_hand():
    """The day itself first; before the series' start, and where missing, 0."""
    one = history(close=np.exp([0.0, 1.0, 3.0, 6.0]))
    two = history("MSFT", close=np.exp([0.0, 5.0]))
    panel = build_panel([one, two], ("range", "return"), universe=None)
    expected = [[0, 0, 0], [1, 0, 0], [2, 1, 0], [3, 2, 1], [0, 0, 0], [5, 0, 0]]
    np.testing.assert_allclose(panel.lags("return", 3), expected, atol=1e-12)


def test_har_terms_by_hand():
    """Day, week and month of range 24: 2.4, 2.2 and 1.35, the first two less the third."""
    panel = build_panel([by_hand()], TARGETS, universe=None)
    terms = panel.har_terms("range")
    np.testing.assert_allclose(terms[24], [2.4 - 1.35, 2.2 - 1.35, 1.35], atol=1e-12)
    np.testing.assert_allclose(terms[1], [0.1 - 0.05, 0.0, 0.05], atol=1e-12)
    # The month term is the level that y is the deviation from.
    np.testing.assert_allclose(terms[:, 2], panel.level[:, 1], atol=1e-12)
    # Returns of days 20..24: 39 to 47 thousandths; of days 3..24: 5 to 47.
    found = panel.har_terms("return")[24]
    np.testing.assert_allclose(found, [0.047 - 0.026, 0.043 - 0.026, 0.026], atol=1e-12)


def test_har_terms_of_a_missing_day_are_its_means():
    """The day's own term is 0, the others skip it; a series that never has any is 0."""
    high = np.exp(np.exp(T / 10))
    high[24] = 1.0
    flat = history("MSFT", close=[1.0, 2.0])
    panel = build_panel([by_hand(high=high), flat], ("range",), universe=None)
    month = (0.3 + 2.3) / 2  # days 3..23
    np.testing.assert_allclose(panel.har_terms("range")[24], [0.0, 2.15 - month, month], atol=1e-12)
    assert (panel.har_terms("range")[25:] == 0).all()


def test_har_terms_do_not_cross_into_the_next_series():
    """A second history's first day knows nothing of the first history's last."""
    panel = build_panel(
        [by_hand(), history("MSFT", high=np.exp(np.exp([3.0, 4.0])))], ("range",), universe=None
    )
    np.testing.assert_allclose(panel.har_terms("range")[25:], [[0, 0, 3], [0.5, 0, 3.5]])


def test_the_cross_section_is_the_mean_of_the_day_by_hand():
    """Returns of log 2 and -log 4 on one day: mean -log 2 / 2, absolute mean 3 log 2 / 2."""
    one, two = history("A", close=[1.0, 2.0]), history("B", close=[4.0, 1.0])
    panel = build_panel([one, two], ("return",), universe=["A", "B"])
    for row in (1, 3):
        assert column(panel, "panel_log_return")[row] == pytest.approx(-np.log(2) / 2)
        assert column(panel, "panel_abs_return")[row] == pytest.approx(3 * np.log(2) / 2)
        assert np.isnan(column(panel, "panel_log_return")[row - 1])


def test_the_cross_section_groups_by_calendar():
    """Tokyo's close of a date is not New York's: each exchange has its own mean."""
    days = {"first": "2024-02-13"}
    york = [history(name, close=[1.0, x], **days) for name, x in (("A", 2.0), ("B", 8.0))]
    tokyo = history("7203.T", close=[1.0, 16.0], calendar="XTKS", **days)
    panel = build_panel([york[0], tokyo, york[1]], ("return",), universe=["A", "B", "7203.T"])
    assert panel.days[1] == panel.days[3] == panel.days[5]
    found = column(panel, "panel_log_return")[[1, 3, 5]]
    np.testing.assert_allclose(found, np.log([4.0, 16.0, 4.0]))


def test_a_ticker_outside_the_universe_changes_no_other():
    """It reads the universe's mean and adds nothing to it, wherever it stands."""
    inside = [drawn("A", 40, seed=1), drawn("B", 35, seed=2)]
    outside = drawn("X", 45, seed=3)
    alone = build_panel(inside, TARGETS, universe=["A", "B"])
    panel = build_panel([inside[0], outside, inside[1]], TARGETS, universe=["A", "B"])
    for ticker in ("A", "B"):
        found = table(panel)[rows_of(panel, ticker)]
        expected = table(alone)[rows_of(alone, ticker)]
        np.testing.assert_array_equal(found, expected)
    mine, theirs = rows_of(panel, "X"), rows_of(panel, "A")
    means = column(panel, "panel_log_return")
    np.testing.assert_array_equal(means[mine][:40], means[theirs])
    assert np.isnan(means[mine][40:]).all()


def test_a_universe_that_is_not_there_is_missing_and_no_error():
    """A version's tickers may all be absent: its cross-section is then unknown."""
    panel = build_panel([drawn("X", 30, seed=3)], ("return",), universe=["A"])
    assert np.isnan([panel.columns[name] for name in MARKET_COLUMNS]).all()


RAGGED = [
    drawn("A", 60, seed=1, basis="as-traded"),
    drawn("B", 45, seed=2, first="2024-01-25"),
    drawn("C", 30, seed=3),
    drawn("7203.T", 50, seed=4, calendar="XTKS"),
    without(drawn("D", 60, seed=6), 25, 32),
]
NAMES = [one.listing.ticker for one in RAGGED]


def cut(bars, later, draw):
    """Leave the later bars out, as a forecast made that day would find them."""
    return bars[~later]


def blank(bars, later, draw):
    """Empty the later bars."""
    changed = bars.copy()
    changed.loc[later, changed.columns[1:]] = nan
    return changed


def corrupt(bars, later, draw):
    """Fill the later bars with prices, volumes, dividends and splits of another world."""
    changed = bars.copy()
    for name in changed.columns[1:]:
        changed.loc[later, name] = 10.0 ** draw.uniform(-6, 9, later.sum())
    return changed


def known_by(panel, day):
    """Everything that a row up to the day may show, keyed by ticker and day."""
    rows = panel.days <= day
    keys = [(panel.tickers[s], str(d)) for s, d in zip(panel.series, panel.days, strict=True)]
    values = np.column_stack(
        [
            *(table(panel), panel.today, panel.level, panel.close),
            *(panel.har_terms(name) for name in TARGETS),
            *(panel.lags(name, 5) for name in TARGETS),
            np.where((panel.outcome_days <= day)[:, None], panel.y, nan),
        ]
    )
    return pd.DataFrame(values, index=pd.MultiIndex.from_tuples(keys))[rows]


@pytest.mark.parametrize("change", [cut, blank, corrupt])
@pytest.mark.parametrize("day", ["2024-01-02", "2024-02-05", "2024-02-16", "2024-03-15"])
def test_nothing_known_later_touches_a_row(change, day):
    """THE LEAK TEST: whatever becomes of the bars after a day, no row up to it moves by a bit.

    Inputs, today, level and regressors of rows up to the day, and outcomes up to the day; four
    histories of two exchanges, of unequal begin and end, with their cross-section.
    """
    day, draw = np.datetime64(day), np.random.default_rng(5)
    changed = []
    for one in RAGGED:
        later = one.bars["session"].to_numpy("datetime64[D]") > day
        bars = change(one.bars, later, draw)
        changed += [with_bars(one, bars)] if len(bars) else []
    before = known_by(build_panel(RAGGED, TARGETS, universe=NAMES), day)
    after = known_by(build_panel(changed, TARGETS, universe=NAMES), day)
    assert before.index.equals(after.index)
    np.testing.assert_array_equal(before.to_numpy(), after.to_numpy())


def test_the_leak_test_sees_outcomes():
    """Its guard: a change of one close moves the outcome of the day before and no input of it."""
    day = np.datetime64("2024-02-16")
    bars = RAGGED[0].bars.copy()
    bars.loc[bars["session"] == day, "close"] *= 2.0
    before = build_panel(RAGGED, TARGETS, universe=NAMES)
    after = build_panel([with_bars(RAGGED[0], bars), *RAGGED[1:]], TARGETS, universe=NAMES)
    row = int((before.outcome_days == day).argmax())
    assert before.y[row, 0] + np.log(2) == pytest.approx(after.y[row, 0])
    np.testing.assert_array_equal(table(before)[row], table(after)[row])
    assert (table(before)[row + 1] != table(after)[row + 1]).any()


def test_calendar_inputs_come_from_the_schedule():
    """A bar that is lost changes no input of the days before it: they knew it was to come."""
    whole = RAGGED[0]
    # The session after Presidents' Day: the Friday before knew of three days off.
    lost = int((whole.bars["session"] == "2024-02-20").argmax())
    shorter = with_bars(whole, whole.bars.drop(index=lost))
    before = build_panel([whole], TARGETS, universe=NAMES)
    after = build_panel([shorter], TARGETS, universe=NAMES)
    np.testing.assert_array_equal(table(before)[:lost], table(after)[:lost])
    assert column(after, "gap_days")[lost - 1] == 3
    assert column(after, "next_tue")[lost - 1] == 1
    # The outcome is that of the next bar there is.
    assert str(after.outcome_days[lost - 1]) == "2024-02-21"


def test_trailing_levels_start_again_with_each_series():
    """Every series' rows are what they would be alone."""
    panel = build_panel(RAGGED, TARGETS, universe=None)
    for one in RAGGED:
        alone = build_panel([one], TARGETS, universe=None)
        rows = rows_of(panel, one.listing.ticker)
        np.testing.assert_array_equal(table(panel)[rows], table(alone))
        for field in ("today", "level", "y", "outcome_days", "days"):
            mine = getattr(panel, field)[rows]
            np.testing.assert_array_equal(mine, getattr(alone, field))
    assert TRAILING_DAYS - 1 == np.isfinite(panel.y[:, 0]).argmax()


RAGGED_BARS = ragged_bars({"AAA": 200, "BBB": 120, "CCC": 40})


def panel_of(bars):
    histories = load_histories(bars, "unused", (), None)
    return build_panel(histories, TARGETS, universe=["AAA", "BBB", "CCC"])


COMPLETE = panel_of(RAGGED_BARS)


def test_a_panel_cut_before_ccc_begins_is_the_panel_of_the_bars_until_then():
    last = RAGGED_BARS[RAGGED_BARS["ticker"] == "CCC"]["session"].min() - pd.Timedelta(days=1)
    found, rows = cut_panel(COMPLETE, last=np.datetime64(last, "D"))
    expected = panel_of(RAGGED_BARS[RAGGED_BARS["session"] <= last])
    assert found.tickers == ("AAA", "BBB")
    for part in dataclasses.fields(Panel):
        if part.name != "columns":
            np.testing.assert_array_equal(getattr(found, part.name), getattr(expected, part.name))
    np.testing.assert_array_equal(table(found), table(expected))
    np.testing.assert_array_equal(COMPLETE.days[rows], found.days)


def test_a_first_day_removes_those_before_and_warms_up_where_it_cut():
    first = COMPLETE.days[150]  # AAA is cut, the others begin later
    found, rows = cut_panel(COMPLETE, first=first)
    assert (
        found.days.min() == first
        and (COMPLETE.days[np.setdiff1d(np.arange(360), rows)] < first).all()
    )
    np.testing.assert_array_equal(np.diff(found.series_offsets), [50, 50, 40])
    np.testing.assert_array_equal(table(found), table(COMPLETE)[rows])
    scored = np.isfinite(found.y[:, 0])
    assert not scored[:21].any() and scored[21:49].all()


def test_what_begins_on_the_first_day_itself_is_not_warmed_up_again():
    first = COMPLETE.days[COMPLETE.series_offsets[1]]
    found, rows = cut_panel(COMPLETE, first=first)
    bbb = slice(found.series_offsets[1], found.series_offsets[2])
    np.testing.assert_array_equal(found.y[bbb], COMPLETE.y[rows][bbb])


def test_a_cut_without_dates_changes_nothing():
    found, rows = cut_panel(COMPLETE)
    np.testing.assert_array_equal(found.y, COMPLETE.y)
    np.testing.assert_array_equal(rows, np.arange(len(COMPLETE.days)))


def test_an_own_column_is_forecast_as_the_range_is_by_hand():
    """Its logarithm less the mean of 22 days; a ticker without the column has no outcome."""
    own = np.exp(np.arange(30.0) ** 1.5)
    with_it = history("AAA", close=np.full(30, 2.0), rv5=own)
    panel = build_panel(
        [with_it, history("BBB", close=np.full(30, 2.0))], ("range", "rv5"), universe=None
    )
    logs = np.arange(30.0) ** 1.5
    assert panel.y[21, 1] == pytest.approx(logs[22] - logs[:22].mean())
    assert np.isnan(panel.y[:21, 1]).all() and np.isnan(panel.y[30:, 1]).all()
    assert feature_names(panel)[-8:] == (
        *("rv5_lag2", "rv5_lag3", "rv5_lag4", "rv5_week", "rv5_quarter", "rv5_year"),
        *("rv5_level", "rv5_missing"),
    )
    lag = compute_features(panel, ["rv5_lag2"])[25, 0]
    assert lag == pytest.approx(logs[23] - logs[4:26].mean(), rel=1e-6)


def test_a_zero_of_an_own_column_is_refused_with_ticker_and_day():
    values = np.r_[np.ones(25), 0.0, -1.0]
    bars = history("AAA", close=np.full(27, 2.0), rv5=values)
    words = r"AAA: rv5 is 0 on 2024-02-07; a finite number above 0 .*2 such.*leave its cell empty"
    with pytest.raises(DataError, match=words):
        build_panel([bars], ("rv5",), universe=None)
    build_panel([bars], ("range",), universe=None)


def test_an_own_column_with_the_name_of_another_input_is_refused():
    bars = history("AAA", close=np.full(27, 2.0), gk=np.ones(27))
    with pytest.raises(UsageError, match="column gk cannot be forecast: gk_week is another input"):
        build_panel([bars], ("gk",), universe=None)
