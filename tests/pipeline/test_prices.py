"""Histories from the store or a table: the same bars, cut at the same day."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.pipeline.fetch import import_files
from forecaster.pipeline.prices import load_bars, load_histories, write_table
from tests.synthetic import bars_of, ragged_bars

BARS = ragged_bars({"AAA": 60, "BBB": 40})
CUT = BARS["session"].unique()[30].date()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    BARS.to_csv(tmp_path / "bars.csv", index=False)
    import_files([tmp_path / "bars.csv"], home=tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["store", "table"])
def test_nothing_after_until_is_read(home: Path, source: str) -> None:
    bars = None if source == "store" else BARS
    for history in load_histories(bars, home, (), CUT):
        assert history.bars["session"].iloc[-1] == pd.Timestamp(CUT)


def test_store_and_table_give_the_same_histories(home: Path) -> None:
    pairs = zip(
        load_histories(None, home, (), None), load_histories(BARS, home, (), None), strict=True
    )
    for stored, given in pairs:
        assert stored.listing.ticker == given.listing.ticker
        pd.testing.assert_frame_equal(stored.bars, given.bars)


def test_the_long_table_comes_back_as_it_went_in(home: Path) -> None:
    found = load_bars(home=home)
    columns = [name for name in BARS.columns if name in found.columns]
    pd.testing.assert_frame_equal(found[columns], BARS[columns], check_dtype=False)
    assert found["basis"].unique().tolist() == ["as-traded"]


def test_shuffled_rows_of_a_table_are_refused(home: Path) -> None:
    with pytest.raises(DataError, match="AAA"):
        load_histories(BARS.sample(frac=1.0, random_state=0), home, ["AAA"], None)


def test_only_the_tickers_asked_for_are_read(home: Path) -> None:
    assert [h.listing.ticker for h in load_histories(None, home, ["bbb"], None)] == ["BBB"]
    with pytest.raises(UnknownNameError, match="ZZZ"):
        load_histories(BARS, home, ["ZZZ"], None)


def test_a_basis_that_is_none_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="basis 'adjusted'"):
        load_histories(bars_of("AAA", 30).assign(basis="adjusted"), home, (), None)


def test_a_ticker_without_a_bar_so_early_is_named(home: Path) -> None:
    first = BARS.loc[BARS["ticker"] == "BBB", "session"].iloc[0].date()
    before = date.fromordinal(first.toordinal() - 1)
    assert [h.listing.ticker for h in load_histories(None, home, (), before)] == ["AAA"]
    with pytest.raises(DataError, match="BBB: no bar on or before"):
        load_histories(None, home, ["BBB"], before)


def test_a_table_goes_to_csv_or_parquet_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        write_table(BARS, tmp_path / "bars.xlsx")
    write_table(BARS, tmp_path / "bars.csv")
    assert len(pd.read_csv(tmp_path / "bars.csv")) == len(BARS)
