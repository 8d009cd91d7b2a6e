"""Each ticker's forecasts and outcomes, for the figures whose ticker a reader chooses."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation.scored_forecasts import ScoredForecasts
from forecaster.report.units import axis_title, in_units

COLUMNS = ("actual", "forecast", "q025", "q10", "q90", "q975")
EMBEDDED_AT_MOST = 12
EMBEDDED_DAYS = 250  # the newest; a script beside the page has all

# Of a ticker by target: a list per column, an element per day, None where there is none.
Columns = dict[str, dict[str, list[Any]]]


@dataclass(frozen=True, kw_only=True)
class TickerSeries:
    """One forecaster's forecasts and outcomes, by target.

    `wanted` are tickers that a page embeds, the most important first; at most `EMBEDDED_AT_MOST`.
    """

    rows: Mapping[str, ScoredForecasts]
    forecaster: Mapping[str, str]
    wanted: Sequence[str]

    @cached_property
    def tickers(self) -> tuple[str, ...]:
        """All tickers with a scored row of some target, in order."""
        return tuple(sorted(set().union(*(rows.scored for rows in self.rows.values()))))

    @cached_property
    def _tables(self) -> dict[str, dict[str, pd.DataFrame]]:
        found = {}
        for target, rows in self.rows.items():
            table = rows.table(self.forecaster[target])
            shown = {name: in_units(target, table[name].to_numpy()) for name in COLUMNS}
            table = table.assign(**{name: _rounded(values) for name, values in shown.items()})
            found[target] = {str(t): part for t, part in table.groupby("ticker", sort=False)}
        return found

    def columns(self, ticker: str, days: int | None = None) -> Columns:
        """Return a ticker's columns by target, of the newest `days`."""
        found: Columns = {}
        for target, tables in self._tables.items():
            if ticker in tables:
                table = tables[ticker].iloc[-days if days else None :]
                found[target] = {"days": table["session"].dt.strftime("%Y-%m-%d").tolist()}
                for name in COLUMNS:
                    if (known := table[name].notna()).any():
                        found[target][name] = table[name].astype(object).where(known, None).tolist()
        return found

    @cached_property
    def embedded(self) -> tuple[str, ...]:
        """The tickers that a page embeds; at least one."""
        known = [ticker for ticker in self.wanted if ticker in self.tickers]
        return tuple(known[:EMBEDDED_AT_MOST]) or self.tickers[:1]

    def embedded_json(self, folder: str) -> str:
        """Return what a page holds: the embedded tickers, and where each one's script is.

        Without a `folder` of scripts all days are embedded.
        """
        days = EMBEDDED_DAYS if folder else None
        held = {
            "tickers": {ticker: self.columns(ticker, days) for ticker in self.embedded},
            "scripts": {t: folder + script_name(t) for t in self.tickers} if folder else {},
            "axes": {target: axis_title(target) for target in self.rows},
        }
        return _json(held)

    def scripts(self) -> Iterator[tuple[str, str]]:
        """Yield name and content of a script for each ticker, with all days."""
        for ticker in self.tickers:
            call = f"forecasterTicker({_json(ticker)},{_json(self.columns(ticker))});\n"
            yield script_name(ticker), call


def choose_tickers(gains: pd.DataFrame, asked: Sequence[str]) -> list[str]:
    """Return those asked for, then the largest and the smallest gain, then some between.

    Args:
        gains: rows of `benchmark, ticker, gain`; the first benchmark's count.
        asked: tickers to come first.
    """
    if gains.empty:
        return [*asked]
    first = gains[gains["benchmark"] == gains["benchmark"].iloc[0]]
    order = first.sort_values("gain", ascending=False)["ticker"].tolist()
    places = np.linspace(0, len(order) - 1, min(len(order), EMBEDDED_AT_MOST)).round().astype(int)
    ends = [order[0], order[-1]]
    return list(dict.fromkeys([*asked, *ends, *(order[place] for place in places)]))


def script_name(ticker: str) -> str:
    """Return the name of a ticker's script, which any file system and address can hold."""
    return re.sub(r"[^\w.-]", "_", ticker, flags=re.ASCII) + ".js"


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to four significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (3 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, np.where(values == 0.0, 0.0, np.nan))


def _json(value: object) -> str:
    # No text may end a script element.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
