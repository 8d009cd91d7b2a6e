"""`forecaster evaluate` writes a page of its results, and prints its path."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from tests.report.drawn import cells, decoded, figures

Run = Callable[..., Result]
QUICKLY = ["evaluate", "--benchmarks", "quick", "--no-same-inputs"]


@pytest.fixture(scope="module")
def done(run: Run, pristine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A page, the JSON and the forecasts of the same evaluation."""
    folder = tmp_path_factory.mktemp("page")
    page, table = folder / "page.html", folder / "forecasts.csv"
    home = shutil.copytree(pristine_home, folder / "home")
    result = run(*QUICKLY, "--report", page, "--forecasts", table, "--json", "--home", home)
    assert result.exit_code == 0, result.output
    return {"page": page.read_text(), "json": json.loads(result.stdout), "stderr": result.stderr}


def test_the_page_opens_with_the_conclusions_and_shows_both_targets(done: dict) -> None:
    page, content = done["page"], done["json"]
    body = page[page.index("<body>") :]
    first = content["conclusions"]["return"][0]
    assert first.replace("'", "&#39;") in body
    assert body.index(first[:30]) < body.index("The next day&#39;s return</h2>")
    assert "The next day&#39;s range</h2>" in body
    for heading in ("Comparisons", "By ticker", "Coverage by year", "Backtest"):
        assert f"<h3>{heading}</h3>" in body


def test_json_carries_what_the_page_draws(done: dict) -> None:
    """The same numbers, day for day."""
    drawn, curves = figures(done["page"]), done["json"]["curves"]["return"]
    gains, first = curves["gains"], drawn["Cumulative error reduction"][0]
    of_first = [benchmark == gains["benchmark"][0] for benchmark in gains["benchmark"]]
    result = [gain for gain, mine in zip(gains["gain"], of_first, strict=True) if mine]
    assert decoded(first["y"]).tolist() == pytest.approx(result, rel=1e-3)
    losses = done["json"]["learning"]["validation"]
    assert drawn["Training and validation loss"][0]["x"] == [step for step, _ in losses]
    assert len(done["json"]["learning"]["training"]) == len(losses)
    rows = dict(cells(done["page"], "Data and settings")[1:])
    assert rows == {name: value for name, value in done["json"]["settings"].items()}
    assert rows["network"] == "lstm, 8 hidden, 1 layer" and rows["tickers"] == "3: AAA, BBB, CCC"


def test_the_page_shows_the_scores_of_the_json(done: dict) -> None:
    card = cells(done["page"], "Scores")
    values = {
        row["forecaster"]: row["value"]
        for row in done["json"]["scores"]
        if (row["target"], row["metric"]) == ("return", "skill")
    }
    shown = {row[0]: row[card[0].index("skill")] for row in card[1:]}
    assert shown == {name: f"{100 * value:+.2f} %" for name, value in values.items()}


def test_the_distribution_is_compared_with_others(done: dict) -> None:
    """From the column of log scores in the table of forecasts."""
    head = done["json"]["settings"]["targets"]
    names = [trace["name"] for trace in figures(done["page"])["Cumulative gain in log score"]]
    assert "student-t" in head and "EWMA-t" in names


def test_the_last_line_on_stderr_is_the_path_of_the_page(run: Run, home: Path) -> None:
    """In reports/ of the home, by version and target, unless given another path."""
    result = run(*QUICKLY, "--target", "range", "--home", home)
    (file,) = (home / "reports").glob("*.html")
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"report  {file}  ") and last.endswith("MB with its library and data")
    version = result.stdout.splitlines()[0].split()[1]
    assert file.name == f"{version}-range.html"
    again = run(*QUICKLY, "--target", "range", "--quiet", "--home", home)
    assert again.stderr == "" and [*(home / "reports").glob("*.html")] == [file]
    other = run(*QUICKLY, "--target", "range", "--seeds", 2, "--home", home)
    assert other.exit_code == 0
    assert {page.name for page in (home / "reports").glob("*.html")} == {
        f"{version}-range.html",
        f"{version}-range-seeds-2.html",
    }


def test_no_report_writes_no_page(run: Run, home: Path) -> None:
    result = run(*QUICKLY, "--target", "range", "--no-report", "--json", "--home", home)
    assert result.exit_code == 0 and json.loads(result.stdout)["report"] is None
    assert not (home / "reports").exists() and "report" not in result.stderr


def counted(home: Path) -> int:
    """Number of test-set evaluations in the registry."""
    with closing(sqlite3.connect(home / "models" / "registry.db")) as registry:
        (total,) = registry.execute(
            "SELECT coalesce(sum(evaluations), 0) FROM test_set_evaluations"
        ).fetchone()
    return int(total)


def test_a_page_that_cannot_be_written_is_refused_before_any_work(run: Run, home: Path) -> None:
    result = run(*QUICKLY, "--report", home / "nowhere" / "x.html", "--home", home)
    assert result.exit_code == 73 and "nowhere is no folder" in result.stderr
    result = run(*QUICKLY, "--forecasts", home / "nowhere" / "f.csv", "--home", home)
    assert result.exit_code == 73 and "nowhere is no folder" in result.stderr
    both = run(*QUICKLY, "--report", "x.html", "--no-report", "--home", home)
    assert both.exit_code == 2 and "give one of them" in both.stderr
    assert not both.stdout and counted(home) == 0
    assert run(*QUICKLY, "--target", "range", "--no-report", "--home", home).exit_code == 0
    assert counted(home) == 1


@pytest.mark.slow
def test_a_home_without_room_for_a_page_still_gets_its_result(run: Run, home: Path) -> None:
    """The page was not asked for by name: its failure is a warning."""
    (home / "reports").write_text("a file where the folder should be")
    result = run(*QUICKLY, "--target", "range", "--home", home)
    assert result.exit_code == 0 and "conclusion" in result.stdout
    assert "no page" in result.stderr and f"{home / 'reports'}" in result.stderr
