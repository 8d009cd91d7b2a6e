"""`forecaster memory` in the terminal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.conftest import QUICK
from tests.synthetic import ragged_bars

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def short_home(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """One short history and a version of it; not to be written to."""
    home = tmp_path_factory.mktemp("home")
    ragged_bars({"AAA": 330}).to_csv(home / "prices.csv", index=False)
    assert run("data", "import", home / "prices.csv", "--home", home).exit_code == 0
    done = run("train", "--target", "return,range", *QUICK, "--home", home)
    assert done.exit_code == 0, done.output
    return home


def test_memory_prints_horizon_bias_and_one_sentence_of_advice(run: Run, short_home: Path) -> None:
    done = run("memory", "--lags", 8, "--home", short_home)
    assert done.exit_code == 0, done.output
    labels = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    for label in ("version", "data", "bptt", "memory", "decay", "growth", "cold", "bias", "noise"):
        assert label in labels
    assert "trading days back" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("advice  ")


def test_memory_json_is_one_object(run: Run, short_home: Path) -> None:
    done = run("memory", "--lags", 60, "--bptt-tolerance", 0.2, "--home", short_home, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["schema"] == "forecaster.memory/2"
    assert content["lags"] == 60 and len(content["gradient_by_lag"]) == 61
    parts = content["contributions"]
    assert all(len(norms) == 61 for norms in parts.values())
    assert parts["head.linear.weight"][0] > parts["head.linear.weight"][1] == 0.0
    assert [row["horizon"] for row in content["bias"]] == [1, 2, 5, 10, 21, 42]
    assert content["advised"]["k2"] == 2 * content["advised"]["k1"]
    assert content["advised"]["bias"] <= 0.2
    assert content["own"]["k2"] == 21
    assert content["largest_stretch"]["max"] >= content["largest_stretch"]["mean"] > 0.0
    assert len(content["cold_start"]["cold"]) == len(content["cold_start"]["warm"]) == 63
    (losses,) = content["validations"].values()
    assert losses[0][0] == 30 and losses[0][1] > 0.0
    assert set(content["effective_memory"]) == {"0.5", "0.1", "0.01"}


@pytest.mark.slow
def test_memory_draws_a_page(run: Run, short_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "memory.html"
    done = run("memory", "--lags", 8, "--html", file, "--home", short_home)
    assert done.stdout.splitlines()[-1] == f"saved   {file}"
    assert "</html>" in file.read_text()[-20:]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--bptt-tolerance", 2], 2, "--bptt-tolerance 2"),
        (["--lags", 0], 2, "--lags 0"),
        (["nothing-like-it"], 66, "nothing-like-it"),
    ],
)
def test_memory_refuses_in_one_line(
    run: Run, short_home: Path, options: list[object], code: int, words: str
) -> None:
    done = run("memory", *options, "--home", short_home)
    assert done.exit_code == code
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_page_that_cannot_be_written_is_reported_before_any_work(
    run: Run, short_home: Path
) -> None:
    file = short_home / "nowhere" / "memory.html"
    done = run("memory", "no-such-version", "--html", file, "--home", short_home)
    assert done.exit_code == 73 and "nowhere is no folder" in done.stderr


def test_auto_with_windows_is_refused_in_one_line(run: Run, trained_home: Path) -> None:
    done = run("train", "--bptt-k2", "auto", "--lookback", 60, "--home", trained_home)
    assert done.exit_code == 2
    assert "auto measures memory over whole histories. Use a number of days" in done.stderr
