"""`make check-series`, on the shapes of real faults in files named as the real ones are."""

from pathlib import Path

import pytest

from forecaster.data.history import History
from tests.check_series import main, ticker_of
from tests.data.broken_series import BROKEN, CALM, CLEAN, priced

LATE_SPLIT = BROKEN["split not applied in time"][2]
POUNDS = BROKEN["pounds among pence"][2]
CRASH = CLEAN["a crash"]
HUNDREDFOLD = priced(CALM, dividend=[0] * 6 + [40.0] + [0] * 5)


def count_wrong(folder: Path, name: str, one: History) -> int:
    """Write a series as Yahoo's CSVs are, newest first, and count unexpected findings."""
    table = one.bars.assign(session=one.bars["session"].dt.strftime("%Y-%m-%d 00:00:00+01:00"))
    names = {"session": "Date", "split": "Stock Splits", "dividend": "Dividends"}
    table.iloc[::-1].rename(columns=names).to_csv(folder / name, index=False)
    return main(folder)


@pytest.mark.parametrize(
    ("name", "one", "wrong"),
    [
        ("4063-T-1d-bad-stock-split.csv", LATE_SPLIT, 0),
        ("AET-L-1d-100x-error.csv", POUNDS, 0),
        ("CALM-1d-no-bad-divs.csv", CRASH, 0),
        ("prices.csv", CRASH, 0),
        ("SCR-TO-1d-bad-div.csv", HUNDREDFOLD, 0),
        ("SCR-TO-1d-bad-div.csv", CRASH, 1),
        ("4063-T-1d-bad-stock-split.csv", CRASH, 1),
        ("AET-L-1d-100x-error.csv", LATE_SPLIT, 1),
        ("4063-T-1d-bad-stock-split-fixed.csv", LATE_SPLIT, 1),
        ("CALM-1d-no-bad-divs.csv", POUNDS, 1),
    ],
)
def test_findings_are_compared_with_the_names_of_files(tmp_path, capsys, name, one, wrong):
    assert count_wrong(tmp_path, name, one) == wrong
    assert f"1 files, {wrong} with other findings" in capsys.readouterr().out


def test_a_broken_series_that_cannot_be_read_was_not_caught(tmp_path, capsys):
    (tmp_path / "X-L-1d-100x-error.csv").write_text("Date,Close\n")
    assert count_wrong(tmp_path, "prices.csv", CRASH) == 1
    assert "X-L-1d-100x-error.csv: could not be read" in capsys.readouterr().out


def test_a_folder_without_series_is_a_failure(tmp_path, capsys):
    assert main(tmp_path) == 1 and "no series" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "ticker"),
    [("4063-T-1d-x.csv", "4063.T"), ("CALM-1d-no-bad-divs.csv", "CALM"), ("prices.csv", None)],
)
def test_the_ticker_is_in_the_name(name, ticker):
    assert ticker_of(Path(name)) == ticker
