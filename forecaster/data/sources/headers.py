"""Which columns of a table are which fields: by their names and, for events, by their values.

Names and cells in; positions by field out.  Reads no file.  A table is named by its path or, if it
is a caller's frame, by text: remedies are then in pandas' words.
"""

import logging
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import OWN_NAME, PRICE_COLUMNS
from forecaster.data.sources.numbers import (
    CURRENCY_CODES,
    UNITS,
    is_missing,
    read_number,
    read_ratio,
)
from forecaster.errors import UsageError

REQUIRED: Final = ("session", *PRICE_COLUMNS)
# Metadata of a ticker: read where it is the same in all rows of a ticker.
MARKS: Final = ("name", "exchange", "currency")
# Usual names of each field as `word_of` returns them; those of the second text only where no
# column has one of the first.
_NAMES: Final[dict[str, tuple[str, str]]] = {
    "session": (
        "session date datetime timestamp day tradedate tradingday tradingdate pricedate datum",
        "time index fecha data dag",
    ),
    "open": (
        "open openprice openingprice opening pxopen eroffn eroffnung eroffnungskurs ouv ouverture "
        "apertura abertura",
        "premier",
    ),
    "high": (
        "high highprice pxhigh hoch tageshoch hochst hochstkurs haut plushaut maximo maxima "
        "massimo hoog",
        "max",
    ),
    "low": (
        "low lowprice pxlow tief tagestief tiefst tiefstkurs bas plusbas minimo minima laag",
        "min",
    ),
    "close": (
        "close closeprice closingprice closing closelast schluss schlusskurs cloture fermeture "
        "cierre chiusura fechamento slot slotkoers",
        "last lastprice pxlast price zuletzt settle settlement settlementprice dernier ultimo "
        "laatste",
    ),
    "volume": (
        "volume vol pxvolume volumen volumes volumi tradedvolume sharestraded",
        "tottrdqty quantity qty umsatzstucke stucke",
    ),
    "dividend": ("dividend", ""),
    "split": ("split", ""),
    "ticker": ("ticker symbol tic", ""),
    **{name: (name, "") for name in ("basis", "calendar", *MARKS)},
}
FIELDS: Final = tuple(_NAMES)
EVENTS: Final = ("dividend", "split")
_RANKS: Final = [
    {name: field for field in FIELDS for name in _NAMES[field][rank].split()} for rank in (0, 1)
]
_NOT_AN_AMOUNT: Final = re.compile("adj|date|yield|payout|growth|type|freq|currency|ratio|policy")
_LIKE_EVENT: Final = re.compile("split|^div|dividend|distribution|capitalgain|bonus")
_EVENT_IN_WORDS: Final = re.compile(r"(?=.*[0-9]).{0,40}\b(splits?|dividends?)\b", re.IGNORECASE)
_LARGEST_EVENT_SHARE: Final = 0.05  # of rows with an event
_FEWEST_OTHERS: Final = 5  # rows without an event, to see that a column is one of events
_SHOWN: Final = 40  # columns in a message
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChoice:
    """The user's choice: the column of a field, what to leave out, other columns to keep."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The position of each field's column, and of each column that is no field."""

    names: list[str]
    fields: dict[str, int]
    others: dict[str, int]


def word_of(name: str) -> str:
    """Return the letters and digits of a column's name: no accent, unit, number or currency."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    text = "".join(one for one in letters if not unicodedata.combining(one))
    bare = re.sub(r"[(\[{](?![^)\]}]*adj)[^)\]}]*[)\]}]", " ", text)
    unnumbered = re.sub(r"^\s*[0-9]+[.)]\s", "", bare)
    words = re.findall(r"[^\W_]+", unnumbered) or re.findall(r"[^\W_]+", text)
    if len(words) > 1 and words[-1] in CURRENCY_CODES:
        words.pop()
    return "".join(words)


def field_of(name: str, rank: int = 0) -> str | None:
    """Return the field that a column's name stands for, in the usual names or the second ones."""
    word = word_of(name)
    if rank == 0 and not word.startswith("adj"):
        if "split" in word and not re.search("adj|date", word):
            return "split"
        is_paid = re.search("dividend|exdiv|^divs?$|^divcash|^divamount|^distributions?$", word)
        if is_paid and not _NOT_AN_AMOUNT.search(word):
            return "dividend"
    return _RANKS[rank].get(word)


