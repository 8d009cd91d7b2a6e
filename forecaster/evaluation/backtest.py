"""Backtest of a sign strategy: long, short or flat in every ticker, after costs.

A plain rule that shows the size of things, not a way to trade: it is filled at the close that
the forecast was made from, at any size. Arrays in, numbers out.

Shape letters: N forecasts, D days, S series.
"""

from dataclasses import dataclass

import numpy as np

DAYS_A_YEAR = 252


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backtest:
    """A strategy's outcome over D days, costs paid.

    `daily_returns` (D,) are net simple returns of the equally weighted book and `days` (D,) their
    days. `annualised_return` and `volatility` are per year (252 days), `sharpe_ratio` their ratio
    without a riskless rate, `maximum_drawdown` the deepest fall of wealth below its peak (0..1),
    `turnover` the mean share of the book traded a day, `cost` the total paid as a share of the
    book, `invested` the mean share of tickers not flat. What is undefined is None: see `reason`.
    """

    days: np.ndarray
    daily_returns: np.ndarray
    annualised_return: float | None = None
    volatility: float | None = None
    sharpe_ratio: float | None = None
    maximum_drawdown: float | None = None
    turnover: float | None = None
    cost: float | None = None
    invested: float | None = None
    reason: str = ""


def backtest(
    forecast: np.ndarray,
    log_return: np.ndarray,
    series: np.ndarray,
    days: np.ndarray,
    *,
    cost_bps: float = 5.0,
) -> Backtest:
    """Compute the returns of holding each ticker long or short by the sign of its forecast.

    The book is spread evenly over the tickers that are forecast on a day. A position changes at
    the close before its day and costs `cost_bps` per unit traded, as every later change does,
    and the sale of the last day; weights that drift within a day are not traded back.

    Args:
        forecast: (N,) forecast log returns, NaN where there is none; 0 is flat.
        log_return: (N,) realised log returns; NaN leaves the row out.
        series: (N,) number of the series of each row.
        days: (N,) the day of each outcome.
        cost_bps: basis points (hundredths of a percent) paid per side.
    """
    known = np.isfinite(forecast) & np.isfinite(log_return)
    if not known.any():
        none = days[known], np.empty(0)
        return Backtest(
            days=none[0], daily_returns=none[1], reason="no forecast with a known outcome"
        )
    distinct, day = np.unique(days[known], return_inverse=True)
    _, column = np.unique(series[known], return_inverse=True)
    book = np.zeros((len(distinct) + 2, int(column.max()) + 1))
    book[day + 1, column] = np.sign(forecast[known]) / np.bincount(day)[day]
    traded = np.abs(np.diff(book, axis=0)).sum(axis=1)
    gross = np.bincount(day, book[day + 1, column] * np.expm1(log_return[known]))
    paid = traded[:-1].copy()
    paid[-1] += traded[-1]
    cost = paid * cost_bps / 1e4
    return _summary(distinct, gross - cost, paid, np.abs(book[1:-1]).sum(axis=1), cost)


def _summary(
    days: np.ndarray,
    daily_returns: np.ndarray,
    traded: np.ndarray,
    invested: np.ndarray,
    cost: np.ndarray,
) -> Backtest:
    """Compute the statistics of daily net returns (D,)."""
    several = len(daily_returns) > 1
    mean = float(daily_returns.mean())
    deviation = float(daily_returns.std(ddof=1)) if several else 0.0
    reason = ""
    if not deviation > 0.0:
        reason = (
            "no position is ever taken" if not invested.any() else "a single day, or equal ones"
        )
    wealth = np.cumprod(np.r_[1.0, np.maximum(1.0 + daily_returns, 0.0)])
    peak = np.maximum.accumulate(wealth)
    return Backtest(
        days=days,
        daily_returns=daily_returns,
        annualised_return=mean * DAYS_A_YEAR,
        volatility=float(deviation * np.sqrt(DAYS_A_YEAR)) if several else None,
        sharpe_ratio=float(mean / deviation * np.sqrt(DAYS_A_YEAR)) if deviation > 0.0 else None,
        maximum_drawdown=float(np.max(1.0 - wealth / peak)),
        turnover=float(traded.mean()),
        cost=float(cost.sum()),
        invested=float(invested.mean()),
        reason=reason,
    )
