"""Whether one forecaster's squared errors are smaller than another's by more than chance.

The forecast table in, numbers out; knows no network.

Shape letters: D report days.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Squared error of `forecaster` less that of `rival`, tested over days.

    `difference` is relative to the rival's mean squared error, `p_value` two-sided; NaN
    where the daily errors never differ, or on a single day.
    """

    target: str
    forecaster: str
    rival: str
    difference: float
    p_value: float
    days: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `not distinguishable`."""
        if not self.p_value < LEVEL:
            return "not distinguishable"
        return "better" if self.difference < 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict in words, with the numbers that it rests on."""
        own, rival, mse = self.forecaster, self.rival, f"MSE {self.difference:+.2%}"
        days = f"{self.days:,} day" + ("s" if self.days != 1 else "")
        if np.isnan(self.p_value) and self.difference == 0.0:
            return f"{own} makes the same forecasts as {rival}"
        if np.isnan(self.p_value):
            return f"{own} against {rival}: {mse} over {days}, too few to tell"
        stands = {"better": "better than", "worse": "worse than"}
        words = stands.get(self.verdict, "not distinguishable from")
        return f"{own} is {words} {rival}: {mse}, p = {self.p_value:.2g} over {days}"


def compare(table: pd.DataFrame, target: str, forecaster: str, rival: str) -> Comparison:
    """Test equal accuracy of two forecasters on the same forecasts.

    The loss differences of all tickers are averaged by day first, because the tickers of
    one day share its shock and are not independent; the mean over days is then tested
    with a variance that allows for autocorrelation.

    Source: Diebold and Mariano (1995), "Comparing Predictive Accuracy", with Newey and
    West's (1987) Bartlett weights, floor(4 (D / 100)^(2/9)) lags, and the t distribution.
    Deviation: the small-sample factor is statsmodels' D / (D - 1).
    """
    rows = table[table["target"] == target]
    loss = (rows["forecast"] - rows["actual"]) ** 2
    by_day = loss.groupby([rows["forecaster"], rows["session"]]).mean().unstack(0)
    gap = (by_day[forecaster] - by_day[rival]).to_numpy()
    days = len(gap)
    # Weighted by forecasts per day, so that the sign is that of the pooled scores.
    counts = rows[rows["forecaster"] == rival].groupby("session").size().to_numpy()
    gap = gap * counts / counts.mean()
    relative = float(gap.mean() / loss[rows["forecaster"] == rival].mean())
    return Comparison(
        target=target,
        forecaster=forecaster,
        rival=rival,
        difference=relative,
        p_value=_p_value(gap),
        days=days,
    )


def _p_value(gap: np.ndarray) -> float:
    """Test that (D,) daily differences have mean zero, two-sided."""
    import statsmodels.api as sm

    days = len(gap)
    if days < 2 or np.ptp(gap) == 0.0:
        return float("nan")
    lags = int(4 * (days / 100) ** (2 / 9))
    covariance = {"maxlags": lags, "use_correction": True}
    fit = sm.OLS(gap, np.ones(days)).fit(cov_type="HAC", cov_kwds=covariance, use_t=True)
    return float(fit.pvalues[0])
