"""Served bars compared with stored ones: what is news, what has changed, what is lost."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import clock
from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, fingerprint
from forecaster.data.revisions import Overlap, contradictions, other_moves
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.quarantine import quarantine_table, release
from forecaster.settings import FetchSettings
from tests.data.histories import drawn, history, walk, with_bars
from tests.pipeline.test_fetch import Shelf, held
from tests.synthetic import bars_of

DAYS = 12
TRUTH = drawn("AAPL", DAYS, seed=3).bars
VALUES = list(BAR_COLUMNS[1:])

# Spans of days: where each begins and ends.
spans = st.tuples(st.integers(0, DAYS - 1), st.integers(1, DAYS)).filter(lambda s: s[0] < s[1])
answers = st.lists(spans, min_size=1, max_size=5)


def merged(held: pd.DataFrame, came: pd.DataFrame) -> pd.DataFrame:
    """What the store holds after the news in `came`."""
    kept = held[~held["session"].isin(Overlap.of(held, came).news()["session"])]
    return pd.concat([kept, Overlap.of(held, came).news()]).sort_values(
        "session", ignore_index=True
    )


def all_merged(spans: list[tuple[int, int]], draw: np.random.Generator | None = None):
    held = TRUTH.iloc[:0]
    for begin, end in spans:
        came = TRUTH.iloc[begin:end].copy()
        if draw is not None:
            came[VALUES] *= 1 + draw.uniform(-4e-5, 4e-5, (len(came), len(VALUES)))
        held = merged(held, came)
    return held


@settings(deadline=None, max_examples=40)
@given(spans=answers)
def test_served_bars_are_no_news_the_second_time(spans: list[tuple[int, int]]) -> None:
    once = all_merged(spans)
    for begin, end in spans:
        assert Overlap.of(once, TRUTH.iloc[begin:end]).news().empty
    pd.testing.assert_frame_equal(all_merged([*spans, *spans]), once)


@settings(deadline=None, max_examples=40)
@given(spans=answers, seed=st.integers(0, 99))
def test_the_order_of_answers_changes_neither_bars_nor_hash(
    spans: list[tuple[int, int]], seed: int
) -> None:
    shuffled = [spans[place] for place in np.random.default_rng(seed).permutation(len(spans))]
    one, other = all_merged(spans), all_merged(shuffled)
    pd.testing.assert_frame_equal(one, other)
    history = drawn("AAPL", DAYS, seed=3)
    assert fingerprint([with_bars(history, one)]) == fingerprint([with_bars(history, other)])


@settings(deadline=None, max_examples=40)
@given(spans=answers, seed=st.integers(0, 99))
def test_jitter_is_no_news_in_any_order(spans: list[tuple[int, int]], seed: int) -> None:
    """However many answers jitter, what is stored never drifts from the first by more."""
    held = all_merged(spans, np.random.default_rng(seed))
    exact = all_merged(spans)
    assert held["session"].equals(exact["session"])
    np.testing.assert_allclose(held[VALUES], exact[VALUES], rtol=4e-5, atol=0)
    assert Overlap.of(held, exact).news().empty


@pytest.mark.parametrize("column", VALUES)
def test_each_column_has_its_tolerance(column: str) -> None:
    held = TRUTH.assign(volume=100.0, dividend=0.5)
    tolerance = 5e-3 if column == "volume" else 1e-4
    for factor, rows in ((1 + 0.9 * tolerance, 0), (1 + 1.1 * tolerance, 1)):
        came = held.copy()
        came.loc[4, column] *= factor
        found = Overlap.of(held, came).news()
        assert len(found) == rows
        pd.testing.assert_frame_equal(found, came.iloc[[4]][:rows].reset_index(drop=True))


def test_a_missing_price_is_news() -> None:
    """For the border to refuse it: nothing that is no number equals a stored one."""
    came = TRUTH.copy()
    came.loc[4, "close"] = np.nan
    assert len(Overlap.of(TRUTH, came).news()) == 1


def test_a_split_after_the_stored_days_rescales_them_on_one_basis_only() -> None:
    held = TRUTH.assign(split=1.0)[:8]
    came = TRUTH.assign(split=[1.0] * 9 + [4.0] + [1.0] * 2)[6:]
    day = TRUTH["session"][9]
    expected = f"a split of {day:%Y-%m-%d} rescales what is stored"
    assert Overlap.of(held, came).changed_past("split-adjusted") == expected
    assert Overlap.of(held, came).changed_past("as-traded") == ""


def test_a_dividend_after_the_stored_days_rescales_total_returns_only() -> None:
    held = TRUTH.assign(split=1.0, dividend=0.0)[:8]
    came = TRUTH.assign(split=1.0, dividend=[0.0] * 9 + [0.5] + [0.0] * 2)[6:]
    expected = f"a dividend of {TRUTH['session'][9]:%Y-%m-%d} rescales what is stored"
    assert Overlap.of(held, came).changed_past("total-return") == expected
    assert Overlap.of(held, came).changed_past("split-adjusted") == ""
    split = came.assign(dividend=0.0, split=[1.0, 1.0, 1.0, 2.0, 1.0, 1.0])
    assert "a split of" in Overlap.of(held, split).changed_past("total-return")


def test_dividends_change_no_past_of_closes() -> None:
    held, came = TRUTH.assign(dividend=0.0), TRUTH.assign(dividend=0.0)
    came.loc[3, "dividend"] = 0.5
    assert Overlap.of(held, came).changed_past("split-adjusted") == ""
    assert Overlap.of(held, came).late_dividend() == (
        f"a late dividend of {TRUTH['session'][3]:%Y-%m-%d}: 0 stored, 0.5 served"
    )
    assert Overlap.of(held, held).late_dividend() == ""
    assert Overlap.of(held[:3], came[3:]).late_dividend() == "", "a new day's dividend is on time"


def halved(upto: int) -> pd.DataFrame:
    """The truth with the closes of its first days halved."""
    half = TRUTH.copy()
    half.loc[: upto - 1, "close"] /= 2
    return half


@pytest.mark.parametrize(
    ("whole", "left"),
    [
        (TRUTH.drop(index=[5]), []),
        (halved(DAYS).drop(index=[5]), [5]),
        (halved(5).drop(index=[3, 8]), [3]),
        (halved(5)[4:], [0, 1, 2, 3]),
        (TRUTH[4:], []),
        (TRUTH[:0], [*range(DAYS)]),
    ],
    ids=["same scale", "all rescaled", "partly", "later start", "later, same scale", "nothing"],
)
def test_lacking_days_are_stranded_where_the_scale_moved(
    whole: pd.DataFrame, left: list[int]
) -> None:
    assert (
        Overlap.of(TRUTH, whole).stranded()["session"].tolist() == TRUTH["session"][left].tolist()
    )


RULE_OF = {
    "split lost, past as traded": "lost-split",
    "split lost from closes as traded": "lost-split",
    "split inverted, past as traded": "lost-split",
    "small split lost, past as traded": "lost-split",
    "split lost, past adjusted": "lost-split",
    "all dividends lost": "lost-dividend",
    "one small dividend lost": "lost-dividend",
    "special dividend lost": "lost-dividend",
    "dividend a hundredfold": "lost-dividend",
    "half of the past halved": "past-jump",
    "a block in tenths": "past-jump",
    "one old close doubled": "past-jump",
    "no volumes": "lost-volume",
    "two in three volumes lost": "lost-volume",
    "all in pounds": "rescaled",
    "all in fils": "rescaled",
}
ROWS, SPLIT_ROW, EX_DATES = 300, 200, range(30, 300, 63)
SPECIAL = 250


def known(basis="split-adjusted", ratio=4.0, special=0.0):
    """A year and more of a share that splits once and pays each quarter, as it is stored."""
    draw = np.random.default_rng(12)
    close = 80.0 * np.exp(np.cumsum(draw.normal(0.0, 0.015, ROWS)))
    split, dividend = np.ones(ROWS), np.zeros(ROWS)
    split[SPLIT_ROW], dividend[list(EX_DATES)] = ratio, 0.3
    dividend[SPECIAL] = special
    close[SPECIAL:] -= special
    if basis == "as-traded":
        close[:SPLIT_ROW] *= ratio
    prices = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
    volume = draw.integers(1_000, 9_000, ROWS)
    return history("ACME", basis=basis, **prices, volume=volume, dividend=dividend, split=split)


def altered(one, rows=slice(None), **columns):
    """The same bars with columns of some rows times a factor; `price` is all four prices."""
    bars = one.bars.copy()
    for name, factor in columns.items():
        for column in PRICE_COLUMNS if name == "price" else (name,):
            bars.loc[bars.index[rows], column] *= factor
    return with_bars(one, bars)


def revision(name):
    """The stored history and what the source serves later."""
    before, after = slice(SPLIT_ROW), slice(SPLIT_ROW, SPLIT_ROW + 1)
    one, small, traded = known(), known(ratio=1.2), known("as-traded")
    special = known(special=12.0)
    unscaled = altered(one, before, price=4.0)
    some = np.arange(ROWS) % 3 > 0
    made = {
        "split lost, past as traded": (one, altered(unscaled, after, split=1 / 4)),
        "split lost from closes as traded": (traded, altered(traded, after, split=1 / 4)),
        "split inverted, past as traded": (one, altered(unscaled, after, split=1 / 16)),
        "small split lost, past as traded": (
            small,
            altered(altered(small, before, price=1.2), after, split=1 / 1.2),
        ),
        "split lost, past adjusted": (one, altered(one, after, split=1 / 4)),
        "split two sessions later": (
            one,
            with_bars(one, one.bars.assign(split=one.bars["split"].shift(2, fill_value=1.0))),
        ),
        "all dividends lost": (one, altered(one, dividend=0.0)),
        "one small dividend lost": (one, altered(one, slice(30, 31), dividend=0.0)),
        "special dividend lost": (special, altered(special, slice(SPECIAL, 251), dividend=0.0)),
        "dividend a hundredfold": (one, altered(one, slice(30, 31), dividend=100.0)),
        "half of the past halved": (one, altered(one, slice(150), price=0.5)),
        "a block in tenths": (one, altered(one, slice(100, 104), price=0.1)),
        "one old close doubled": (one, altered(one, slice(70, 71), high=2.0, close=2.0)),
        "no volumes": (one, altered(one, volume=0.0)),
        "two in three volumes lost": (one, altered(one, some, volume=0.0)),
        "all in pounds": (one, altered(one, price=0.01, dividend=0.01)),
        "all in fils": (one, altered(one, price=1000.0, dividend=1000.0)),
        "nothing": (one, one),
        "one volume lost": (one, altered(one, slice(90, 91), volume=0.0)),
        "an ex-date two sessions later": (
            one,
            with_bars(one, one.bars.assign(dividend=one.bars["dividend"].shift(2, fill_value=0))),
        ),
        "a split of 10 for one tomorrow": (
            with_bars(one, one.bars[:-1]),
            altered(altered(one, price=0.1, dividend=0.1), slice(-1, None), split=10.0),
        ),
        "a close corrected by 10 %": (one, altered(one, slice(70, 71), high=1.1, close=1.1)),
        "a spike corrected": (altered(one, slice(70, 71), high=3.0, close=3.0), one),
        "half of the days": (one, with_bars(one, one.bars[::2])),
        "a dividend that is new": (altered(one, slice(30, 31), dividend=0.0), one),
        "a dividend that never was": (
            with_bars(one, one.bars.assign(dividend=np.where(np.arange(ROWS) == 66, 8.0, 0.0))),
            with_bars(one, one.bars.assign(dividend=0.0)),
        ),
        "a split that is new": (altered(unscaled, after, split=1 / 4), one),
    }
    return made[name]


def found(name, since=0):
    stored, served = revision(name)
    part = with_bars(served, served.bars[since:])
    return {one.rule for one in contradictions(Overlap.of(stored.bars, part.bars), part)}


@pytest.mark.parametrize("name", RULE_OF)
def test_an_answer_that_loses_what_is_known_is_found(name):
    assert RULE_OF[name] in found(name)


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "one volume lost",
        "an ex-date two sessions later",
        "split two sessions later",
        "a split of 10 for one tomorrow",
        "a close corrected by 10 %",
        "a spike corrected",
        "half of the days",
        "a dividend that is new",
        "a dividend that never was",
        "a split that is new",
    ],
)
def test_what_a_source_corrects_is_no_contradiction(name):
    assert found(name) == set()


def test_the_finding_is_of_the_day_whose_event_is_lost():
    stored, served = revision("split lost, past as traded")
    findings = contradictions(Overlap.of(stored.bars, served.bars), served)
    assert {one.session for one in findings} == {stored.bars["session"][SPLIT_ROW].date()}
    assert findings[0].reason == (
        "the split of 4 that is stored is 1 in the answer, and its closes jump by a factor of 4.102"
    )


def test_the_store_keeps_what_was_right_until_the_source_has_it_again(tmp_path):
    """Quarantined by every fetch, and stored again without a person once corrected."""
    one = bars_of("AAA", 90)
    one.loc[one.index[60], "split"] = 4.0
    shelf = Shelf({"AAA": one})
    fetch(["AAA"], home=tmp_path, source=shelf)
    lost = bars_of("AAA", 92)
    lost.loc[lost.index[:60], list(PRICE_COLUMNS)] *= 4.0
    shelf.tables["AAA"] = lost
    every = FetchSettings(compare_all_days=1)
    for _ in range(2):
        with clock.as_if(clock.now() + timedelta(days=3)):
            report = fetch(["AAA"], home=tmp_path, source=shelf, settings=every)
        assert "lost-split" in str(report.failures["AAA"])
    pd.testing.assert_frame_equal(held(tmp_path, "AAA"), one[list(BAR_COLUMNS)])
    right = bars_of("AAA", 92)
    right.loc[right.index[60], "split"] = 4.0
    shelf.tables["AAA"] = right
    with clock.as_if(clock.now() + timedelta(days=3)):
        assert not fetch(["AAA"], home=tmp_path, source=shelf, settings=every).failures
    assert len(held(tmp_path, "AAA")) == 92 and quarantine_table(home=tmp_path).empty


def test_a_person_may_believe_the_answer(tmp_path):
    one = bars_of("AAA", 90)
    one.loc[one.index[85], "dividend"] = 0.2
    shelf = Shelf({"AAA": one})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = bars_of("AAA", 90)
    assert "lost-dividend" in str(fetch(["AAA"], home=tmp_path, source=shelf).failures["AAA"])
    release("AAA", home=tmp_path)
    assert not fetch(["AAA"], home=tmp_path, source=shelf).failures
    assert held(tmp_path, "AAA")["dividend"].sum() == 0


ONE = walk(300, seed=1)
CLOSE = ONE.bars["close"].to_numpy()
SAME_SECURITY = {
    "rounded": CLOSE.round(1),
    "another unit": 100.0 * CLOSE,
    "adjusted for dividends": CLOSE * np.repeat(np.linspace(0.9, 1.0, 5), 60),
    "half of it wrong": np.r_[CLOSE[:150], walk(150, seed=2).bars["close"]],
    "another currency": CLOSE * walk(300, seed=3, volatility=0.002).bars["close"].to_numpy(),
}
OTHERS = {
    "another company": walk(300, seed=2).bars["close"].to_numpy(),
    "its dates off by one": np.r_[CLOSE[1:], 50.0],
    "opens for closes": ONE.bars["open"].to_numpy(),
    "a coin": walk(300, seed=4, volatility=0.1).bars["close"].to_numpy(),
    "a bond": walk(300, seed=5, volatility=0.003).bars["close"].to_numpy(),
}


@pytest.mark.parametrize("name", [*SAME_SECURITY, *OTHERS])
def test_the_moves_of_another_security_are_found(name: str) -> None:
    close = (SAME_SECURITY | OTHERS)[name]
    served = with_bars(ONE, ONE.bars.assign(close=close))
    found = other_moves(Overlap.of(ONE.bars, served.bars), served)
    assert [one.rule for one in found] == ["other-moves"] * (name in OTHERS)
