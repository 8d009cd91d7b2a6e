"""The two rivals that tell what a network's memory is worth, on the network's own inputs.

Both are fitted on the same days as the network and forecast by the same code.
"""

import numpy as np

from forecaster.data.panel import Panel
from forecaster.evaluation.splits import Split
from forecaster.pipeline.learning.base import Base
from forecaster.pipeline.learning.fitted import Fitted
from forecaster.pipeline.learning.fitting import Fit, fit
from forecaster.pipeline.learning.material import Material, material_of
from forecaster.settings import TrainSettings
from forecaster.training.device import choose_device

MEMORYLESS, LINEAR = "mlp", "linear"


def linear_twin(
    panel: Panel, split: Split, settings: TrainSettings, base: Base | None = None
) -> Fitted:
    """Fit the linear model alone: every input, HAR's lags among them; Student-t for returns.

    Args:
        panel: of the settings' targets.
        split: fitted on its fit block; the select block is not read.
        settings: of the network; its heads say what is forecast.
        base: the linear base of a network fitted on these days, which is the same model.

    Raises:
        DataError: a block of time has nothing to score.
    """
    linear = settings.model_copy(update={"base": LINEAR})
    return alone(material_of(panel, split, linear, base), settings)


def alone(material: Material, settings: TrainSettings) -> Fitted:
    """Let the base of prepared material forecast without a network.

    Raises:
        ValueError: it has none.
    """
    if material.reader.base is None:
        raise ValueError("the material has no base to forecast alone; give one.")
    return Fitted(
        networks=(),
        lookback=settings.lookback,
        reader=material.reader,
        target_scaler=material.target_scaler,
        forms=material.forms,
        shrinkage=np.zeros(len(material.forms)),
    )


def memoryless_twin(
    panel: Panel, split: Split, settings: TrainSettings, base: Base | None = None
) -> Fit:
    """Fit the network without memory on the network's inputs, from the network's base.

    Args:
        panel: of the settings' targets.
        split: fitted, stopped and calibrated on its blocks.
        settings: of the network; size, heads, updates and seed are the twin's too.
        base: that of the network, to be spared the work.

    Raises:
        DataError: a block of time has nothing to score.
        DivergedError: the fitting met a value that is not finite.
    """
    changes = {"model": MEMORYLESS, "initial_state": "zeros", "bidirectional": False}
    if settings.bptt_steps == "auto":
        changes["bptt_steps"] = None
    twin = settings.model_copy(update=changes)
    return fit(material_of(panel, split, twin, base), twin, choose_device(twin.device))
