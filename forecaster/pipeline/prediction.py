"""The table of the next session's forecasts, whoever makes them; which bars are too old for one.

Shape letters: N rows of the panel, n tickers forecast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.bars import History
from forecaster.data.panel import Panel

PREDICTION_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast"),
    *("q025", "q10", "q90", "q975", "rise", "last_close", "price_forecast"),
    *("price_q025", "price_q10", "price_q90", "price_q975"),
    *("interval", "trained_on", "version"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The next session's forecasts (`PREDICTION_COLUMNS`) and what to know of them.

    `q10` and `q90` are the ends of the 80 % interval, `q025` and `q975` of the 95 % one, `rise`
    the probability that the price rises (returns only). `interval` is `own`, `pooled` (over all
    tickers trained on) or `none`. `skipped` are the tickers left out, `missing` those trained on
    without prices here, so that the panel's mean lacks them. `in_sample`: a day forecast is one
    that the version was fitted or selected on. `name` is the model name whose forecasts these are,
    `fingerprint` the hash of the bars that they were made from, `remembered` how many of them are
    new in the ledger (None: not written there), `troubles` what a person should look at.
    """

    version: str
    forecasts: pd.DataFrame
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    in_sample: bool
    fingerprint: str = ""
    name: str = ""
    remembered: int | None = None
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictedRows:
    """Rows (n,) of a panel that are forecast from, the sessions (n,) that follow, the target."""

    panel: Panel
    rows: np.ndarray
    sessions: Sequence[date]
    target: str

    def table(
        self,
        *,
        forecast: np.ndarray,
        ends: dict[str, np.ndarray],
        rise: np.ndarray,
        forecaster: str,
        version: str,
        interval: Sequence[str],
        trained_on: np.ndarray | bool,
    ) -> pd.DataFrame:
        """Lay forecasts out as `PREDICTION_COLUMNS`; prices and rises belong to returns alone.

        Args:
            forecast: (n,) in the target's units.
            ends: (n,) each, of the intervals (`table.interval_ends`).
            rise: (n,) probability of a value above 0.
            forecaster: the network's or the baseline's name.
            version: whose forecasts they are.
            interval: (n,) where each interval comes from.
            trained_on: (n,) whether the forecaster learnt from the ticker.
        """
        panel, rows, close = self.panel, self.rows, self.panel.close[self.rows]
        price = close if self.target == "return" else np.full(len(close), np.nan)
        return pd.DataFrame(
            {
                "ticker": np.array(panel.tickers)[panel.series[rows]],
                "as_of": panel.days[rows].astype("datetime64[s]"),
                "session": pd.to_datetime(list(self.sessions)).astype("datetime64[s]"),
                "target": self.target,
                "forecaster": forecaster,
                "forecast": forecast,
                **ends,
                "rise": np.where(np.isfinite(price), rise, np.nan),
                "last_close": close,
                "price_forecast": _priced(price, forecast),
                **{f"price_{name}": _priced(price, end) for name, end in ends.items()},
                "interval": list(interval),
                "trained_on": trained_on,
                "version": version,
            },
            columns=list(PREDICTION_COLUMNS),
        )


def _priced(price: np.ndarray, log_return: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # only a manifest that lies forecasts that much
        priced: np.ndarray = price * np.exp(log_return)
    return priced


def next_sessions(panel: Panel, rows: np.ndarray, histories: Sequence[History]) -> list[date]:
    """Name the session after each row's day, (n,), by the calendar of its ticker.

    Args:
        panel: of just these histories.
        rows: (n,) numbers of its rows.
        histories: in the panel's order.
    """
    return [
        sessions.next_session(histories[number].listing.calendar, day.item())
        for number, day in zip(panel.series[rows], panel.days[rows], strict=True)
    ]


def stale_tickers(
    histories: Sequence[History], as_of: date | None, max_stale: int
) -> dict[str, str]:
    """Explain, by ticker, which last bars are too old to forecast from.

    Args:
        histories: as they are known.
        as_of: the day whose close has just been; None for now.
        max_stale: sessions that may be missing at most.
    """
    found = {}
    for history in histories:
        ticker, calendar = history.listing.ticker, history.listing.calendar
        last = history.bars["session"].iloc[-1].date()
        newest = as_of or sessions.last_final_session(calendar, clock.now())
        missed = sessions.count_sessions(calendar, last, newest) - 1 if newest > last else 0
        if missed > max_stale:
            found[ticker] = (
                f"{ticker}: the last bar is of {last}, {missed} sessions before {newest}; at most "
                f"{max_stale} may be missing. Run: forecaster fetch {ticker}, or use --as-of {last}"
            )
    return found
