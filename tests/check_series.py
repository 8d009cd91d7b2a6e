"""Apply the rules to real series in a folder: `python -m tests.check_series DIR`.

Every CSV or parquet in it is read as `data import` reads it.  The name of a file says what is
expected of it: `*bad-stock-split*` must break `split-slip`, `*100x-error*` must break
`unit-slip`, `*-1d-bad-div*` a rule for dividends; `*-fixed*`, and whatever is not called bad or
an error, must break no rule of severity error.  The ticker is what stands before `-1d-`, its last
hyphen a dot: `4063-T-1d-...` is 4063.T.
"""

import sys
from pathlib import Path

import pandas as pd

from forecaster.data.checks import RULES, check_history
from forecaster.data.history import History
from forecaster.data.sources.files import FileOptions, read_file
from forecaster.errors import ForecasterError

ERRORS = frozenset(rule.name for rule in RULES if rule.severity == "error")

# The rules of which one must catch a file with a mark in its name.
EXPECTED = {
    "bad-stock-split": ("split-slip",),
    "100x-error": ("unit-slip",),
    "-1d-bad-div": ("dividend-slip", "odd-dividend"),
}
ENDINGS = (".csv", ".parquet", ".pq")


def ticker_of(file: Path) -> str | None:
    """Read a ticker from the file's name; None where it has none, as a long table."""
    name, marked, _ = file.stem.partition("-1d-")
    if not marked:
        return None
    symbol, hyphen, suffix = name.rpartition("-")
    return f"{symbol}.{suffix}" if hyphen else suffix


def histories_of(file: Path) -> list[History]:
    """Read a file; without ticker or basis it is one ticker, as Yahoo serves it."""
    ticker = ticker_of(file)
    try:
        return read_file(
            file, ticker, {}, FileOptions(basis="split-adjusted" if ticker else None)
        ).histories
    except ForecasterError as error:
        if "no ticker column" not in str(error):
            raise
        return read_file(file, "SERIES", {}, FileOptions(basis="split-adjusted")).histories


def expected_of(file: Path) -> tuple[str, ...]:
    """Return the rules of which one must catch a file; none where none must."""
    rules = [rules for mark, rules in EXPECTED.items() if mark in file.stem]
    return rules[0] if rules and "-fixed" not in file.stem else ()


def describe_wrong(file: Path, broken: set[str]) -> str:
    """Describe what is wrong with the rules that a file broke; empty if that was expected."""
    expected, wrong = expected_of(file), sorted(broken & ERRORS)
    if expected:
        return "" if broken.intersection(expected) else f"{expected[0]} did not catch it"
    return f"{', '.join(wrong)} fired on it" if wrong else ""


def main(folder: Path) -> int:
    """Print a table of rule by file; return how many files had other findings than expected."""
    rows, failures = [], []
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS):
        try:
            found = [one for history in histories_of(file) for one in check_history(history)]
        except ForecasterError as error:
            print(f"skipped  {error}")
            failures += [f"{file.name}: could not be read"] if expected_of(file) else []
            continue
        counts = pd.Series([one.rule for one in found], dtype=str).value_counts()
        rows.append(counts.rename(file.name))
        said = describe_wrong(file, {one.rule for one in found})
        failures += [f"{file.name}: {said}"] if said else []
    if not rows:
        print(f"{folder}: no series that can be read", file=sys.stderr)
        return 1
    table = pd.DataFrame(rows).fillna(0).astype(int).replace(0, "")
    print(table.to_string() if len(table.columns) else "nothing was found")
    print(f"{len(rows)} files, {len(failures)} with other findings than their names say")
    print("\n".join(failures))
    return len(failures)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) > 0)
