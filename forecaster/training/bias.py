"""What a plan costs on a block: the exact bias of its gradient, held against sampling noise.

Runs the product's own gradient functions at frozen weights; nothing is bounded or sampled.

Shape letters: T days, B lanes, F features, K targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.models.network import Network
from forecaster.training.gradients import bptt_gradients
from forecaster.training.plan import BPTTPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBias:
    """How far a plan's gradient lies from the exact one.

    `bias` is the norm of the difference over the norm of the exact gradient, `cosine` that
    of the angle between them, `noise_ratio` the difference over the standard error of the
    exact gradient; NaN where a block of one lane gives none.
    """

    stride: int
    steps: int
    bias: float
    cosine: float
    noise_ratio: float


@dataclass(frozen=True, slots=True, eq=False)
class ExactGradient:
    """The full gradient of a block, as one vector, and its standard error over lanes."""

    vector: Tensor
    noise: float

    @property
    def norm(self) -> float:
        """Its length."""
        return float(self.vector.norm())

    @property
    def relative_noise(self) -> float:
        """The standard error over the length."""
        return self.noise / self.norm if self.norm > 0.0 else float("nan")


def exact_gradient(network: Network, x: Tensor, y: Tensor, mask: Tensor) -> ExactGradient:
    """Differentiate a block by full BPTT, lane by lane.

    The standard error takes lanes as independent draws; stocks of the same days are not,
    so that the true noise is larger.
    """
    full, count = BPTTPlan.full(), max(float(mask.sum()), 1.0)
    lanes = [
        _vector(network, x[:, b : b + 1], y[:, b : b + 1], mask[:, b : b + 1], full, count)
        for b in range(x.shape[1])
    ]
    each = torch.stack(lanes)
    spread = (each - each.mean(dim=0)).square().sum()
    noise = float((spread * len(each) / (len(each) - 1)).sqrt()) if len(each) > 1 else float("nan")
    return ExactGradient(each.sum(dim=0), noise)


def plan_bias(
    network: Network, x: Tensor, y: Tensor, mask: Tensor, plan: BPTTPlan, exact: ExactGradient
) -> PlanBias:
    """Compare a truncated plan's gradient of a block with the exact one at the same weights."""
    found = _vector(network, x, y, mask, plan, max(float(mask.sum()), 1.0))
    difference = float((found - exact.vector).norm())
    return PlanBias(
        stride=plan.stride or plan.reach(len(x)),
        steps=plan.reach(len(x)),
        bias=difference / exact.norm if exact.norm > 0.0 else float("nan"),
        cosine=float(torch.nn.functional.cosine_similarity(found, exact.vector, dim=0)),
        noise_ratio=difference / exact.noise if exact.noise > 0.0 else float("nan"),
    )


def guaranteed(days: int) -> BPTTPlan:
    """Make the plan in which every error reaches back more than `days` and at most twice that."""
    return BPTTPlan.truncated(steps=2 * days, stride=days)


def bias_by_reach(
    network: Network,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    reaches: Sequence[int],
    exact: ExactGradient,
) -> tuple[PlanBias, ...]:
    """Measure the bias at each guaranteed reach."""
    return tuple(plan_bias(network, x, y, mask, guaranteed(k), exact) for k in reaches)


def _vector(
    network: Network, x: Tensor, y: Tensor, mask: Tensor, plan: BPTTPlan, count: float
) -> Tensor:
    state = network.initial_state(x.shape[1])
    found = bptt_gradients(network, x, y, mask, state, plan, count)
    return torch.cat([gradient.flatten() for gradient in found.gradients])
