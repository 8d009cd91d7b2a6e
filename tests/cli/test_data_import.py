"""`forecaster data import` as it is typed: folders, questions, dry runs, and how to undo one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from forecaster.cli import app, data_import
from tests.data.test_basis import adjusted, paying
from tests.synthetic import bars_of

Run = Callable[..., Result]
ROWS = ["ticker", "rows_changed", "days"]


def folder_of(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    """Write one file per ticker, without a column of tickers."""
    folder.mkdir()
    for name, table in tables.items():
        table.drop(columns="ticker", errors="ignore").to_csv(folder / name, index=False)
    return folder


def home_of(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir()
    return home


def result_of(done: Result) -> list[list[object]]:
    return [[row[name] for name in ROWS] for row in json.loads(done.stdout)["tickers"]]


def from_yahoo(seed: int = 0) -> pd.DataFrame:
    """What `yfinance.Ticker.history()` writes: adjusted closes and their dividends."""
    one = adjusted(paying(seed)).bars
    prices = {name: one["close"] for name in ("Open", "High", "Low", "Close")}
    day = one["session"].dt.strftime("%Y-%m-%d 00:00:00-05:00")
    return pd.DataFrame(
        {"Date": day, **prices, "Volume": 1000, "Dividends": one["dividend"], "Stock Splits": 0.0}
    )


def plain(seed: int = 0) -> pd.DataFrame:
    """The same closes and dividends from a source that does not say what they are."""
    return from_yahoo(seed).assign(Date=lambda table: table["Date"].str[:10])


def test_a_folder_lands_ticker_by_ticker_in_one_round(run: Run, tmp_path: Path) -> None:
    """One bad bar, one bad file, one ticker twice; the other tickers are stored."""
    home = home_of(tmp_path)
    spiked = bars_of("CCC", 60)
    spiked.loc[30, ["open", "high", "low", "close"]] *= 5.0
    tables = {
        "AAA.csv": bars_of("AAA", 60),
        "bbb_daily.csv": bars_of("BBB", 60),
        "CCC.csv": spiked,
        "notes.csv": pd.DataFrame({"a": [1], "b": [2]}),
        "TWICE.csv": bars_of("TWICE", 60),
        "twice_1d.csv": bars_of("TWICE", 60),
    }
    folder = folder_of(tmp_path / "prices", tables)
    done = run("data", "import", folder, "--home", home, "--json")
    assert done.exit_code == 3
    found = {row[0]: row[2] for row in result_of(done)}
    assert found == {"AAA": 60, "BBB": 60, str(folder / "notes.csv"): 0, "CCC": 0, "TWICE": 0}
    assert "3 of 5 tickers failed" in done.stderr
    for words in ("notes.csv: no column for", "CCC: quarantined", "TWICE: in more than one"):
        assert done.stderr.count(words) == 1
    again = run("data", "import", folder, "--home", home)
    assert again.exit_code == 3 and "AAA" in again.stdout


def test_equal_notices_of_many_tickers_are_one_line(run: Run, tmp_path: Path) -> None:
    """Also where numbers differ, or the ticker is in the text again."""
    tables = {}
    for number, name in enumerate("AAA BBB CCC DDD EEE FFF GGG".split()):
        table = bars_of(name, 60).drop(columns="volume")
        table.loc[30 + number, ["open", "high", "low", "close"]] *= 5.0
        tables[f"{name}.csv"] = table
    folder = folder_of(tmp_path / "prices", tables)
    done = run("data", "import", folder, "--home", home_of(tmp_path))
    lines = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(lines) == 2
    assert "AAA.csv" in lines[0] and "and 2 more: no volume column" in lines[0]
    assert lines[1].startswith("WARNING AAA, BBB, CCC, DDD, EEE and 2 more: such as quarantined")


def test_rows_that_cannot_be_bars_are_counted_by_rule(run: Run, tmp_path: Path) -> None:
    home, table = home_of(tmp_path), pd.concat([bars_of("AAA", 200), bars_of("BBB", 200)])
    table["high"] = np.where(table.index == 100, table["low"] / 2, table["high"])
    table.to_csv(tmp_path / "prices.csv", index=False)
    done = run("data", "import", tmp_path / "prices.csv", "--home", home, "--json")
    assert done.exit_code == 3 and "rows left out: 2 impossible-bar" in done.stderr
    assert [row[2] for row in result_of(done)] == [199, 199]
    (left,) = json.loads(done.stdout)["left_out"]
    assert (left["rule"], left["rows"], left["tickers"]) == ("impossible-bar", 2, 2)
    assert left["first"].startswith("AAA: 2010-05-27: line 102: ")
    for ticker in ("AAA", "BBB"):
        run("data", "quarantine", "drop", ticker, "2010-05-27", "--home", home)
    assert run("data", "import", tmp_path / "prices.csv", "--home", home).exit_code == 0


def test_an_open_question_is_exit_2_with_the_option_to_type(run: Run, tmp_path: Path) -> None:
    home, folder = home_of(tmp_path), folder_of(tmp_path / "prices", {"AAPL.csv": plain()})
    asked = run("data", "import", folder, "--home", home)
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert "AAPL: the closes do not fall on 40 ex-dates" in asked.stderr
    assert "add --basis total-return" in asked.stderr
    done = run("data", "import", folder, "--home", home, "--basis", "total-return")
    assert done.exit_code == 0


def test_a_question_names_how_many_others_are_stored(run: Run, tmp_path: Path) -> None:
    split = bars_of("SPLIT", 60).assign(split=1.0)
    split.loc[30:, ["open", "high", "low", "close"]] /= 4.0
    split.loc[30, "split"] = 4.0
    folder = folder_of(tmp_path / "prices", {"AAPL.csv": plain(), "SPLIT.csv": split})
    done = run("data", "import", folder, "--home", home_of(tmp_path))
    assert done.exit_code == 2 and "1 other tickers are stored" in done.stderr
    assert "SPLIT" in done.stdout


def test_the_file_that_yfinance_writes_is_read_right(run: Run, tmp_path: Path) -> None:
    home, folder = home_of(tmp_path), folder_of(tmp_path / "prices", {"AAPL.csv": from_yahoo()})
    done = run("data", "import", folder, "--home", home)
    assert done.exit_code == 0 and "AAPL: its columns are those of yfinance's" in done.stderr
    assert "basis       total-return" in run("data", "show", "AAPL", "--home", home).stdout
    again = run("data", "import", folder, "--home", home)
    assert (again.exit_code, again.stderr) == (0, "")  # it is said once


def test_what_was_answered_is_not_asked_again(run: Run, tmp_path: Path) -> None:
    """By ticker, shown with it; an answer that does not fit another file is left aside."""
    home, table = home_of(tmp_path), bars_of("ACME", 12)
    odd = table.assign(session=[f"{day}/3/2010" for day in range(1, 13)])
    odd = odd.rename(columns={"close": "Fin", "session": "date"})
    folder = folder_of(tmp_path / "prices", {"ACME.csv": odd})
    answers = ["--dates", "dmy", "--map", "close=Fin", "--calendar", "24/7"]
    assert run("data", "import", folder, *answers, "--home", home).exit_code == 0
    again = run("data", "import", folder, "--home", home)
    assert (again.exit_code, again.stderr) == (0, "")
    shown = run("data", "show", "ACME", "--home", home).stdout
    assert "answers     --calendar 24/7 --dates dmy --map close=Fin" in shown
    table.assign(session=pd.date_range("2010-03-01", periods=12)).to_csv(
        folder / "ACME.csv", index=False
    )
    other = run("data", "import", folder, "--home", home)
    assert other.exit_code == 0 and "earlier answers (--calendar 24/7" in other.stderr


def test_an_answer_that_a_stored_ticker_refuses_is_not_kept_for_it(
    run: Run, tmp_path: Path
) -> None:
    home, folder = home_of(tmp_path), folder_of(tmp_path / "one", {"AAA.csv": bars_of("AAA", 60)})
    words = ["data", "import", folder, "--home", home]
    assert run(*words).exit_code == 0
    bars_of("BBB", 60).drop(columns="ticker").to_csv(folder / "BBB.csv", index=False)
    mixed = run(*words, "--basis", "split-adjusted")
    assert mixed.exit_code == 3 and "AAA: is stored from files, as-traded" in mixed.stderr
    assert run(*words).exit_code == 0
    shown = run("data", "show", "BBB", "--home", home).stdout
    assert "answers     --basis split-adjusted" in shown


def test_answers_about_a_long_table_are_found_by_its_first_ticker(run: Run, tmp_path: Path) -> None:
    home, table = home_of(tmp_path), pd.concat([bars_of("AAA", 12), bars_of("BBB", 12)])
    days = [f"{day}/3/2010" for day in range(1, 13)]
    table.assign(session=days * 2).to_csv(tmp_path / "prices.csv", index=False)
    words = ["data", "import", tmp_path / "prices.csv", "--home", home]
    assert run(*words).exit_code == 2
    assert run(*words, "--dates", "dmy", "--calendar", "24/7").exit_code == 0
    again = run(*words)
    assert (again.exit_code, again.stderr) == (0, "")


def test_a_dry_run_shows_how_a_file_is_read_and_stores_nothing(run: Run, tmp_path: Path) -> None:
    home, folder = home_of(tmp_path), folder_of(tmp_path / "prices", {"AAPL.csv": from_yahoo()})
    for words in ([], ["--json"]):
        done = run("data", "import", folder, "--dry-run", "--home", home, *words)
        assert done.exit_code == 0
        assert list(home.iterdir()) == []
    (shown,) = json.loads(done.stdout)["previews"]
    assert len(shown.pop("bars")) == 5
    assert shown["columns"]["dividend"] == "Dividends"
    names = ("ticker", "basis", "decimal", "interval", "calendar")
    assert [shown[name] for name in names] == ["AAPL", "total-return", "point", "daily", "XNYS"]
    run("data", "import", folder, "--home", home)
    stored = run("data", "list", "--json", "--home", home).stdout
    dearer = from_yahoo()
    dearer[["Open", "High", "Low", "Close"]] *= 1.5
    longer = folder_of(tmp_path / "more", {"AAPL.csv": dearer, "NEW.csv": bars_of("N", 30)})
    dry = run("data", "import", longer, "--dry-run", "--home", home)
    assert "nothing was stored" in dry.stdout and " days differ (first" in dry.stderr
    assert run("data", "list", "--json", "--home", home).stdout == stored


def test_standard_input_is_a_file(tmp_path: Path) -> None:
    home, table = home_of(tmp_path), bars_of("AAA", 30)
    words = ["data", "import", "-", "--home", str(home)]
    done = CliRunner().invoke(app, words, input=table.to_csv(index=False))
    assert done.exit_code == 0 and "AAA" in done.stdout
    unnamed = table.drop(columns="ticker").to_csv(index=False)
    refused = CliRunner().invoke(app, words, input=unnamed)
    assert refused.exit_code == 2 and "Add --ticker" in refused.output


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers that a person types, in order; none left is Ctrl-D."""
    typed: list[str] = []

    def prompt(*_: object, **__: object) -> str:
        if not typed:
            raise typer.Abort
        return typed.pop(0)

    monkeypatch.setattr(data_import, "_can_ask", lambda json: not json)
    monkeypatch.setattr(typer, "prompt", prompt)
    return typed