def volume_scale(name: str) -> float:
    """Return what the volumes of a column are multiples of, such as 1000 for Volume ('000)."""
    found = re.search(r"[(\[](?:in )?'?([^)\]]+?)s?[)\]]", name.casefold())
    unit = found[1].strip() if found else ""
    return 10.0 ** (3 if unit == "000" else UNITS.get(unit, 0))


def choose_columns(path: Path | str, names: Sequence[str], choice: ColumnChoice) -> Columns:
    """Find the column of each field.

    Raises:
        UsageError: a column is missing, named twice, or not there as chosen.
    """
    columns, shown = list(names), _show(names)
    folded = [name.casefold() for name in columns]
    left_out = {one.casefold() for one in choice.ignore}
    _check_ignored(path, choice.ignore, folded, shown)
    kept = [place for place, name in enumerate(folded) if name not in left_out]
    found: dict[str, list[int]] = {}
    for rank in (0, 1):
        ranked: dict[str, list[int]] = {}
        for place in kept:
            known = field_of(columns[place], rank)
            if known and known not in left_out and known not in choice.mapping:
                ranked.setdefault(known, []).append(place)
        found = ranked | found
    found = {name: at for name, at in found.items() if name not in MARKS or len(at) == 1}
    if "session" not in {*found, *choice.mapping} and word_of(columns[0]) in ("", "unnamed0"):
        found["session"] = [0]
    for name, column in choice.mapping.items():
        found[name] = [_mapped(path, name, column, folded, shown)]
    _refuse_unclear(path, columns, found, shown)
    fields = {name: found[name][0] for name in FIELDS if name in found}
    fields |= {one: _kept(path, one, folded, set(fields.values()), shown) for one in choice.keep}
    others = {
        columns[place]: place
        for place in kept
        if columns[place]
        and place not in fields.values()
        and field_of(columns[place]) not in left_out
    }
    return Columns(names=columns, fields=fields, others=others)


def _show(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:_SHOWN] or "(no name)" for name in names[:_SHOWN]) + more


def _check_ignored(
    path: Path | str, ignored: Sequence[str], folded: Sequence[str], shown: str
) -> None:
    for name in ignored:
        if name.casefold() in REQUIRED:
            raise UsageError(f"--ignore {name}: a bar needs its {name}; choose another with --map.")
        if name.casefold() not in {*FIELDS, *folded}:
            raise UsageError(f"{path}: --ignore {name}: no such column; the file has {shown}.")


def _kept(path: Path | str, name: str, folded: Sequence[str], used: set[int], shown: str) -> int:
    if not OWN_NAME.fullmatch(name):
        raise UsageError(
            f"--keep {name}: a-z, 0-9 and _ after a letter are needed, as in rv5; capitals in the "
            "file do not matter. Rename the column otherwise."
        )
    wanted = name.casefold()
    if folded.count(wanted) != 1 or folded.index(wanted) in used:
        raise UsageError(
            f"{path}: --keep {name} needs one column of this name that is no price or event; the "
            f"file has {shown}."
        )
    return folded.index(wanted)


def _mapped(path: Path | str, name: str, column: str, folded: Sequence[str], shown: str) -> int:
    if name not in FIELDS:
        raise UsageError(f"--map {name}={column}: {name} is none of {', '.join(FIELDS)}.")
    wanted = column.casefold()
    if folded.count(wanted) != 1:
        raise UsageError(
            f"{path}: --map {name}={column} needs one column of this name; the file has {shown}."
        )
    return folded.index(wanted)


def _refuse_unclear(
    path: Path | str, columns: list[str], found: dict[str, list[int]], shown: str
) -> None:
    """Refuse a field that several columns could be, and a required one without a column."""
    for name, places in found.items():
        if len(places) > 1:
            names = [columns[place] for place in places]
            same = len({one.casefold() for one in names}) < len(names)
            remedy = "rename or remove one of them" if same else _choose(path, name, names)
            raise UsageError(f"{path}: {' and '.join(names)} could both be {name}; {remedy}.")
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        options = [_map(path, name, _adjusted(name, columns)) for name in missing]
        raise UsageError(
            f"{path}: no column for {', '.join(missing)} among {shown}. Name each: "
            f"{(' ' if isinstance(path, Path) else ', ').join(options)}."
        )


def _adjusted(name: str, columns: Sequence[str]) -> str:
    """Return the column of an adjusted price, such as Adj Close, where there is no other."""
    return next(
        (one for one in columns if word_of(one) in (f"adj{name}", f"adjusted{name}")), "COLUMN"
    )


