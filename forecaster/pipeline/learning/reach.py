"""`--bptt-steps auto`: a short first training, its memory measured, a reach set by it."""

import logging
from collections.abc import Callable

import numpy as np

from forecaster.errors import UsageError
from forecaster.models.network import Network
from forecaster.pipeline.learning.material import Material
from forecaster.pipeline.learning.measuring import LAGS, TOLERANCE, measure
from forecaster.pipeline.learning.memory_report import MemoryReport
from forecaster.settings import DEFAULT_BPTT_STEPS, TrainSettings
from forecaster.training.plan import BPTTPlan

log = logging.getLogger(__name__)

FIRST_UPDATES = 100
# Below a month of days per update a shorter stride saves nothing and makes updates noisier.
LEAST_STRIDE = 21


def with_measured_reach(
    material: Material, settings: TrainSettings, fit: Callable[[TrainSettings], Network]
) -> TrainSettings:
    """Replace `bptt_steps = "auto"` by numbers measured on a network trained shortly.

    Args:
        material: what is trained on; only its fit block is measured.
        settings: with `bptt_steps` "auto".
        fit: trains a fresh network as settings say.

    Raises:
        UsageError: the memory exceeds what was measured; the text names what to give instead.
    """
    updates = min(FIRST_UPDATES, settings.max_updates)
    plan = BPTTPlan.truncated(steps=DEFAULT_BPTT_STEPS)
    changes = {"bptt_steps": None, "max_updates": updates}
    network = fit(settings.model_copy(update=changes))
    report = measure(
        "first stage",
        network,
        material.panel,
        (material.inputs, material.y),
        np.asarray(material.rows(0).any(axis=1)),
        plan,
        tolerance=settings.bptt_tolerance or TOLERANCE,
        lags=LAGS,
    )
    days = report.profile.advice.days
    if days is None:
        raise UsageError(_refusal(report))
    stride = max(days, LEAST_STRIDE)
    log.info(
        "bptt    auto: after %d updates a reach of %d days keeps the bias below %.3g %%: "
        "--bptt-stride %d --bptt-steps %d",
        *(updates, days, 100 * report.tolerance, stride, 2 * stride),
    )
    return settings.model_copy(update={"bptt_steps": 2 * stride, "bptt_stride": stride})


def _refusal(report: MemoryReport) -> str:
    lags, why = report.profile.lags, report.profile.advice.declined
    remedy = f"Use --bptt full, or --bptt-stride {lags} --bptt-steps {2 * lags}"
    if report.profile.lyapunov > 0.0:
        remedy = f"Errors explode: use --bptt-steps {DEFAULT_BPTT_STEPS} and a lower --lr"
    return f"--bptt-steps auto declines: {why}. {remedy}, or raise --bptt-tolerance."
