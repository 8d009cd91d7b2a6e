"""Volatility benchmarks of returns: EWMA, historical simulation, GARCH and EGARCH with Student-t.

Rows are in panel order: each series in one run, oldest day first.

Shape letters: N rows, S series, R refit dates, n days of one series with a return.
"""

import warnings
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np

from forecaster.evaluation.distributions import StudentT, normal, student_scale
from forecaster.evaluation.quantiles import Samples
from forecaster.evaluation.regression import LEAST_DF, fit_student_regression

DECAY = 0.94
WARM_UP = 22  # returns that a series needs before its first forecast
WINDOW, LEAST = 500, 100  # days of historical simulation, and how many it needs
MIN_TRAIN_DAYS = 250
PLAUSIBLE = (1e-3, 1e3)  # forecast variance over that of the last year


def ewma_deviation(returns: np.ndarray, series: np.ndarray, decay: float = DECAY) -> np.ndarray:
    """Return the standard deviation forecast for each next day, (N,); NaN for 22 days.

    v_{t+1} = decay v_t + (1 - decay) r_t^2, started at the mean square of the first 22 returns.
    A day without a return (NaN in `returns` (N,)) leaves it unchanged.

    Source: J.P. Morgan (1996), "RiskMetrics Technical Document", 4th ed., eq. 5.3.
    """
    found = np.full(len(returns), np.nan)
    borders = np.flatnonzero(np.diff(series)) + 1
    for rows in np.split(np.arange(len(returns)), borders):
        known = np.isfinite(returns[rows])
        squares = returns[rows][known] ** 2
        if len(squares) < WARM_UP:
            continue
        variance = np.full(len(squares), np.nan)
        first = squares[:WARM_UP].mean()
        later = (1.0 - decay) * squares[WARM_UP:]
        recursion = accumulate(later.tolist(), lambda v, new: decay * v + new, initial=first)
        variance[WARM_UP - 1 :] = list(recursion)
        last = np.cumsum(known) - 1
        found[rows[last >= 0]] = np.sqrt(variance[last[last >= 0]])
    return found


def ewma_normal(returns: np.ndarray, series: np.ndarray) -> StudentT:
    """Forecast the next day's return as normal around 0 with `ewma_deviation`, N rows."""
    deviation = ewma_deviation(returns, series)
    deviation = np.where(deviation > 0.0, deviation, np.nan)
    return normal(np.where(np.isfinite(deviation), 0.0, np.nan), deviation)


def ewma_student(
    returns: np.ndarray, series: np.ndarray, y: np.ndarray, fit: np.ndarray
) -> StudentT:
    """Forecast by `ewma_deviation` with location, scale and tails fitted to outcomes y (N,).

    Raises:
        DataError: too few training rows `fit` (N,).
    """
    deviation = ewma_normal(returns, series).scale
    nothing = np.empty((len(y), 0))
    found = fit_student_regression(nothing, nothing, y / deviation, fit)
    unit = found.predict(nothing, nothing)
    df = np.where(np.isnan(deviation), np.nan, unit.df)
    return StudentT(unit.loc * deviation, unit.scale * deviation, df)


def historical_simulation(returns: np.ndarray, series: np.ndarray, window: int = WINDOW) -> Samples:
    """Forecast the next day's return as one of the last `window` returns of the series, N rows.

    Rows with fewer than 100 returns so far have no forecast.

    Source: Hendricks (1996), "Evaluation of Value-at-Risk Models Using Historical Data".
    """
    known = np.isfinite(returns)
    stops = np.cumsum(known)
    begins = np.concatenate([[True], series[1:] != series[:-1]]) if len(series) else known
    first = np.maximum.accumulate(np.where(begins, stops - known, 0))
    starts = np.maximum(stops - window, first)
    enough = stops - starts >= min(LEAST, window)
    return Samples(returns[known], np.where(enough, starts, stops), stops)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolatilityForecasts:
    """Forecasts of every row; after a `failed` fit the last good parameters are used.

    The `replaced` rows had none, or an implausible variance: they have the normal with the EWMA
    variance.
    """

    predictive: StudentT
    fits: int
    failed: int
    replaced: int


def refit_days(days: np.ndarray, first: np.datetime64, every: int = 252) -> np.ndarray:
    """Return `first` and every `every`-th distinct one of `days` (N,) after it, (R,)."""
    distinct = np.unique(days)
    return distinct[distinct >= first][::every]


