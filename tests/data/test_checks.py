"""What the rules find: the shapes of real faults, and nothing in their corrected versions."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecaster.data.checks import RULES, check_history
from tests.data.broken_series import BROKEN, CALM, CLEAN, DAYS, priced, scaled
from tests.data.histories import drawn, history, with_bars


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
        "missing or applied twice"
    )


@pytest.mark.parametrize(
    ("one", "rule", "row"),
    [
        (CLEAN["a merger"], "jump", 6),
        (CLEAN["a crash"], "jump", 6),
        (CLEAN["one price for weeks"], "frozen", 0),
        (CLEAN["one price for weeks, in floats"], "frozen", 0),
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
        assert check_history(history(close=np.full(days, 10.0))) == []
