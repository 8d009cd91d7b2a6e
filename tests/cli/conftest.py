"""A home with a few invented tickers and a trained version, made once for all command tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.synthetic import ragged_bars

LENGTHS = {"AAA": 700, "BBB": 500, "CCC": 620}
QUICK = ["--hidden", "8", "--max-steps", "30"]


@pytest.fixture(scope="session")
def prices_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("csv") / "prices.csv"
    ragged_bars(LENGTHS).to_csv(file, index=False)
    return file


@pytest.fixture(scope="session")
def pristine_home(
    tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Result], prices_csv: Path
) -> Path:
    """Three tickers and one version that forecasts return and range; only to be copied."""
    home = tmp_path_factory.mktemp("home")
    assert run("data", "import", prices_csv, "--home", home).exit_code == 0
    done = run("train", "--target", "return,range", *QUICK, "--home", home)
    assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def trained_home(pristine_home: Path) -> Iterator[Path]:
    """Lend the home to a test that only reads: one that leaves anything in it fails."""
    before = files_of(pristine_home)
    yield pristine_home
    left = files_of(pristine_home) ^ before
    assert not left, f"take `home`, a copy, where something is written: {sorted(left)}"


def files_of(home: Path) -> set[str]:
    """Return every file and folder below a home, with the size of each file.

    Not the files of SQLite beside its own, which readers create too.
    """
    return {
        f"{path.relative_to(home)} {path.stat().st_size if path.is_file() else ''}"
        for path in home.rglob("*")
        if not path.name.endswith(("-wal", "-shm"))
    }


@pytest.fixture
def home(pristine_home: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(pristine_home, tmp_path / "home"))
