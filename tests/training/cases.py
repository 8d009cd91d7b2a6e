"""Trainings of every cell and plan, for the tests of devices and `benchmarks.gpu`."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, pack_sequences
from forecaster.models.heads import QuantileForm, StudentTForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Epoch, Sampling
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Options

CPU = torch.device("cpu")
OFFSETS, INPUTS, STEPS, LOOKBACK = np.array([0, 9, 15, 18]), 3, 4, 4
FORMS = (StudentTForm(), QuantileForm())
FULL, CONTEXT = Plan.full(), Plan.truncated(k2=4, k1=2)
LAST_DAY = Sampling(last_day_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training: a network, a plan, and histories or windows."""

    model: str = "elman"
    plan: Plan = FULL
    sampling: Sampling = field(default_factory=Sampling)
    network: dict[str, Any] = field(default_factory=dict)
    # Torch's Python kernels draw the dropout between layers in another order.
    same_numbers: bool = True

    @property
    def windows(self) -> bool:
        """Whether it reads windows."""
        return self.sampling != Sampling()

    def build(self) -> Network:
        """Build the network, always the same."""
        torch.manual_seed(0)
        shape = {"inputs": INPUTS, "forms": FORMS, "hidden": 3} | self.network
        return build_network(Architecture(model=self.model, **shape))

    def epoch(self, number: int) -> Epoch:
        """Make an epoch of two or more steps."""
        if self.windows:
            return WindowBatches(np.array([3, 8, 12, 14, 17]), LOOKBACK, 3)
        chunk = self.plan.chunk_days(9)
        draw = np.random.default_rng(number)
        return pack_sequences(OFFSETS[:-1], OFFSETS[1:], 2, chunk, draw, chunk)

    def options(self) -> Options:
        """Return options that clip every gradient."""
        return Options(
            plan=self.plan,
            sampling=self.sampling,
            max_steps=STEPS,
            learning_rate=0.01,
            weight_decay=1e-3,
            clip_grad=0.01,
            evaluate_every=STEPS,
            patience=9,
        )


def arrays(device: torch.device) -> TrainingArrays:
    draw = np.random.default_rng(0)
    y = draw.normal(size=(OFFSETS[-1], 2)).astype(np.float32)
    y[::4] = np.nan
    inputs = draw.normal(size=(len(y), INPUTS)).astype(np.float32)
    return TrainingArrays.on(device, inputs, y, np.isfinite(y))


CASES = {
    "elman": Case(model="elman", plan=CONTEXT),
    "gru": Case(model="gru", plan=CONTEXT),
    "lstm": Case(model="lstm", plan=CONTEXT),
    "mlp": Case(model="mlp", plan=CONTEXT),
    "full": Case(network={"learned_start": True}),
    "recomputed": Case(plan=Plan.full(memory="recompute"), network={"dropout": 0.3}),
    "once an epoch": Case(plan=Plan.truncated(k2=3, step_per="epoch")),
    "last day": Case(sampling=LAST_DAY, network={"dropout": 0.3, "learned_start": True}),
    "last day, truncated": Case(model="lstm", plan=Plan.truncated(k2=2), sampling=LAST_DAY),
    "each day": Case(plan=CONTEXT, sampling=Sampling(burn_in=1), network={"dropout": 0.3}),
    "both ways": Case(sampling=LAST_DAY, network={"bidirectional": True, "input_dropout": 0.2}),
    "layers": Case(model="gru", network={"layers": 2, "dropout": 0.3}, same_numbers=False),
}
