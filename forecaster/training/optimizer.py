"""AdamW and its one-cycle schedule, as functions of the step alone."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

SECOND_DECAY, EPSILON = 0.999, 1e-8
RISING = 0.3  # share of the steps in which the rate rises
FIRST_DECAYS = (0.95, 0.85)  # at the ends of the cycle, and at its peak
RATE_DIVISORS = (25.0, 1e4)  # of the peak at the start, and of the start at the end


def one_cycle(step: int, steps: int, peak: float) -> tuple[float, float]:
    """Return the learning rate and Adam's first decay of a step, counted from 0.

    Both follow half a cosine, the rate up to its peak and down to nothing, the decay down and up.

    Source: Smith and Topin (2018), "Super-Convergence"; with two phases and the numbers of
    torch.optim.lr_scheduler.OneCycleLR, bit for bit.
    """
    steps = max(steps, 2)  # a cycle of one step is its end: no rate
    low, top, last = peak / RATE_DIVISORS[0], RISING * steps - 1, steps - 1
    outer, inner = FIRST_DECAYS
    if step <= top:
        begin, end, rates, decays = 0.0, top, (low, peak), (outer, inner)
    else:
        begin, end, decays = top, last, (inner, outer)
        rates = (peak, low / RATE_DIVISORS[1])
    share = math.cos(math.pi * ((step - begin) / (end - begin))) + 1
    rate, decay = (to + (start - to) / 2.0 * share for start, to in (rates, decays))
    return rate, decay


class AdamW:
    """Adam with decoupled weight decay, in torch's fused kernel.

    Not torch.optim.AdamW: the same kernel, without the 1.1 s in which that imports torch's
    compiler and the 0.2 ms of bookkeeping of each step. After a gradient that was not finite no
    step changes anything.

    Source: Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization".
    """

    def __init__(self, weights: Iterable[Tensor], weight_decay: float) -> None:
        self.weights, self.weight_decay = list(weights), weight_decay
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]
        device = self.weights[0].device
        self.steps = torch.zeros((), dtype=torch.float32, device=device)
        self.found_inf = torch.zeros((), dtype=torch.float32, device=device)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], learning_rate: float, first_decay: float) -> None:
        """Move the weights against their gradients."""
        self.steps.add_(1).sub_(self.found_inf)
        torch._fused_adamw_(
            self.weights,
            gradients,
            self.means,
            self.squares,
            [],
            [self.steps] * len(self.weights),
            lr=learning_rate,
            beta1=first_decay,
            beta2=SECOND_DECAY,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=self.found_inf,
        )

    def state(self) -> dict[str, Tensor]:
        """Return both moments of each weight, and the steps taken, by the names torch uses."""
        parts = {"step": [self.steps] * len(self.weights)}
        parts |= {"exp_avg": self.means, "exp_avg_sq": self.squares}
        return {f"{n}/{key}": own for key, each in parts.items() for n, own in enumerate(each)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the state of an optimizer of the same weights."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
