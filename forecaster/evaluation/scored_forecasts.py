"""Forecasts of the test rows with their outcomes: a column of numbers each, tables on demand.

Shape letters: n scored rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual"),
    *("q025", "q10", "q90", "q975", "log_score"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredForecasts:
    """All forecasters' forecasts of one target on the same n rows.

    `series` (n,) number the `tickers`; `as_of` (n,) are the days of the forecasts, `session` (n,)
    those of the `actual` (n,) outcomes; prices apply to returns only. `columns` are, by
    forecaster, the own first, arrays (n,): `forecast`, NaN where there is none, and where it has
    them the ends of the intervals and `log_score`, the log density at the outcome in nats.
    """

    target: str
    tickers: tuple[str, ...]
    series: np.ndarray
    as_of: np.ndarray
    session: np.ndarray
    actual: np.ndarray
    last_close: np.ndarray
    columns: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def scored(self) -> tuple[str, ...]:
        """Tickers with a row."""
        return tuple(self.tickers[number] for number in np.unique(self.series))

    def tables(self) -> Iterator[pd.DataFrame]:
        """Yield each forecaster's rows (`FORECAST_COLUMNS`), those without forecast left out."""
        return map(self.table, self.columns)

    def table(self, forecaster: str) -> pd.DataFrame:
        """Return the rows of one forecaster; see `tables`."""
        found = self.columns[forecaster]
        known = np.flatnonzero(np.isfinite(found["forecast"]))
        close = self.last_close[known] if self.target == "return" else np.nan
        columns = {name: values[known] for name, values in found.items()}
        columns["actual"] = self.actual[known]
        table = {
            "ticker": np.array(self.tickers)[self.series[known]],
            "as_of": self.as_of[known].astype("datetime64[s]"),
            "session": self.session[known].astype("datetime64[s]"),
            "target": self.target,
            "forecaster": forecaster,
            "last_close": self.last_close[known],
            "price_forecast": priced(close, columns["forecast"]),
            "price_actual": priced(close, columns["actual"]),
        }
        table |= columns
        missing = np.full(len(known), np.nan)
        return pd.DataFrame({name: table.get(name, missing) for name in FORECAST_COLUMNS})

    def squared_errors(self) -> pd.DataFrame:
        """Return squared errors by session and ticker, with a column per forecaster."""
        errors = {
            name: (columns["forecast"] - self.actual) ** 2 for name, columns in self.columns.items()
        }
        return self._by_row(errors)

    def log_scores(self) -> pd.DataFrame:
        """Return log scores by session and ticker, with a column per forecaster that has any."""
        scores = {
            name: columns["log_score"]
            for name, columns in self.columns.items()
            if "log_score" in columns and np.isfinite(columns["log_score"]).any()
        }
        return self._by_row(scores)

    def _by_row(self, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
        order = np.lexsort((self.series, self.session))
        days = self.session[order].astype("datetime64[s]")
        keys = [days, np.array(self.tickers)[self.series[order]]]
        index = pd.MultiIndex.from_arrays(keys, names=["session", "ticker"])
        return pd.DataFrame({name: array[order] for name, array in columns.items()}, index=index)


def priced(close: np.ndarray | float, log_return: np.ndarray) -> np.ndarray:
    """Return the prices (n,) that log returns (n,) from closes lead to."""
    with np.errstate(over="ignore"):  # only a forged manifest forecasts that much
        prices: np.ndarray = close * np.exp(log_return)
    return prices
