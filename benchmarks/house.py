"""Measure the size of the package and how many functions a command enters.

Usage: python -m benchmarks.house [--only static]

Run it in the root of a checkout; it prints Markdown. The column *before* holds commit 8a2a8dc
(0.1.0), measured with Python 3.11. Parameters are counted without `self` and `cls`, and with
keyword-only ones.

Functions entered are distinct named functions of the package on all threads, without lambdas,
comprehensions and class bodies, and without those of `cli/`. `train` goes from stored prices to a
saved model version with two optimizer steps, `evaluate` from that version to its page with quick
benchmarks. Both use the sample prices, the target return and one job. This takes about a minute;
`--only static` leaves it out, `--calls` lists the functions.
"""

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import tokenize
from dataclasses import dataclass
from inspect import CO_NEWLOCALS
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PACKAGE = Path("forecaster")
MANY_PARAMETERS = 6
LONG_FUNCTION = 40
SMALL_MODULE = 60

LINES = "lines of Python"
MODULES = "modules"
PIPELINE = "lines in pipeline/"
SMALL = f"modules with one importer and under {SMALL_MODULE} lines"
MANY = f"functions with more than {MANY_PARAMETERS} parameters, outside cli/"
TRAIN = "functions entered by train"
EVALUATE = "functions entered by evaluate"
DOCSTRINGS = "docstring lines"
COMMENTS = "comment lines"
OTHER = "other files"
LONG = f"functions longer than {LONG_FUNCTION} lines"

# By measure: the value before, and the most it may be (None: no target).
TARGETS: dict[str, tuple[int, int | None]] = {
    LINES: (31_541, 24_000),
    MODULES: (244, 140),
    PIPELINE: (12_212, 3_500),
    SMALL: (15, 6),
    MANY: (37, 12),
    TRAIN: (319, 212),  # two thirds
    EVALUATE: (549, 340),  # 62 %
    LONG: (54, None),
    DOCSTRINGS: (6_437, None),
    COMMENTS: (298, None),
    OTHER: (1, None),
}

