"""Answers of Yahoo that went wrong, by class of mutation; the same seed makes the same answer.

A mutation takes a generator and the chart of a good answer, and edits it in place or returns what
comes instead: a document or its bytes.
"""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.faults.mutated import Path, paths

Chart = dict[str, Any]
Mutation = Callable[[random.Random, Chart], object]

PRICES = ("open", "high", "low", "close")
NAMES = (*PRICES, "volume")
DAY = 86_400
HUGE = (10**12, 10**19, 10**30, 10**400, 1e18, 1e19, 1e300, 1e308, 2**31, 2**63, 2**64)
ODD: tuple[Any, ...] = (
    *(None, True, False, "", "NaN", "Infinity", "12.5", "1,000", "\u0000", "\u202e", "x" * 5000),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], {"raw": 1.0, "fmt": "1.00"}),
)
FACTORS = (0.0, -1.0, 0.01, 0.1, 0.5, 0.999, 1.001, 2.0, 10.0, 100.0, 1000.0, 1e9, 1e-9, 1e300)


def result(chart: Chart) -> dict[str, Any]:
    found: dict[str, Any] = chart["chart"]["result"][0]
    return found


def quote(chart: Chart) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = result(chart)["indicators"]["quote"][0]
    return found


def columns(chart: Chart) -> list[list[Any]]:
    """Return all lists with a value for each day."""
    adjusted = result(chart)["indicators"]["adjclose"][0]["adjclose"]
    return [result(chart)["timestamp"], adjusted, *(quote(chart)[name] for name in NAMES)]


def cell(draw: random.Random, chart: Chart) -> tuple[list[Any], int]:
    """Draw a price or volume; every third time of the last day."""
    column = quote(chart)[draw.choice(NAMES)]
    return column, -1 if draw.random() < 0.3 else draw.randrange(len(column))


def set_cells(draw: random.Random, chart: Chart, values: tuple[Any, ...]) -> None:
    for _ in range(draw.choice((1, 1, 1, 3, 30))):
        column, row = cell(draw, chart)
        column[row] = draw.choice(values)


def huge_cells(draw: random.Random, chart: Chart) -> None:
    set_cells(draw, chart, HUGE)


def negative_cells(draw: random.Random, chart: Chart) -> None:
    set_cells(draw, chart, (-1, -0.0, -1e-300, -1e308, -(10**30), 0, 0.0, 5e-324))


def odd_cells(draw: random.Random, chart: Chart) -> None:
    set_cells(draw, chart, ODD)


def not_finite_cells(draw: random.Random, chart: Chart) -> None:
    set_cells(draw, chart, (float("nan"), float("inf"), float("-inf")))


def null_rows(draw: random.Random, chart: Chart) -> None:
    count = len(quote(chart)["close"])
    begin, length = draw.randrange(count), draw.choice((1, 2, 10, count))
    for name in NAMES if draw.random() < 0.5 else PRICES:
        for row in range(begin, min(begin + length, count)):
            quote(chart)[name][row] = None


def scaled_cells(draw: random.Random, chart: Chart) -> None:
    column, row = cell(draw, chart)
    column[row] *= draw.choice(FACTORS)


def scaled_block(draw: random.Random, chart: Chart) -> None:
    count, factor = len(quote(chart)["close"]), draw.choice(FACTORS)
    begin, length = draw.randrange(count), draw.choice((1, 5, count))
    for name in PRICES if draw.random() < 0.8 else draw.sample(NAMES, 2):
        for row in range(begin, min(begin + length, count)):
            quote(chart)[name][row] *= factor


def swapped_columns(draw: random.Random, chart: Chart) -> None:
    one, other = draw.sample(NAMES, 2)
    table = quote(chart)
    table[one], table[other] = table[other], table[one]