def test_at_a_terminal_a_question_is_asked(run: Run, tmp_path: Path, terminal: list[str]) -> None:
    """Until the answer is one of the choices; then it is stored like an option."""
    home, folder = home_of(tmp_path), folder_of(tmp_path / "prices", {"AAPL.csv": plain()})
    terminal += ["yes", " total-return "]
    assert run("data", "import", folder, "--home", home).exit_code == 0
    assert "answers     --basis total-return" in run("data", "show", "AAPL", "--home", home).stdout


def test_whoever_does_not_answer_gets_the_error(
    run: Run, tmp_path: Path, terminal: list[str]
) -> None:
    folder = folder_of(tmp_path / "prices", {"AAPL.csv": plain()})
    done = run("data", "import", folder, "--home", home_of(tmp_path))
    assert done.exit_code == 2 and "forecaster: AAPL: the closes do not fall" in done.stderr


def test_off_a_terminal_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin, stderr in ((False, True), (True, False)):
        monkeypatch.setattr(sys.stdin, "isatty", lambda answer=stdin: answer, raising=False)
        monkeypatch.setattr(sys.stderr, "isatty", lambda answer=stderr: answer, raising=False)
        assert not data_import._can_ask(json=False)


def test_an_import_is_undone_by_removing_and_importing_what_was_exported(
    run: Run, tmp_path: Path
) -> None:
    home, before = home_of(tmp_path), tmp_path / "before.csv"
    table = bars_of("AAA", 70)
    folder = folder_of(tmp_path / "one", {"AAA.csv": table.head(60)})
    run("data", "import", folder, "--home", home)
    run("data", "export", before, "--home", home)
    fingerprint = ["data", "show", "AAA", "--fingerprint", "--json", "--home", home]
    expected = json.loads(run(*fingerprint).stdout)["fingerprint"]
    table[["open", "high", "low", "close"]] *= 1.5
    wrong = folder_of(tmp_path / "two", {"AAA.csv": table, "NEW.csv": bars_of("NEW", 60)})
    assert run("data", "import", wrong, "--home", home).exit_code == 0
    removed = run("data", "remove", "AAA", "new", "--home", home)
    assert removed.stdout == "removed AAA  70 days\nremoved NEW  60 days\n"
    assert run("data", "import", before, "--home", home).exit_code == 0
    assert json.loads(run(*fingerprint).stdout)["fingerprint"] == expected


