"""`forecaster data quarantine`, and what other commands print of a quarantined ticker."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from forecaster.data.sessions import next_session
from tests.synthetic import ragged_bars

Run = Callable[..., Result]
PRICES = ["open", "high", "low", "close"]


def next_day(factor: float) -> pd.DataFrame:
    """The session after those in the home: BBB's prices times a factor, the others unchanged."""
    last = ragged_bars({"AAA": 700, "BBB": 500, "CCC": 620}).groupby("ticker").tail(1)
    day = pd.Timestamp(next_session("XNYS", last["session"].iloc[0].date()))
    bars = last.assign(session=day.as_unit("s"))
    bars.loc[bars["ticker"] == "BBB", PRICES] *= factor
    return bars


@pytest.fixture
def doubtful(run: Run, home: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A home in which BBB is quarantined for a jump of its newest bar, and the file with it."""
    file = tmp_path / "next.csv"
    next_day(0.55).to_csv(file, index=False)
    assert run("data", "import", file, "--home", home).exit_code == 3
    return home, file


def test_predict_explains_since_when_and_why_and_what_releases(
    run: Run, doubtful: tuple[Path, Path]
) -> None:
    """Others are forecast, with exit 3; alone it is 65; the command that is printed works."""
    home, file = doubtful
    day = f"{next_day(1.0)['session'].iloc[0]:%Y-%m-%d}"
    options = ("--no-record", "--as-of", day, "--home", home)
    both = run("predict", "--json", *options)
    assert both.exit_code == 3 and "no forecast for BBB" in both.stderr
    assert {row["ticker"] for row in json.loads(both.stdout)["forecasts"]} == {"AAA", "CCC"}
    alone = run("predict", "BBB", *options)
    assert alone.exit_code == 65 and len(alone.stderr.splitlines()) == 1
    assert "in quarantine since 20" in alone.stderr and f"{day} fresh-jump: close" in alone.stderr
    typed = alone.stderr.split("If it is right: forecaster ")[1].split(";")[0]
    assert run(*shlex.split(typed), "--home", home).exit_code == 0
    assert run("data", "import", file, "--home", home).exit_code == 0
    assert run("predict", "BBB", *options).exit_code == 0


def test_status_lists_what_is_quarantined_with_the_reason(
    run: Run, doubtful: tuple[Path, Path]
) -> None:
    home, _ = doubtful
    assert "prices  BBB: in quarantine since 20" in run("status", "--home", home).stdout
    (held,) = json.loads(run("status", "--json", "--home", home).stdout)["quarantined"]
    assert (held["ticker"], held["rule"]) == ("BBB", "fresh-jump")
    assert "quarantine release BBB" in held["remedy"]


def test_a_held_bar_is_shown_between_its_neighbours_and_decided_as_printed(
    run: Run, doubtful: tuple[Path, Path]
) -> None:
    home, _ = doubtful
    lines = run("data", "quarantine", "show", "bbb", "--home", home).stdout.splitlines()
    assert lines[0].startswith("fresh-jump  ") and ", held since 20" in lines[0]
    assert [line.split()[-1] for line in lines[2:8]] == ["stored"] * 5 + ["served"]
    shown = json.loads(run("data", "quarantine", "show", "BBB", "--json", "--home", home).stdout)
    assert len(shown["entries"][0]["bars"]) == 6
    _, release, drop = lines[8].split()[0], lines[8], lines[9]
    assert run(*shlex.split(release)[1:], "--home", home).exit_code == 0
    assert run(*shlex.split(drop)[1:], "--home", home).exit_code == 0


def test_decisions_are_made_by_rule_and_for_several_tickers(
    run: Run, doubtful: tuple[Path, Path]
) -> None:
    home, _ = doubtful
    listed = run("data", "quarantine", "list", "--rule", "spike", "--home", home).stdout
    assert len(listed.splitlines()) == 1
    done = run("data", "quarantine", "release", "--rule", "fresh-jump", "--home", home)
    assert done.stdout.splitlines() == [
        "released  1 findings of rule fresh-jump",
        f"next    forecaster fetch --home {home}",
    ]
    for words, code in (
        (["release"], 2),
        (["release", "BBB", "2024-02-30"], 2),
        (["release", "--rule", "fresh-jump"], 66),
        (["drop", "AAA", "BBB"], 2),
        (["show", "AAA"], 66),
    ):
        assert run("data", "quarantine", *words, "--home", home).exit_code == code, words
