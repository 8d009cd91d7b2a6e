"""One target's forecasters on the rows that all of them are scored on, and their losses.

Shape letters: N rows of the panel, n scored rows.
"""

from dataclasses import dataclass

import numpy as np

from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import Intervals
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.scorecard import Outcomes

Losses = dict[str, np.ndarray]
UNITS = {"MSE": "", "CRPS": "", "log loss": "nats"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Card:
    """One target's forecasters on the rows that all of them are scored on.

    `forecasters` by name, n rows each, the version's own first, then "tomorrow = today";
    `subjects` are those that are compared with all others: the version, its ensemble;
    `intervals` the calibrated ones of some. `rows` (n,) number the panel's rows, whose outcomes
    are `y`, as deviation from the panel's level.
    """

    target: str
    panel: Panel
    rows: np.ndarray
    forecasters: dict[str, Predictive]
    subjects: tuple[str, ...]
    intervals: dict[str, Intervals]

    @property
    def y(self) -> np.ndarray:
        """(n,) outcomes."""
        values: np.ndarray = self.panel.y[self.rows, self.panel.targets.index(self.target)]
        return values

    @property
    def days(self) -> np.ndarray:
        """(n,) their days."""
        days: np.ndarray = self.panel.outcome_days[self.rows]
        return days

    @property
    def series(self) -> np.ndarray:
        """(n,) numbers of their tickers."""
        numbers: np.ndarray = self.panel.series[self.rows]
        return numbers

    @property
    def own(self) -> str:
        """Name of the version's network."""
        return self.subjects[0]

    @property
    def reference(self) -> str:
        """Name of "tomorrow = today"."""
        return list(self.forecasters)[len(self.subjects)]

    def outcomes(self, name: str) -> Outcomes:
        """Put one forecaster beside what came."""
        return Outcomes(
            predictive=self.forecasters[name],
            y=self.y,
            days=self.days,
            reference=self.forecasters[self.reference].mean(),
            intervals=self.intervals.get(name),
        )

    def losses(self, loss: str) -> Losses:
        """Give the losses (n,) of every forecaster that has this one."""
        found = {}
        for name, forecast in self.forecasters.items():
            values = _loss(forecast, self.y, loss)
            if values is not None:
                found[name] = values
        return found


def _loss(forecast: Predictive, y: np.ndarray, loss: str) -> np.ndarray | None:
    """(n,) losses; None where the forecaster has none of this kind on any row."""
    if loss != "MSE" and isinstance(forecast, Point):
        return None
    if loss == "log loss":
        values = -forecast.log_density(y)
    else:
        values = forecast.crps(y) if loss == "CRPS" else (forecast.mean() - y) ** 2
    return values if np.isfinite(values).any() else None


def primary_loss(card: Card) -> str:
    """Name the loss by which a target's own forecaster is judged: that of its distribution."""
    return "log loss" if "log loss" in losses_of(card) else "MSE"


def losses_of(card: Card) -> list[str]:
    """Name the losses that the version's own forecasts have."""
    return [loss for loss in UNITS if card.own in card.losses(loss)]