def test_another_company_s_file_over_a_stored_ticker_is_quarantined(
    run: Run, tmp_path: Path
) -> None:
    """A person may say that it is right."""
    home, tables = home_of(tmp_path), [bars_of("AAA", 60), bars_of("AAA", 60, seed=1)]
    first, other = (
        folder_of(tmp_path / name, {"AAA.csv": table})
        for name, table in zip(("one", "two"), tables, strict=True)
    )
    run("data", "import", first, "--home", home)
    done = run("data", "import", other, "--home", home)
    assert done.exit_code == 65 and "other-moves: on 5" in done.stderr
    run("data", "quarantine", "release", "AAA", "--rule", "other-moves", "--home", home)
    assert run("data", "import", other, "--home", home).exit_code == 0


def test_only_what_is_stored_can_be_removed(run: Run, home: Path) -> None:
    done = run("data", "remove", "AAA", "ZZZ", "--home", home)
    assert done.exit_code == 66 and "ZZZ" in done.stderr
    assert '"AAA"' in run("data", "list", "--json", "--home", home).stdout


def test_the_others_are_forecast_without_a_ticker_that_was_removed(run: Run, home: Path) -> None:
    """Its forecasts stay in the log; its versions are scored on the rest."""
    as_of = ["--as-of", "2012-10-12", "--home", home]
    assert run("predict", *as_of).exit_code == 0
    assert run("data", "remove", "AAA", "--home", home).exit_code == 0
    done = run("predict", *as_of, "--json")
    assert done.exit_code == 0
    assert {row["ticker"] for row in json.loads(done.stdout)["forecasts"]} == {"BBB", "CCC"}
    for command in ("score", "status"):
        assert run(command, "--home", home).exit_code in (0, 5)
