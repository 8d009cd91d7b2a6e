"""Columns by name and by value, headers of several lines: what people's files have on top."""

import logging
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.history import History
from forecaster.data.sources.files import FileContents, FileOptions, read_file
from forecaster.data.sources.headers import field_of
from forecaster.errors import DataError, Question, UsageError

DAYS = pd.bdate_range("2024-01-02", periods=40).strftime("%Y-%m-%d")


def _written(folder: Path, text: str) -> Path:
    path = folder / "prices.csv"
    path.write_text(text)
    return path


def _bars(**columns: object) -> str:
    """Forty days of one price, with other columns behind the usual ones."""
    usual = {"Date": DAYS, "Open": 10.5, "High": 12.5, "Low": 9.5, "Close": 11.5, "Volume": 1000}
    return pd.DataFrame(usual | columns).to_csv(index=False)


def _sparse(value: object, rest: object = 0.0) -> list[object]:
    return [value if row == 20 else rest for row in range(40)]


def _remedies(message: str) -> list[list[str]]:
    """Return the options that a message suggests, as a shell would read them."""
    words = shlex.split(message.replace(" or ", " ").rstrip("."))
    return [words[at : at + 2] for at, word in enumerate(words) if word.startswith("--")]


def _typed(path: Path, option: str, value: str) -> FileContents:
    """Read a file with one option of the command."""
    if option == "--map":
        name, _, column = value.partition("=")
        return read_file(path, "ACME", {name: column})
    if option == "--ignore":
        return read_file(path, "ACME", {}, FileOptions(ignore=(value,)))
    return read_file(path, "ACME", {}, FileOptions(**{option.removeprefix("--"): value}))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Ex-Dividend", "dividend"),
        ("ex_dividend", "dividend"),
        ("Cash Dividend (USD)", "dividend"),
        ("divCash", "dividend"),
        ("dividend_amount", "dividend"),
        ("Distributions", "dividend"),
        ("Dividend Yield", None),
        ("Ex-Dividend Date", None),
        ("Split Ratio", "split"),
        ("Stock Splits", "split"),
        ("split_coefficient", "split"),
        ("splitFactor", "split"),
        ("Split-adjusted close", None),
        ("Adj. Close", None),
        ("adjClose", None),
        ("Close (adjusted)", None),
        ("Close/Last", "close"),
        ("Close*", "close"),
        ("Close (USD)", "close"),
        ("close_eur", "close"),
        ("4. close", "close"),
        ("<CLOSE>", "close"),
        ("PX_OPEN", "open"),
        ("Vol.", "volume"),
        ("Er\u00f6ffn.", "open"),
        ("Datum", "session"),
        ("Previous Close", None),
    ],
)
def test_fields_by_the_names_of_their_columns(name: str, field: str | None) -> None:
    assert field_of(name) == field


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("Volume (shares)", 1.0),
        ("Vol. (K)", 1e3),
        ("Volume ('000)", 1e3),
        ("Volume (in millions)", 1e6),
        ("Volume [lakhs]", 1e5),
    ],
)
def test_volumes_may_have_their_unit_in_the_header(tmp_path: Path, name: str, scale: float) -> None:
    (history,) = read_file(_written(tmp_path, _bars().replace("Volume", name)), "ACME").histories
    assert set(history.bars["volume"]) == {1000 * scale}


@pytest.mark.parametrize("name", ["Last", "Price", "PX_LAST", "Zuletzt", "Settle"])
def test_second_names_count_where_there_is_no_first(tmp_path: Path, name: str) -> None:
    text = _bars().replace("Close", name)
    assert read_file(_written(tmp_path, text), "ACME").columns["close"] == name
    both = read_file(_written(tmp_path, _bars(**{name: 1.0})), "ACME")
    assert both.columns["close"] == "Close"


