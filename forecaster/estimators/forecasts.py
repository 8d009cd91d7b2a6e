"""Forecasts as a plain table that also draws itself. Imports plotly only to draw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Kind = Literal["forecasts", "interval", "quantiles"]

KEYS: Final = {
    "ticker": "str",
    "as_of": "datetime64[s]",
    "session": "datetime64[s]",
    "target": "str",
}
DTYPES: Final[Mapping[Kind, Mapping[str, str]]] = {
    "forecasts": {
        **KEYS,
        "forecaster": "str",
        **dict.fromkeys(("forecast", "q025", "q10", "q90", "q975", "prob_up"), "float64"),
        **dict.fromkeys(("last_close", "price_forecast"), "float64"),
        **dict.fromkeys(("price_q025", "price_q10", "price_q90", "price_q975"), "float64"),
        "interval": "str",
        "trained_on": "bool",
        "version": "str",
    },
    "interval": {
        **KEYS,
        **dict.fromkeys(("forecast", "lower", "upper", "price_lower", "price_upper"), "float64"),
        "coverage": "float64",
    },
    "quantiles": {**KEYS, **dict.fromkeys(("level", "quantile", "price"), "float64")},
}
_ENDS: Final = {"forecasts": ("q10", "q90"), "interval": ("lower", "upper")}
# Units that people read: per cent, and currency.
_SHOWN: Final[dict[str, tuple[str, Callable[[pd.Series], pd.Series]]]] = {
    "return": ("log return, %", lambda values: 100.0 * values),
    "range": ("range, % of price", lambda values: 100.0 * np.exp(values)),
    "volume": ("volume, currency", lambda values: np.exp(values)),
}
_ROWS: Final = 8  # of a table that is printed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecasts:
    """Forecasts of each ticker's next session: `frame`, a plain DataFrame with a RangeIndex.

    Its columns and their dtypes are `DTYPES[kind]`. Forecasts and quantiles are in the target's
    own units (log return; log of the log range; log of volume times price), prices in the
    listing's currency, NaN for range and volume.

    - "forecasts": a row per ticker and target, as the command `predict` prints them; `q10` to
      `q90` is the 80 % and `q025` to `q975` the 95 % prediction interval.
    - "interval": a row per ticker and target with the ends of one prediction interval.
    - "quantiles": a row per ticker, target and level.
    """

    frame: pd.DataFrame
    kind: Kind

    @classmethod
    def of(cls, table: pd.DataFrame, kind: Kind) -> "Forecasts":
        """Select the columns of a kind and set their dtypes."""
        types = dict(DTYPES[kind])
        frame = table[list(types)].astype(types).reset_index(drop=True)
        return cls(frame=frame, kind=kind)

    def __len__(self) -> int:
        return len(self.frame)

    def plot(self) -> "Figure":
        """Draw the forecasts with their intervals, or the quantiles, a panel per target."""
        from plotly.subplots import make_subplots

        targets = self.frame["target"].unique().tolist()
        shown = {target: _SHOWN.get(target, (target, np.exp)) for target in targets}
        names = [shown[target][0] for target in targets]
        figure = make_subplots(rows=len(targets), cols=1, subplot_titles=names)
        for row, target in enumerate(targets, start=1):
            mine = self.frame[self.frame["target"] == target]
            draw = self._draw_quantiles if self.kind == "quantiles" else self._draw_intervals
            draw(figure, row, mine, shown[target][1])
        title = f"Next session, {self._days()}"
        figure.update_layout(title=title, template="plotly_white", height=160 + 260 * len(targets))
        return figure

    def _draw_intervals(
        self, figure: "Figure", row: int, rows: pd.DataFrame, shown: Callable[..., pd.Series]
    ) -> None:
        low, high = (shown(rows[end]) for end in _ENDS[self.kind])
        middle, nominal = shown(rows["forecast"]), 0.8
        if self.kind == "interval":
            nominal = float(rows["coverage"].iloc[0])
        figure.add_scatter(
            x=rows["ticker"],
            y=middle,
            mode="markers",
            name=f"forecast, {100 * nominal:g} % interval",
            error_y={"array": high - middle, "arrayminus": middle - low, "symmetric": False},
            showlegend=row == 1,
            row=row,
            col=1,
        )

    def _draw_quantiles(
        self, figure: "Figure", row: int, rows: pd.DataFrame, shown: Callable[..., pd.Series]
    ) -> None:
        for ticker, mine in rows.groupby("ticker", sort=False):
            figure.add_scatter(
                x=mine["level"], y=shown(mine["quantile"]), name=str(ticker), row=row, col=1
            )

    def _days(self) -> str:
        days = self.frame["session"].dt.strftime("%Y-%m-%d").unique()
        return days[0] if len(days) == 1 else f"{days.min()} to {days.max()}"

    def _shown(self) -> tuple[str, pd.DataFrame]:
        """Return a line of summary and the columns that fit a screen."""
        tickers = self.frame["ticker"].nunique()
        summary = f"{self.kind} of {tickers} ticker{'s' * (tickers > 1)} for {self._days()}"
        columns = ["ticker", "session", "target", "forecast", "q10", "q90", "prob_up"]
        return summary, self.frame[[*columns]] if self.kind == "forecasts" else self.frame.drop(
            columns=["as_of", *(name for name in self.frame if str(name).startswith("price"))]
        )

    def __repr__(self) -> str:
        summary, table = self._shown()
        text = table.head(_ROWS).to_string(index=False, float_format="{:.4g}".format)
        more = f"\n... {len(table) - _ROWS} more rows" if len(table) > _ROWS else ""
        return f"Forecasts: {summary}; .frame has {len(self.frame.columns)} columns\n{text}{more}"

    def _repr_html_(self) -> str:
        summary, table = self._shown()
        html = table.to_html(index=False, max_rows=2 * _ROWS, float_format="{:.4g}".format)
        return f"<p>{summary}</p>\n{html}"
