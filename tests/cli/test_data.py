"""`forecaster data`: import of files, and what is shown of the store."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.data.store import PriceStore
from tests.synthetic import bars_of

Run = Callable[..., Result]


def imported(run: Run, home: Path, table: pd.DataFrame, *options: str) -> Result:
    table.to_csv(home / "prices.csv", index=False)
    return run("data", "import", home / "prices.csv", *options, "--home", home)


@pytest.mark.parametrize(
    ("scale", "close"),
    [(1e-4, "0.00491638"), (0.02, "0.983275"), (1.0, "49.1638"), (1000.0, "49163.76")],
)
def test_prices_are_shown_with_six_digits(
    run: Run, tmp_path: Path, scale: float, close: str
) -> None:
    """An exchange rate moves in its fourth decimal, a small coin in its eighth."""
    table = bars_of("EURUSD=X", 1)
    columns = ["open", "high", "low", "close"]
    table[columns] = 49.16376 * scale
    assert imported(run, tmp_path, table).exit_code == 0
    shown = run("data", "show", "EURUSD=X", "--home", tmp_path).stdout.splitlines()[-1].split()
    assert shown[1:5] == [close] * 4


def test_export_keeps_every_digit(run: Run, tmp_path: Path) -> None:
    table = bars_of("EURUSD=X", 30)
    imported(run, tmp_path, table)
    run("data", "export", tmp_path / "out.csv", "--home", tmp_path)
    found = pd.read_csv(tmp_path / "out.csv", dtype=str)
    assert found["close"].map(float).tolist() == table["close"].tolist()


def test_an_import_with_warnings_prints_them_and_exits_0(run: Run, tmp_path: Path) -> None:
    """Off-calendar bars are warned of on stderr; the table and the next command stay the same."""
    table = bars_of("BTC", 12)
    table["session"] = pd.date_range("2024-01-02", periods=12)
    done = imported(run, tmp_path, table)
    assert done.exit_code == 0 and "next    forecaster train" in done.stdout
    assert "BTC: 3 of 12 bars are on no session of XNYS (first 2024-01-06)" in done.stderr
    quiet = imported(run, tmp_path, table, "--calendar", "24/7")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--basis", "split-adjusted"],
            "AAA: column basis is as-traded, --basis is split-adjusted",
        ),
        (["--calendar", "Mars"], "Mars: no calendar of this name"),
    ],
)
def test_options_that_cannot_be_exit_2(
    run: Run, tmp_path: Path, options: list[str], words: str
) -> None:
    done = imported(run, tmp_path, bars_of("AAA", 30).assign(basis="as-traded"), *options)
    assert done.exit_code == 2 and words in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", [["list"], ["show", "AAA"], ["export", "all.csv"]])
def test_a_home_without_prices_exits_66_and_names_home(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    for home, words in (
        (tmp_path, "no prices are stored under"),
        (tmp_path / "none", "there is no such folder"),
        (tmp_path / "file", "is a file"),
    ):
        done = run("data", *command, "--home", home)
        assert done.exit_code == 66 and words in done.stderr and "--home" in done.stderr


def test_importing_into_a_file_exits_73(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bars_of("AAA", 30).to_csv(tmp_path / "prices.csv", index=False)
    done = run("data", "import", tmp_path / "prices.csv", "--home", tmp_path / "file")
    assert done.exit_code == 73 and "is a file; a folder is needed" in done.stderr


def test_show_until_before_the_first_bar_exits_65(run: Run, tmp_path: Path) -> None:
    imported(run, tmp_path, bars_of("AAA", 30))
    done = run("data", "show", "AAA", "--until", "1999-01-01", "--home", tmp_path)
    assert done.exit_code == 65 and "AAA: no bar on or before 1999-01-01" in done.stderr


def spiked(days: int = 30) -> pd.DataFrame:
    """One day of these at three times its price, already stored when the next ones are served."""
    table = bars_of("AAA", days)
    table.loc[10, ["open", "high", "low", "close"]] *= 3
    return table


def stored(home: Path, table: pd.DataFrame) -> None:
    """Store bars without checks."""
    listing = Listing(ticker="AAA", source="files", basis="as-traded", calendar="XNYS")
    with PriceStore.open_for_writing(home) as store:
        bars = table[list(BAR_COLUMNS)]
        store.upsert(History(listing=listing, bars=bars), datetime(2010, 3, 1, tzinfo=UTC))


def test_check_exits_65_until_a_review_has_decided(run: Run, tmp_path: Path) -> None:
    stored(tmp_path, spiked())
    checked = run("data", "check", "--home", tmp_path)
    assert checked.exit_code == 65 and "need manual review" in checked.stderr
    assert "AAA     2010-01-19  spike  error" in checked.stdout
    assert checked.stdout.splitlines()[-1] == (
        "checked  1 tickers, 30 bars, 1 errors, 1 warnings"  # and stale
    )
    released = run("data", "quarantine", "release", "aaa", "2010-01-19", "--home", tmp_path)
    assert (released.exit_code, released.stdout.splitlines()[0]) == (
        0,
        "released  1 findings of AAA",
    )
    assert run("data", "check", "--home", tmp_path).exit_code == 0
    listed = run("data", "quarantine", "list", "--home", tmp_path).stdout.splitlines()
    assert len(listed) == 2 and "AAA     2010-01-19  spike  released" in listed[1]
    dropped = run("data", "quarantine", "drop", "AAA", "2010-01-19", "--home", tmp_path)
    assert dropped.exit_code == 0 and "dropped   1 findings of AAA" in dropped.stdout
    assert run("data", "check", "--home", tmp_path).stdout.count("missing-sessions") == 1


def test_check_and_quarantine_print_json(run: Run, tmp_path: Path) -> None:
    stored(tmp_path, spiked())
    checked = json.loads(run("data", "check", "--json", "--home", tmp_path).stdout)
    assert checked["schema"] == "forecaster.data.check/1"
    assert (checked["tickers"], checked["bars"], checked["errors"]) == (1, 30, 1)
    assert checked["findings"][0]["session"] == "2010-01-19"
    run("data", "quarantine", "release", "AAA", "--home", tmp_path)
    listed = json.loads(run("data", "quarantine", "list", "--json", "--home", tmp_path).stdout)
    assert [entry["state"] for entry in listed["entries"]] == ["released"]


def test_a_decision_on_nothing_exits_66_and_a_malformed_day_2(run: Run, tmp_path: Path) -> None:
    stored(tmp_path, bars_of("AAA", 30))
    for words, code in (
        (["release", "AAA"], 66),
        (["drop", "AAA", "1999-01-04"], 66),
        (["drop", "AAA", "yesterday"], 2),
        (["drop", "AAA"], 2),
    ):
        assert run("data", "quarantine", *words, "--home", tmp_path).exit_code == code


def test_dates_that_could_be_read_in_two_ways_are_declared(run: Run, tmp_path: Path) -> None:
    table = bars_of("AAA", 5).assign(session=[f"{day}/3/2010" for day in (1, 2, 3, 4, 5)])
    refused = imported(run, tmp_path, table)
    assert refused.exit_code == 2 and "--dates mdy or dmy" in refused.stderr
    assert imported(run, tmp_path, table, "--dates", "dmy").exit_code == 0
    assert '"first": "2010-03-01"' in run("data", "list", "--json", "--home", tmp_path).stdout
    assert imported(run, tmp_path, table, "--dates", "ydm").exit_code == 2


def test_a_quarantined_ticker_exits_3_beside_others_and_65_alone(run: Run, tmp_path: Path) -> None:
    alone = imported(run, tmp_path, spiked())
    assert (
        alone.exit_code == 65 and "AAA: quarantined, not stored: 2010-01-19 spike" in alone.stderr
    )
    both = imported(run, tmp_path, pd.concat([spiked(), bars_of("BBB", 30)]))
    assert both.exit_code == 3 and "1 of 2 tickers failed: AAA" in both.stderr
    assert "next" not in both.stdout
