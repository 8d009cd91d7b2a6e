"""`forecaster evaluate` leaves a page of what it found, and tells where."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.report.drawn import cells, decoded, figures

Run = Callable[..., Result]
QUICKLY = ["evaluate", "--baselines", "quick", "--no-twins"]


@pytest.fixture(scope="module")
def done(run: Run, pristine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A page, the JSON and the forecasts of the same evaluation."""
    folder = tmp_path_factory.mktemp("page")
    page, table = folder / "page.html", folder / "forecasts.csv"
    home = shutil.copytree(pristine_home, folder / "home")
    told = run(*QUICKLY, "--report", page, "--forecasts", table, "--json", "--home", home)
    assert told.exit_code == 0, told.output
    return {"page": page.read_text(), "json": json.loads(told.stdout), "stderr": told.stderr}


def test_the_page_opens_with_the_verdicts_and_shows_both_targets(done: dict) -> None:
    page, content = done["page"], done["json"]
    body = page[page.index("<body>") :]
    first = content["verdicts"]["return"][0]
    assert first.replace("'", "&#39;") in body
    assert body.index(first[:30]) < body.index("<h2>The next day&#39;s return")
    assert "<h2>The next day&#39;s range" in body
    for heading in ("Comparisons", "Ticker by ticker", "Coverage by year", "If one had traded it"):
        assert f"<h3>{heading}</h3>" in body


def test_json_carries_what_the_page_draws(done: dict) -> None:
    """The same numbers, day for day."""
    drawn, curves = figures(done["page"]), done["json"]["curves"]["return"]
    gains, first = curves["gains"], drawn["Gain over time"][0]
    of_first = [benchmark == first["name"] for benchmark in gains["rival"]]
    told = [gain for gain, mine in zip(gains["gain"], of_first, strict=True) if mine]
    assert decoded(first["y"]).tolist() == pytest.approx(told)
    assert drawn["Learning curve"][0]["x"] == [u for u, _ in done["json"]["learning"]["seed 0"]]
    rows = dict(cells(done["page"], "Data and settings")[1:])
    assert rows == {name: value for name, value in done["json"]["settings"].items()}
    assert rows["network"] == "lstm, 8 hidden, 1 layer" and rows["tickers"] == "3: AAA, BBB, CCC"


def test_the_scorecard_shows_the_scores_of_the_json(done: dict) -> None:
    card = cells(done["page"], "The next day&#39;s return")
    values = {
        row["forecaster"]: row["value"]
        for row in done["json"]["scores"]
        if (row["target"], row["metric"]) == ("return", "skill")
    }
    shown = {row[0]: row[card[0].index("skill")] for row in card[1:]}
    assert shown == {name: f"{value:+.2%}" for name, value in values.items()}


def test_the_distribution_is_drawn_against_others(done: dict) -> None:
    """From the column of log scores in the table of forecasts."""
    head = done["json"]["settings"]["targets"]
    names = [trace["name"] for trace in figures(done["page"])["Gain of the distribution over time"]]
    assert "student-t" in head and "ewma-t" in names


def test_the_last_line_on_stderr_names_the_page(run: Run, home: Path) -> None:
    """In reports/ of the home, by version and target, unless it is told otherwise."""
    told = run(*QUICKLY, "--target", "range", "--home", home)
    (file,) = (home / "reports").iterdir()
    assert told.stderr.splitlines()[-1] == f"report  {file}"
    version = told.stdout.splitlines()[0].split()[1]
    assert file.name == f"{version}-range.html"
    again = run(*QUICKLY, "--target", "range", "--quiet", "--home", home)
    assert again.stderr == "" and [*(home / "reports").iterdir()] == [file]
    other = run(*QUICKLY, "--target", "range", "--seeds", 2, "--home", home)
    assert other.exit_code == 0
    assert {page.name for page in (home / "reports").iterdir()} == {
        f"{version}-range.html",
        f"{version}-range-seeds-2.html",
    }


def test_no_report_writes_no_page(run: Run, home: Path) -> None:
    told = run(*QUICKLY, "--target", "range", "--no-report", "--json", "--home", home)
    assert told.exit_code == 0 and json.loads(told.stdout)["report"] is None
    assert not (home / "reports").exists() and "report" not in told.stderr


def test_a_page_that_cannot_be_written_is_refused_before_any_work(run: Run, home: Path) -> None:
    looks = home / "models" / "looks.json"
    told = run(*QUICKLY, "--report", home / "nowhere" / "x.html", "--home", home)
    assert told.exit_code == 73 and "nowhere is no folder" in told.stderr
    told = run(*QUICKLY, "--forecasts", home / "nowhere" / "f.csv", "--home", home)
    assert told.exit_code == 73 and "nowhere is no folder" in told.stderr
    both = run(*QUICKLY, "--report", "x.html", "--no-report", "--home", home)
    assert both.exit_code == 2 and "give one of them" in both.stderr
    assert not looks.exists() and not both.stdout


@pytest.mark.slow
def test_a_home_without_room_for_a_page_still_gets_its_result(run: Run, home: Path) -> None:
    """Nobody named the page: its failure is told, and is none of the evaluation."""
    (home / "reports").write_text("a file where the folder should be")
    told = run(*QUICKLY, "--target", "range", "--home", home)
    assert told.exit_code == 0 and "verdict" in told.stdout
    assert "no page" in told.stderr and f"{home / 'reports'}" in told.stderr