@pytest.mark.parametrize(
    "header",
    [
        "Datum,Eröffn.,Hoch,Tief,Zuletzt,Vol.",
        "Date,Ouv.,Plus Haut,Plus Bas,Dernier,Vol.",
        "date,ouverture,haut,bas,clo\u0302ture,volume",  # with a combining accent
        "Fecha,Apertura,Máximo,Mínimo,Último,Vol.",
        "Data,Apertura,Massimo,Minimo,Ultimo,Vol.",
        "Data,Abertura,Máxima,Mínima,Fechamento,Volume",
        "Datum,Open,Hoog,Laag,Laatste,Vol.",
    ],
)
def test_headers_of_other_languages_are_read(tmp_path: Path, header: str) -> None:
    text = _bars().replace("Date,Open,High,Low,Close,Volume", header)
    columns = read_file(_written(tmp_path, text), "ACME").columns
    assert list(columns) == ["session", "open", "high", "low", "close", "volume"]


def test_cells_between_spaces_are_refused_with_a_command_that_mends_it(tmp_path: Path) -> None:
    file = _written(tmp_path, _bars().replace(",", "   "))
    with pytest.raises(DataError, match="separated by spaces") as refused:
        read_file(file, "ACME")
    command = str(refused.value).split(": ")[-1]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    (history,) = read_file(tmp_path / f"{file.stem}-commas.csv", "ACME").histories
    assert len(history.bars) == 40


EVENTS = [
    ({"factor": _sparse(4.0, 1.0)}, ["split"]),
    ({"Corporate action": _sparse("4:1", "")}, ["split", "dividend"]),
    ({"Payment": _sparse(0.25)}, ["split", "dividend"]),
    ({"Capital Gains": _sparse(0.25)}, ["split", "dividend"]),
    ({"Dividends": 0.0, "Special": _sparse(1.5)}, ["split"]),
    ({"Bonus": _sparse("1.5", "")}, ["split", "dividend"]),
]


@pytest.mark.parametrize(("columns", "fields"), EVENTS)
def test_a_column_that_looks_like_events_is_a_question_whose_remedies_work(
    tmp_path: Path, columns: dict[str, object], fields: list[str]
) -> None:
    path, name = _written(tmp_path, _bars(**columns)), list(columns)[-1]
    with pytest.raises(UsageError, match="may hold splits or dividends: 1 of 40") as caught:
        read_file(path, "ACME")
    remedies = _remedies(str(caught.value))
    wanted = [["--map", f"{one}={name}"] for one in fields]
    assert remedies == [*wanted, ["--ignore", name]]
    for option, value in remedies:
        if value != "dividend=Corporate action":  # 4:1 is no amount
            assert len(_typed(path, option, value).histories) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"Adj Close": 11.5},
        {"Change %": [f"{row / 7:.2f}%" for row in range(40)]},
        {"OpenInt": 0},
        {"Repaired?": [row == 3 for row in range(40)]},
        {"Trades": range(40)},
        {"Return": _sparse(-0.02)},
        {"Note": _sparse("halted", "")},
        {"Adj Factor": np.linspace(0.1, 1.0, 40)},
        {"Ex-Dividend Date": _sparse("2024-02-01", "")},
    ],
)
def test_other_columns_are_left_out(tmp_path: Path, columns: dict[str, object]) -> None:
    found = read_file(_written(tmp_path, _bars(**columns)), "ACME")
    assert set(found.columns) == {"session", "open", "high", "low", "close", "volume"}


@pytest.mark.parametrize(
    "text", ["Split 4:1", "4-for-1 stock split", "Dividend 0.24 USD", "0.24 cash dividend"]
)
def test_events_in_words_are_a_question(tmp_path: Path, text: str) -> None:
    cells = [text if row == 20 else "halted" if row == 5 else "" for row in range(40)]
    path = _written(tmp_path, _bars(**{"Corporate Actions": cells}))
    with pytest.raises(UsageError, match="has splits or dividends in words") as caught:
        read_file(path, "ACME")
    assert text in str(caught.value)
    assert len(_typed(path, *_remedies(str(caught.value))[-1]).histories) == 1


def test_a_name_with_an_event_in_it_is_no_event(tmp_path: Path) -> None:
    path = _written(tmp_path, _bars(Fund="Dividend 100 Fund"))
    assert len(read_file(path, "ACME").histories) == 1