def _map(path: Path | str, name: str, column: str) -> str:
    if isinstance(path, str):
        return f"bars.rename(columns={{{column!r}: {name!r}}})"
    return f"--map {shlex.quote(f'{name}={column}')}"


def _ignore(path: Path | str, column: str) -> str:
    if isinstance(path, str):
        return f"bars.drop(columns={column!r})"
    return f"--ignore {shlex.quote(column)}"


def _choose(path: Path | str, name: str, columns: Sequence[str]) -> str:
    if isinstance(path, str):  # if one is renamed, the other still has a usual name
        return f"leave one out: {' or '.join(_ignore(path, one) for one in columns)}"
    return f"choose with {' or '.join(_map(path, name, one) for one in columns)}"


@dataclass(frozen=True, slots=True)
class EventScan:
    """How many cells of the columns that are no field are 0, 1, empty, or another amount.

    `worded` counts those with words such as "4-for-1 split", in columns of any text.
    """

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[str, str] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    worded: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, cells: pd.Series) -> None:
        """Count the cells (R,) of a column, until it cannot be one of splits or dividends."""
        self.rows[name] += len(cells)
        found = cells.value_counts(dropna=False)
        if len(found) > len(cells) // 10 + 50:
            self.excluded.add(name)
            return
        for value, rows in found.items():
            if _EVENT_IN_WORDS.match(str(value)):
                self.worded[name, str(value)] += rows
        if name in self.excluded:
            return
        kinds = {value: _kind_of(value) for value in found.index}
        if "none" in kinds.values():
            self.excluded.add(name)
            return
        for value, kind in kinds.items():
            self.counts[name][kind] += int(found[value])
            if kind == "amount":
                self.examples.setdefault(name, str(value))

    def review(self, path: Path | str, known: Mapping[str, object]) -> None:
        """Ask for columns that look like events; warn of those that only have the name of one.

        Raises:
            UsageError: a column looks like splits or dividends and is no field.
        """
        self._refuse_words(path)
        silent = []
        for name, counts in self.counts.items():
            if name in self.excluded:
                continue
            rows, amounts = counts.total(), counts["amount"]
            is_named = _LIKE_EVENT.search(word_of(name)) and "adj" not in name.casefold()
            is_rare = amounts <= _LARGEST_EVENT_SHARE * rows and rows - amounts >= _FEWEST_OTHERS
            if amounts and (is_named or is_rare):
                raise UsageError(self._question(path, name, known))
            if is_named:
                silent.append(name)
        if silent:
            log.warning("%s: no event in %s; not used", path, ", ".join(silent))

    def _refuse_words(self, path: Path | str) -> None:
        for name, text in self.worded:
            rows = sum(count for (other, _), count in self.worded.items() if other == name)
            if rows <= _LARGEST_EVENT_SHARE * self.rows[name]:
                raise UsageError(
                    f"{path}: column {name} has splits or dividends in words: {text!r}. Write "
                    f"them as numbers in a column split or dividend, or add {_ignore(path, name)}."
                )

    def _question(self, path: Path | str, name: str, known: Mapping[str, object]) -> str:
        counts = self.counts[name]
        neutral = "1" if counts["one"] > counts["zero"] + counts["empty"] else "0 or empty"
        possible = ["split"] if neutral == "1" else ["split", "dividend"]
        remedies = [_map(path, one, name) for one in possible if one not in known]
        remedies.append(_ignore(path, name))
        verb = "Use" if isinstance(path, str) else "Add"
        return (
            f"{path}: column {name} may hold splits or dividends: {counts['amount']:,} of "
            f"{counts.total():,} cells are not {neutral} (first {self.examples[name]}). {verb} "
            f"{' or '.join(remedies)}."
        )


def _kind_of(value: object) -> str:
    """Return whether a cell is empty, zero, one, another amount, or none of these."""
    text = "" if value is None or value is pd.NA or value != value else str(value).strip()
    if is_missing(text):
        return "empty"
    amounts = [read_number(text, "point"), read_number(text, "comma"), read_ratio(text)]
    amount = next((one for one in amounts if not np.isnan(one)), -1.0)
    if amount < 0 or isinstance(value, bool | np.bool_):
        return "none"
    return {0.0: "zero", 1.0: "one"}.get(amount, "amount")
