"""The words of everything that a person reads: output, help, documents, docstrings, names.

A failure lists the places grouped by file, so that one room's can be searched for.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner, Result

import forecaster
from forecaster.cli import app
from forecaster.errors import ExitCode
from tests.synthetic import ragged_bars

ROOT = Path(__file__).parents[1]
PACKAGE = Path(forecaster.__file__).parent

DENIED = re.compile(
    r"\b(rivals?|twins?|lanes?|nights?|nightly|evenings?|beliefs?|verdicts?|rulings?|"
    r"crown(?:s|ed|ing)?|reign(?:s|ed|ing)?|amiss|aloud|anew|latecomers?|told|tells|hears|"
    r"bears out|what came|held against|(?:select|fit|report) blocks?)\b"
)
# What old homes and settings were called, and the history of the project.
EXEMPT = {
    "forecaster/registry/registry_file.py": "migrations of the registry",
    "forecaster/registry/manifest.py": "the names of manifests of schema 2",
    "forecaster/registry/test_set_evaluations.py": "the questions of 0.1.0",
    "forecaster/settings/settings_file.py": "the table of old settings",
    "benchmarks/renames.py": "the table of old names",
    "benchmarks/same_values.py": "command lines for the old code",
    "docs/experiments.md": "a dated log",
    "tests/test_vocabulary.py": "the list itself",
}
OLD_SETTINGS = re.compile(r"(?m)^\| `\w+` \| `\w+` \| `\w+` \|$")  # their table in commands.md
VERBS = frozenset(
    """
    Accept Add Alter Annualise Append Apply Ask Assemble Assign Audit Average Bound Build Calibrate
    Call Carry Change Check Choose Clamp Clear Clip Close Collect Combine Compare Compile Complete
    Compose Compress Compute Concatenate Configure Connect Continue Convert Copy Correct Correlate
    Count Create Cumulate Cut Decide Decode Delete Demote Derive Describe Detach Detect Determine
    Differentiate Display Distribute Divide Download Draw Drop Encode Ensure Enter Estimate Evaluate
    Examine Exclude Expand Explain Export Extend Extract Fetch Fill Filter Find Fit Flag Flatten
    Follow Forecast Format Freeze Generate Group Handle Hash Identify Ignore Import Include Infer
    Initialise Insert Inspect Install Integrate Interpolate Invert Iterate Join Keep Label Leave
    Limit Link List Load Locate Lock Log Look Make Map Mark Match Mean Measure Merge Migrate Move
    Multiply Normalise Number Open Order Pack Pad Parse Pass Pick Plot Predict Prepare Prevent Print
    Promote Propose Prove Prune Quarantine Quote Raise Rank Read Rebuild Recompute Record Reduce
    Refit Refuse Register Reject Release Remove Rename Render Replace Report Represent Require Reset
    Reshape Resolve Restore Restrict Retrain Retry Return Reuse Reverse Revise Rewrite Rollback
    Rotate Round Run Sample Save Scale Score Search Select Send Serialise Serve Set Share Shift
    Shorten Show Shuffle Simulate Skip Sort Split Spread Square Standardise Start Step Stop Store
    Submit Subtract Sum Summarise Suppress Swap Switch Take Test Time Track Train Transform
    Translate Truncate Try Turn Undo Unpack Update Upgrade Use Validate Verify Visit Wait Warn
    Weight Whether Widen Wrap Write Yield
    """.split()
)
AS_OF = ("--as-of", "2012-10-09")  # the session before the last of the invented prices
GOOD = (ExitCode.OK, ExitCode.PARTIAL, ExitCode.NO_DECISION, ExitCode.UNKNOWN_NAME)
QUICK = ("--hidden", "8", "--max-steps", "30")


def plain(text: str) -> str:
    """Split identifiers into words, and put everything in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text).lower()


