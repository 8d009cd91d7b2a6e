"""A network of ours as the gradient engine runs it.

Shape letters: T days, B batch rows, F features, H hidden units.
"""

from typing import Any

from torch import Tensor

from forecaster.bptt.recurrent import Recurrent
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

Days = tuple[Tensor, Tensor | None]


class NetworkRun(Recurrent):
    """A network whose days are features (T, B, F) and factors of the hidden units or None.

    The factors (T, B, H) are in place of the dropout before the head, whose outputs are made
    only for the days that are scored.
    """

    module: Network

    def run(self, x: Days, state: Any, last: int) -> tuple[Tensor, RecurrentState]:
        """Run through the days; see `Recurrent.run`."""
        features, noise = x
        if last == 0:
            output: tuple[Tensor, RecurrentState] = self.module.core(features, state)
            return output
        if noise is not None:
            noise = noise[len(noise) - last :]
        found: tuple[Tensor, RecurrentState] = self.module(features, state, last, noise)
        return found
