"""Which room may import which, and what `--help` may load."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import forecaster

PACKAGE = Path(forecaster.__file__).parent
ANYONE = {"errors", "clock", "database", "files"}
# The pairs of docs/architecture.md: a room, and the rooms that it may import.
ALLOWED = {
    "cli": {"pipeline", "settings"},
    "pipeline": {
        *("audit", "estimators", "report", "operations", "backtesting", "forecasting", "training"),
        *("registry", "data", "bptt", "models", "evaluation", "settings"),
    },
    "audit": {
        *("operations", "backtesting", "forecasting", "training", "registry", "data", "bptt"),
        *("models", "evaluation", "settings"),
    },
    "estimators": {
        *("backtesting", "forecasting", "training", "registry", "data", "bptt", "models"),
        *("evaluation", "settings"),
    },
    "report": {"operations", "backtesting", "forecasting", "registry", "bptt", "evaluation"},
    "operations": {
        *("forecasting", "training", "registry", "data", "bptt", "models", "evaluation"),
        "settings",
    },
    "backtesting": {
        *("forecasting", "training", "registry", "data", "bptt", "models", "evaluation"),
        "settings",
    },
    "forecasting": {"training", "registry", "data", "bptt", "models", "evaluation", "settings"},
    "training": {"bptt", "models"},
    "registry": {"evaluation"},
    "data": set(),
    "bptt": set(),
    "models": {"evaluation"},
    "evaluation": set(),
    "settings": set(),
    "errors": set(),
    "clock": set(),
    "database": set(),
    "files": set(),
}
# The table of sources is where a setting's values come from.
SINGLE = {"settings": {"data.sources"}}
KNOWS_NO_TORCH = ("data", "evaluation", "registry", "report", "cli", "settings")
# Classes and constants of a room below: a report is made from values, not by calling back.
VALUES_ONLY = "report"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_names(path: Path) -> set[str]:
    """Every dotted name imported anywhere in a file, inside functions and for typing too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(names: set[str]) -> set[str]:
    """Return those of our modules that are named, without the package's name."""
    found = set()
    for name in names:
        parts = name.split(".")
        while parts[0] == "forecaster" and len(parts) > 1:
            path = PACKAGE.joinpath(*parts[1:])
            if path.is_dir() or path.with_suffix(".py").exists():
                found.add(".".join(parts[1:]))
                break
            parts.pop()
    return found


def foreign_modules(path: Path) -> set[str]:
    """Return the modules of other rooms that a file imports and that not every room may."""
    own = {room_of(path), *ANYONE}
    return {name for name in modules(imported_names(path)) if name.split(".")[0] not in own}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_between_rooms_but_those_of_the_design(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    allowed = ALLOWED[room]
    single = SINGLE.get(room, set())
    wrong = {
        name
        for name in foreign_modules(path)
        if name.split(".")[0] not in allowed and name not in single
    }
    assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong}"


