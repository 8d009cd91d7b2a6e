"""Small versions, made and written without any training."""

from datetime import UTC, date, datetime

import numpy as np

from forecaster.registry.manifest import (
    BlocksPart,
    DataPart,
    Manifest,
    MemberPart,
    NetworkPart,
    ScalerPart,
)
from forecaster.registry.promotion import NewDecision, keep_champion
from forecaster.registry.versions import save_version

WEIGHTS = {
    "core.bias": np.array([0.5, -0.0, 1e-30], dtype=np.float32),
    "head.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
}
MADE_AT = datetime(2024, 3, 1, 22, 15, 2, tzinfo=UTC)


def manifest(*, targets=("return",), members=("weights.safetensors",), **changes):
    """A small version's manifest, not saved yet."""
    return Manifest(
        created_at="2024-03-01T22:15:02+00:00",
        code_version="0.1.0",
        torch_version="2.13.0",
        targets=list(targets),
        inputs=["log_return"],
        network=NetworkPart(
            model="lstm", hidden=2, layers=1, dropout=0.1, heads=["point"], lookback="all"
        ),
        members=[MemberPart(weights=name, seed=7) for name in members],
        scaler=ScalerPart(mean=[0.1 + 0.2], scale=[1e-17]),
        target_scaler=ScalerPart(mean=[0.0], scale=[0.01]),
        shrinkage=[1.0],
        data=DataPart(
            tickers=["AAPL"],
            cross_section=False,
            fingerprint="0" * 64,
            days=100,
            blocks=BlocksPart(
                first=date(2023, 1, 3),
                train_until=date(2023, 9, 1),
                validation_until=date(2023, 11, 1),
                last=date(2024, 2, 29),
            ),
        ),
        training={
            "lr": 1e-3,
            "batch_rows": 64,
            "bptt": "full",
            "train_until": None,
            "dropout": 0.0,
        },
        metrics={"validation_mse_return": 1.25},
        levels=[0.1, 0.5, 0.9],
        calibration={"return": {"AAPL": [-0.01, 0.0, 0.02], "": [-0.03, 0.01, 0.04]}},
        files={},
    ).model_copy(update=changes)


def saved(home, *, created=MADE_AT, **kwargs):
    described = manifest(**kwargs)
    return save_version(home, described, [WEIGHTS] * len(described.members), created)


def kept(outcome, home, name, version, *, reason, session=None):
    decision = NewDecision(
        name=name, outcome=outcome, challenger=version, reason=reason, session=session
    )
    return keep_champion(home, decision)


def keep(home, name, version, **why):
    return kept("kept", home, name, version, **why)


def postpone(home, name, version, **why):
    return kept("unable", home, name, version, **why)


def fail(home, name, *, version=None, **why):
    return kept("failed", home, name, version, **why)
