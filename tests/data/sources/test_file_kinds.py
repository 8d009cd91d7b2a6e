"""Files of another kind: one line that says what to do, at once."""

import os
import time
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from forecaster.data.sources.files import read_file
from forecaster.errors import DataError, ForecasterError, UsageError

USUAL = {"date": ["2024-01-02"], "open": [10.0], "high": [12.0], "low": [9.0], "close": [11.0]}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.xlsx", b"PK\x03\x04rest", "is a spreadsheet. Save the sheet as CSV"),
        ("p.xls", b"\xd0\xcf\x11\xe0", "is a spreadsheet"),
        ("p.csv", b"PK\x03\x04rest", "is an archive. Unpack it .* or a spreadsheet"),
        ("p.csv", b"\xd0\xcf\x11\xe0rest", "is a spreadsheet"),
        ("p.zip", b"PK\x03\x04", "is an archive. Unpack it and import the CSV"),
        ("p.csv.gz", b"\x1f\x8b", "is an archive"),
        ("p.csv", b"\x1f\x8b\x08", "is an archive"),
        ("p.json", b"{}", "is JSON. Convert it to CSV"),
        ("p.csv", b'[{"date": "2024-01-02"}]', "is JSON"),
        ("p.txt", b"<!DOCTYPE html>", "is a web page"),
        ("p.csv", b"  <html>", "is a web page"),
        ("p.db", b"SQLite format 3", "is a database"),
        ("p.csv", b"SQLite format 3", "is a database"),
        ("p.pkl", b"x", "is a binary table"),
    ],
)
def test_files_to_convert_first(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_file(tmp_path / name, "ACME")
    assert "\n" not in str(caught.value)


def test_a_pipe_and_a_device_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("/dev/zero")):
        with pytest.raises(UsageError, match="is a device or pipe; name a CSV or parquet file"):
            read_file(path, "ACME")


@pytest.mark.parametrize(
    "content",
    [
        b",".join(b"c%d" % number for number in range(1_000_000)),
        b"Date,Open,High,Low,Close" + b",x" * 100_000 + b"\n",
        b"x" * 5_000_000,
    ],
    ids=["a million columns", "a hundred thousand columns", "one long line"],
)
def test_a_header_that_is_too_large_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    begin = time.process_time()
    with pytest.raises(DataError, match=r"line 1 (is longer than|has 100,005 columns)"):
        read_file(tmp_path / "p.csv", "ACME")
    assert time.process_time() - begin < 2.0


def _parquet(folder: Path, **columns: object) -> Path:
    pytest.importorskip("pyarrow")
    pd.DataFrame(USUAL | columns).to_parquet(folder / "p.parquet")
    return folder / "p.parquet"


def test_parquet_with_decimals_is_read(tmp_path: Path) -> None:
    """Their last zeros are no sign of thousands."""
    path = _parquet(tmp_path, close=[Decimal("11.120")], volume=[Decimal("1000")])
    (history,) = read_file(path, "ACME").histories
    assert history.bars[["close", "volume"]].iloc[0].tolist() == [11.12, 1000.0]


@pytest.mark.parametrize("cell", [[11.0, 12.0], {"a": 11.0}, b"11"])
def test_parquet_with_several_values_in_a_cell(tmp_path: Path, cell: object) -> None:
    with pytest.raises(DataError, match=r"column close has .* in a cell; one value is needed"):
        read_file(_parquet(tmp_path, close=[cell]), "ACME")
    (history,) = read_file(_parquet(tmp_path, note=[cell]), "ACME").histories
    assert len(history.bars) == 1


def test_parquet_under_another_name_is_read(tmp_path: Path) -> None:
    path = _parquet(tmp_path).rename(tmp_path / "p.csv")
    assert len(read_file(path, "ACME").histories[0].bars) == 1


@pytest.mark.parametrize("kept", [4, 30, 400])
def test_damaged_parquet_is_refused_in_one_line(tmp_path: Path, kept: int) -> None:
    path = _parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ForecasterError, match="cannot be read as parquet") as caught:
        read_file(path, "ACME")
    assert "\n" not in str(caught.value)
