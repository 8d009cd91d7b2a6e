import logging
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecaster import clock
from forecaster.data.basis import settle_bases
from forecaster.data.export import write_table
from forecaster.data.history import History
from forecaster.data.ingest import admit
from forecaster.data.sources import file_parts
from forecaster.data.sources.dates import parse_days
from forecaster.data.sources.file_parts import FileTable
from forecaster.data.sources.files import FileOptions, read_file
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, ForecasterError, StorageError, UsageError

HEADER = "Date,Open,High,Low,Close,Volume\n"


def _file(folder: Path, text: str | bytes, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _read(folder: Path, text: str | bytes, ticker: str | None = "AAPL", **options) -> pd.DataFrame:
    (history,) = _histories(_file(folder, text), ticker, **options)
    return history.bars


def _histories(*args, **options) -> list[History]:
    return read_file(*args, **options).histories


def _screened(
    folder: Path, text: str | bytes, **options: object
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the bars that a store takes of a file, and rules and reasons of the others."""
    (history,) = _histories(_file(folder, text), "AAPL", **options)
    with PriceStore.open_for_writing(folder) as store:
        bars = admit(store, history, clock.now()).bars
        return bars, [(one.rule, one.reason) for one in store.quarantine.entries()]


def _days(bars: pd.DataFrame) -> list[str]:
    return bars["session"].dt.strftime("%Y-%m-%d").tolist()


def test_an_ordinary_file_is_read(tmp_path):
    path = _file(tmp_path, HEADER + "2024-01-02,10,12,9,11,1000\n2024-01-03,11,13,10,12,2000\n")
    (history,) = _histories(path, "aapl")
    assert history.listing.ticker == "AAPL"
    assert history.listing.source == "files"
    assert history.listing.basis == "as-traded"
    assert history.listing.calendar == "XNYS"
    assert history.bars.to_dict("records")[0] == {
        "session": pd.Timestamp("2024-01-02"),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 1000.0,
        "dividend": 0.0,
        "split": 1.0,
    }


def test_basis_and_calendar_can_be_named(tmp_path):
    path = _file(tmp_path, HEADER + "2024-01-02,10,12,9,11,1000\n")
    (history,) = _histories(path, "7203.T", options=FileOptions(basis="split-adjusted"))
    assert (history.listing.basis, history.listing.calendar) == ("split-adjusted", "XTKS")
    (history,) = _histories(path, "7203.T", options=FileOptions(calendar="weekdays"))
    assert history.listing.calendar == "weekdays"


WITH_MARKS = "symbol,date,open,high,low,close,basis,calendar\n"


def test_columns_of_basis_and_calendar_are_read_by_ticker(tmp_path):
    text = (
        WITH_MARKS + "AAPL,2024-01-02,10,12,9,11,as-traded,NYSE\nBTC,2024-01-06,1,2,1,1,"
        "split-adjusted,24/7\nAAPL,2024-01-03,10,12,9,11,as-traded,NYSE\n"
    )
    listings = [history.listing for history in _histories(_file(tmp_path, text))]
    found = {each.ticker: (each.basis, each.calendar) for each in listings}
    assert found == {"AAPL": ("as-traded", "XNYS"), "BTC": ("split-adjusted", "24/7")}


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (
            "as-traded,XNYS",
            FileOptions(basis="split-adjusted"),
            "AAPL: column basis is as-traded, --basis is split-adjusted. Drop the option",
        ),
        (
            "as-traded,XNYS",
            FileOptions(calendar="XLON"),
            "AAPL: column calendar is XNYS, --calendar is XLON",
        ),
        ("as-traded,XNYS", FileOptions(calendar="Mars"), "Mars: no calendar of this name"),
    ],
)
def test_options_that_contradict_the_columns_are_refused(tmp_path, found, options, message):
    text = WITH_MARKS + f"AAPL,2024-01-02,10,12,9,11,{found}\n"
    with pytest.raises(UsageError, match=message):
        _histories(_file(tmp_path, text), options=options)
    agreed = FileOptions(basis="as-traded", calendar="NYSE")
    assert _histories(_file(tmp_path, text), options=agreed)[0].listing.calendar == "XNYS"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["as-traded,XNYS", "split-adjusted,XNYS"], "line 3, column basis: .*one basis per ticker"),
        (["as-traded,XNYS", "as-traded,XLON"], "line 3, column calendar: 'XLON'; one calendar"),
        (["0.35,XNYS"], "AAPL: line 2, column basis: '0.35'; split-adjusted or as-traded"),
        (["as-traded,"], "line 2, column calendar: ''; a market code such as XNYS"),
    ],
)
def test_columns_that_are_no_basis_or_calendar_are_refused(tmp_path, rows, message):
    days = ["2024-01-02", "2024-01-03"]
    text = "".join(f"AAPL,{day},10,12,9,11,{row}\n" for day, row in zip(days, rows, strict=False))
    with pytest.raises(DataError, match=message):
        _histories(_file(tmp_path, WITH_MARKS + text))


def test_a_calendar_that_was_named_before_holds_until_another_is(tmp_path):
    path = _file(tmp_path, HEADER + "2024-01-02,10,12,9,11,1000\n")
    known = {"BTC": "24/7", "ETH": "24/5"}
    (history,) = _histories(path, "BTC", options=FileOptions(calendars=known))
    assert history.listing.calendar == "24/7"
    (history,) = _histories(path, "BTC", options=FileOptions(calendars=known, calendar="XNYS"))
    assert history.listing.calendar == "XNYS"


def test_bars_before_every_calendar_are_left_out(tmp_path):
    rows = "1899-12-30,10,12,9,11,1000\n1900-01-02,10,12,9,11,1000\n"
    contents = read_file(_file(tmp_path, HEADER + rows), "AAPL")
    assert _days(contents.histories[0].bars) == ["1900-01-02"]
    (found,) = contents.left_out
    assert found.place == "line 2"
    assert found.reason == "column Date: '1899-12-30' is no date from 1900-01-01 on"


SAME_BARS = {
    "CRLF": HEADER.replace("\n", "\r\n") + "2024-01-02,1234.5,1300,1200,1250,1000\r\n",
    "BOM": "\ufeff" + HEADER + "2024-01-02,1234.5,1300,1200,1250,1000\n",
    "no last newline": HEADER + "2024-01-02,1234.5,1300,1200,1250,1000",
    "blank lines": HEADER + "\n2024-01-02,1234.5,1300,1200,1250,1000\n\n\n",
    "quotes and thousands": HEADER + '"2024-01-02","1,234.50","1,300","1,200","1,250","1,000"\n',
    "dollars": HEADER + "2024-01-02,$1234.5,$1300,$1200,$1250,1000\n",
    "spaces": "Date, Open, High, Low, Close, Volume\n 2024-01-02, 1234.5, 1300, 1200, 1250, 1000\n",
    "tabs": HEADER.replace(",", "\t") + "2024-01-02\t1234.5\t1300\t1200\t1250\t1000\n",
    "semicolons": HEADER.replace(",", ";") + "2024-01-02;1234.5;1300;1200;1250;1000\n",
    "decimal commas": HEADER.replace(",", ";") + "2024-01-02;1.234,5;1300;1200;1250;1.000\n",
    "other names": "TIMESTAMP,open_price,High Price,low,Close/Last,Vol\n"
    "2024-01-02,1234.5,1300,1200,1250,1000\n",
    "other columns": "Date,Adj Close,Open,High,Low,Close,Volume,,Note\n"
    "2024-01-02,1,1234.5,1300,1200,1250,1000,,=cmd()\n",
    "exponents": HEADER + "2024-01-02,1.2345e3,1.3E3,1200.,1250,1e3\n",
}


@pytest.mark.parametrize("text", SAME_BARS.values(), ids=SAME_BARS)
def test_the_same_bar_however_it_is_written(tmp_path, text):
    (row,) = _read(tmp_path, text).to_dict("records")
    assert row["session"] == pd.Timestamp("2024-01-02")
    assert [row[name] for name in ("open", "high", "low", "close")] == [1234.5, 1300, 1200, 1250]
    assert row["volume"] == 1000


DATES = [
    (["2024-01-02", "2024-01-13"], "ISO"),
    (["2024/01/02", "2024/1/13"], "year first with slashes"),
    (["20240102", "20240113"], "digits only"),
    (["1/2/2024", "1/13/2024"], "month first, by the 13"),
    (["02.01.2024", "13.01.2024"], "day first, by the 13"),
    (["02-Jan-2024", "13-Jan-2024"], "month by name, day first"),
    (["Jan 02, 2024", "January 13, 2024"], "month by name, month first"),
    (["2024-01-02 00:00:00-05:00", "2024-01-13 00:00:00-05:00"], "Yahoo's local midnights"),
    (["2024-01-02T05:00:00Z", "2024-01-13T05:00:00Z"], "the same midnights in UTC"),
    (["2024-01-02T21:00:00Z", "2024-01-13T21:00:00Z"], "closes in UTC"),
    (["2024-01-02 00:00:00+00:00", "2024-01-13 00:00:00+00:00"], "dates that got a zone"),
    (["2024-01-02 16:00", "2024-01-13 16:00:00.000"], "a time of day without zone"),
    (["1/2/24", "1/13/24"], "two digits of the year, month first"),
    (["02.01.24", "13.01.24"], "two digits of the year, day first"),
    (["24-01-02", "24-01-13"], "two digits of the year, year first: days change more often"),
    (["2-Jan-24", "13-Jan-24"], "two digits of the year, month by name"),
    (["Jan 2, '24", "Jan 13, '24"], "a short year with an apostrophe"),
    (["1/2/2024 4:00:00 PM", "1/13/2024 4:00:00 PM"], "half days"),
    (["Tue, Jan 2, 2024", "Saturday, 13 January 2024"], "weekdays by name"),
    (["2024-01-02 (Tue)", "2024-01-13 (Sat)"], "weekdays behind the date"),
    (["Tue Jan 02 2024 16:00:00 GMT-0500 (EST)", "Sat Jan 13 2024"], "JavaScript's"),
    (["2024年1月2日", "2024年1月13日"], "Chinese and Japanese"),
    (["20240102.0", "20240113.0"], "digits that were a float"),
    (["20240102 160000", "20240113 160000"], "digits with a time"),
    (["1704205800", "1705156200"], "seconds since 1970: half past nine in New York"),
    (["1704153600000", "1705104000000"], "thousandths of a second, midnights only"),
    (["2. Jan 2024", "13. Januar 2024"], "day first with a point"),
]


@pytest.mark.parametrize(("written", "why"), DATES)
def test_dates_in_every_form_that_has_one_meaning(tmp_path, written, why):
    rows = "".join(f'"{day}",10,12,9,11,1000\n' for day in written)
    assert _days(_read(tmp_path, HEADER + rows)) == ["2024-01-02", "2024-01-13"], why


def test_instants_in_utc_become_dates_of_the_exchange(tmp_path):
    text = HEADER + "2024-06-12T15:00:00Z,10,12,9,11,1\n2024-06-13T15:00:00Z,10,12,9,11,1\n"
    assert _days(_read(tmp_path, text, "7203.T")) == ["2024-06-13", "2024-06-14"]
    assert _days(_read(tmp_path, text, "AAPL")) == ["2024-06-12", "2024-06-13"]


DOUBTFUL_DATES = [
    (["1/2/2024", "3/2/2024"], r"line 2, column Date: '1/2/2024'; .*swapped.*\(2 such\)"),
    (["13/1/2024", "1/13/2024"], r"line 2, column Date: '13/1/2024'; .* --dates mdy or dmy"),
    (["28/06/24"], r"line 2, column Date: '28/06/24'; .*Add --dates dmy or ymd"),
]


@pytest.mark.parametrize(("written", "message"), DOUBTFUL_DATES)
def test_dates_with_two_readings_are_a_question(tmp_path, written, message):
    rows = "".join(f"{day},10,12,9,11,1000\n" for day in written)
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, HEADER + rows)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (["11:34"] * 6 + ["2024-01-02"], r"line 2, column Date: '11:34'; a date .*\(6 such\)"),
        (["2024111", "2024112"], r"line 2, column Date: '2024111'"),
        (["45471", "45472"], r"line 2, column Date: '45471'; .* no serial number: format the col"),
        (["2024-13-01"] * 6 + ["2024-01-02"], r"line 2, column Date: '2024-13-01'"),
    ],
)
def test_other_dates_are_refused_where_they_are_many(tmp_path, written, message):
    rows = "".join(f"{day},10,12,9,11,1000\n" for day in written)
    with pytest.raises(DataError, match=message):
        _read(tmp_path, HEADER + rows)


@pytest.mark.parametrize("written", ["2024-02-30", "", "yesterday", "2024/1/2/3"])
def test_a_row_without_a_date_is_left_out_with_its_line(tmp_path, written):
    rows = f"2024-01-02,10,12,9,11,1000\n{written},10,12,9,11,1000\n"
    contents = read_file(_file(tmp_path, HEADER + rows), "AAPL")
    assert _days(contents.histories[0].bars) == ["2024-01-02"]
    assert [(one.place, one.ticker) for one in contents.left_out] == [("line 3", "")]
    assert contents.left_out[0].reason.startswith(f"column Date: {written!r} is no date")


@pytest.mark.parametrize(
    ("order", "found"),
    [([1, 0, 2], "line 3, 2024-01-02"), ([2, 0, 1], "line 3, 2024-01-02"), ([0, 2, 1], "line 4, ")],
)
def test_rows_out_of_order_are_sorted_with_a_warning(tmp_path, caplog, order, found):
    lines = [f"2024-01-0{day},1{day},1{day},1{day},1{day},{day}\n" for day in (2, 3, 4)]
    bars = _read(tmp_path, HEADER + "".join(lines[place] for place in order))
    assert bars["close"].tolist() == [12, 13, 14] and bars.index.name == "line"
    assert bars.index.tolist() == [2 + order.index(row) for row in range(3)]
    assert f"AAPL: rows are out of order; sorted by date (first {found}" in caplog.text


def test_a_duplicate_row_is_kept_once_with_a_warning(tmp_path, caplog):
    row = "2024-01-02,10,12,9,11,1000\n"
    assert len(_read(tmp_path, HEADER + row + row + "2024-01-03,10,12,9,11,1000\n")) == 2
    assert "AAPL: 1 duplicate rows" in caplog.text


def test_an_impossible_bar_is_quarantined_with_its_line_in_any_order(tmp_path):
    rows = ["2024-01-04,1,1,1,1,1", "2024-01-03,1,9,8,1,1", "2024-01-02,1,1,1,1,1"]
    bars, found = _screened(tmp_path, HEADER + "\n".join(rows))
    assert _days(bars) == ["2024-01-02", "2024-01-04"]
    assert [rule for rule, _ in found] == ["impossible-bar"]
    assert found[0][1].startswith("line 3: open 1.0, high 9.0, low 8.0")


def test_many_bars_that_cannot_be_hint_at_another_column(tmp_path):
    """An adjusted open beside a raw high and low, as some downloads have it."""
    days = pd.bdate_range("2024-01-02", periods=6)
    many = "".join(f"{day:%Y-%m-%d},2,12,9,11,1\n" for day in days)
    with pytest.raises(DataError, match=r"6 of 6 rows .* line 2: .* Another column .*--map\.$"):
        _screened(tmp_path, HEADER + many)


@pytest.mark.parametrize(
    "other",
    [
        "11:34,10.5,12,9,11,500",  # Nasdaq's download, while the exchange is open
        "09:31:05,10.5,12,9,11,500",
        "Total,,,,,3000",
        "Source: Example Data,,,,,",
        "Date,Open,High,Low,Close,Volume",  # of a file that was appended
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_that_is_no_bar_is_left_out_with_its_line(tmp_path, caplog, other, place):
    rows = ["2024-01-02,10,12,9,11,1000", "2024-01-03,11,13,10,12,2000"]
    rows.insert(place, other)
    assert _days(_read(tmp_path, HEADER + "\n".join(rows))) == ["2024-01-02", "2024-01-03"]
    warning = f"1 rows without a date or without any price left out (line {place + 2})"
    assert (warning in caplog.text) != other.startswith("Date")


@pytest.mark.parametrize("cell", ["null", "", "-", "--", "N/A", "#N/A", ".", "NaN", "n.a.", "—"])
def test_days_without_any_price_are_quarantined_however_many(tmp_path, cell):
    """Yahoo's download has such rows on holidays: here on every third day."""
    days = pd.bdate_range("2024-01-02", periods=30)
    rows = [
        f"{day:%Y-%m-%d}," + ("10,12,9,11,1" if row % 3 else ",".join([cell] * 5))
        for row, day in enumerate(days)
    ]
    bars, found = _screened(tmp_path, HEADER + "\n".join(rows[1:]))
    assert len(bars) == 20 and len(found) == 9
    assert found[0] == ("missing-value", "line 4: open nan; a value is needed")


def test_empty_rows_around_the_bars_are_left_out_unless_they_pay(tmp_path, caplog):
    """A ticker that was listed later than the first row of a table of many."""
    empty = "".join(f"2024-01-{day:02},,,,,\n" for day in range(2, 8))
    assert len(_read(tmp_path, HEADER + empty + "2024-01-10,10,12,9,11,1\n")) == 1
    assert (
        "6 rows without a date or without any price left out (line 2, 3, 4, 5, 6 ...)"
        in caplog.text
    )
    header = HEADER.strip() + ",Dividends,Stock Splits\n2024-01-02,10,12,9,11,1,0,0\n"
    assert len(_read(tmp_path, header + "2024-01-03,,,,,,0.0,1\n")) == 1
    for action in ("0.5,0", "0,4", "0,0.5"):
        with pytest.raises(DataError, match=r"line 3: the bar of 2024-01-03 .*would be lost"):
            _screened(tmp_path, header + f"2024-01-03,,,,,,{action}\n")


def test_events_in_rows_of_their_own_belong_to_the_bar_of_their_day(tmp_path):
    """As on Yahoo's page, and in files that list events below the bars."""
    rows = (
        "2024-01-02,10,12,9,11,1\n2024-01-03,10,12,9,11,1\n2024-01-04,5,6,4,5,1\n"
        "2024-01-03,0.24 Dividend,,,,\n2024-01-04,2:1 Stock Splits,,,,\n"
    )
    bars = _read(tmp_path, HEADER + rows)
    assert bars["dividend"].tolist() == [0, 0.24, 0] and bars["split"].tolist() == [1, 1, 2]
    columns = HEADER.strip() + ",Dividends\n2024-01-02,10,12,9,11,1,\n2024-01-02,,,,,,0.5\n"
    assert _read(tmp_path, columns)["dividend"].tolist() == [0.5]


@pytest.mark.parametrize(("order", "month"), [("mdy", 3), ("dmy", 4)])
def test_the_order_of_dates_can_be_declared(tmp_path, order, month):
    rows = "3/4/2024,10,12,9,11,1\n"
    with pytest.raises(UsageError, match="--dates mdy or dmy"):
        _read(tmp_path, HEADER + rows)
    (day,) = _days(_read(tmp_path, HEADER + rows, options=FileOptions(dates=order)))
    assert day == f"2024-{month:02}-{7 - month:02}"
    other = HEADER + rows + "14/14/2024,1,1,1,1,1\n"
    contents = read_file(_file(tmp_path, other), "AAPL", options=FileOptions(dates=order))
    assert [one.place for one in contents.left_out] == ["line 3"]
    wrong = "1/14/2024" if order == "dmy" else "14/1/2024"
    with pytest.raises(DataError, match=f"line 2, column Date: '{wrong}'; a date such as"):
        _read(tmp_path, HEADER + f"{wrong},1,1,1,1,1\n", options=FileOptions(dates=order))


def test_a_file_in_many_parts_is_read_as_in_one(tmp_path, monkeypatch, caplog):
    """Decimal commas in the last part, the order of dates shown by another, a column left out."""
    lines = [
        f"{name};{month}/{day}/2024;x;1.000;1.002;999;1.001;{day}"
        for name in ("MSFT", "AAPL")
        for month in (1, 2)
        for day in range(1, 29)
    ]
    lines[-1] = "AAPL;2/28/2024;x;1.000,5;1.002,5;999,5;1.001,5;28"
    path = _file(tmp_path, "\n".join(["Ticker;Date;Note;Open;High;Low;Close;Volume", *lines]))
    whole = _histories(path)
    monkeypatch.setattr("forecaster.data.sources.file_parts.CHUNK_ROWS", 7)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        pieces = _histories(path)
    assert caplog.text.count("columns not used: Note") == 1
    for one, other in zip(whole, pieces, strict=True):
        assert one.listing == other.listing
        pd.testing.assert_frame_equal(one.bars, other.bars)
    assert pieces[0].bars["close"].tolist()[-2:] == [1001.0, 1001.5]
    path.write_text(path.read_text().replace("1.001;20", "x;20"))
    assert _histories(path)[1].notes[21] == "column Close: 'x' is no number"


def test_a_large_file_is_never_all_text(tmp_path, monkeypatch):
    """One part at a time is text; a row that was read takes about a hundred bytes."""
    rows, piece = 4_000, 500
    days = np.datetime64("1900-01-01") + np.arange(rows // 2)
    body = "".join(
        f"{name},{day},{i % 97 + 10.123456},200.5,1.5,{i % 89 + 10.5},123456\n"
        for name in ("AAA", "BBB")
        for i, day in enumerate(days.astype(str))
    )
    texts, lengths, real = [], [], file_parts.part_of

    def noting(*arguments, **options):
        assert not any(text() is not None for text in texts), "two pieces are text"
        table = real(*arguments, **options)
        texts.append(weakref.ref(table.frame))
        lengths.append(len(table.frame))
        return table

    monkeypatch.setattr(file_parts, "part_of", noting)
    monkeypatch.setattr(file_parts, "CHUNK_ROWS", piece)
    histories = _histories(_file(tmp_path, "Ticker," + HEADER + body))
    assert sum(lengths) == rows and max(lengths) <= piece
    assert sum(len(one.bars) for one in histories) == rows
    assert sum(one.bars.memory_usage(deep=True).sum() for one in histories) < 120 * rows


def test_newest_first_is_turned(tmp_path):
    rows = "2024-01-04,12,12,12,12,3\n2024-01-03,11,11,11,11,2\n2024-01-02,10,10,10,10,1\n"
    bars = _read(tmp_path, HEADER + rows)
    assert _days(bars) == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert bars["volume"].tolist() == [1, 2, 3]
    assert bars.index.tolist() == [4, 3, 2]


CELLS = [
    ("2024-01-03,ten,12,9,11,1000", "unreadable-value", "column Open: 'ten' is no number"),
    ("2024-01-03,10,12,9,,1000", "missing-value", "close nan; a value is needed"),
    ("2024-01-03,10,12,9,NaN,1000", "missing-value", "close nan"),
    ("2024-01-03,10,12,9,11,51.2X", "unreadable-value", "column Volume: '51.2X' is no number"),
    ("2024-01-03,10,12,9,=1+1,1000", "unreadable-value", "column Close: '=1+1'"),
    ("2024-01-03,10,12,9,inf,1000", "unreadable-value", "column Close: 'inf'"),
    ("2024-01-03,10,12,9,TRUE,1000", "unreadable-value", "column Close: 'TRUE'"),
    ("2024-01-03,10,12,9,11.2M,1000", "unreadable-value", "column Close: '11.2M'"),
    ("2024-01-03,10.5,12.5,9.5,\u0661\u0661,1", "unreadable-value", "column Close: "),
    ("2024-01-03,10,12,9", "missing-value", "close nan"),
    ("2024-01-03,10,12,9,0,1000", "impossible-value", "close 0.0; a finite number above 0"),
    ("2024-01-03,10,12,9,-11,1000", "impossible-value", "close -11.0"),
    ("2024-01-03,10,12,9,\u221211,1000", "impossible-value", "close -11.0"),
    ("2024-01-03,10,12,9,11,-5", "impossible-value", "volume -5.0"),
    ("2024-01-03,10,10,9,11,5", "impossible-bar", "open 10.0, high 10.0"),
    ("2024-01-03,1e999,12,9,11,5", "impossible-value", "open inf"),
]


@pytest.mark.parametrize(("row", "rule", "reason"), CELLS)
def test_a_row_that_cannot_be_a_bar_is_quarantined_with_its_line(tmp_path, row, rule, reason):
    """The rest is stored; many such cells in one column are refused instead."""
    bars, found = _screened(tmp_path, HEADER + "2024-01-02,10,12,9,11,1000\n" + row + "\n")
    assert _days(bars) == ["2024-01-02"]
    assert [name for name, _ in found] == [rule]
    assert found[0][1].startswith(f"line 3: {reason}")


@pytest.mark.parametrize("day", ["2024-01-02", "2024-01-02 09:31"])
def test_of_two_rows_of_a_day_the_later_is_kept(tmp_path, day):
    rows = f"2024-01-02,10,12,9,11,1000\n{day},10,12,9,10,1000\n"
    bars, found = _screened(tmp_path, HEADER + rows)
    assert bars["close"].tolist() == [10]
    assert found == [("duplicate-day", "line 2: a later row of this day has other numbers")]


def test_minutes_of_days_are_refused(tmp_path):
    rows = "".join(f"2024-01-02 09:{minute},10,12,9,11,{minute}\n" for minute in range(31, 38))
    with pytest.raises(DataError, match=r"AAPL: line 3: .*one row per date, of daily.*\(6 such\)"):
        _read(tmp_path, HEADER + rows)


def test_a_column_that_is_no_number_is_refused_with_the_remedy(tmp_path):
    """The remedy works when it is typed."""
    volumes = "".join(f"2024-01-{day:02},10,12,9,11,many\n" for day in range(2, 12))
    with pytest.raises(DataError, match=r"line 2, column Volume: 'many' .*--ignore volume\."):
        _read(tmp_path, HEADER + volumes)
    bars = _read(tmp_path, HEADER + volumes, options=FileOptions(ignore=("volume",)))
    assert bars["volume"].tolist() == [0] * 10
    prices = volumes.replace("11,many", "many,1")
    with pytest.raises(DataError, match=r"column Close: 'many' .*\(10 such rows\).*--map\."):
        _read(tmp_path, HEADER + prices)


def test_a_row_with_more_cells_than_the_header_is_left_out(tmp_path):
    """A thousands separator without quotes; lines below keep their numbers."""
    rows = (
        "2024-01-02,10,12,9,11,1000\n2024-01-03,10,12,9,11,1,000\n"
        "2024-01-04,1,010,12,9,11,1000,9\n\n2024-01-05,ten,12,9,11,1000\n"
    )
    contents = read_file(_file(tmp_path, HEADER + rows), "AAPL")
    found = sorted((one.place, one.reason) for one in contents.left_out)
    assert found == [
        ("line 3", "7 cells where the header has 6"),
        ("line 4", "8 cells where the header has 6"),
    ]
    assert list(contents.histories[0].notes) == [6]
    many = "".join(f"2024-01-{day:02},10,12,9,11,1,000\n" for day in range(2, 12))
    with pytest.raises(DataError, match=r"line 2: 7 cells .*\(10 such rows\)"):
        _read(tmp_path, HEADER + many)


def test_dividends_and_splits_are_read_and_default_to_nothing(tmp_path):
    text = (
        "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
        "2024-01-02,10,12,9,11,1000,0.0,0.0\n"
        "2024-01-03,10,12,9,11,,0.25,\n"
        "2024-01-04,3,3,2,2.75,1000,,4.0\n"
    )
    bars = _read(tmp_path, text)
    assert bars["dividend"].tolist() == [0, 0.25, 0]
    assert bars["split"].tolist() == [1, 1, 4]
    assert bars["volume"].tolist() == [1000, 0, 1000]


SPLIT = HEADER.strip() + ",Stock Splits\n2024-01-02,10,12,9,11,1,\n2024-01-03,10,12,9,11,1,4\n"


def test_closes_that_contradict_their_splits_need_a_basis(tmp_path, caplog):
    """Yahoo's files are split-adjusted and do not say so; as traded this is a day of 139 %."""
    file = _file(tmp_path, SPLIT)
    _, asked = settle_bases([read_file(file, "AAPL")], {})
    with pytest.raises(UsageError, match=r"1 of 1 splits leave no jump.*add --basis split-a"):
        raise asked["AAPL"]
    for basis, words in (("split-adjusted", ""), ("as-traded", "AAPL: 1 of 1 splits leave no ju")):
        assert caplog.text == ""
        stated = read_file(file, "AAPL", options=FileOptions(basis=basis))
        (settled,), asked = settle_bases([stated], {})
        assert (settled.listing.basis, len(settled.bars), asked) == (basis, 2, {})
        assert words in caplog.text


@pytest.mark.parametrize(
    ("header", "day", "form"),
    [
        ("Date,Open,High,Low,Close,Volume,Dividends", "2024-01-02 00:00:00-05:00", "as-history"),
        ("Date,Open,High,Low,Close,Volume,Dividends", "2024-07-02T00:00:00+0900", "as-history"),
        ("Date,Open,High,Low,Close,Volume,Dividends", "2024-01-02", ""),
        ("date,open,high,low,close,volume,dividend", "2024-01-02 00:00:00-05:00", ""),
        ("date,open,high,low,close,volume,adj_close", "2024-01-02", "unadjusted"),
        ("date,open,high,low,close,volume,adjusted_close", "2024-01-02", "unadjusted"),
    ],
)
def test_the_names_of_the_columns_say_what_closes_are(tmp_path, header, day, form):
    text = f"{header}\n{day},10,12,9,11,1000,0.0\n"
    assert read_file(_file(tmp_path, text), "AAPL").form == form


def test_a_mapped_column_of_adjusted_closes_is_known_by_its_name(tmp_path):
    text = "Date,Open,High,Low,Close,Adj Close\n2024-01-02,10,12,9,11,11\n"
    found = read_file(_file(tmp_path, text), "AAPL", {"close": "Adj Close"})
    assert found.form == "adjusted"


def test_a_file_without_volume_is_read_and_said_so(tmp_path, caplog):
    text = "Date,Open,High,Low,Close\n2024-01-02,10,12,9,11\n"
    with caplog.at_level(logging.WARNING):
        assert _read(tmp_path, text)["volume"].tolist() == [0]
    assert "no volume column" in caplog.text


def test_columns_that_are_not_used_are_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        _read(tmp_path, SAME_BARS["other columns"])
    assert "columns not used: Adj Close, Note" in caplog.text


LONG = (
    "symbol,date,open,high,low,close,volume\n"
    "MSFT,2024-01-02,20,22,19,21,5\n"
    "aapl,2024-01-02,10,12,9,11,1\n"
    "MSFT,2024-01-03,20,22,19,21,6\n"
    "AAPL,2024-01-03,10,12,9,11,2\n"
)


def test_a_long_file_gives_one_history_per_ticker(tmp_path):
    histories = _histories(_file(tmp_path, LONG))
    found = {each.listing.ticker: each.bars["volume"].tolist() for each in histories}
    assert found == {"AAPL": [1, 2], "MSFT": [5, 6]}


def test_one_of_a_long_file_can_be_chosen(tmp_path):
    (history,) = _histories(_file(tmp_path, LONG), "msft")
    assert history.listing.ticker == "MSFT"
    with pytest.raises(UsageError, match="no ticker IBM; the file has AAPL, MSFT"):
        _histories(_file(tmp_path, LONG), "IBM")


def test_the_only_ticker_of_a_file_can_be_renamed(tmp_path):
    text = "symbol," + HEADER + "AAPL US Equity,2024-01-02,10,12,9,11,1\n"
    with pytest.raises(DataError, match=r"line 2: 'AAPL US Equity' is not a ticker.*1 rows"):
        _read(tmp_path, text, ticker=None)
    (history,) = _histories(_file(tmp_path, text), "AAPL")
    assert history.listing.ticker == "AAPL"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("", "'' is not a ticker"), ("../x", "'../x' is not a ticker"), ("BRK/B", "example BRK-B")],
)
def test_rows_of_no_ticker_are_left_out_of_a_long_file(tmp_path, cell, reason):
    contents = read_file(_file(tmp_path, LONG.replace("MSFT,2024-01-03", f"{cell},2024-01-03")))
    assert [len(one.bars) for one in contents.histories] == [2, 1]
    (found,) = contents.left_out
    assert found.place == "line 4" and reason in found.reason and "(1 rows)" in found.reason


def test_a_ticker_that_cannot_be_read_leaves_the_others(tmp_path):
    """Minutes of one ticker among the days of another."""
    minutes = "".join(f"TICK,2024-01-02 09:{minute},1,1,1,1,{minute}\n" for minute in range(31, 39))
    path = _file(tmp_path, LONG + minutes)
    contents = read_file(path)
    assert [one.listing.ticker for one in contents.histories] == ["AAPL", "MSFT"]
    (found,) = contents.left_out
    assert (found.place, found.ticker) == ("line 6", "TICK") and "(7 such)" in found.reason
    assert read_file(path, "AAPL").left_out == []
    with pytest.raises(DataError, match="TICK: line 7: a second row of 2024-01-02"):
        read_file(path, "TICK")


@pytest.mark.parametrize("name", ["NA", "NAN", "nan", "NULL", "None", "TRUE", "INF", "1E5", "NO"])
def test_words_that_other_programs_take_for_values_are_tickers(tmp_path, name):
    for text in (LONG.replace("MSFT", name), LONG.replace("MSFT", name).replace("aapl", name)):
        found = [one.listing.ticker for one in _histories(_file(tmp_path, text))]
        assert name.upper() in found


def test_names_that_are_tickers_are_the_tickers(tmp_path):
    """As in a well-known set of five years of stocks, whose ticker column is Name."""
    text = LONG.replace("symbol", "Name").replace("aapl", "AAPL")
    assert [one.listing.ticker for one in _histories(_file(tmp_path, text))] == ["AAPL", "MSFT"]
    with pytest.raises(UsageError, match="has no ticker column"):
        _histories(_file(tmp_path, text.replace("MSFT", "Microsoft Inc")))


def test_a_single_file_needs_a_ticker(tmp_path):
    path = _file(tmp_path, HEADER + "2024-01-02,10,12,9,11,1\n")
    with pytest.raises(UsageError, match=r"ticker is needed. Add --ticker SYM"):
        _histories(path)
    with pytest.raises(UsageError, match="is not a ticker"):
        _histories(path, "../../x")


def test_columns_can_be_mapped(tmp_path):
    text = "when,Open,High,Low,Close,Settle,Volume\n2024-01-02,10,12,9,11,11.5,1\n"
    bars = _read(tmp_path, text, mapping={"session": "WHEN", "close": "settle"})
    assert bars["close"].tolist() == [11.5]


MAPPINGS = [
    (HEADER, {"close": "Last"}, r"--map close=Last needs one column .* Date, Open, High"),
    (HEADER, {"price": "Close"}, r"price is none of session, open"),
    (HEADER.replace("Close", "Fin"), {}, r"no column for close among Date, .*--map close=COL"),
    ("a,b,c\n", {}, r"--map session=COLUMN --map open=COLUMN --map high=COLUMN --map low=C"),
    (HEADER.replace("Open", "Close"), {}, r"Close and Close could both be close"),
    ("Datetime," + HEADER, {}, r"Datetime and Date could both be session"),
]


@pytest.mark.parametrize(("header", "mapping", "message"), MAPPINGS)
def test_columns_that_are_missing_or_doubled_are_refused(tmp_path, header, mapping, message):
    text = header + "2024-01-02,10,12,9,11,1\n"
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, text, mapping=mapping)