@pytest.mark.parametrize("name", ["Capital Gains", "Div. type", "Bonus issue"])
def test_a_column_named_like_events_without_any_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with caplog.at_level(logging.WARNING):
        read_file(_written(tmp_path, _bars(**{name: 0.0})), "ACME")
    assert f"no event in {name}; not used" in caplog.text


def test_raw_columns_beside_a_ticker_are_no_header_of_two_levels(tmp_path: Path) -> None:
    text = _bars(open_raw=1.0, high_raw=2.0, low_raw=3.0, close_raw=4.0, symbol="ACME")
    text = text.replace("High,Low,Close", "h,l,c")
    with pytest.raises(UsageError, match=r"high, low, close among Date, Open, h, l, c,"):
        read_file(_written(tmp_path, text))


def test_two_columns_of_one_field_are_a_question_whose_remedies_work(tmp_path: Path) -> None:
    columns = {"Dividends": _sparse(0.5), "Ex-Dividend": _sparse(0.5)}
    path = _written(tmp_path, _bars(**columns))
    with pytest.raises(UsageError, match="could both be dividend; choose with") as caught:
        read_file(path, "ACME")
    remedies = _remedies(str(caught.value))
    assert remedies == [["--map", f"dividend={name}"] for name in columns]


def test_an_adjusted_close_alone_is_named_in_the_remedy(tmp_path: Path) -> None:
    path = _written(tmp_path, _bars().replace("Close", "Adj. Close"))
    with pytest.raises(UsageError, match=r"no column for close") as caught:
        read_file(path, "ACME")
    assert _remedies(str(caught.value)) == [["--map", "close=Adj. Close"]]
    assert _typed(path, "--map", "close=Adj. Close").form == "adjusted"


def test_an_event_that_cannot_be_read_is_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    """Left out with its row, a split or dividend would be lost."""
    path = _written(tmp_path, _bars(Splits=_sparse("four", "")))
    with pytest.raises(DataError, match=r"line 22, column Splits: 'four'; .*\(or --ignore split\)"):
        read_file(path, "ACME")
    assert len(_typed(path, "--ignore", "split").histories[0].bars) == 40


@pytest.mark.parametrize("price", ["2,658", "11,50", "11.50"])
def test_dividends_show_the_decimal_mark_before_they_are_refused(
    tmp_path: Path, price: str
) -> None:
    columns = {name: price for name in ("Open", "High", "Low", "Close")}
    path = _written(tmp_path, _bars(**columns, Dividends=_sparse("0,075", "0")))
    if "." in price:
        with pytest.raises(Question, match="'0,075' has a decimal comma") as caught:
            read_file(path, "ACME")
        assert "Add --decimal point --ignore dividend, or --decimal comma." in str(caught.value)
        return
    bars = read_file(path, "ACME").histories[0].bars
    assert bars["dividend"].max() == 0.075
    assert bars["close"].iloc[0] == float(price.replace(",", "."))


def test_the_decimal_mark_is_a_question_whose_remedies_work(tmp_path: Path) -> None:
    text = _bars().replace("10.5,12.5,9.5,11.5", '"2,650","2,660","2,640","2,658"')
    path = _written(tmp_path, text)
    with pytest.raises(Question, match=r"'2,650' has two readings") as caught:
        read_file(path, "ACME")
    assert (caught.value.option, caught.value.choices) == ("decimal", ("point", "comma"))
    assert "--decimal point (2650) or --decimal comma (2.65)" in str(caught.value)
    for choice, close in (("point", 2658.0), ("comma", 2.658)):
        (history,) = _typed(path, "--decimal", choice).histories
        assert set(history.bars["close"]) == {close}


def test_fields_and_columns_can_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _written(tmp_path, _bars(Dividends=_sparse(0.5)))
    for name in ("volume", "VOLUME", "dividend", "Dividends"):
        (history,) = _typed(path, "--ignore", name).histories
        left_out = "volume" if name.lower() == "volume" else "dividend"
        assert history.bars[left_out].sum() == 0
    assert "no volume column" not in caplog.text
    with pytest.raises(UsageError, match="--ignore close: a bar needs its close"):
        _typed(path, "--ignore", "close")
    with pytest.raises(UsageError, match="--ignore Prise: no such column; the file has Date, "):
        _typed(path, "--ignore", "Prise")