def test_the_rooms_are_those_of_the_list() -> None:
    found = {room_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert found == set(ALLOWED)


def reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    """Return the rooms that a chain of arrows leads to."""
    found, waiting = set(), list(arrows.get(start, ()))
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting += arrows.get(room, ())
    return found


def test_the_picture_of_the_rooms_shows_these_arrows() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    picture = page.split("```mermaid")[1].split("```")[0]
    drawn: dict[str, set[str]] = {}
    for start, stop in re.findall(r"^ *(\w+) --> (\w+)$", picture, re.M):
        drawn.setdefault(start, set()).add(stop)
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {*drawn, *(room for stops in drawn.values() for room in stops)} == rooms
    for room in rooms:
        assert drawn.get(room, set()) <= ALLOWED[room], room
        assert ALLOWED[room] & rooms <= reachable(drawn, room), room
    dashed = set(re.findall(r"^ *(\w+) -\.-> (\w+)$", picture, re.M))
    assert dashed == {
        (room, name.split(".")[0]) for room, names in SINGLE.items() for name in names
    }


def test_the_arrows_point_one_way() -> None:
    """No room can reach itself."""
    for room in ALLOWED:
        assert room not in reachable(ALLOWED, room)


def test_report_imports_classes_and_constants_only() -> None:
    for path in (PACKAGE / VALUES_ONLY).rglob("*.py"):
        for name in imported_names(path):
            room, _, thing = name.removeprefix("forecaster.").rpartition(".")
            if name.startswith("forecaster.") and room.split(".")[0] in ALLOWED[VALUES_ONLY]:
                assert thing[0].isupper(), f"{path.relative_to(PACKAGE)} imports {name}"


def test_the_arrow_test_would_see_a_forbidden_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(
        "def f():\n    from forecaster.pipeline.train import train\n    return train\n"
    )
    assert modules(imported_names(planted)) == {"pipeline.train"}
    assert "pipeline" not in ALLOWED["data"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_without_networks_import_no_torch(path: Path) -> None:
    if room_of(path) in KNOWS_NO_TORCH:
        assert not any(name.split(".")[0] == "torch" for name in imported_names(path))


def test_the_gradient_engine_could_be_a_package_of_its_own() -> None:
    for path in (PACKAGE / "bptt").rglob("*.py"):
        names = {name.split(".")[0] for name in imported_names(path)} - sys.stdlib_module_names
        assert names <= {"torch", "numpy", "forecaster"}, path
        assert {name.split(".")[0] for name in modules(imported_names(path))} <= {"bptt"}, path


def test_yfinance_is_imported_by_one_file_only() -> None:
    users = {
        path.name
        for path in SOURCES
        if any(name.split(".")[0] == "yfinance" for name in imported_names(path))
    }
    assert users == {"yahoo.py"}


def test_one_function_reads_the_clock() -> None:
    readers = ("datetime.now", "datetime.today", "date.today", "time.time(", "utcnow")
    users = {path.name for path in SOURCES if any(reader in path.read_text() for reader in readers)}
    assert users == {"clock.py"}


def test_nothing_unpickles() -> None:
    for path in SOURCES:
        names = {name.split(".")[0] for name in imported_names(path)}
        # joblib runs processes in one file; its own dump and load pickle.
        joblib = set() if path.name == "walk_forward.py" else {"joblib"}
        assert not names & {"pickle", "dill", "shelve", *joblib}, path
        for reader in ("torch.load", "joblib.load", "joblib import load", "allow_pickle=True"):
            assert reader not in path.read_text(), path


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """An import at the top of a command would make every `--help` wait for torch."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "forecaster", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    heavy = {"torch", "pandas", "numpy", "scipy", "yfinance", "sklearn", "arch", "plotly", "rich"}
    assert not loaded & {*heavy, "exchange_calendars", "safetensors"}
    # Options are made from the settings, and only of the command that is asked for.
    assert ("pydantic" in loaded) == (len(arguments) > 1)


# What the modules of `pipeline` may load before they have read their input; each costs a tenth of
# a second or more. `predict` and `retrain` load torch with a version.
HEAVY = {"pandas", "scipy", "torch", "plotly", "sklearn", "arch", "exchange_calendars", "yfinance"}
HEAVY |= {"scipy.stats", "scipy.signal", "scipy.optimize", "scoringrules", "torch._dynamo"}
_TABLES = (
    "status data data_import import_report own_values fetch schedule doctor models quarantine "
    "retrain"
)
MAY_LOAD = {
    **dict.fromkeys(("arguments", "lists"), ""),
    **dict.fromkeys(_TABLES.split(), "pandas"),
    "predict": "pandas scipy",
    **dict.fromkeys(("train", "tune", "audit"), "pandas scipy torch"),
    **dict.fromkeys(("evaluate", "memory"), "pandas scipy torch plotly"),
}


@pytest.mark.parametrize(
    "module",
    [pytest.param(n, marks=pytest.mark.slow) if "torch" in MAY_LOAD[n] else n for n in MAY_LOAD],
)
def test_commands_load_only_what_they_need(module: str) -> None:
    line = f"import sys, forecaster.pipeline.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert HEAVY & {*done.stdout.split()} <= {*MAY_LOAD[module].split()}


def test_the_list_has_every_command() -> None:
    modules = {path.stem for path in PACKAGE.glob("pipeline/[a-z]*.py")}
    assert modules == set(MAY_LOAD)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "retrain", "audit", "memory"])
def test_a_usage_error_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    """It would take seconds to learn of a day in the future."""
    arguments = [command, "--as-of", "2999-01-01", "--home", str(tmp_path)]
    line = f"import sys; from forecaster.cli import app\ntry: app({arguments})\n"
    line += "except SystemExit as end: print(end.code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    code, *loaded = done.stdout.split()
    assert code == "2", done.stderr
    assert not HEAVY & {*loaded}


def test_public_names_exist() -> None:
    for name in forecaster.__all__:
        assert getattr(forecaster, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'forecast'"):
        _ = forecaster.forecast