def test_a_doubled_column_can_be_chosen(tmp_path):
    text = "Datetime," + HEADER + "x,2024-01-02,10,12,9,11,1\n"
    assert len(_read(tmp_path, text, mapping={"session": "date"})) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (HEADER.encode(), "no rows below the header"),
        ((HEADER + "2024-01-02,10,12,9,11,1\n").encode("utf-16"), "codec can't decode.*UTF-8"),
        (HEADER.encode() + b'2024-01-02,"10\n1,2', "EOF inside string"),
        (b"\x1f\x8b\x08\x00\xff\xfe\x00", "is an archive. Unpack it"),
    ],
    ids=["empty", "blank lines", "header only", "utf-16", "open quote", "gzip"],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        _read(tmp_path, content)


def test_a_missing_or_huge_file_and_a_folder_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"none\.csv: no such file; name a CSV"):
        _histories(tmp_path / "none.csv", "AAPL")
    with pytest.raises(UsageError, match="is a folder; name a CSV"):
        _histories(tmp_path, "AAPL")
    path = tmp_path / "huge.csv"
    with path.open("wb") as huge:
        huge.truncate(2**33)
    with pytest.raises(UsageError, match=r"larger than 4096 MiB; split it"):
        _histories(path, "AAPL")


def test_a_failing_disk_is_a_storage_error(tmp_path, monkeypatch):
    path = _file(tmp_path, HEADER)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pd, "read_csv", refuse)
    with pytest.raises(StorageError, match=r"prices\.csv: Input/output error"):
        _histories(path, "AAPL")