def _downloaded(**tickers: float) -> pd.DataFrame:
    """Return what `yfinance.download()` returns: fields above tickers."""
    fields = {"Close": 11.0, "High": 12.0, "Low": 9.0, "Open": 10.0, "Volume": 1000.0}
    columns = {
        (field, ticker): [value * scale] * 3
        for field, value in fields.items()
        for ticker, scale in tickers.items()
    }
    days = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"], name="Date")
    table = pd.DataFrame(columns, index=days)
    table.columns.names = ["Price", "Ticker"]
    return table


LAYOUTS = {
    "as downloaded": lambda t: t.to_csv(),
    "grouped by ticker": lambda t: t.swaplevel(axis=1).sort_index(axis=1).to_csv(),
    "an older one without names": lambda t: t.rename_axis(columns=[None, None]).to_csv(),
    "older, grouped": lambda t: t.swaplevel(axis=1).rename_axis(columns=[None, None]).to_csv(),
    "without its index": lambda t: t.reset_index().to_csv(index=False),
    "pairs as text": lambda t: t.set_axis(t.columns.to_flat_index(), axis=1).to_csv(),
    "joined by an underscore": lambda t: t.set_axis(t.columns.map("_".join), axis=1).to_csv(),
    "joined, ticker first": lambda t: t.set_axis(
        [f"{ticker}_{name}" for name, ticker in t.columns], axis=1
    ).to_csv(),
    "semicolons": lambda t: t.to_csv(sep=";"),
}


def _closes(histories: list[History]) -> dict[str, list[float]]:
    return {one.listing.ticker: one.bars["close"].tolist() for one in histories}


@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("names", [{"ACME": 1.0}, {"ACME": 1.0, "LOW": 2.5, "7203.T": 3.5}])
def test_bars_of_several_tickers_in_a_line(
    tmp_path: Path, write: object, names: dict[str, float]
) -> None:
    path = _written(tmp_path, write(_downloaded(**names)))  # type: ignore[operator]
    found = _closes(read_file(path).histories)
    assert found == {ticker: [11.0 * scale] * 3 for ticker, scale in names.items()}


def test_a_ticker_lacks_the_days_of_the_others_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = _downloaded(ACME=1.0, BETA=2.0)
    table.loc["2024-01-03", (slice(None), "BETA")] = np.nan
    contents = read_file(_written(tmp_path, table.to_csv()))
    assert _closes(contents.histories) == {"ACME": [11.0] * 3, "BETA": [22.0] * 2}
    assert contents.left_out == [] and "left out" not in caplog.text
    assert contents.histories[1].bars.index.tolist() == [4, 6]


def test_a_download_saved_as_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    _downloaded(ACME=1.0, BETA=2.0).to_parquet(tmp_path / "prices.parquet")
    found = _closes(read_file(tmp_path / "prices.parquet").histories)
    assert found == {"ACME": [11.0] * 3, "BETA": [22.0] * 3}


@pytest.mark.parametrize(
    "above",
    ["\n\n", "sep=,\n", "Security,ACME US Equity\nPeriod,D\n\n", "# prices\n", "ACME Inc.,,,\n"],
)
def test_lines_above_the_header_are_no_rows(tmp_path: Path, above: str) -> None:
    """Rows keep the numbers of their lines."""
    (history,) = read_file(_written(tmp_path, above + _bars()), "ACME").histories
    assert len(history.bars) == 40
    assert history.bars.index[0] == above.count("\n") + 2


def test_an_index_without_a_name_is_the_date(tmp_path: Path) -> None:
    (history,) = read_file(_written(tmp_path, _bars().removeprefix("Date")), "ACME").histories
    assert len(history.bars) == 40


def test_a_row_with_a_short_name_is_no_header_of_tickers(tmp_path: Path) -> None:
    text = _bars(Symbol="-").replace("Symbol", "Sector")
    assert len(read_file(_written(tmp_path, text), "ACME").histories[0].bars) == 40
