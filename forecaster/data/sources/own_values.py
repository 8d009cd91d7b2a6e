"""Files of own columns without prices: numbers by ticker and date, for bars that are stored.

Paths in; tables by ticker out. Knows no store.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.data.history import OWN_NAME, PRICE_COLUMNS, check_positive, normalise_ticker
from forecaster.data.sources.dates import DateOrder, parse_days
from forecaster.data.sources.file_kinds import check_kind, is_parquet, read_parquet
from forecaster.data.sources.headers import field_of
from forecaster.errors import DataError, Question, UsageError

_DELIMITERS = ",;\t"


def is_without_prices(path: Path) -> bool:
    """Whether a file's header has a date and no price at all."""
    check_kind(path)
    names = [*map(str, read_parquet(path))] if is_parquet(path) else _header(path)
    fields = {field_of(name) for name in names} | {field_of(name, 1) for name in names}
    return "session" in fields and not fields & {*PRICE_COLUMNS}


def read_values(
    path: Path, ticker: str | None, names: Sequence[str], order: DateOrder | None
) -> dict[str, pd.DataFrame]:
    """Read own columns: `session` and the named ones by ticker, oldest day first.

    Args:
        path: CSV or parquet with a column of dates and, unless `ticker` is given, of tickers.
        ticker: the one ticker in a file without a column of tickers.
        names: of the columns.
        order: of day, month and year, where the dates do not show it.

    Raises:
        DataError: a cell is no date or no number above 0, or a day is there twice.
        Question: the dates have two readings.
        UsageError: a column or the ticker is missing.
    """
    frame = read_parquet(path) if is_parquet(path) else _text(path)
    frame.columns = frame.columns.astype(str)
    by_field = {field_of(name): name for name in frame.columns}
    folded = {name.casefold(): name for name in frame.columns}
    for name in names:
        if not OWN_NAME.fullmatch(name) or name.casefold() not in folded:
            raise UsageError(
                f"{path}: --keep {name} needs a column of this name, of a-z, 0-9 and _ but for "
                f"capitals; the file has {', '.join(frame.columns)}."
            )
    if "ticker" not in by_field and ticker is None:
        raise UsageError(f"{path}: has no ticker column. Add --ticker SYM.")
    table = pd.DataFrame({"session": _days(path, frame[by_field["session"]], order)})
    for name in names:
        table[name] = _numbers(path, frame[folded[name.casefold()]], name)
    spelled = frame[by_field["ticker"]].astype(str) if "ticker" in by_field else ticker
    table["ticker"] = spelled
    found = {}
    for text, rows in table.groupby("ticker", sort=True):
        named = normalise_ticker(str(text))
        found[named] = _one_ticker(path, named, rows)
        check_positive(named, found[named], names)
    return found


def _one_ticker(path: Path, ticker: str, rows: pd.DataFrame) -> pd.DataFrame:
    again = rows["session"].duplicated()
    if again.any():
        day = rows.loc[again, "session"].iloc[0]
        raise DataError(f"{path}: {ticker}: {day:%Y-%m-%d} is there twice; remove one of the rows.")
    return rows.drop(columns="ticker").sort_values("session", ignore_index=True)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        line = stream.readline()
    mark = max(_DELIMITERS, key=line.count)
    return [name.strip().strip('"') for name in line.strip().split(mark)]


def _text(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        mark = max(_DELIMITERS, key=stream.readline().count)
    try:
        frame = pd.read_csv(path, sep=mark, dtype=str, encoding="utf-8-sig", index_col=False)
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is no table: {error}. Save it as CSV in UTF-8.") from error
    return frame.rename(columns=lambda name: str(name).strip())


def _days(path: Path, cells: pd.Series, order: DateOrder | None) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        whole = cells.dt.tz_localize(None).to_numpy().astype("datetime64[D]")
        return np.asarray(whole.astype("datetime64[s]"))
    parsed = parse_days(cells.astype(str), order)
    if parsed.ambiguous.any():
        example = cells[parsed.ambiguous].iloc[0]
        why = f"{path}: {example!r} has two readings; day and month could be swapped."
        remedy = f"Add --dates {' or '.join(parsed.orders)}."
        raise Question(f"{why} {remedy}", "dates", parsed.orders, why)
    _refuse(path, cells, np.isnat(parsed.days), "a date such as 2024-12-31")
    return np.asarray(parsed.days.astype("datetime64[s]"))


def _numbers(path: Path, cells: pd.Series, name: str) -> pd.Series:
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    wrong = (values.isna() & cells.notna() & (cells.astype(str).str.strip() != "")).to_numpy()
    _refuse(path, cells, wrong, f"a number with a decimal point in column {name}")
    return values


def _refuse(path: Path, cells: pd.Series, wrong: np.ndarray, needed: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}: row {row + 1}: {str(cells.iloc[row])[:40]!r}; {needed} is needed "
            f"({int(wrong.sum()):,} such). Correct or remove these rows."
        )
