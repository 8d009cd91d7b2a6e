"""What the network puts out, and the loss of each day's output.

Knows no days, no masks and no averages: a loss comes out per element, so that whoever
sums decides which days count and by how much.

Shape letters: H hidden units, K targets, R raw outputs of all targets together; `...` is any
leading shape, usually (T, B).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from forecaster.errors import UsageError

LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
PointLoss = Literal["mse", "huber"]
HUBER_FROM = 1.0  # standard deviations of the target
# Outcomes are in standard deviations: what lies outside is no forecast of a scale but a runaway.
LOG_SCALE_AT_MOST = 6.0
DF_OFFSET, DF_AT_MOST = 4.0, 200.0


class Form(ABC):
    """What the raw outputs of one target mean."""

    width: int

    @abstractmethod
    def parameters(self, raw: Tensor) -> Tensor:
        """Turn raw outputs (..., P) into parameters (..., P)."""

    @abstractmethod
    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Score raw outputs (..., P) against outcomes (...); one loss each, lower is better."""


@dataclass(frozen=True, slots=True)
class PointForm(Form):
    """One number, judged by its squared or by Huber's error.

        E = (y - d)^2,    or    E = e^2 for |e| <= 1, else 2 |e| - 1

    Source: Huber (1964), "Robust Estimation of a Location Parameter". Deviation: doubled, so
    that small errors cost what they cost under the squared error.
    """

    point_loss: PointLoss = "mse"
    width = 1

    def parameters(self, raw: Tensor) -> Tensor:
        """Return the number itself."""
        return raw

    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Score each number; see `Form.loss`."""
        error = raw[..., 0] - outcome
        if self.point_loss == "mse":
            return error.square()
        return 2.0 * functional.huber_loss(raw[..., 0], outcome, reduction="none", delta=HUBER_FROM)


@dataclass(frozen=True, slots=True)
class StudentTForm(Form):
    """A Student-t distribution, judged by its negative log-likelihood.

        loc = r_1,    scale = exp(r_2),    df = 2 + softplus(r_3 + 4)

    so that the variance, scale^2 df / (df - 2), exists. `scale` is the t's own parameter, not
    its standard deviation. df begins near 6 and is held below 202, which is normal.
    """

    width = 3

    def parameters(self, raw: Tensor) -> Tensor:
        """Return (..., 3): location, scale, degrees of freedom."""
        log_scale = raw[..., 1].clamp(-LOG_SCALE_AT_MOST, LOG_SCALE_AT_MOST)
        excess = functional.softplus(raw[..., 2] + DF_OFFSET).clamp(1e-3, DF_AT_MOST)
        return torch.stack([raw[..., 0], log_scale.exp(), 2.0 + excess], dim=-1)

    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Give -log of the density at the outcome; see `Form.loss`."""
        loc, scale, df = self.parameters(raw).unbind(-1)
        z = (outcome - loc) / scale
        half = 0.5 * (df + 1.0)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * df) - 0.5 * torch.log(df * math.pi)
        # log1p: near the location z^2 / df is far below 1, and 1 + it would lose it in float32.
        return half * torch.log1p(z.square() / df) + scale.log() - constant


@dataclass(frozen=True, slots=True)
class QuantileForm(Form):
    """Quantiles that cannot cross, judged by twice their mean pinball loss.

        q_{1/2} = r_1,    q_{i+1} = q_i + softplus(r),    and downwards alike

    The loss estimates the CRPS, from the tails inwards.

    Source: Koenker and Bassett (1978), "Regression Quantiles"; increments as in Gasthaus et al.
    (2019), "Probabilistic Forecasting with Spline Quantile Function RNNs", with steps at fixed
    levels instead of a spline.
    """

    width = len(LEVELS)

    def parameters(self, raw: Tensor) -> Tensor:
        """Return (..., P) quantiles at `LEVELS`, rising."""
        half = len(LEVELS) // 2
        median, steps = raw[..., :1], functional.softplus(raw[..., 1:])
        below = steps[..., :half].cumsum(-1).flip(-1)
        return torch.cat([median - below, median, median + steps[..., half:].cumsum(-1)], dim=-1)

    def loss(self, raw: Tensor, outcome: Tensor) -> Tensor:
        """Give twice the mean pinball loss; see `Form.loss`."""
        levels = raw.new_tensor(LEVELS)
        error = outcome[..., None] - self.parameters(raw)
        return 2.0 * torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)


