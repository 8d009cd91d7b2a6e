"""`forecaster audit` as its user sees it: leaks planted into the product are found and reported."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.leaks import LEAKS, own_target_of_tomorrow
from tests.synthetic import ragged_bars

Run = Callable[..., Result]
LENGTHS = {"AAA": 170, "BBB": 125}
FEW = ("--dates", 3, "--max-steps", 8)
# One leak of each kind: a bar, a scale, a choice, a network, a fold; an input is JSON's, below.
QUICKLY_FOUND = {
    "today's unfinished bar stored",
    "early stopping on test days",
    "state from the future",
}


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Two short tickers and a small version; not to be written to."""
    home = tmp_path_factory.mktemp("home")
    ragged_bars(LENGTHS).to_csv(home / "prices.csv", index=False)
    assert run("data", "import", home / "prices.csv", "--home", home).exit_code == 0
    options = ("--target", "return,range", "--hidden", 3, "--max-steps", 8)
    done = run("train", *options, "--home", home)
    assert done.exit_code == 0, done.output
    return home


@pytest.mark.parametrize(
    "name",
    [n if n in QUICKLY_FOUND else pytest.param(n, marks=pytest.mark.slow) for n in LEAKS],
)
def test_a_planted_leak_is_found_in_its_stage(
    name: str, run: Run, small_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, plant = LEAKS[name]
    plant(monkeypatch)
    done = run("audit", *FEW, "--home", small_home)
    assert done.exit_code == 5, done.output
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"forecaster: The future leaks into {stage}: "), said
    assert "with every bar after 20" in said


@pytest.mark.parametrize("name", LEAKS)
def test_what_a_leak_changes_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of another name would let a leak of the slow tests go unplanted."""
    _, plant = LEAKS[name]
    plant(monkeypatch)


def test_without_a_leak_every_stage_is_identical(run: Run, small_home: Path) -> None:
    done = run("audit", *FEW, "--home", small_home)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("identical") == 15
    assert "values compared" in done.stdout and "result   no look-ahead" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next    forecaster evaluate ")


@pytest.mark.slow
def test_json_has_the_leak_and_the_number_of_values_compared(
    run: Run, small_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plant = LEAKS["centred mean"]
    plant(monkeypatch)
    done = run("audit", *FEW, "--home", small_home, "--json")
    assert done.exit_code == 5
    content = json.loads(done.stdout)
    assert content["schema"] == "forecaster.audit/2"
    assert content["stages"][0] == {
        **{"stage": "bars", "dates": 3, "values": content["stages"][0]["values"]},
        "result": "identical",
    }
    assert content["values"] == sum(row["values"] for row in content["stages"])
    leak = content["leaks"][0]
    assert leak["stage"] == "features" and leak["column"] == "range_deviation"
    assert leak["day"] <= leak["cut"] and leak["before"] != leak["after"]
    assert leak["ticker"] in LENGTHS and leak["kind"] in ("cut", "blanked", "corrupted")


@pytest.mark.slow
def test_without_a_version_the_default_settings_are_audited(
    run: Run, tmp_path: Path, small_home: Path
) -> None:
    assert run("data", "import", small_home / "prices.csv", "--home", tmp_path).exit_code == 0
    done = run("audit", *FEW, "--home", tmp_path)
    assert done.exit_code == 0, done.output
    assert "none yet: the default settings" in done.stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--dates", 2], 2, "--dates 2: give at least 3"),
        (["--tickers", 0], 2, "--tickers 0: give at least 1"),
        (["nothing-like-it"], 66, "nothing-like-it"),
        (["--as-of", "2010-05-03"], 66, "--as-of 2010-05-03"),
    ],
)
def test_audit_refuses_in_one_line(
    run: Run, small_home: Path, options: list[object], code: int, words: str
) -> None:
    done = run("audit", *options, "--home", small_home)
    assert done.exit_code == code
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_rows_of_an_own_column_that_are_shifted_by_a_day_are_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = ragged_bars(LENGTHS)
    bars.assign(rv5=(bars["high"] / bars["low"] - 1.0) ** 2).to_csv(tmp_path / "p.csv", index=False)
    home = ("--home", tmp_path)
    assert run("data", "import", tmp_path / "p.csv", "--keep", "rv5", *home).exit_code == 0
    options = ("--target", "return", "--target-column", "rv5", "--hidden", 3, "--max-steps", 8)
    assert run("train", *options, *home).exit_code == 0
    done = run("audit", *FEW, *home)
    assert done.exit_code == 0, done.output
    own_target_of_tomorrow(monkeypatch)
    done = run("audit", *FEW, *home, "--json")
    assert done.exit_code == 5, done.output
    leaks = json.loads(done.stdout)["leaks"]
    assert leaks[0]["stage"] == "features" and "rv5" in leaks[0]["column"]