def lengths(draw: random.Random, chart: Chart) -> None:
    """Cut, empty or lengthen one list."""
    column = draw.choice(columns(chart))
    kept = draw.choice((0, 1, len(column) // 2, len(column) - 1, len(column)))
    column[kept:] = column[:kept] if kept == len(column) else []


def doubled_rows(draw: random.Random, chart: Chart) -> None:
    """Repeat a day, half of the time with another price."""
    row = draw.randrange(len(quote(chart)["close"]))
    for column in columns(chart):
        column.insert(row, column[row])
    if draw.random() < 0.5:
        quote(chart)["close"][row] *= 1.0 + draw.random()


def unsorted_rows(draw: random.Random, chart: Chart) -> None:
    order = list(range(len(quote(chart)["close"])))
    draw.shuffle(order)
    for column in columns(chart) if draw.random() < 0.7 else columns(chart)[:1]:
        column[:] = [column[row] for row in order]


def lost_rows(draw: random.Random, chart: Chart) -> None:
    count = len(quote(chart)["close"])
    lost = set(draw.sample(range(count), draw.choice((1, 5, count - 1, count))))
    for column in columns(chart):
        column[:] = [value for row, value in enumerate(column) if row not in lost]


def moved_stamps(draw: random.Random, chart: Chart) -> None:
    by = draw.choice((-DAY, DAY, 2 * DAY, 3600, -12 * 3600, 365 * DAY, -(10**9), 10**10, 0.5))
    stamps = result(chart)["timestamp"]
    rows = range(len(stamps)) if draw.random() < 0.5 else [draw.randrange(len(stamps))]
    for row in rows:
        stamps[row] += by


def odd_stamps(draw: random.Random, chart: Chart) -> None:
    stamps = result(chart)["timestamp"]
    factor = draw.choice((1000, 1_000_000, -1, 1e-3, None))
    if factor is not None:
        stamps[:] = [stamp * factor for stamp in stamps]
    else:
        stamps[draw.randrange(len(stamps))] = draw.choice((*HUGE, *ODD, -(10**12), float("nan")))


def events(draw: random.Random, chart: Chart) -> None:
    """Add an event, good or odd, on a day of the chart or far from it."""
    stamp = draw.choice((*result(chart)["timestamp"], 0, 10**12, 4 * 10**9, -(10**12), None, "x"))
    kind = draw.choice(("dividends", "splits", "capitalGains", "mergers", ""))
    amounts = (0.1, 0.0, -1, 1e9, 1e308, 10**400, float("nan"), None, "0.1", 1, 2, 7, 100, [])
    one = {"date": stamp} | {
        name: draw.choice(amounts)
        for name in ("amount", "numerator", "denominator", "currency")
        if draw.random() < 0.9
    }
    key = draw.choice((str(stamp), "", "\u202e", "-1", "1e5"))
    result(chart).setdefault("events", {}).setdefault(kind, {})[key] = one


def event_tables(draw: random.Random, chart: Chart) -> None:
    kind = draw.choice(("dividends", "splits", "capitalGains"))
    result(chart)["events"] = draw.choice(({kind: draw.choice(ODD)}, *ODD))


def meta_values(draw: random.Random, chart: Chart) -> None:
    meta = result(chart)["meta"]
    key = draw.choice(sorted(meta))
    meta[key] = draw.choice((*ODD, *HUGE, -(10**12), -1.5, 1e308, float("nan"), deepcopy(meta)))


def meta_lost(draw: random.Random, chart: Chart) -> None:
    meta = result(chart)["meta"]
    for key in draw.sample(sorted(meta), draw.choice((1, 2, len(meta)))):
        del meta[key]


def identity(draw: random.Random, chart: Chart) -> None:
    """Become another security, currency or market."""
    change = draw.choice(
        (
            {"currency": draw.choice(("GBp", "GBX", "ZAc", "", "usd", "\u20ac"))},
            {"symbol": draw.choice(("ELSE", "", "fuzz", "FUZZ ", "../FUZZ"))},
            {
                "exchangeTimezoneName": draw.choice(
                    ("Asia/Tokyo", "UTC", "Mars", "America", "", "/")
                )
            },
            {"firstTradeDate": draw.choice((-(10**12), 10**12, 0, -1, 1.5, 10**9))},
            {"longName": draw.choice(("Other Inc", "\n\r\t", "x" * 10_000, "", "\ud800"))},
            {"exchangeName": "XXX", "instrumentType": draw.choice(("ETF", "MUTUALFUND", None))},
        )
    )
    result(chart)["meta"].update(change)


def place_set(draw: random.Random, chart: Chart) -> None:
    holder, key = place(draw, chart)
    holder[key] = draw.choice((*ODD, *HUGE, -1, float("nan"), deepcopy(chart)))


def place_lost(draw: random.Random, chart: Chart) -> None:
    holder, key = place(draw, chart)
    del holder[key]


def place_swapped(draw: random.Random, chart: Chart) -> None:
    holder, key = place(draw, chart)
    other, instead = place(draw, chart)
    holder[key] = deepcopy(other[instead])


def place(draw: random.Random, chart: Chart) -> tuple[Any, Any]:
    """Draw a place below the top: what holds it, and its key."""
    found: Path = draw.choice(list(paths(chart)))
    holder: Any = chart
    for key in found[:-1]:
        holder = holder[key]
    return holder, found[-1]


def deep(draw: random.Random, chart: Chart) -> bytes:
    """Nest one place deeper than any parser follows, or nearly so."""
    depth = draw.choice((50, 900, 1100, 20_000, 200_000))
    opening, closing = draw.choice((("[", "]"), ('{"a":', "}")))
    holder, key = place(draw, chart)
    holder[key] = "DEEP"
    text = json.dumps(chart).replace('"DEEP"', opening * depth + "1" + closing * depth)
    return text.encode()


def torn_bytes(draw: random.Random, chart: Chart) -> bytes:
    text = bytearray(json.dumps(chart).encode())
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(text))
        piece = draw.choice((b"", b'"', b",", b"}", b"]", b"\0", b"\xff", b"1e999", b"NaN", b"-"))
        text[begin : begin + draw.choice((0, 1, 10, 500))] = piece
    return bytes(text)


def flipped_bits(draw: random.Random, chart: Chart) -> bytes:
    text = bytearray(json.dumps(chart).encode())
    for _ in range(draw.choice((1, 1, 10))):
        text[draw.randrange(len(text))] ^= 1 << draw.randrange(8)
    return bytes(text)


def no_chart(draw: random.Random, chart: Chart) -> bytes:
    """Something else altogether, with status 200."""
    error = {"code": draw.choice(("Not Found", "Oops", None, 7)), "description": draw.choice(ODD)}
    documents: tuple[Any, ...] = (
        *({"chart": None}, {"chart": {}}, {"chart": []}, {"finance": {"error": error}}, None, 7),
        *(
            {"chart": {"result": r, "error": e}}
            for r in ([], [None], {}, [[]])
            for e in (None, error)
        ),
    )
    texts = (b"", b"<html>consent</html>", b"Too Many Requests", b"\x1f\x8b\x08", b"\xff\xfe", b" ")
    chosen = draw.choice((*documents, *texts))
    return chosen if isinstance(chosen, bytes) else json.dumps(chosen).encode()


def large(draw: random.Random, chart: Chart) -> bytes:
    """More than a session takes: of spaces, or of one list."""
    text = json.dumps(chart).encode()
    return text + b" " * LARGE if draw.random() < 0.5 else b'{"chart": [' + b"1," * (LARGE // 2)


LARGE = 2**21
CLASSES: dict[str, Mutation] = {
    one.__name__: one
    for one in (
        *(huge_cells, negative_cells, odd_cells, not_finite_cells, null_rows, scaled_cells),
        *(scaled_block, swapped_columns, lengths, doubled_rows, unsorted_rows, lost_rows),
        *(moved_stamps, odd_stamps, events, event_tables, meta_values, meta_lost, identity),
        *(place_set, place_lost, place_swapped, deep, torn_bytes, flipped_bits, no_chart, large),
    )
}


def mutated(chart: Chart, number: int, seed: int) -> tuple[str, bytes]:
    """Return the class of the answer of a number, each in turn, and the answer."""
    name = list(CLASSES)[number % len(CLASSES)]
    draw, copy = random.Random(f"{seed} {number}"), deepcopy(chart)
    made = CLASSES[name](draw, copy)
    return name, made if isinstance(made, bytes) else json.dumps(copy).encode()
