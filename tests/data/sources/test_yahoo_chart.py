"""Charts in which any part is not what it is in a chart: refused in one line, or read right."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from typing import Any

import pytest

from forecaster.data.sources.yahoo_chart import check_chart, day_of
from forecaster.errors import DataError
from tests.yahoo import charts

Edit = Callable[[dict[str, Any]], object]
FIRST, LAST = 1_706_745_600, 1_708_041_600  # 2024-02-01 to 2024-02-16
PAYMENT = {"date": FIRST, "amount": 1}
GOOD = charts.chart("AAPL", FIRST, LAST)["chart"]["result"][0]


def quote(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = result["indicators"]["quote"][0]
    return found


def event(kind: str, **values: object) -> Edit:
    """Add an event under a key of its own; None takes a value away."""
    good = {"date": FIRST + 70_000, "amount": 0.1, "numerator": 2.0, "denominator": 1.0}
    one = {key: value for key, value in (good | values).items() if value is not None}
    return lambda result: result.setdefault("events", {}).setdefault(kind, {}).update(odd=one)


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


REFUSED: dict[str, Edit] = {
    "no zone": lambda r: r["meta"].pop("exchangeTimezoneName"),
    "zone of nowhere": lambda r: r["meta"].update(exchangeTimezoneName="Mars/Olympus"),
    "zone outside": lambda r: r["meta"].update(exchangeTimezoneName="../../etc/passwd"),
    "zone a folder": lambda r: r["meta"].update(exchangeTimezoneName="America"),
    "zone a number": lambda r: r["meta"].update(exchangeTimezoneName=7),
    "no currency": lambda r: r["meta"].pop("currency"),
    "currency a list": lambda r: r["meta"].update(currency=["USD"]),
    "stamps text": lambda r: r.update(timestamp="1706745600"),
    "stamp text": lambda r: r["timestamp"].__setitem__(3, "1706745600"),
    "stamp null": lambda r: r["timestamp"].__setitem__(3, None),
    "stamp true": lambda r: r["timestamp"].__setitem__(3, True),
    "stamp NaN": lambda r: r["timestamp"].__setitem__(3, float("nan")),
    "stamp in milliseconds": lambda r: r["timestamp"].__setitem__(-1, 1_708_041_600_000),
    "stamp beyond year 9999": lambda r: r["timestamp"].__setitem__(-1, 10**12),
    "stamp beyond any number": lambda r: r["timestamp"].__setitem__(-1, 10**400),
    "stamp before 1900": lambda r: r["timestamp"].__setitem__(0, -(10**12)),
    "a stamp more": lambda r: r["timestamp"].append(LAST),
    "a stamp less": lambda r: r["timestamp"].pop(),
    "no indicators": lambda r: r.pop("indicators"),
    "no quotes": lambda r: r["indicators"].update(quote=[]),
    "quotes null": lambda r: r["indicators"].update(quote=None),
    "quotes a table": lambda r: r["indicators"].update(quote=quote(r)),
    "no closes": lambda r: quote(r).pop("close"),
    "closes null": lambda r: quote(r).update(close=None),
    "closes by number": lambda r: quote(r).update(close=dict(enumerate(quote(r)["close"]))),
    "close text": lambda r: quote(r)["close"].__setitem__(2, "186.86"),
    "close true": lambda r: quote(r)["close"].__setitem__(2, True),
    "close a list": lambda r: quote(r)["close"].__setitem__(2, [186.86]),
    "close nested": lambda r: quote(r)["close"].__setitem__(2, nested(500)),
    "one volume": lambda r: quote(r).update(volume=[1]),
    "volume infinite": lambda r: quote(r)["volume"].__setitem__(2, float("inf")),
    "adjusted null": lambda r: r["indicators"].update(adjclose=[{"adjclose": None}]),
    "adjusted empty": lambda r: r["indicators"].update(adjclose=[]),
    "events null": lambda r: r.update(events=None),
    "events text": lambda r: r.update(events="none"),
    "dividends a list": lambda r: r.update(events={"dividends": [{"date": FIRST, "amount": 1}]}),
    "dividend null": lambda r: r.update(events={"dividends": {"1": None}}),
    "dividend of nothing": event("dividends", amount=None),
    "dividend NaN": event("dividends", amount=float("nan")),
    "dividend text": event("dividends", amount="0.24"),
    "dividend of no day": event("dividends", date=None),
    "dividend of year 33658": event("dividends", date=10**12),
    "split without old shares": event("splits", denominator=None),
    "split by 0": event("splits", denominator=0),
    "split into 0": event("splits", numerator=0),
    "split into fewer than 0": event("splits", numerator=-2),
    "split text": event("splits", numerator="2", denominator="1"),
}

ALLOWED: dict[str, Edit] = {
    "as it is": lambda r: None,
    "unknown parts": lambda r: r.update(odd={"a": nested(50)}, comparisons=None),
    "unknown quotes": lambda r: quote(r).update(vwap=["x"]),
    "unknown events": event("earnings", date="soon"),
    "no events": lambda r: r.pop("events", None),
    "events an empty list": lambda r: r.update(events=[]),
    "dividends an empty list": lambda r: r.update(events={"dividends": [], "splits": []}),
    "an odd key": lambda r: r.update(
        events={"dividends": {"\u202e": {"date": FIRST, "amount": 1}}}
    ),
    "more about a dividend": event("dividends", currency="USD", note=[1]),
    "no adjusted closes": lambda r: r["indicators"].pop("adjclose"),
    "null prices": lambda r: quote(r)["close"].__setitem__(2, None),
    "whole numbers": lambda r: quote(r).update(close=[200] * len(r["timestamp"])),
    "currency null": lambda r: r["meta"].update(currency=None),
    # Of single bars, which the rules of bars refuse one by one.
    "a negative price": lambda r: quote(r)["low"].__setitem__(2, -1.0),
    "an infinite price": lambda r: quote(r)["high"].__setitem__(2, float("inf")),
    "a volume of 1e308": lambda r: quote(r)["volume"].__setitem__(2, 1e308),
    "stamps unsorted": lambda r: r["timestamp"].reverse(),
    "stamps twice": lambda r: r["timestamp"].__setitem__(3, r["timestamp"][2]),
}


def checked(edit: Edit) -> None:
    """Check an edited chart as it comes over the wire."""
    result = deepcopy(GOOD)
    edit(result)
    check_chart("AAPL", json.loads(json.dumps(result)), has_bars=True)


@pytest.mark.parametrize("edit", REFUSED.values(), ids=REFUSED)
def test_what_is_no_chart_is_refused_in_one_line(edit: Edit) -> None:
    with pytest.raises(DataError, match="AAPL: Yahoo's chart cannot be used") as refused:
        checked(edit)
    text = str(refused.value)
    assert text.isascii() and text.isprintable() and len(text) < 250
    assert "nothing was stored" in text


@pytest.mark.parametrize("edit", ALLOWED.values(), ids=ALLOWED)
def test_what_is_a_chart_is_not(edit: Edit) -> None:
    checked(edit)


def test_the_first_fault_is_named_and_the_others_counted() -> None:
    def edit(result: dict[str, Any]) -> None:
        quote(result)["open"][1] = "x"
        result["events"] = {"splits": {"1": {"date": "x", "numerator": 0, "denominator": 1}}}

    with pytest.raises(DataError, match=r"indicators\.quote\.0\.open\.1: .*; 2 more\)"):
        checked(edit)


def test_the_look_up_of_the_zone_needs_the_header_alone() -> None:
    check_chart("AAPL", {"meta": GOOD["meta"]}, has_bars=False)
    with pytest.raises(DataError, match="meta: Field required"):
        check_chart("AAPL", {}, has_bars=False)


@pytest.mark.parametrize(
    ("stamp", "day"),
    [
        (345_479_400, date(1980, 12, 12)),
        (-252_322_200, date(1962, 1, 2)),
        (0, date(1969, 12, 31)),
        (1.5, date(1969, 12, 31)),
        *((odd, None) for odd in (-(10**12), 10**12, 10**400, -(10**400), 1e308, float("nan"))),
        *((odd, None) for odd in (None, True, "345479400", [345_479_400], {}, float("-inf"))),
    ],
)
def test_a_stamp_is_a_day_of_its_zone_or_unknown(stamp: object, day: date | None) -> None:
    assert day_of(stamp, "America/New_York") == day
