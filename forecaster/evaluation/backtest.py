"""What the forecasts would have earned: long, short or flat in every ticker, after costs.

A plain rule to show the size of things, not a way to trade: it is filled at the close that the
forecast was made from, at any size. Arrays in, numbers out.

Shape letters: N forecasts, D days, S series.
"""

from dataclasses import dataclass

import numpy as np

DAYS_A_YEAR = 252


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrategyResult:
    """A strategy's outcome over D days, costs paid.

    `daily` (D,) are net simple returns of the equally weighted book and `days` (D,) their days.
    `yearly_return` and `volatility` are per year (252 days), `sharpe` their ratio without a
    riskless rate, `drawdown` the deepest fall of wealth below its peak (0..1), `turnover` the
    mean share of the book traded a day, `cost` the total paid as a share of the book,
    `invested` the mean share of tickers not flat. What is undefined is None: see `reason`.
    """

    days: np.ndarray
    daily: np.ndarray
    yearly_return: float | None
    volatility: float | None
    sharpe: float | None
    drawdown: float | None
    turnover: float | None
    cost: float | None
    invested: float | None
    reason: str = ""


def trade(
    forecast: np.ndarray,
    log_return: np.ndarray,
    series: np.ndarray,
    days: np.ndarray,
    *,
    cost_bps: float = 5.0,
    threshold: float = 0.0,
    short: bool = True,
) -> StrategyResult:
    """Hold each ticker long or short by the sign of its forecast, flat within a threshold.

    The book is spread evenly over the tickers that are forecast on a day. A position changes at
    the close before its day and costs `cost_bps` per unit traded, as every later change does,
    and the sale of the last day; weights that drift within a day are not traded back.

    Args:
        forecast: (N,) forecast log returns, NaN where there is none.
        log_return: (N,) realised log returns; NaN leaves the row out.
        series: (N,) number of the series of each row.
        days: (N,) the day of each outcome.
        cost_bps: basis points (hundredths of a percent) paid per side.
        threshold: absolute forecast up to which nothing is held.
        short: whether a fall is sold short or sat out.
    """
    known = np.isfinite(forecast) & np.isfinite(log_return)
    if not known.any():
        empty = np.empty(0)
        return _result(days[known], empty, empty, empty, "no forecast with a known outcome")
    distinct, day = np.unique(days[known], return_inverse=True)
    _, column = np.unique(series[known], return_inverse=True)
    side = np.sign(forecast[known]) * (np.abs(forecast[known]) > threshold)
    side = side if short else np.maximum(side, 0.0)
    count = np.bincount(day)
    book = np.zeros((len(distinct) + 2, int(column.max()) + 1))
    book[day + 1, column] = side / count[day]
    traded = np.abs(np.diff(book, axis=0)).sum(axis=1)
    gross = np.bincount(day, book[day + 1, column] * np.expm1(log_return[known]))
    paid = traded[:-1].copy()
    paid[-1] += traded[-1]
    cost = paid * cost_bps / 1e4
    return _result(distinct, gross - cost, paid, np.abs(book[1:-1]).sum(axis=1), "", cost.sum())


def _result(
    days: np.ndarray,
    daily: np.ndarray,
    traded: np.ndarray,
    invested: np.ndarray,
    reason: str,
    cost: float | None = None,
) -> StrategyResult:
    """Sum up daily net returns, and say what cannot be."""
    some, several = len(daily) > 0, len(daily) > 1
    mean = float(daily.mean()) if some else 0.0
    deviation = float(daily.std(ddof=1)) if several else 0.0
    if some and not deviation > 0.0:
        reason = "nothing is ever held" if not invested.any() else "a single day, or equal ones"
    wealth = np.cumprod(np.r_[1.0, np.maximum(1.0 + daily, 0.0)])
    peak = np.maximum.accumulate(wealth)
    return StrategyResult(
        days=days,
        daily=daily,
        yearly_return=mean * DAYS_A_YEAR if some else None,
        volatility=float(deviation * np.sqrt(DAYS_A_YEAR)) if several else None,
        sharpe=float(mean / deviation * np.sqrt(DAYS_A_YEAR)) if deviation > 0.0 else None,
        drawdown=float(np.max(1.0 - wealth / peak)) if some else None,
        turnover=float(traded.mean()) if some else None,
        cost=float(cost) if cost is not None else None,
        invested=float(invested.mean()) if some else None,
        reason=reason,
    )
