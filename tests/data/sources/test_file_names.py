"""Folders become their files, and the name of a file its ticker."""

from pathlib import Path

import pytest

from forecaster.data.sources.file_names import expanded, ticker_of
from forecaster.errors import UsageError


@pytest.mark.parametrize(
    ("name", "ticker"),
    [
        ("AAPL.csv", "AAPL"),
        ("aapl.csv", "AAPL"),
        ("aapl.us.txt", "AAPL.US"),  # Stooq's bulk files
        ("aapl_us_d.csv", "AAPL.US"),  # and its downloads
        ("BRK-B.csv", "BRK-B"),
        ("^N225.csv", "^N225"),
        ("7203.T.parquet", "7203.T"),
        ("600000.csv", "600000"),
        ("BTC-USD.csv", "BTC-USD"),
        ("daily_adjusted_IBM.csv", "IBM"),  # Alpha Vantage
        ("AAPL_daily.csv", "AAPL"),
        ("AAPL-daily.csv", "AAPL"),
        ("AAPL Historical Data.csv", "AAPL"),  # Investing.com
        ("MSFT_2020-2024.csv", "MSFT"),
        ("MSFT_20200102_20240628.csv", "MSFT"),
        ("IBM_5yr.csv", "IBM"),
        ("D.csv", "D"),
        ("prices.csv", None),
        ("data.csv", None),
        ("HistoricalData_1719589.csv", None),  # Nasdaq
        ("all_stocks_5yr.csv", None),
        ("2024.csv", None),
        ("2024-06-28.csv", None),
        ("apple_inc.csv", None),
        ("BTC_USD.csv", None),
        ("AAPL (1).csv", None),
        ("Nestl\u00e9.csv", None),
        (".csv", None),
    ],
)
def test_the_ticker_is_what_the_name_has_beside_usual_words(name: str, ticker: str | None) -> None:
    assert ticker_of(Path("some folder") / name) == ticker


def test_a_folder_is_its_tables_and_those_below(tmp_path: Path) -> None:
    for name in ("b.csv", "a/c.TXT", "a/d.parquet", "README.md", ".hidden/e.csv", "a/.f.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    other = Path("elsewhere.csv")
    found = expanded([other, tmp_path])
    assert found == [other, tmp_path / "a/c.TXT", tmp_path / "a/d.parquet", tmp_path / "b.csv"]


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file in this folder ends in \.csv"):
        expanded([tmp_path])
