"""Compare JSON values and CSV files of two checkouts, with the tables of `benchmarks.renames`.

Values are equal bit for bit as parsed. Keys that are missing or new are listed.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.renames import COLUMNS, EACH_RUN, IDENTITY, KEYS, MOVED, NAMES, SETTINGS


@dataclass(slots=True)
class Tally:
    """Result of comparing one command."""

    compared: int = 0
    each_run: int = 0
    reworded: int = 0
    different: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    def value(self, path: str, old: Any, new: Any) -> None:
        """Count one pair of values."""
        if is_text(old) and is_text(new) and NAMES.get(old, old) != NAMES.get(new, new):
            self.reworded += 1
            return
        self.compared += 1
        if not same(old, new):
            self.different.append(f"{path}: {old!r} before, {new!r} after")


def is_text(value: Any) -> bool:
    """Whether a value is a sentence."""
    return isinstance(value, str) and " " in value


def canonical(value: Any) -> Any:
    """Return the new form of a name."""
    if not isinstance(value, str):
        return value
    section, dot, setting = value.rpartition(".")
    if dot and setting in SETTINGS:
        return f"{section}.{SETTINGS[setting]}"
    return ",".join(NAMES.get(part, part) for part in value.split(","))


def same(old: Any, new: Any) -> bool:
    """Whether two values are equal; renamed values and two NaN are."""
    if isinstance(old, float) and isinstance(new, float) and math.isnan(old):
        return math.isnan(new)
    return canonical(old) == canonical(new)


def names_for(key: str, parent: str, table: dict[str, Any]) -> Iterator[str]:
    """Yield the possible new names of a key, in order of preference."""
    for wanted in (f"{parent}.{key}", key):
        found = table.get(wanted, ())
        yield from (found,) if isinstance(found, str) else found
    yield key


def match(old: Iterable[str], new: Iterable[str], parent: str) -> dict[str, str]:
    """Return the new key of each old one; spaces and underscores are equal."""
    free = {key.replace(" ", "_"): key for key in new}
    pairs = {}
    for key in old:
        wanted = names_for(key.replace(" ", "_"), parent, KEYS | NAMES)
        found = next((name for name in wanted if name in free), None)
        if found is not None:
            pairs[key] = free.pop(found)
    # Keys that are sentences are paired in order, if both objects have equally many left.
    left = [key for key in old if key not in pairs and is_text(key)]
    sentences = [key for key in free.values() if is_text(key)]
    if len(left) == len(sentences):
        pairs |= dict(zip(left, sentences, strict=True))
    return pairs


def as_rows(value: Any) -> Any:
    """Return an object of equally long columns as a list of rows, anything else as it is."""
    if not isinstance(value, dict) or not value:
        return value
    columns = list(value.values())
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return value
    if len(columns) < 2 or not set(IDENTITY) & set(value) | {"benchmark"} & set(value):
        return value
    return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]


def compare(path: str, parent: str, old: Any, new: Any, tally: Tally) -> None:
    """Compare two JSON values, recursively."""
    old, new = as_rows(old), as_rows(new)
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = match(old, new, parent)
        moved = MOVED if path == "" and "models" in new else {}
        tally.missing += [f"{path}.{key}" for key in old if key not in {*pairs, *moved}]
        tally.added += [f"{path}.{key}" for key in new if key not in pairs.values()]
        for key, renamed in pairs.items():
            if {key, f"{parent}.{key}"} & EACH_RUN:
                tally.each_run += 1
            else:
                compare(f"{path}.{key}", key, old[key], new[renamed], tally)
    elif isinstance(old, list) and isinstance(new, list):
        compare_lists(path, parent, old, new, tally)
    else:
        tally.value(path, old, new)


def compare_lists(path: str, parent: str, old: list[Any], new: list[Any], tally: Tally) -> None:
    """Compare two lists: rows by identity, other items by index."""
    if all(map(is_text, old)) and all(map(is_text, new)):
        tally.reworded += old != new
        tally.compared += old == new
        return
    before, after = by_identity(old, new, parent)
    for key, value in before.items():
        if key in after:
            compare(f"{path}[{key}]", parent, value, after[key], tally)
        else:
            tally.missing.append(f"{path}[{key}]")
    tally.added += [f"{path}[{key}]" for key in after if key not in before]


def by_identity(
    old: list[Any], new: list[Any], parent: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two lists as dicts, by identity of the rows if it is unique, else by index."""
    by_place = tuple({str(i): value for i, value in enumerate(rows)} for rows in (old, new))
    if not old or not new or not all(isinstance(row, dict) for row in [*old, *new]):
        return by_place
    pairs = match(old[0], new[0], parent)
    fields = [name for name in IDENTITY if name in pairs]
    before = {" ".join(str(canonical(row.get(name))) for name in fields): row for row in old}
    after = {" ".join(str(canonical(row.get(pairs[name]))) for name in fields): row for row in new}
    return (before, after) if (len(before), len(after)) == (len(old), len(new)) else by_place


def compare_tables(old: Path, new: Path, tally: Tally) -> None:
    """Compare two CSV files by rows of equal ticker, session, target and forecaster."""
    before, after = (pd.read_csv(file, float_precision="round_trip") for file in (old, new))
    pairs = {}
    for column in before.columns:
        wanted = [name for name in names_for(column, "", COLUMNS) if name in after.columns]
        pairs |= {column: wanted[0]} if wanted else {}
    tally.missing += [f"column {name}" for name in before.columns if name not in pairs]
    tally.added += [f"column {name}" for name in after.columns if name not in pairs.values()]
    after = after.rename(columns={renamed: name for name, renamed in pairs.items()})
    keys = [name for name in ("ticker", "session", "target", "forecaster") if name in pairs]
    for table in (before, after):
        table["forecaster"] = table["forecaster"].map(canonical)
    joined = before.merge(
        after, on=keys, how="outer", suffixes=("", " after"), indicator="from", validate="1:1"
    )
    for side, found in (("left_only", tally.missing), ("right_only", tally.added)):
        alone = joined.loc[joined["from"] == side, keys]
        found += [f"row {' '.join(map(str, row))}" for row in alone.itertuples(index=False)]
    joined = joined[joined["from"] == "both"]
    for name in (name for name in pairs if name not in keys):
        left, right = joined[name], joined[f"{name} after"]
        unlike = ~((left == right) | (left.isna() & right.isna()))
        tally.compared += len(joined)
        for row in joined[unlike].to_dict("records"):
            place = " ".join(str(row[key]) for key in keys)
            pair = f"{row[name]!r} before, {row[f'{name} after']!r} after"
            tally.different.append(f"{place} {name}: {pair}")