def _parquet(folder: Path, frame: pd.DataFrame) -> Path:
    pytest.importorskip("pyarrow")
    frame.to_parquet(folder / "prices.parquet")
    return folder / "prices.parquet"


def _frame(**columns: object) -> pd.DataFrame:
    usual = {
        "date": pd.to_datetime(["2024-01-02", "2024-01-03"]),
        "open": [10.0, 11.0],
        "high": [12.0, 13.0],
        "low": [9.0, 10.0],
        "close": [11.0, 12.0],
        "volume": [1, 2],
    }
    return pd.DataFrame(usual | columns)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "America/New_York", "UTC"])
def test_parquet_dates_of_any_unit_and_zone_are_exchange_dates(tmp_path, unit, zone):
    dates = pd.DatetimeIndex(["2024-01-02", "2024-07-02"]).as_unit(unit)
    dates = dates.tz_localize("America/New_York").tz_convert(zone) if zone else dates
    (history,) = _histories(_parquet(tmp_path, _frame(date=dates)), "AAPL")
    assert _days(history.bars) == ["2024-01-02", "2024-07-02"]


def test_parquet_columns_of_other_types_are_read(tmp_path):
    frame = _frame(
        close=np.array([83.81, 12.0], dtype="float32"),
        high=["90", "1,300.5"],
        volume=pd.array([1, None], dtype="Int64"),
        dividend=[np.nan, 0.2],
        date=[pd.Timestamp("2024-01-02").date(), pd.Timestamp("2024-01-03").date()],
    )
    (history,) = _histories(_parquet(tmp_path, frame), "AAPL")
    assert history.bars["close"].tolist() == [83.81, 12.0]
    assert history.bars["high"].tolist() == [90, 1300.5]
    assert history.bars["volume"].tolist() == [1, 0]
    assert history.bars["dividend"].tolist() == [0, 0.2]


