"""How long a training's gradients were before clipping: how many were clipped, how many leapt.

A leap is a norm of more than ten times the median of the hundred before it: the sign of errors
that grow on their way back (Pascanu, Mikolov and Bengio 2013), seen before anything overflows.
"""

from typing import Final

import numpy as np

LEAP: Final = 10.0
RECENT: Final = 100
# A median of fewer is not one to hold others against.
FEWEST: Final = 20


class GradientNorms:
    """Counts, over a training, gradients that were clipped or that leapt.

    Norms are only noted as they come, and counted when a look at the select block is due.
    """

    def __init__(self, clip: float) -> None:
        self._clip = clip
        self._recent: list[float] = []
        self._uncounted: list[float] = []
        self.clipped = 0
        self.leaps = 0

    @property
    def last(self) -> float:
        """The norm noted last; NaN before the first."""
        return (self._uncounted or self._recent or [float("nan")])[-1]

    def note(self, norm: float) -> None:
        """Take note of a finite norm."""
        self._uncounted.append(norm)

    def count(self) -> None:
        """Bring `clipped` and `leaps` up to the last norm noted."""
        norms = np.array([*self._recent, *self._uncounted])
        for at in range(len(self._recent), len(norms)):
            self.clipped += bool(norms[at] > self._clip)
            before = norms[max(0, at - RECENT) : at]
            self.leaps += bool(len(before) >= FEWEST and norms[at] > LEAP * np.median(before))
        self._recent, self._uncounted = norms[-RECENT:].tolist(), []

    def facts(self) -> dict[str, int | list[float]]:
        """Return all that counting goes on from."""
        return {
            "recent": list(self._recent),
            "uncounted": list(self._uncounted),
            "clipped": self.clipped,
            "leaps": self.leaps,
        }

    def restore(self, facts: dict[str, int | list[float]]) -> None:
        """Go back to where `facts` were taken."""
        self._recent, self._uncounted = list(facts["recent"]), list(facts["uncounted"])  # type: ignore[arg-type]
        self.clipped, self.leaps = facts["clipped"], facts["leaps"]  # type: ignore[assignment]
