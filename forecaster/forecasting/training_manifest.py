"""Write down a finished training: what validation says of it, and the manifest."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import torch

import forecaster
from forecaster.evaluation.recalibration import scores_by_series
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Material
from forecaster.forecasting.fitting import Fit
from forecaster.forecasting.loading import base_part, scaler_part
from forecaster.models.heads import LEVELS
from forecaster.registry.manifest import (
    BlocksPart,
    DataPart,
    Manifest,
    MemberPart,
    NetworkPart,
)
from forecaster.settings import TrainSettings
from forecaster.training.trainer import Evaluated


def describe(
    material: Material,
    settings: TrainSettings,
    bars_hash: str,
    fit: Fit,
    created: datetime,
) -> Manifest:
    """Write down everything that a later evaluation or forecast needs."""
    panel, residuals = material.panel, fit.residuals
    named = list(enumerate(panel.targets))
    return Manifest(
        created_at=created.isoformat(timespec="microseconds"),
        code_version=forecaster.__version__,
        torch_version=str(torch.__version__),
        targets=list(panel.targets),
        inputs=list(material.reader.names),
        network=NetworkPart(
            model=settings.model,
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
            input_dropout=settings.input_dropout,
            heads=list(settings.heads),
            point_loss=settings.point_loss,
            lookback=settings.lookback,
            learned_start=settings.initial_state == "learned",
            bidirectional=settings.bidirectional,
        ),
        members=[
            MemberPart(weights=_weights_file(member), seed=settings.seed + member)
            for member in range(settings.members)
        ],
        base=base_part(material.reader.base),
        scaler=scaler_part(material.reader.scaler),
        target_scaler=scaler_part(material.target_scaler),
        shrinkage=fit.fitted.shrinkage.tolist(),
        data=_data_part(material, bars_hash),
        training=_training_part(settings, fit.looks_by_member, material.reader.base),
        metrics={f"select_mse_{n}": float(np.nanmean(residuals[:, k] ** 2)) for k, n in named},
        levels=list(LEVELS),
        calibration={
            name: scores_by_series(fit.scores[:, k], panel.series, panel.tickers, LEVELS)
            for k, name in named
        },
        files={},
    )


def _weights_file(member: int) -> str:
    return f"weights-{member + 1}.safetensors" if member else "weights.safetensors"


def _data_part(material: Material, bars_hash: str) -> DataPart:
    panel, split = material.panel, material.split
    return DataPart(
        tickers=list(panel.tickers),
        cross_section=len(panel.tickers) > 1,
        fingerprint=bars_hash,
        days=len(panel.days),
        blocks=BlocksPart(
            first=panel.days.min().item(),
            train_until=split.train_until.item(),
            validation_until=split.validation_until.item(),
            last=panel.days.max().item(),
        ),
    )


def _training_part(
    settings: TrainSettings, looks_by_member: Sequence[Sequence[Evaluated]], base: Base | None
) -> dict[str, str | int | float | list[tuple[int, float]] | None]:
    """Settings, and how the training went; updates, passes and looks are the first member's."""
    looks = looks_by_member[0]
    bests = [[look for look in mine if look.best][-1].update for mine in looks_by_member]
    several = {"best_updates": ", ".join(map(str, bests))} if len(bests) > 1 else {}
    return {
        **several,
        **settings.model_dump(mode="json", exclude={"target", "lookback", "head"}),
        "head": ",".join(settings.heads),
        "base": "none" if base is None else base.kind,
        "bptt_k2": settings.horizon,
        "updates": looks[-1].update,
        "passes": looks[-1].passes,
        "best_update": bests[0],
        "clipped": looks[-1].clipped,
        "leaps": looks[-1].leaps,
        "looks": [(look.update, look.validation_loss) for look in looks],
    }