def garch(
    returns: np.ndarray,
    series: np.ndarray,
    days: np.ndarray,
    refits: np.ndarray,
    *,
    kind: Literal["garch", "egarch"] = "garch",
) -> VolatilityForecasts:
    """Forecast each next day's return by GARCH(1,1) or EGARCH(1,1) with Student-t errors.

    r_t = m + e_t, e_t = s_t z_t, z_t of unit variance and nu degrees of freedom;
    GARCH: s_{t+1}^2 = w + a e_t^2 + b s_t^2;
    EGARCH: log s_{t+1}^2 = w + a (|z_t| - sqrt(2 / pi)) + g z_t + b log s_t^2.

    A fit is accepted if it converged to finite numbers, its persistence (a + b, or b) is below 1
    and its last variance is between a thousandth and a thousand times that of the last year; the
    same bounds apply to each forecast. One fit in fifty explodes without these checks.

    Args:
        returns: (N,) log return of the day itself, NaN where there is none.
        series: (N,) number of the series, each in one run, oldest day first.
        days: (N,) of the returns; each forecast is made at the close.
        refits: (R,) refit dates in order (`refit_days`); a fit reads days before its date.

    Source: Bollerslev (1987), "A Conditionally Heteroskedastic Time Series Model for
        Speculative Prices and Rates of Return"; Nelson (1991), "Conditional Heteroskedasticity
        in Asset Returns"; by arch, maximum likelihood.
    """
    loc, deviation, df = (np.full(len(returns), np.nan) for _ in range(3))
    counts = np.zeros(2, dtype=int)
    requested = days >= refits[0] if len(refits) else np.zeros(len(days), dtype=bool)
    borders = np.flatnonzero(np.diff(series)) + 1
    for rows in np.split(np.arange(len(returns)), borders):
        known = np.isfinite(returns[rows])
        one = _Series(returns[rows][known], days[rows][known], kind)
        found = one.forecast(refits)
        counts += (one.fits, one.failed)
        # A day without a return keeps the forecast made before it.
        last = np.cumsum(known) - 1
        forecast_rows = (last >= 0) & requested[rows]
        for column, into in zip(found, (loc, deviation, df), strict=True):
            into[rows[forecast_rows]] = column[last[forecast_rows]]
    simple = ewma_deviation(returns, series)
    replaced = requested & ~np.isfinite(deviation) & (simple > 0.0)
    loc[replaced], deviation[replaced], df[replaced] = 0.0, simple[replaced], np.inf
    return VolatilityForecasts(
        predictive=StudentT(loc, student_scale(deviation, df), df),
        fits=int(counts[0]),
        failed=int(counts[1]),
        replaced=int(replaced.sum()),
    )


class _Series:
    """One series and its refits, (n,) returns without gaps."""

    def __init__(self, returns: np.ndarray, days: np.ndarray, kind: str) -> None:
        self.returns, self.days, self.kind = returns, days, kind
        self.fits = self.failed = 0
        total = np.concatenate([[0.0], np.cumsum(returns**2)])
        stop = np.arange(1, len(total))
        start = np.maximum(stop - 252, 0)
        # Mean square of the last year's returns, above 0.
        self.yearly = np.maximum((total[stop] - total[start]) / (stop - start), 1e-300)

    def forecast(self, refits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return location, standard deviation and degrees of freedom, each (n,)."""
        loc, deviation, df = (np.full(len(self.returns), np.nan) for _ in range(3))
        good: np.ndarray | None = None
        starts = [*np.searchsorted(self.days, refits).tolist(), len(self.days)]
        for start, stop in pairwise(starts):
            if start >= MIN_TRAIN_DAYS:
                fitted = self._fit(start)
                self.fits, self.failed = self.fits + 1, self.failed + (fitted is None)
                good = good if fitted is None else fitted
            if good is None or stop == start:
                continue
            variance = self._filter(good, start, stop)
            ratio = variance / self.yearly[start:stop]
            plausible = (ratio > PLAUSIBLE[0]) & (ratio < PLAUSIBLE[1])
            deviation[start:stop] = np.sqrt(np.where(plausible, variance, np.nan))
            loc[start:stop], df[start:stop] = good[0], good[-1]
        return loc, deviation, df

    def _model(self, stop: int, unit: float):  # type: ignore[no-untyped-def]  # arch has no types
        from arch.univariate import EGARCH, GARCH, ConstantMean, StudentsT

        volatility = GARCH(1, 0, 1) if self.kind == "garch" else EGARCH(1, 1, 1)
        returns = self.returns[:stop] / unit
        return ConstantMean(returns, volatility=volatility, distribution=StudentsT(), rescale=False)

    def _fit(self, stop: int) -> np.ndarray | None:
        """Fit the days before `stop`; return m, arch's other parameters, the unit, nu; or None."""
        unit = float(np.std(self.returns[:stop]))
        if not unit > 0.0:
            return None
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            done = self._model(stop, unit).fit(disp="off", show_warning=False)
        numbers = done.params.to_numpy()
        persistence = numbers[-2] if self.kind == "egarch" else numbers[-2] + numbers[-3]
        last = float(done.conditional_volatility[-1]) ** 2 * unit**2 / self.yearly[stop - 1]
        trusted = (
            done.convergence_flag == 0
            and np.isfinite(numbers).all()
            and abs(persistence) < 1.0
            and PLAUSIBLE[0] < last < PLAUSIBLE[1]
            and numbers[-1] > LEAST_DF
        )
        return np.array([numbers[0] * unit, *numbers[:-1], unit, numbers[-1]]) if trusted else None

    def _filter(self, fitted: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the next day's variance for days `start` to `stop` - 1 with frozen parameters."""
        *numbers, unit, df = fitted[1:]
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            fixed = self._model(stop, unit).fix([*numbers, df])
            ahead = fixed.forecast(horizon=1, start=start, reindex=False)
        return np.asarray(ahead.variance.to_numpy()[:, 0] * unit**2)
