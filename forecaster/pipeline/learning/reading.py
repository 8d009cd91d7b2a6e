"""What a network reads of a panel: its inputs, scaled, and beside them its base's outputs.

Shape letters: N rows of the panel, F inputs, R raw outputs of all targets together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.data.derived import compact_names, derived_blocks, derived_inputs
from forecaster.data.panel import Panel
from forecaster.data.scaling import Scaler
from forecaster.models.forms import Form, PointLoss, form_of
from forecaster.pipeline.learning.base import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Inputs by name with their scales, and the base or None."""

    names: tuple[str, ...]
    scaler: Scaler
    base: Base | None

    @classmethod
    def of(cls, panel: Panel, fit_until: np.datetime64, base: Base | None) -> "Reader":
        """Choose a network's inputs and measure their scales on the days up to a date."""
        names = compact_names(panel)
        scaler = Scaler.fit(derived_inputs(panel, names), panel.days <= fit_until)
        return cls(names=names, scaler=scaler, base=base)

    def inputs(self, panel: Panel) -> np.ndarray:
        """Read every row: (N, F) float32, or (N, F + R) with a base.

        Piece by piece: of millions of rows a hundred inputs would not fit into memory.
        """
        base, own = self.base, len(self.names)
        names = (*self.names, *(base.names if base else ()))
        width = own + (len(base.intercepts) if base else 0)
        inputs = np.empty((len(panel.days), width), dtype=np.float32)
        for rows, block in derived_blocks(panel, names):
            inputs[rows, :own] = self.scaler.apply(block[:, :own])
            if base is not None:
                inputs[rows, own:] = base.outputs(block[:, own:])
        return inputs


def forms_of(heads: Sequence[str], point_loss: PointLoss) -> tuple[Form, ...]:
    """Make the form of each target from the names of its head."""
    return tuple(form_of(name, point_loss) for name in heads)
