"""Own columns of a file without prices, stored beside bars from another source."""

from pathlib import Path

import pandas as pd
import pytest

from forecaster.data.store import PriceStore
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.fetch import fetch
from tests.operations.sessions import Daily


@pytest.fixture
def home(tmp_path: Path) -> Path:
    fetch(source=Daily(30), home=tmp_path)
    return tmp_path


def test_values_are_stored_beside_the_bars_of_their_days(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The fetch date stays: no price came. A ticker without bars fails alone."""
    with PriceStore.open_for_reading(home) as store:
        before, bars = store.states(["AAA"]), store.bars("AAA")
        revision = store.revision("AAA").number
    (home / "rv.csv").write_text(
        "Date;Symbol;RV5\n2010-01-05;AAA;2.5\n2010-01-06;AAA;\n2010-01-09;AAA;1\n"
        "2010-01-05;BBB;3\n2010-01-05;ZZZ;3\n"
    )
    report = import_files(home / "rv.csv", keep=["rv5"], home=home)
    assert dict(zip(report.table["ticker"], report.table["rows_changed"], strict=True)) == {
        **{"AAA": 1, "BBB": 1, "ZZZ": 0}
    }
    assert list(report.failures) == ["ZZZ"] and report.failures["ZZZ"].exit_code == 66
    assert "AAA: 1 values on days without a bar, the first 2010-01-09" in caplog.text
    with PriceStore.open_for_reading(home) as store:
        assert store.states(["AAA"]) == before and store.revision("AAA").number == revision + 1
        found = store.bars("AAA")
    assert found["rv5"].dropna().tolist() == [2.5] and found["rv5"].notna().idxmax() == 1
    pd.testing.assert_frame_equal(found.drop(columns="rv5"), bars)
    again = import_files(home / "rv.csv", keep=["rv5"], home=home)
    assert again.table["rows_changed"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("date,ticker,rv5\n2010-01-05,AAA,0\n", "AAA: rv5 is 0 on 2010-01-05; .* above 0"),
        ("date,ticker,rv5\n2010-01-05,AAA,x\n", "row 1: 'x'; a number with a decimal point"),
        ("date,ticker,rv5\nsoon,AAA,1\n", "row 1: 'soon'; a date such as 2024-12-31"),
        ("date,ticker,rv5\n2010-01-05,AAA,1\n2010-01-05,AAA,2\n", "2010-01-05 is there twice"),
        ("date,ticker,rv\n2010-01-05,AAA,1\n", "--keep rv5 needs a column of this name"),
    ],
)
def test_what_cannot_be_a_value_is_refused(home: Path, text: str, words: str) -> None:
    (home / "rv.csv").write_text(text)
    report = import_files(home / "rv.csv", keep=["rv5"], home=home)
    with pytest.raises(type(next(iter(report.failures.values()))), match=words):
        report.raise_failures()
