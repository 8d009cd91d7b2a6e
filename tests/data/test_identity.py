"""What a ticker is: which changes stop it, and which are none."""

from dataclasses import replace
from datetime import date

import pytest

from forecaster.data.history import Listing
from forecaster.data.revisions import describe_change, keep_known

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
    ("mark", "value", "told"),
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
def test_each_mark_that_changes_is_told(mark: str, value: object, told: str) -> None:
    assert describe_change(APPLE, replace(APPLE, **{mark: value})) == told


def test_several_changes_are_told_together() -> None:
    other = replace(APPLE, currency="EUR", exchange="GER")
    assert describe_change(APPLE, other) == "exchange was NMS, is GER; currency was USD, is EUR"


@pytest.mark.parametrize("name", ["APPLE INC", "Apple, Inc."])
def test_a_name_may_change_its_case_and_punctuation(name: str) -> None:
    assert describe_change(APPLE, replace(APPLE, name=name)) == ""


def test_what_is_not_told_is_no_change_and_is_kept() -> None:
    assert describe_change(APPLE, UNKNOWN) == describe_change(UNKNOWN, APPLE) == ""
    assert keep_known(APPLE, UNKNOWN) == keep_known(UNKNOWN, APPLE) == APPLE


def test_what_is_told_anew_replaces_what_was_kept() -> None:
    renamed = replace(APPLE, name="APPLE INC")
    assert keep_known(APPLE, renamed) == renamed