def test_parquet_with_dates_as_index_is_read(tmp_path):
    (history,) = _histories(_parquet(tmp_path, _frame().set_index("date")), "AAPL")
    assert _days(history.bars) == ["2024-01-02", "2024-01-03"]


def test_parquet_errors_name_the_row(tmp_path):
    (history,) = _histories(_parquet(tmp_path, _frame(close=["11.0", "x"])), "AAPL")
    assert history.notes == {2: "column close: 'x' is no number"}
    days = pd.to_datetime([None, "2024-01-03"])
    for dates in (days, days.tz_localize("America/New_York")):
        contents = read_file(_parquet(tmp_path, _frame(date=dates)), "AAPL")
        assert [one.place for one in contents.left_out] == ["row 1"]


def test_parquet_that_is_none_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        _histories(_file(tmp_path, b"PAR1 not at all", "prices.parquet"), "AAPL")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'pip install "forecaster\[parquet\]"'):
        _histories(_file(tmp_path, b"PAR1", "prices.parquet"), "AAPL")


def test_what_was_exported_is_imported_equal(tmp_path):
    rows = "2024-01-02,0.1,0.30000000000000004,0.1,0.2,1\n2024-01-03,1,2,0.5,1.7,0\n"
    bars = _read(tmp_path, HEADER + rows)
    write_table(bars.assign(ticker="^GSPC"), tmp_path / "out.csv")
    (history,) = _histories(tmp_path / "out.csv")
    assert history.listing.ticker == "^GSPC"
    pd.testing.assert_frame_equal(history.bars, bars, check_exact=True)


