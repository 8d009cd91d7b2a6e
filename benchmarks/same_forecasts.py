"""Compare the forecasts of two checkouts within tolerances, and every conclusion exactly.

Usage: python -m benchmarks.same_values --before CHECKOUT --after CHECKOUT --results DIR [...]
       python -m benchmarks.same_forecasts DIR

Reads what `same_values` has left in DIR. Printed as Markdown, by suite, command, target and
forecaster: the largest difference of forecasts and of interval ends, as a share of the standard
deviation of the outcomes. Then every conclusion of a significance test and every promotion
decision that differs. Exit code 1: a difference beyond FORECASTS or ENDS, or a conclusion that
differs.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.renames import BENCHMARK, COLUMNS, DECIDING, WORDS
from benchmarks.value_comparison import canonical, names_for

FORECASTS, ENDS = 1e-5, 1e-4  # of the standard deviation
INTERVALS = ("q025", "q10", "q90", "q975")
WANTED = {"ticker", "session", "target", "forecaster", "forecast", "actual", *INTERVALS}
KEYS = ["ticker", "session", "target", "forecaster"]


def forecasts_of(file: Path) -> pd.DataFrame:
    """Read a table of forecasts by today's names."""
    table = pd.read_csv(file)
    renamed = {
        column: next((name for name in names_for(column, "", COLUMNS) if name in WANTED), column)
        for column in table.columns
    }
    table = table.rename(columns=renamed)
    table["forecaster"] = table["forecaster"].map(canonical)
    return table.set_index(KEYS)


def deviations(before: Path, after: Path) -> pd.DataFrame:
    """Return the largest deviation of forecasts and of interval ends by target and forecaster."""
    old, new = forecasts_of(before), forecasts_of(after)
    shared = old.index.intersection(new.index)
    old, new = old.loc[shared], new.loc[shared]
    rows = []
    for (target, name), part in old.groupby(["target", "forecaster"], sort=False):
        scale = part["actual"].std()
        numbers = ["forecast", *INTERVALS]
        gaps = (new.loc[part.index, numbers] - part[numbers]).abs() / scale
        ends = gaps[[*INTERVALS]].max(axis=None)
        rows.append((target, name, len(part), gaps["forecast"].max(), ends))
    columns = ["target", "forecaster", "forecasts", "deviation", "of ends"]
    return pd.DataFrame(rows, columns=columns)


def conclusions(value: Any) -> Iterator[tuple[str, str]]:
    """Yield every conclusion and promotion decision in an output, with its place."""
    if isinstance(value, dict):
        names = [str(canonical(value.get(key, ""))) for key in ("target", "forecaster", "loss")]
        other = str(canonical(next((value[key] for key in BENCHMARK if key in value), "")))
        for key in DECIDING:
            if isinstance(value.get(key), str):
                place = " ".join([*names, other, str(value.get("ticker", ""))])
                yield place, WORDS.get(value[key], value[key])
        for item in value.values():
            yield from conclusions(item)
    elif isinstance(value, list):
        for item in value:
            yield from conclusions(item)


def main() -> None:
    """Print the deviations, then the conclusions that differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path)
    results = parser.parse_args().results
    good, compared, changed = True, 0, []
    print("| command | target | forecaster | forecasts | deviation | of interval ends |")
    print("|---|---|---|---|---|---|")
    for before in sorted((results / "before").glob("*/*.csv")):
        after = results / "after" / before.relative_to(results / "before")
        for row in deviations(before, after).itertuples(index=False):
            target, name, count, gap, ends = row
            beyond = gap > FORECASTS or ends > ENDS
            good &= not beyond
            step = f"{before.parent.name}/{before.stem}"
            shown = "-" if np.isnan(ends) else f"{ends:.1e}"
            mark = " beyond" if beyond else ""
            print(f"| {step} | {target} | {name} | {count:,} | {gap:.1e}{mark} | {shown} |")
    for before in sorted((results / "before").glob("*/*.json")):
        after = results / "after" / before.relative_to(results / "before")
        if before.stem == "steps" or not (before.stat().st_size and after.stat().st_size):
            continue
        old, new = (dict(conclusions(json.loads(file.read_text()))) for file in (before, after))
        compared += len(old.keys() & new.keys())
        step = f"{before.parent.name}/{before.stem}"
        changed += [
            f"{step} {key}: {old[key]} before, {new[key]} after"
            for key in old.keys() & new.keys()
            if canonical(old[key]) != canonical(new[key])
        ]
    print(f"\n{compared:,} conclusions and decisions compared, {len(changed)} differ")
    print(*changed, sep="\n")
    raise SystemExit(0 if good and not changed else 1)


if __name__ == "__main__":
    main()
