"""Output forms of a network: raw outputs, their loss per element, their distribution and baseline.

Shape letters: H hidden units, K targets, P raw outputs of one target, R of all targets together,
N rows, C inputs of a baseline; `...` is any leading shape, usually (T, B).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from forecaster.errors import UsageError
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.quantiles import LEVELS, Quantiles
from forecaster.evaluation.regression import fit_student_regression, ridge_weights

HALF = len(LEVELS) // 2
PointLoss = Literal["mse", "huber"]
HUBER_DELTA = 1.0  # standard deviations of the target
# Outcomes are in standard deviations: a scale outside these bounds is a runaway.
MAX_LOG_SCALE = 6.0
DF_OFFSET, MAX_EXCESS_DF = 4.0, 200.0
RIDGE = 1.0  # beside the squares of thousands of rows; keeps collinear lags apart
MIN_STEP = 1e-4  # between two quantiles, in standard deviations
INITIAL_WEIGHT_STD = 0.01

Linear = tuple[np.ndarray, np.ndarray]  # weights (C, P) and intercepts (P,)


class Form(ABC):
    """The meaning of one target's raw outputs; the first of them is the location."""

    name: ClassVar[str]
    width: int
    parameter_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def in_units(self, raw: Tensor, mean: float, scale: float) -> Tensor:
        """Convert raw outputs (..., P) to parameters of outcomes with this mean and scale."""

    @abstractmethod
    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Score raw outputs (..., P) on outcomes (...); one loss each, lower is better."""

    @abstractmethod
    def distribution(self, raw: Tensor, mean: float, scale: float) -> Predictive:
        """Convert raw outputs (N, P) to distributions of outcomes with this mean and scale."""

    @abstractmethod
    def fit_base(self, x: np.ndarray, y: np.ndarray, *, drift_only: bool) -> Linear:
        """Fit weights (C, P) and intercepts (P,) on scaled inputs (N, C) and outcomes (N,).

        `drift_only` keeps the location constant.
        """


@dataclass(frozen=True, slots=True)
class PointForm(Form):
    """One number, scored by its squared or by Huber's error.

        E = (y - d)^2,    or    E = e^2 for |e| <= 1, else 2 |e| - 1

    Source: Huber (1964), "Robust Estimation of a Location Parameter". Deviation: doubled, so
    that small errors cost what they cost under the squared error.
    """

    name = "point"
    width = 1
    parameter_names = ("forecast",)
    point_loss: PointLoss = "mse"

    def in_units(self, raw: Tensor, mean: float, scale: float) -> Tensor:
        """Compute the number; see `Form.in_units`."""
        return raw * scale + mean

    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Compute the error of each number; see `Form.loss`."""
        if self.point_loss == "mse":
            return (raw[..., 0] - outcome).square()
        huber = functional.huber_loss(raw[..., 0], outcome, reduction="none", delta=HUBER_DELTA)
        return 2.0 * huber

    def distribution(self, raw: Tensor, mean: float, scale: float) -> Predictive:
        """Return points; see `Form.distribution`."""
        return Point(self.in_units(raw, mean, scale)[:, 0].numpy())

    def fit_base(self, x: np.ndarray, y: np.ndarray, *, drift_only: bool) -> Linear:
        """Fit the location by ridge regression; see `Form.fit_base`."""
        return _ridge_location(x, y, self.width, drift_only)


