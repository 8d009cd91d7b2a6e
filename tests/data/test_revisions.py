"""Served bars merged with stored ones: idempotent, in any order, without jitter."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.history import BAR_COLUMNS, Listing, fingerprint
from forecaster.data.revisions import Overlap, describe_change, keep_known
from tests.data.histories import drawn, with_bars

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


def test_dividends_change_no_past_of_closes() -> None:
    held, came = TRUTH.assign(dividend=0.0), TRUTH.assign(dividend=0.0)
    came.loc[3, "dividend"] = 0.5
    assert Overlap.of(held, came).changed_past("split-adjusted") == ""
    assert Overlap.of(held, came).late_dividend() == (
        f"a late dividend of {TRUTH['session'][3]:%Y-%m-%d}: 0 stored, 0.5 served"
    )
    assert Overlap.of(held, held).late_dividend() == ""
    assert Overlap.of(held[:3], came[3:]).late_dividend() == "", "a new day's dividend is on time"


def scaled(upto: int) -> pd.DataFrame:
    """The truth with the closes of its first days halved."""
    half = TRUTH.copy()
    half.loc[: upto - 1, "close"] /= 2
    return half


@pytest.mark.parametrize(
    ("whole", "left"),
    [
        (TRUTH.drop(index=[5]), []),
        (scaled(DAYS).drop(index=[5]), [5]),
        (scaled(5).drop(index=[3, 8]), [3]),
        (scaled(5)[4:], [0, 1, 2, 3]),
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


APPLE = Listing(
    ticker="AAPL",
    source="yahoo",
    basis="split-adjusted",
    calendar="XNYS",
    name="Apple Inc.",
    exchange="NMS",
    currency="USD",
    first_trade=date(1980, 12, 12),
)
UNKNOWN = replace(APPLE, name="", exchange="", currency="", first_trade=None)


@pytest.mark.parametrize(
    ("mark", "value", "words"),
    [
        ("name", "Pear Inc.", "name was Apple Inc., is Pear Inc."),
        ("exchange", "NYQ", "exchange was NMS, is NYQ"),
        ("currency", "USd", "currency was USD, is USd"),
        (
            "first_trade",
            date(2022, 6, 9),
            "first trade date was 1980-12-12, is 2022-06-09",
        ),
    ],
)
def test_each_mark_that_changes_is_described(mark: str, value: object, words: str) -> None:
    assert describe_change(APPLE, replace(APPLE, **{mark: value})) == words


def test_several_changes_are_described_together() -> None:
    other = replace(APPLE, currency="EUR", exchange="GER")
    assert describe_change(APPLE, other) == "exchange was NMS, is GER; currency was USD, is EUR"


@pytest.mark.parametrize("name", ["APPLE INC", "Apple, Inc."])
def test_a_name_may_change_its_case_and_punctuation(name: str) -> None:
    assert describe_change(APPLE, replace(APPLE, name=name)) == ""


def test_a_missing_mark_is_no_change_and_is_kept() -> None:
    assert describe_change(APPLE, UNKNOWN) == describe_change(UNKNOWN, APPLE) == ""
    assert keep_known(APPLE, UNKNOWN) == keep_known(UNKNOWN, APPLE) == APPLE


def test_a_new_mark_replaces_the_stored_one() -> None:
    renamed = replace(APPLE, name="APPLE INC")
    assert keep_known(APPLE, renamed) == renamed