# The names that checkouts use for an option, newest first.
STEPS = ("--max-steps", "--max-updates")
BENCHMARKS = ("--benchmarks", "--baselines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A file of the package: its dotted name, text and syntax tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """Lines of the file, blank ones too."""
        return len(self.text.splitlines())


def read_modules() -> list[Module]:
    """Read and parse every file of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text()
        found.append(Module(name=name, path=path, text=text, tree=ast.parse(text)))
    return found


def importers(modules: list[Module]) -> dict[str, set[str]]:
    """Return by module the modules that import it, inside functions and for typing too."""
    users: dict[str, set[str]] = {module.name: set() for module in modules}
    for module in modules:
        for node in ast.walk(module.tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                inside = (f"{node.module}.{alias.name}" for alias in node.names)
                names = [name if name in users else str(node.module) for name in inside]
            for name in {*names} & {*users} - {module.name}:
                users[name].add(module.name)
    return users


def functions(module: Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the named functions of a module, nested ones and methods too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(module.tree) if isinstance(node, kinds)]


def count_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of a function's parameters, `self` and `cls` excluded."""
    stated = function.args
    named = [*stated.posonlyargs, *stated.args, *stated.kwonlyargs]
    starred = [one for one in (stated.vararg, stated.kwarg) if one is not None]
    return len([one for one in named if one.arg not in ("self", "cls")]) + len(starred)


def count_docstring_lines(module: Module) -> int:
    """Return the lines that the docstrings of a module take."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines = 0
    for node in ast.walk(module.tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            lines += (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return lines


def count_comment_lines(module: Module) -> int:
    """Return the lines of a module with a comment, beside code or alone."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def measure_files(modules: list[Module]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Return the measures that need no run, and the items that some of them count."""
    users = importers(modules)
    small = [
        f"{module.path}: {module.lines} lines, imported by {next(iter(users[module.name]))}"
        for module in modules
        if len(users[module.name]) == 1
        and module.lines < SMALL_MODULE
        and module.path.name not in ("__init__.py", "__main__.py")
    ]
    many, long = [], []
    for module in modules:
        for function in functions(module):
            count, lines = count_parameters(function), function.end_lineno or 0
            lines += 1 - function.lineno
            if count > MANY_PARAMETERS and module.path.parts[1] != "cli":
                many.append(f"{module.path}: {function.name}, {count}")
            if lines > LONG_FUNCTION:
                long.append(f"{module.path}: {function.name}, {lines}")
    others = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".py"]
    others = [path for path in others if path.suffix != ".pyc"]
    pipeline = [module for module in modules if module.path.parts[1] == "pipeline"]
    measures = {
        LINES: sum(module.lines for module in modules),
        MODULES: len(modules),
        PIPELINE: sum(module.lines for module in pipeline),
        SMALL: len(small),
        MANY: len(many),
        LONG: len(long),
        DOCSTRINGS: sum(map(count_docstring_lines, modules)),
        COMMENTS: sum(map(count_comment_lines, modules)),
        OTHER: len(others),
    }
    return measures, {SMALL: small, MANY: many, LONG: long, OTHER: list(map(str, others))}


def run_cli(arguments: list[str]) -> None:
    """Run a command of the package in this process."""
    from forecaster.cli import main

    sys.argv = ["forecaster", *arguments]
    try:
        main()
    except SystemExit as ended:
        if ended.code not in (0, None):
            raise


def count_calls(arguments: list[str]) -> None:
    """Run a command and print, as its last line, the functions of the package it entered."""
    inside = f"{PACKAGE.resolve()}/"
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        run_cli(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    ours = {
        f"{code.co_filename.removeprefix(inside)}:{code.co_firstlineno} {code.co_qualname}"
        for code in entered
        if code.co_filename.startswith(inside)
        and code.co_filename.endswith(".py")
        and not code.co_name.startswith("<")
        and code.co_flags & CO_NEWLOCALS  # class bodies have none
    }
    print("\n" + json.dumps(sorted(ours)))


def run_here(*arguments: str) -> str:
    """Run this file in a process of its own; return what it prints."""
    line = [sys.executable, __file__, *arguments]
    environment = {"PYTHONPATH": str(Path.cwd()), "PATH": "", "OMP_NUM_THREADS": "1"}
    environment |= {"MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return done.stdout


def option(command: str, names: tuple[str, ...]) -> str:
    """Return the first of several option names that a command has."""
    known = re.findall(r"--[a-z][a-z-]*", run_here("--run", command, "--help"))
    return next(name for name in names if name in known)


def measure_calls() -> dict[str, list[str]]:
    """Return the functions that training and evaluating enter, `cli/` left out."""
    found = {}
    with tempfile.TemporaryDirectory() as home:
        run_here("--run", "fetch", "--source", "sample", "--home", home, "--quiet")
        common = ["--home", home, "--as-of", "2018-12-31", "--quiet", "--json"]
        steps, benchmarks = option("train", STEPS), option("evaluate", BENCHMARKS)
        for measure, words in (
            (TRAIN, ["train", "--target", "return", "--device", "cpu", steps, "2"]),
            (EVALUATE, ["evaluate", "--jobs", "1", benchmarks, "quick"]),
        ):
            printed = run_here("--count-calls", *words, *common)
            names = json.loads(printed.splitlines()[-1])
            found[measure] = [name for name in names if not name.startswith("cli/")]
    return found


def print_table(measures: dict[str, int], listed: dict[str, list[str]]) -> None:
    """Print the measures beside their targets, then the items counted."""
    print("| measure | before | at most | now | |\n|---|---|---|---|---|")
    for name, now in measures.items():
        before, target = TARGETS.get(name, (None, None))
        met = "" if target is None else "met" if now <= target else f"{now - target:,} over"
        cells = ["" if cell is None else f"{cell:,}" for cell in (before, target, now)]
        print(f"| {name} | {' | '.join(cells)} | {met} |")
    for name, parts in listed.items():
        print(f"\n{name}:\n")
        for part in parts:
            print(f"- {part}")


def main() -> None:
    """Print the table of the checkout that is the working directory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=["static"], help="leave out the functions entered")
    parser.add_argument("--calls", action="store_true", help="list the functions entered, too")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--count-calls", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run or options.count_calls:
        (run_cli if options.run else count_calls)(options.run or options.count_calls)
        return
    measures, listed = measure_files(read_modules())
    if options.only is None:
        entered = measure_calls()
        measures |= {name: len(names) for name, names in entered.items()}
        listed |= entered if options.calls else {}
    print_table(measures, listed)


if __name__ == "__main__":
    main()