@dataclass(frozen=True, slots=True)
class StudentTForm(Form):
    """A Student-t distribution, scored by its negative log-likelihood.

        loc = r_1,    scale = exp(r_2),    df = 2 + softplus(r_3 + 4)

    so that the variance, scale^2 df / (df - 2), exists. `scale` is the t's own parameter, not
    its standard deviation. df starts near 6 and is at most 202, which is nearly normal.
    """

    name = "student-t"
    width = 3
    parameter_names = ("loc", "scale", "df")

    def parameters(self, raw: Tensor) -> Tensor:
        """Return (..., 3): location, scale, degrees of freedom."""
        log_scale = raw[..., 1].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
        excess = functional.softplus(raw[..., 2] + DF_OFFSET).clamp(1e-3, MAX_EXCESS_DF)
        return torch.stack([raw[..., 0], log_scale.exp(), 2.0 + excess], dim=-1)

    def in_units(self, raw: Tensor, mean: float, scale: float) -> Tensor:
        """Compute location, scale and degrees of freedom; see `Form.in_units`."""
        loc, spread, df = self.parameters(raw).unbind(-1)
        return torch.stack([loc * scale + mean, spread * scale, df], dim=-1)

    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Compute -log of the density at the outcome; see `Form.loss`."""
        loc, scale, df = self.parameters(raw).unbind(-1)
        z = (outcome - loc) / scale
        half = 0.5 * (df + 1.0)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * df) - 0.5 * torch.log(df * math.pi)
        # log1p: near the location z^2 / df is far below 1, and 1 + it would lose it in float32.
        return half * torch.log1p(z.square() / df) + scale.log() - constant

    def distribution(self, raw: Tensor, mean: float, scale: float) -> Predictive:
        """Return Student-t distributions; see `Form.distribution`."""
        return StudentT(*self.in_units(raw, mean, scale).numpy().T)

    def fit_base(self, x: np.ndarray, y: np.ndarray, *, drift_only: bool) -> Linear:
        """Fit location, log scale and degrees of freedom; see `Form.fit_base`."""
        x_loc = x[:, :0] if drift_only else x
        found = fit_student_regression(x_loc, x, y, np.ones(len(y), dtype=np.bool_))
        weights = np.zeros((x.shape[1], self.width))
        if not drift_only:
            weights[:, 0] = found.loc_weights
        weights[:, 1] = found.scale_weights
        tail = float(_inverse_softplus(np.array(found.df - 2.0))) - DF_OFFSET
        return weights, np.array([found.loc_intercept, found.scale_intercept, tail])


@dataclass(frozen=True, slots=True)
class QuantileForm(Form):
    """Quantiles that cannot cross, scored by twice their mean pinball loss.

        q_{1/2} = r_1,    q_{i+1} = q_i + softplus(r),    and downwards alike

    The loss estimates the CRPS.

    Source: Koenker and Bassett (1978), "Regression Quantiles"; increments as in Gasthaus et al.
    (2019), "Probabilistic Forecasting with Spline Quantile Function RNNs", with steps at fixed
    levels instead of a spline.
    """

    name = "quantiles"
    width = len(LEVELS)
    parameter_names = tuple(f"q{level:g}" for level in LEVELS)

    def parameters(self, raw: Tensor) -> Tensor:
        """Return (..., P) quantiles at `LEVELS`, rising."""
        median, steps = raw[..., :1], functional.softplus(raw[..., 1:])
        below = steps[..., :HALF].cumsum(-1).flip(-1)
        return torch.cat([median - below, median, median + steps[..., HALF:].cumsum(-1)], dim=-1)

    def in_units(self, raw: Tensor, mean: float, scale: float) -> Tensor:
        """Compute the quantiles; see `Form.in_units`."""
        return self.parameters(raw) * scale + mean

    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Compute twice the mean pinball loss; see `Form.loss`."""
        levels = _levels(raw.dtype, raw.device)
        error = outcome[..., None] - self.parameters(raw)
        return 2.0 * torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)

    def distribution(self, raw: Tensor, mean: float, scale: float) -> Predictive:
        """Return quantile distributions; see `Form.distribution`."""
        return Quantiles(np.array(LEVELS), self.in_units(raw, mean, scale).numpy())

    def fit_base(self, x: np.ndarray, y: np.ndarray, *, drift_only: bool) -> Linear:
        """Fit the median by ridge regression, constant steps around it; see `Form.fit_base`."""
        weights, intercepts = _ridge_location(x, y, self.width, drift_only)
        found = np.quantile(y - x @ weights[:, 0].copy(), LEVELS)
        steps = np.maximum(np.diff(found), MIN_STEP)
        intercepts[0] = found[HALF]
        intercepts[1:] = _inverse_softplus(np.concatenate([steps[:HALF][::-1], steps[HALF:]]))
        return weights, intercepts


FORMS: dict[str, type[Form]] = {form.name: form for form in (PointForm, StudentTForm, QuantileForm)}


def form_of(name: str, point_loss: PointLoss = "mse") -> Form:
    """Make a form by name.

    Raises:
        UsageError: the name is unknown.
    """
    if name not in FORMS:
        raise UsageError(f"--head {name} is not known; choose one of {', '.join(FORMS)}.")
    return PointForm(point_loss) if name == "point" else FORMS[name]()


class Head(nn.Module):
    """A linear map of hidden units to the raw outputs of every target, r = W_y s + b.

    Starts near zero, which for standardized returns is close to the best constant.
    """

    def __init__(self, hidden_size: int, forms: Sequence[Form]) -> None:
        super().__init__()
        self.forms = tuple(forms)
        self.raw_outputs = sum(form.width for form in self.forms)
        self.linear = nn.Linear(hidden_size, self.raw_outputs)
        # On the meta device there is nothing to draw, and drawing imports torch's compiler: 3 s.
        if not self.linear.weight.is_meta:
            nn.init.normal_(self.linear.weight, std=INITIAL_WEIGHT_STD)
            nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to raw outputs (..., R)."""
        output: Tensor = self.linear(hidden)
        return output

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Score raw outputs (..., R) on outcomes (..., K), each in its own form.

        Raises:
            ValueError: the shapes do not fit together, which broadcasting would hide.
        """
        expected = (*target.shape[:-1], self.raw_outputs)
        if target.shape[-1] != len(self.forms) or prediction.shape != expected:
            raise ValueError(
                f"prediction is {tuple(prediction.shape)} and target {tuple(target.shape)}; "
                f"give (..., {self.raw_outputs}) and (..., {len(self.forms)})."
            )
        raws = torch.split(prediction, [form.width for form in self.forms], dim=-1)
        parts = zip(self.forms, raws, target.unbind(-1), strict=True)
        return torch.stack([form.loss(raw, outcome) for form, raw, outcome in parts], dim=-1)


def _ridge_location(x: np.ndarray, y: np.ndarray, width: int, drift_only: bool) -> Linear:
    """Fit the location alone; other raw outputs are 0."""
    weights, intercepts = np.zeros((x.shape[1], width)), np.zeros(width)
    intercepts[0] = y.mean()
    if not drift_only:
        weights[:, 0], intercepts[0] = ridge_weights(x, y, RIDGE)
    return weights, intercepts


@cache
def _levels(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Move the levels to a device once: a GPU would be waited for at every step."""
    return torch.tensor(LEVELS, dtype=dtype).to(device)


def _inverse_softplus(value: np.ndarray) -> np.ndarray:
    """Invert log(1 + exp(x)), for values above 0."""
    inverse: np.ndarray = value + np.log(-np.expm1(-value))
    return inverse
