"""Numbers as people write them, and the decimal mark that all of them share.

Text in; numbers (R,), flags of unreadable cells and counts out.  Knows no file.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DecimalMark = Literal["point", "comma"]
Flags = NDArray[np.bool_]
Texts = pd.Series
_CHARACTERS: Final[dict[DecimalMark, str]] = {"point": ".", "comma": ","}
_MISSING: Final = re.compile(
    r"[-–—.?*\s]*|n[./]?[ad]\.?|k\.?\s?a\.?|nan|null|none|nil|nat|missing"
    r"|#(n/?[ad]!?( n/a.*)?|value!|ref!|div/0!|num!|name\?|null!)"
)
_CURRENCY: Final = "(?:US|C|A|HK)?[$€£¥₹₩₪₽]|Rs\\.?|[A-Z]{3}(?=[\\s0-9])"
# [0-9], since \d takes every script's digits.
_CELL: Final = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{_CURRENCY})?\s*(?P<body>[0-9.,'\u2019\s]*[0-9][.,]?)"
    r"(?:[eE](?P<power>[+-]?[0-9]{1,3}))?\s*(?P<unit>[^\W\d_]*\.?|[$€£¥₹₩₪₽])"
)
CURRENCY_CODES: Final = frozenset(
    "aud brl cad chf cny dkk eur gbp gbx hkd inr jpy krw nok nzd pln sek sgd usd zar".split()
)
# Powers of ten, of volumes.
UNITS: Final = {
    **dict.fromkeys(("k", "tsd", "thousand"), 3),
    **dict.fromkeys(("m", "mn", "mio", "mln", "million"), 6),
    **dict.fromkeys(("b", "bn", "mrd", "bln", "billion"), 9),
    **dict.fromkeys(("t", "tn", "trillion"), 12),
    **dict.fromkeys(("l", "lac", "lakh", "lakhs"), 5),
    **dict.fromkeys(("cr", "crore", "crores"), 7),
    **{"万": 4, "萬": 4, "亿": 8, "億": 8},
}
_RATIO: Final = re.compile(
    r"(?P<new>[0-9]+(?:\.[0-9]*)?)\s*(?:[:/-]|(?:-\s*)?(?:for|to)(?:\s*-)?)\s*"
    r"(?P<old>[0-9]+(?:\.[0-9]*)?)(?:\s*(?:stock\s*)?splits?)?",
    re.IGNORECASE,
)
_SPACE: Final = "[ \u00a0\u2007\u2009\u202f'\u2019]"
# Digits before a mark and three behind it: thousands, or three decimals.
_EITHER: Final = r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}"
_ENOUGH: Final = 10_000  # cells of a field that show its decimal mark
_TYPING_SLIPS: Final = 0.01  # share of cells with another mark than all others
_FEWEST: Final = 0.002  # share of cells with decimals, for the others to be whole thousands
_HUNDREDS: Final = r"[1-9][0-9]{2}"
_FEWEST_HUNDREDS: Final = 5


def _digits(mark: DecimalMark) -> re.Pattern[str]:
    point = re.escape(_CHARACTERS[mark])
    group = re.escape(_CHARACTERS["comma" if mark == "point" else "point"])
    head = "[1-9][0-9]{0,2}"
    western = "|".join(f"{head}(?:{one}[0-9]{{3}})+" for one in (group, _SPACE))
    indian = f"[1-9][0-9]?(?:{group}[0-9]{{2}})+{group}[0-9]{{3}}"
    return re.compile(f"(?:{western}|{indian}|[0-9]+)?(?:{point}[0-9]*)?")


_DIGITS: Final = {mark: _digits(mark) for mark in _CHARACTERS}


def is_missing(text: str) -> bool:
    """Whether a cell is blank, only punctuation, or a word such as "null" or "N/D"."""
    return _MISSING.fullmatch(text.strip().lower()) is not None


def read_number(text: str, mark: DecimalMark, *, units: bool = False) -> float:
    """Read one cell; NaN if it is no number. With `units`, 1.45M is 1,450,000."""
    found = _CELL.fullmatch(text.strip().replace("\u2212", "-"))
    if found is None or not _DIGITS[mark].fullmatch(found["body"].strip()):
        return float("nan")
    unit = found["unit"].lower().rstrip(".")
    if unit.isalpha() and unit not in CURRENCY_CODES and not (units and unit in UNITS):
        return float("nan")
    point = _CHARACTERS[mark]
    digits = "".join(one for one in found["body"] if one.isdigit() or one == point)
    power = int(found["power"] or 0) + (UNITS.get(unit, 0) if units else 0)
    return float(f"{found['sign']}{digits.replace(point, '.')}e{power}")


def parse_numbers(
    cells: "Texts[str]",
    mark: DecimalMark = "point",
    *,
    units: bool = False,
    plain: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], Flags]:
    """Parse text (R,); values are NaN where a cell is missing, flags mark those that are no number.

    Thousands may be separated by the other mark, spaces or apostrophes, or as lakhs.
    `plain` has what `plain_numbers` returns, if it is known.
    """
    values = plain_numbers(cells, mark) if plain is None else plain.copy()
    rest = np.flatnonzero(~np.isfinite(values))
    texts = cells.iloc[rest].astype(object)
    once = {
        text: np.nan if is_missing(text) else read_number(text, mark, units=units)
        for text in texts.unique()
    }
    values[rest] = texts.map(once).to_numpy(np.float64)
    unreadable = np.zeros(len(values), dtype=np.bool_)
    unreadable[rest] = np.isnan(values[rest]) & ~texts.map(is_missing).to_numpy(np.bool_)
    return values, unreadable


def parse_splits(
    cells: "Texts[str]", mark: DecimalMark, plain: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], Flags]:
    """Parse splits (R,) written as numbers, or as ratios: 7:1, 7/1, 7-for-1."""
    values, unreadable = parse_numbers(cells, mark, plain=plain)
    for row in np.flatnonzero(unreadable).tolist():
        values[row] = read_ratio(cells.iloc[row], mark)
    return values, np.isnan(values) & unreadable


def read_ratio(text: str, mark: DecimalMark = "point") -> float:
    """Read new shares for old ones, such as 7:1; NaN if it is no ratio."""
    ratio = _RATIO.fullmatch(text.strip().replace(_CHARACTERS[mark], "."))
    if ratio is None or float(ratio["old"]) == 0.0:
        return float("nan")
    return float(ratio["new"]) / float(ratio["old"])


def plain_numbers(cells: "Texts[str]", mark: DecimalMark) -> NDArray[np.float64]:
    """Parse digits with at most one decimal mark (R,); anything else is not finite."""
    text = cells.str.strip()
    if mark == "comma":
        text = text.str.translate(str.maketrans(",.", ".,"))
    return pd.to_numeric(text, errors="coerce").to_numpy(np.float64, copy=True)


@dataclass(frozen=True, slots=True)
class MarkCounts:
    """How many cells of each field show the decimal mark, and how many could have either.

    Keys are "point", "comma" (shown), "either." and "either," (by the mark that is there),
    "groups." and "groups," (a mark that separates thousands), "hundreds" (100 to 999 without a
    mark, beside either); `examples` by field and key.
    """

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, name: str, cells: "Texts[str]", is_plain: Flags) -> None:
        """Count the cells (R,) of a field; those that are plain have a point or no mark."""
        if self.counts[name]["point"] < _ENOUGH:
            plain = cells[is_plain].str.strip()
            marked = plain[plain.str.contains(".", regex=False)]
            either = marked.str.fullmatch(_EITHER).to_numpy(np.bool_)
            self._count(name, "either.", marked[either])
            self._count(name, "point", marked[~either])
        rest = cells[~is_plain].astype(object)
        kinds = rest.map({text: _kinds_of(text) for text in rest.unique()})
        for key in ("point", "comma", "either.", "either,", "groups.", "groups,"):
            self._count(name, key, rest[kinds.map(lambda found, key=key: key in found)])
        if self._either(name):
            hundreds = cells[is_plain].str.strip().str.fullmatch(_HUNDREDS)
            self._count(name, "hundreds", cells[is_plain][hundreds.to_numpy(np.bool_)])

    def _count(self, name: str, key: str, cells: "Texts[str]") -> None:
        if len(cells):
            self.counts[name][key] += len(cells)
            self.examples.setdefault((name, key), str(cells.iloc[0]).strip())

    def decide(self, prices: tuple[str, ...]) -> tuple[DecimalMark, tuple[str, str] | None]:
        """Return the decimal mark, and field and key of an example if that is doubtful."""
        total = sum(self.counts.values(), Counter[str]())
        rare, usual = sorted(_CHARACTERS, key=lambda mark: total[mark])
        if total[rare] > _TYPING_SLIPS * total[usual]:
            return usual, self._first(rare)
        if total[usual] == 0:
            doubted = [one for one in prices if self._either(one)]
            # A volume is a whole number: its only mark separates thousands.
            mark: DecimalMark = "comma" if total["either."] > total["either,"] else "point"
            both = total["either."] > 0 and total["either,"] > 0
            if doubted and not both and all(map(self._falls_below_thousand, doubted)):
                return mark, None
            return mark, self._first("either", doubted or list(self.counts) * both)
        return usual, self._contradiction(usual, total, prices)

    def _contradiction(
        self, mark: DecimalMark, total: Counter[str], prices: tuple[str, ...]
    ) -> tuple[str, str] | None:
        """Find prices that would be whole thousands only, or volumes with three decimals only."""
        point = _CHARACTERS[mark]
        group = "," if point == "." else "."
        for name in prices:
            found = self.counts[name]
            is_shown = found[mark] > _FEWEST * found["either" + group]
            is_shown |= self._falls_below_thousand(name)
            if found["either" + group] and not is_shown and not total["groups" + group]:
                return name, "either" + group
        volumes = self.counts["volume"]
        if volumes["either" + point] and not volumes[mark]:
            return "volume", "either" + point
        return None

    def _falls_below_thousand(self, name: str) -> bool:
        """Whether 998 stands beside 1,002: of three decimals none would be without a mark."""
        least = max(_FEWEST_HUNDREDS, _FEWEST * self._either(name))
        return self.counts[name]["hundreds"] >= least

    def _either(self, name: str) -> int:
        return self.counts[name]["either."] + self.counts[name]["either,"]

    def _first(self, prefix: str, names: list[str] | None = None) -> tuple[str, str] | None:
        found = [key for key in self.examples if key[1].startswith(prefix)]
        return next((one for one in found if names is None or one[0] in names), None)


def _kinds_of(text: str) -> frozenset[str]:
    """Return the keys of `MarkCounts` for a cell that is no plain number."""
    cell = _CELL.fullmatch(text.strip().replace("\u2212", "-"))
    body = cell["body"].strip() if cell else ""
    fits = [mark for mark, digits in _DIGITS.items() if digits.fullmatch(body)]
    marks = [one for one in ".," if one in body]
    unit = cell["unit"].lower().rstrip(".") if cell else ""
    is_number = not unit.isalpha() or unit in UNITS or unit in CURRENCY_CODES
    if not marks or not fits or not is_number:
        return frozenset()
    if len(fits) == 2:
        # A unit has decimals before it, not thousands: 1.442M.
        return frozenset() if unit in UNITS else frozenset({"either" + marks[0]})
    groups = ["groups" + one for one in marks if one != _CHARACTERS[fits[0]]]
    return frozenset({fits[0], *groups})
