"""What the rules find: the shapes of real faults, and nothing in their corrected versions."""

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest

from forecaster.data.checks import RULES, check_history
from forecaster.data.event_rules import SPLIT_SESSIONS
from forecaster.data.series import MEMORY
from tests.data.broken_series import BROKEN, CALM, CLEAN, DAYS, priced, scaled
from tests.data.histories import drawn, history, scaled_rows, walk, with_bars


def found(one, severity="error", **options):
    """Rule and row of each finding."""
    sessions = [day.date() for day in one.bars["session"]]
    return [
        (finding.rule, sessions.index(finding.session))
        for finding in check_history(one, **options)
        if finding.severity == severity
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_series_is_caught_by_its_rule(name):
    rule, row, broken = BROKEN[name]
    assert (rule, row) in found(broken)


@pytest.mark.parametrize("name", CLEAN)
def test_no_error_is_found_in_what_can_be_true(name):
    assert found(CLEAN[name]) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_error_is_found_in_ordinary_prices(seed):
    one = drawn("AAPL", 300, seed, basis="split-adjusted")
    assert found(with_bars(one, one.bars.assign(split=1.0))) == []


def test_a_finding_reads_ticker_day_rule_and_reason():
    (finding,) = check_history(BROKEN["split not applied in time"][2])
    assert str(finding) == (
        "ACME: 2024-01-11 split-slip: close 51.3 after 253.5 is the split of 5 on 2024-01-12, "
        "missing, inverted or applied twice"
    )


@pytest.mark.parametrize(
    ("one", "rule", "row"),
    [
        (CLEAN["a merger"], "jump", 6),
        (CLEAN["a crash"], "jump", 6),
        (CLEAN["one price for weeks"], "frozen", 4),
        (CLEAN["one price for weeks, in floats"], "frozen", 4),
        (priced(CALM, dividend=[0, 0, 0, 6.0] + [0] * 8), "odd-dividend", 3),
        (priced(CALM, dividend=[0, 0, 0, 0.4, 0.4] + [0] * 7), "odd-dividend", 4),
    ],
)
def test_what_may_be_true_is_a_warning(one, rule, row):
    assert found(one, "warning") == [(rule, row)]


@pytest.mark.parametrize(
    "one",
    [
        priced(scaled(range(6, DAYS), 1 / 1.45)),  # a bad day, as any year has
        priced([50.0] * 4 + CALM[4:], high=[50.0] * 4 + CALM[4:], low=[50.0] * 4 + CALM[4:]),
        # a large dividend that the close fell by
        priced(scaled(range(6, DAYS), 0.8), dividend=[0] * 6 + [10.0] + [0] * 5),
        priced(CALM, dividend=[0, 0.4, 0, 0, 0, 0, 0.4, 0, 0, 0, 0, 0.4]),  # a weekly payer
    ],
)
def test_ordinary_oddities_are_not_found(one):
    assert found(one, "warning") == []


def test_a_day_with_an_error_is_no_jump_as_well():
    one = BROKEN["split not applied in time"][2]
    assert found(one, "warning") == [] and len(found(one)) == 1


def test_a_split_long_ago_is_not_blamed_for_a_crash_of_its_size():
    """AAPL fell by half on 2000-09-29, 70 sessions after its 2:1."""
    close = np.r_[np.full(60, 50.0), np.full(60, 25.5)] * np.tile([1.0, 1.01], 60)
    early = history(close=close, high=close * 1.01, low=close, open=close, split=[1, 2] + [1] * 118)
    assert found(early) == [] and found(early, "warning") == [("jump", 60)]


@pytest.mark.parametrize(
    ("dropped", "rules"),
    [([], []), ([3], ["missing-sessions"]), (range(3, 9), ["gap"])],
)
def test_days_without_a_bar_are_found(dropped, rules):
    one = priced(CALM)
    short = with_bars(one, one.bars.drop(index=list(dropped)))
    assert [rule for rule, _ in found(short, "warning")] == rules


def test_bars_on_no_session_are_found():
    one = priced(CALM)
    shifted = with_bars(one, one.bars.assign(session=one.bars["session"] + np.timedelta64(4, "D")))
    assert "off-calendar" in [rule for rule, _ in found(shifted, "warning")]


def test_a_total_return_close_falls_by_no_dividend():
    paid = priced(CALM, dividend=[0, 0, 0, 6.0] + [0] * 8)
    listing = replace(paid.listing, basis="total-return")
    assert "odd-dividend" not in [
        rule for rule, _ in found(replace(paid, listing=listing), "warning")
    ]


@pytest.mark.parametrize(("day", "rules"), [(25, []), (26, ["stale"])])
def test_a_ticker_is_stale_after_five_sessions_without_a_bar(day, rules):
    one = priced(CALM)
    assert one.bars["session"].iloc[-1].date() == date(2024, 1, 18)
    instant = datetime(2024, 1, day, 23, tzinfo=UTC)
    assert [rule for rule, _ in found(one, "warning", now=instant)] == rules


def test_every_rule_has_its_own_name_and_stands_the_shortest_history():
    assert len({rule.name for rule in RULES}) == len(RULES)
    for days in (1, 2):
        flat = dict.fromkeys(("open", "high", "low", "close"), np.full(days, 10.0))
        assert check_history(history(**flat)) == []


CELLS = [("high", 5.0), ("high", 50.0), ("low", 0.1), ("low", 0.001), ("high", 100.0), ("low", 0.3)]


@pytest.mark.parametrize("volatility", [0.005, 0.02, 0.04])
@pytest.mark.parametrize(("cell", "factor"), CELLS)
def test_one_wrong_price_of_a_bar_is_found(cell, factor, volatility):
    one = walk(300, volatility=volatility, seed=1)
    one.bars.loc[150, cell] *= factor
    assert found(one) == [("wrong-cell", 150)]


@pytest.mark.parametrize(("factor", "extreme"), [(10.0, "high"), (0.1, "low"), (4.0, "high")])
def test_a_wrong_open_that_drags_the_range_along_is_found(factor, extreme):
    one = walk(300, seed=2)
    one.bars.loc[150, "open"] *= factor
    one.bars.loc[150, extreme] = one.bars["open"][150]
    assert found(one) == [("wrong-cell", 150)]


@pytest.mark.parametrize(("cell", "factor"), [("high", 2.07), ("low", 0.6), ("low", 0.5)])
def test_a_wild_range_is_possible(cell, factor):
    """As on 2010-05-06, and as GameStop's high of 2021-01-25 over both of its closes."""
    one = walk(300, volatility=0.01, seed=3)
    one.bars.loc[150, cell] *= factor
    assert found(one) == []


def test_a_coin_may_have_a_wilder_range():
    one = walk(300, volatility=0.10, seed=3)
    one.bars.loc[150, "high"] *= 2.7
    one.bars.loc[170, "low"] /= 2.7
    assert found(one) == []


GAMESTOP = [  # 2021-01-21 .. 2021-02-05: open, high, low, close
    *((39.23, 44.75, 37.00, 43.03), (42.59, 76.76, 42.32, 65.01), (96.73, 159.18, 61.13, 76.79)),
    *((88.56, 150.0, 80.2, 147.98), (354.83, 380.0, 249.0, 347.51), (265.0, 483.0, 112.25, 193.6)),
    *((379.71, 413.98, 250.0, 325.0), (316.56, 322.0, 212.0, 225.0), (140.76, 158.0, 74.22, 90.0)),
    *((112.01, 113.4, 85.25, 92.41), (91.19, 91.5, 53.33, 53.5), (54.04, 95.0, 51.09, 63.77)),
]


def test_gamestop_in_2021_has_no_error():
    """Months of 4 % a day, then days of a factor of 2.35 and 0.4: all of it true."""
    one = walk(300, volatility=0.04, seed=4)
    prices = ["open", "high", "low", "close"]
    one.bars[prices] *= 39.12 / one.bars["close"][249]
    one.bars.loc[250:261, prices] = GAMESTOP
    one.bars.loc[262:, prices] *= 63.77 / one.bars["close"][262]
    assert found(one) == []


@pytest.mark.parametrize("ratio", [1 / 50, 1 / 20, 20.0])
def test_a_split_on_record_is_no_unit_slip(ratio):
    one = walk(300, seed=5, basis="as-traded")
    one.bars.loc[150, "split"] = ratio
    assert found(scaled_rows(one, range(150), ratio)) == []


def test_a_bar_after_a_jump_has_its_open_near_either_close():
    """An open still at the old level, or already at the new, is no wrong cell."""
    one = scaled_rows(walk(300, seed=4), range(150, 300), 0.3)
    one.bars.loc[150, ["open", "high"]] = one.bars["close"][149]
    assert found(one) == [] and found(one, "warning") == [("jump", 150)]


def with_every_fault():
    """Four years of bars with a fault for each rule about bars, a few in any year."""
    one = walk(900, volatility=0.01, seed=5)
    late = scaled_rows(one, range(280, 284), 10.0)
    late = scaled_rows(late, range(380, 900), 0.4)
    late = scaled_rows(late, range(597), 3.0)  # three sessions early
    late = scaled_rows(late, [650], 2.2)
    bars = scaled_rows(late, range(700), 1 / 1.5).bars
    bars.loc[350, "high"] *= 6.0
    bars.loc[600, "split"], bars.loc[700, "split"] = 3.0, 1.5
    bars.loc[750, "dividend"] = 1.2 * bars["close"][750]
    bars.loc[770, "dividend"] = 0.2 * bars["close"][770]
    bars.loc[[790, 792], "dividend"] = 0.1
    bars.loc[810:818, ["open", "high", "low", "close"]] = bars["close"][810]
    return with_bars(late, bars)


FAULTS = [
    *(("unit-slip", 280), ("unit-slip", 284), ("wrong-cell", 350), ("split-slip", 597)),
    *(("spike", 650), ("split-slip", 700), ("dividend-slip", 750), ("dividend-slip", 770)),
]
ODDITIES = [("jump", 380), ("odd-dividend", 792), ("frozen", 814)]
CONTEXT = MEMORY + SPLIT_SESSIONS


@pytest.mark.parametrize("step", [7, 50, 259, 900])
def test_appended_bars_have_the_findings_of_the_whole_history(step):
    """In pieces, and bar by bar around a late split: the same rules, bars and severities."""
    whole = with_every_fault()
    assert found(whole) == FAULTS and found(whole, "warning") == ODDITIES
    days, appended = whole.days.tolist(), set()
    starts = [first for first in range(0, 900, step) if not 590 < first < 660]
    starts = sorted({*starts, *(range(590, 661) if step < 900 else [])})
    for first, end in pairwise([*starts, 900]):
        part = with_bars(whole, whole.bars.iloc[max(0, first - CONTEXT) : end])
        appended |= {
            (one.rule, days.index(one.session))
            for one in check_history(part)
            if one.known_since >= days[first]
        }
    # A jump is one until a later bar explains it, and fresh until the next bar comes.
    assert {one for one in appended if "jump" not in one[0]} | {("jump", 380)} == {
        *FAULTS,
        *ODDITIES,
    }
    assert {row for rule, row in appended if "jump" in rule} - {597, 650} == {380}


def test_a_bar_has_one_finding_the_first_of_the_table():
    """A split of ten that is missing is no unit slip, spike and jump as well."""
    one = scaled_rows(walk(100, seed=6), range(50), 10.0)
    one.bars.loc[50, "split"] = 10.0
    assert [finding.rule for finding in check_history(one)] == ["split-slip"]