FORMS = ("point", "student-t", "quantiles")


def form_of(name: str, point_loss: PointLoss = "mse") -> Form:
    """Make a form by name.

    Raises:
        UsageError: the name is unknown.
    """
    if name == "point":
        return PointForm(point_loss)
    if name not in FORMS:
        raise UsageError(f"--head {name} is not known; choose one of {', '.join(FORMS)}.")
    return StudentTForm() if name == "student-t" else QuantileForm()


INITIAL_WEIGHT_SPREAD = 0.01


class Head(nn.Module, ABC):
    """Turns hidden units into forecasts and judges them.

    `raw_outputs` is R: as many as targets where each forecast is one number.
    """

    raw_outputs: int

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to raw outputs (..., R)."""

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Score raw outputs (..., R) against outcomes (..., K); one loss per outcome."""


class PointHead(Head):
    """One number per target, scored by its squared error.

        y = W_y s + b,    E = (y - d)^2

    Starts near zero, which for standardized returns is close to the best constant, so that
    the first updates need not unlearn a random forecast.

    Args:
        hidden_size: units of the core's output.
        targets: numbers forecast per day.
    """

    def __init__(self, hidden_size: int, targets: int) -> None:
        super().__init__()
        self.raw_outputs = targets
        self.linear = nn.Linear(hidden_size, targets)
        _start_near_zero(self.linear)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to forecasts (..., K)."""
        output: Tensor = self.linear(hidden)
        return output

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Square the error of each element; equal shapes (..., K) in and out.

        Raises:
            ValueError: the shapes differ, which broadcasting would hide.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction is {tuple(prediction.shape)} but target {tuple(target.shape)}; "
                "give both the same shape."
            )
        return (prediction - target).square()


class FormHead(Head):
    """Each target in a form of its own, all from one linear map of the same hidden units.

        r = W_y s + b

    Starts near zero, like `PointHead`, which it is where every form is a squared-error point.

    Args:
        hidden_size: units of the core's output.
        forms: what is said of each target, in order; at least one.
    """

    def __init__(self, hidden_size: int, forms: Sequence[Form]) -> None:
        super().__init__()
        self.forms = tuple(forms)
        self.raw_outputs = sum(form.width for form in self.forms)
        self.linear = nn.Linear(hidden_size, self.raw_outputs)
        _start_near_zero(self.linear)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to raw outputs (..., R), target after target."""
        output: Tensor = self.linear(hidden)
        return output

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Score raw outputs (..., R) against outcomes (..., K), each in its own form.

        Raises:
            ValueError: the shapes do not belong together, which broadcasting would hide.
        """
        expected = (*target.shape[:-1], self.raw_outputs)
        if target.shape[-1] != len(self.forms) or prediction.shape != expected:
            raise ValueError(
                f"prediction is {tuple(prediction.shape)} and target {tuple(target.shape)}; "
                f"give (..., {self.raw_outputs}) and (..., {len(self.forms)})."
            )
        parts = split_raw(prediction, self.forms)
        losses = [
            form.loss(raw, outcome)
            for form, raw, outcome in zip(self.forms, parts, target.unbind(-1), strict=True)
        ]
        return torch.stack(losses, dim=-1)


def split_raw(raw: Tensor, forms: Sequence[Form]) -> tuple[Tensor, ...]:
    """Cut raw outputs (..., R) into those of each target (..., P)."""
    return torch.split(raw, [form.width for form in forms], dim=-1)


def _start_near_zero(linear: nn.Linear) -> None:
    # On the meta device there is nothing to draw, and drawing there imports torch's compiler: 3 s.
    if not linear.weight.is_meta:
        nn.init.normal_(linear.weight, std=INITIAL_WEIGHT_SPREAD)
        nn.init.zeros_(linear.bias)