def denied(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the line and the word, for every denied word."""
    spaced = plain(text)
    for found in DENIED.finditer(spaced):
        yield spaced.count("\n", 0, found.start()) + 1, found[0]


def complain(places: Iterable[tuple[str, int, str]]) -> None:
    """Fail with one line a file: each word with its lines."""
    by_file: dict[str, dict[str, list[int]]] = {}
    for name, line, word in places:
        by_file.setdefault(name, {}).setdefault(word, []).append(line)
    lines = [
        f"{name}: " + "; ".join(f"{word} {','.join(map(str, at))}" for word, at in words.items())
        for name, words in sorted(by_file.items())
    ]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def of_files(files: Iterable[Path]) -> Iterator[tuple[str, int, str]]:
    for file in files:
        name = str(file.relative_to(ROOT))
        if name not in EXEMPT:
            yield from ((name, 0, word) for _, word in denied(name))
            text = OLD_SETTINGS.sub("", file.read_text())
            yield from ((name, *found) for found in denied(text))


def test_the_package_uses_no_denied_word() -> None:
    """In names, docstrings, comments, messages: all that its files contain."""
    files = [file for file in PACKAGE.rglob("*") if file.suffix in (".py", ".jinja", ".js", ".css")]
    complain(of_files(sorted(files)))


def test_the_documents_use_no_denied_word() -> None:
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", ".ci/run")]
    benchmarks = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("docs/**/*.py")]
    pages = (ROOT / "docs").rglob("*.md")
    complain(of_files([*named, *sorted(pages), *sorted(benchmarks)]))


def test_the_tests_use_no_denied_word_in_names_and_docstrings() -> None:
    complain(
        (name, getattr(node, "lineno", 0), word)
        for file in sorted((ROOT / "tests").rglob("*.py"))
        if (name := str(file.relative_to(ROOT))) not in EXEMPT
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        for text in (getattr(node, "name", name), ast.get_docstring(node) or "")
        for _, word in denied(text)
    )


def is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(one) for one in node.decorator_list)


def first_words(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the first word of every function's docstring, properties aside."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not is_property(node):
            words = (ast.get_docstring(node) or "").split()
            if words:
                yield node.lineno, words[0].strip(".,;:")


def test_docstrings_of_functions_start_with_a_plain_verb() -> None:
    """An imperative of the list above, or "Whether"; a plain verb that is missing may be added."""
    complain(
        (str(file.relative_to(ROOT)), line, word)
        for file in sorted(PACKAGE.rglob("*.py"))
        for line, word in first_words(file.read_text())
        if word not in VERBS
    )


def every_help() -> Iterator[tuple[str, str]]:
    """Yield the name and the help of every command and group."""

    def walk(command: object, words: list[str]) -> Iterator[tuple[str, str]]:
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, done.output
        yield " ".join(["forecaster", *words, "--help"]), done.output
        for name, nested in getattr(command, "commands", {}).items():
            yield from walk(nested, [*words, name])

    return walk(typer.main.get_command(app), [])


def test_no_help_uses_a_denied_word() -> None:
    complain((name, *found) for name, text in every_help() for found in denied(text))


@pytest.mark.slow
def test_no_output_uses_a_denied_word(tmp_path: Path, run: Callable[..., Result]) -> None:
    """Of the commands of a first day: what they print on both streams, pages and JSON."""
    prices, home = tmp_path / "prices.csv", tmp_path / "home"
    ragged_bars({"AAA": 700, "BBB": 500}).to_csv(prices, index=False)
    home.mkdir()
    lines: list[list[object]] = [
        ["data", "import", prices],
        ["data", "show", "AAA"],
        ["data", "check"],
        ["train", "--target", "return,range", *QUICK],
        ["evaluate"],
        ["evaluate", "--json"],
        ["memory", "--lags", "30"],
        ["predict", *AS_OF],
        ["predict", *AS_OF, "--json"],
        ["models", "list"],
        ["models", "show"],
        ["retrain", *AS_OF, *QUICK],
        ["retrain", *AS_OF, "--dry-run"],
        ["score"],
        ["status"],
        ["doctor", "--offline"],
        ["schedule"],
        ["config", "show"],
        ["predict", "ZZZ"],
    ]
    places: list[tuple[str, int, str]] = []
    for words in lines:
        done = run(*words, "--home", home)
        assert done.exit_code in GOOD, (words, done.output)
        places += [(f"forecaster {words[0]}", *found) for found in denied(done.output)]
    pages = sorted([*home.rglob("*.html"), *home.rglob("*.json"), *home.rglob("*.jsonl")])
    assert pages
    for page in pages:
        places += [(page.name, *found) for found in denied(page.read_text())]
    complain(places)


def test_the_search_sees_words_inside_names() -> None:
    assert [word for _, word in denied("def _told(LinearTwin): NIGHT_DATES = overnight")] == [
        "told",
        "twin",
        "night",
    ]