def test_a_date_that_stands_in_many_rows_is_read_in_each():
    """A date is read once and its result put into every row, empty cells included."""
    found = parse_days(pd.Series(["2024-01-02", None, "2024-01-03", "2024-01-02", ""])).days
    assert found.astype(str).tolist() == ["2024-01-02", "NaT", "2024-01-03", "2024-01-02", "NaT"]


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(str.encode),
        st.text("0123456789,.;-/:\"' \n=+$eE", max_size=200).map(lambda t: (HEADER + t).encode()),
        st.lists(
            st.lists(
                st.sampled_from(["2024-01-02", "1/2/2024", "1", "-1", "", "x", "1e999", "NaN"]),
                min_size=6,
                max_size=6,
            ).map(",".join),
            max_size=5,
        ).map(lambda rows: (HEADER + "\n".join(rows)).encode()),
    )
)
def test_any_content_gives_bars_or_one_of_our_errors(tmp_path, content):
    """Whatever is in a file, nothing but a ForecasterError of one line comes out."""
    try:
        (history,) = _histories(_file(tmp_path, content), "AAPL")
        assert len(history.bars) > 0
    except ForecasterError as error:
        assert "\n" not in str(error)


@settings(max_examples=40, deadline=None)
@given(st.dates(pd.Timestamp("1900-01-01").date(), pd.Timestamp("2100-12-31").date()))
def test_a_date_is_read_back_in_any_form(day):
    forms = ["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S+09:00"]
    found = parse_days(pd.Series([day.strftime(form) for form in forms])).days
    assert found.tolist() == [day] * len(forms)


def test_one_place_says_what_is_wrong():
    table = FileTable(
        path=Path("p.csv"),
        frame=pd.DataFrame({"close": ["a" * 99]}),
        headers={"close": "C"},
        unit="line",
    )
    with pytest.raises(
        DataError, match=r"^p\.csv: line 0, column C: 'a{40}'; x is needed \(1 such\)"
    ):
        table.refuse(np.array([True]), "close", "x")
    table.refuse(np.array([False]), "close", "x")
