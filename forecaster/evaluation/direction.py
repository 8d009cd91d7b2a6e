"""The directions of forecasts: a test of independence, and the backtest of a sign strategy.

The strategy is not a way to trade: it is filled at the close that the forecast was made from.

Shape letters: N forecasts, D days.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from forecaster.evaluation.significance import daily, diebold_mariano

MIN_FORECASTS = 20
DAYS_A_YEAR = 252
MIN_BACKTEST_DAYS = 63  # a quarter: a year's return extrapolated from less is noise


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionTest:
    """Share of correct directions with its one-sided test; None where undefined: see `reason`."""

    accuracy: float | None = None
    expected_by_chance: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    reason: str = ""


def directional_accuracy_test(
    forecast: np.ndarray, outcome: np.ndarray, days: np.ndarray
) -> DirectionTest:
    """Test the directions of many series at once, one-sided, with days as the observations.

    With P the share of correct directions and P* = a b + (1 - a)(1 - b) what independent
    directions with the same shares of rises a (realised) and b (forecast) would reach, P - P* is
    twice the covariance of the two indicators of a rise. Its summands are added up by day, and
    their mean is tested with the variance of `diebold_mariano`.

    Moves `forecast` and `outcome` (N,) of which one is exactly 0, or NaN, are left out.

    Source: Pesaran and Timmermann (2009), "Testing Dependence Among Serially Correlated
        Multicategory Variables", for the regression form. Deviation: clustered by day.
    """
    kept = np.isfinite(forecast) & np.isfinite(outcome) & (forecast != 0.0) & (outcome != 0.0)
    rises, forecast_rises, days = outcome[kept] > 0, forecast[kept] > 0, days[kept]
    count, distinct = len(days), len(np.unique(days))
    a, b = (float(side.sum()) / max(count, 1) for side in (rises, forecast_rises))
    needed = f"at least {MIN_FORECASTS} are needed"
    problems = {
        f"{count} forecasts with a direction; {needed}": count < MIN_FORECASTS,
        "the forecaster always forecasts the same direction": b in (0.0, 1.0),
        "the outcome always has the same direction": a in (0.0, 1.0),
        f"{distinct} days; {needed}": distinct < MIN_FORECASTS,
    }
    if any(problems.values()):
        return DirectionTest(reason=next(reason for reason, is_so in problems.items() if is_so))
    together = daily(2.0 * (rises - a) * (forecast_rises - b), days)
    two_sided = diebold_mariano(together)
    if np.isnan(two_sided):
        return DirectionTest(reason="the directions of the days do not vary")
    p_value = two_sided / 2.0 if together.mean() > 0 else 1.0 - two_sided / 2.0
    return DirectionTest(
        accuracy=float(np.mean(rises == forecast_rises)),
        expected_by_chance=a * b + (1 - a) * (1 - b),
        statistic=-float(special.ndtri(p_value)),
        p_value=p_value,
    )


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
    least_days: int = MIN_BACKTEST_DAYS,
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
        cost_bps: paid per side.
        least_days: of fewer days nothing is computed.
    """
    known = np.isfinite(forecast) & np.isfinite(log_return)
    distinct, day = np.unique(days[known], return_inverse=True)
    if len(distinct) < least_days:
        reason = f"{len(distinct)} days; at least {least_days} are needed"
        return Backtest(days=distinct[:0], daily_returns=np.empty(0), reason=reason)
    _, column = np.unique(series[known], return_inverse=True)
    book = np.zeros((len(distinct) + 2, int(column.max()) + 1))
    book[day + 1, column] = np.sign(forecast[known]) / np.bincount(day)[day]
    traded = np.abs(np.diff(book, axis=0)).sum(axis=1)
    gross = np.bincount(day, book[day + 1, column] * np.expm1(log_return[known]))
    paid = traded[:-1].copy()
    paid[-1] += traded[-1]
    cost = paid * cost_bps / 1e4
    invested = np.abs(book[1:-1]).sum(axis=1)
    returns = gross - cost
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    reason = "the same return on every day" if invested.any() else "no position is ever taken"
    wealth = np.cumprod(np.r_[1.0, np.maximum(1.0 + returns, 0.0)])
    peak = np.maximum.accumulate(wealth)
    return Backtest(
        days=distinct,
        daily_returns=returns,
        annualised_return=mean * DAYS_A_YEAR,
        volatility=float(deviation * np.sqrt(DAYS_A_YEAR)),
        sharpe_ratio=float(mean / deviation * np.sqrt(DAYS_A_YEAR)) if deviation > 0.0 else None,
        maximum_drawdown=float(np.max(1.0 - wealth / peak)),
        turnover=float(paid.mean()),
        cost=float(cost.sum()),
        invested=float(invested.mean()),
        reason="" if deviation > 0.0 else reason,
    )
