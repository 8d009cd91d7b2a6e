import os
import sys

import numpy as np
import pandas as pd
import pytest

from forecaster.data.export import write_table, write_tables
from forecaster.errors import CannotWriteError, StorageError, UsageError


def _frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ticker": ["AAPL", "^GSPC"],
            "session": pd.to_datetime(["2024-01-02", "2024-01-03"]).as_unit("s"),
            "close": [0.1 + 0.2, -1.5],
            "days": [1, 2],
        }
    )


def test_csv_is_written_whole_with_dates_and_exact_numbers(tmp_path):
    write_table(_frame(), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (
        "ticker,session,close,days\n"
        "AAPL,2024-01-02,0.30000000000000004,1\n"
        "^GSPC,2024-01-03,-1.5,2\n"
    )
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_table_goes_to_csv_or_parquet_only(tmp_path):
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        write_table(_frame(), tmp_path / "out.xlsx")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
@pytest.mark.parametrize("kind", ["str", "object", "category"])
def test_formulas_are_disarmed_and_numbers_are_not_touched(tmp_path, start, kind):
    file = tmp_path / "out.csv"
    cells = pd.Series([f"{start}cmd()", "a=b", None], dtype=kind)
    write_table(pd.DataFrame({"name": cells, "change": [-1.0, np.nan, 2.0]}), file)
    first, second, third = file.read_text().splitlines()[1:]
    assert first.strip('"').startswith(f"'{start}cmd()")
    assert (second, third) == ("a=b,", ",2.0")


def test_parquet_comes_back_equal(tmp_path):
    pytest.importorskip("pyarrow")
    write_table(_frame(), tmp_path / "out.parquet")
    found = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(found, _frame(), check_dtype=False)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_written_one_after_another_read_back_as_one(tmp_path, ending):
    """Only the first has a header; a column may be empty in one and not in another."""
    pytest.importorskip("pyarrow")
    file = tmp_path / f"out.{ending}"
    assert write_tables((_frame().assign(close=close) for close in (1.5, np.nan)), file) == 4
    found = pd.read_csv(file) if ending == "csv" else pd.read_parquet(file)
    assert found["close"].tolist()[:2] == [1.5, 1.5] and found["close"][2:].isna().all()
    assert found["ticker"].tolist() == ["AAPL", "^GSPC"] * 2


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'pip install "forecaster\[parquet\]"'):
        write_table(_frame(), tmp_path / "out.parquet")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CannotWriteError, match="No such file or directory"):
        write_table(_frame(), tmp_path / "nowhere" / "out.csv")


def test_a_failing_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("old")

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space left on device; nothing was written"):
        write_table(_frame(), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path):
    (tmp_path / "out.csv").write_text("old")
    with (tmp_path / "out.csv").open() as reader:
        write_table(_frame(), tmp_path / "out.csv")
        assert reader.read() == "old"


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "out.parquet").write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", fail)
    with pytest.raises(RuntimeError, match="half way"):
        write_table(_frame(), tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.parquet"]
