"""The rules of the house, enforced: who may import whom, and what `--help` may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import forecaster

PACKAGE = Path(forecaster.__file__).parent
ROOMS = {"data", "models", "training", "evaluation", "report", "registry"}
ANYONE = {"errors", "clock", "database"}
ALLOWED = {
    "cli": {"pipeline", "settings"},
    "pipeline": {*ROOMS, "settings"},
    "training": {"models"},
    **{room: set() for room in ROOMS - {"training"}},
    "settings": set(),
    "errors": set(),
    "clock": set(),
    "database": set(),
}
KNOWS_NO_TORCH = ("data", "evaluation", "registry", "report", "cli")
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


def ours(names: set[str]) -> set[str]:
    inside = {name.split(".")[1] for name in names if name.startswith("forecaster.")}
    return {room for room in inside if room in ALLOWED or (PACKAGE / room).exists()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_between_rooms_but_those_of_the_design(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    foreign = ours(imported_names(path)) - {room} - ANYONE
    assert foreign <= ALLOWED[room], f"{path.relative_to(PACKAGE)} imports {foreign}"


def test_the_arrow_test_would_see_a_forbidden_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(
        "def f():\n    from forecaster.pipeline.train import train\n    return train\n"
    )
    assert ours(imported_names(planted)) == {"pipeline"}
    assert "pipeline" not in ALLOWED["data"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_without_networks_import_no_torch(path: Path) -> None:
    if room_of(path) in KNOWS_NO_TORCH:
        assert not any(name.split(".")[0] == "torch" for name in imported_names(path))


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


def test_nobody_unpickles() -> None:
    for path in SOURCES:
        names = {name.split(".")[0] for name in imported_names(path)}
        # joblib runs processes in one file; its own dump and load pickle.
        joblib = set() if path.name == "fan_out.py" else {"joblib"}
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
    # pydantic may be there: typer loads it to read a command's annotations.
    heavy = {"torch", "pandas", "numpy", "scipy", "yfinance", "sklearn", "arch", "statsmodels"}
    assert not loaded & {*heavy, "exchange_calendars", "safetensors", "pandera", "rich"}


def test_public_names_exist() -> None:
    for name in forecaster.__all__:
        assert getattr(forecaster, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'forecast'"):
        _ = forecaster.forecast
