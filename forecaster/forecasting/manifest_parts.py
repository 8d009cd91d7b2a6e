"""Write down a finished training: what the select block says of it, and the manifest.

Shape letters: N rows of the panel, K targets.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import torch
from pydantic import ValidationError

import forecaster
from forecaster.data.panel import TARGETS
from forecaster.errors import ArtifactError
from forecaster.evaluation.recalibration import scores_by_series
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Material
from forecaster.forecasting.fitting import Fit
from forecaster.forecasting.loading import base_part, scaler_part
from forecaster.models.heads import LEVELS, Form
from forecaster.registry.manifest import (
    BlocksPart,
    DataPart,
    Manifest,
    MemberPart,
    NetworkPart,
    ScalerPart,
)
from forecaster.settings import TrainSettings
from forecaster.training.trainer import Evaluated


def recipe_of(manifest: Manifest) -> TrainSettings:
    """Return settings that would train the same version again on the same bars.

    Raises:
        ArtifactError: this forecaster has no such settings any more.
    """
    known = {name: manifest.training[name] for name in manifest.training if _is_setting(name)}
    if known.get("bptt_steps") != "auto":
        known.pop("bptt_tolerance", None)  # of a reach that was measured then
    told = {
        **known,
        "target": tuple(manifest.targets),
        "head": tuple(manifest.network.heads),
        "lookback": manifest.network.lookback,
        "fit_until": manifest.data.blocks.fit_until,
        "select_until": manifest.data.blocks.select_until,
    }
    try:
        return TrainSettings.model_validate(told)
    except ValidationError as error:
        raise ArtifactError(
            f"Version {manifest.version} was trained with settings that this forecaster does not "
            f"know ({error.error_count()} of them); train again."
        ) from error


def _is_setting(name: str) -> bool:
    return name in TrainSettings.model_fields


def refuse_other_numbers(manifest: Manifest, forms: Sequence[Form]) -> None:
    """Refuse a manifest whose lists are not as long as they must be, or not finite.

    Args:
        manifest: as read.
        forms: of its heads.

    Raises:
        ArtifactError: what does not fit, and what would.
    """
    targets = manifest.targets
    if not set(targets) <= set(TARGETS) or not targets or len(set(targets)) < len(targets):
        raise _damaged(manifest, f"targets {', '.join(targets)}", f"some of {', '.join(TARGETS)}")
    if len(forms) != len(targets):
        raise _damaged(manifest, f"{len(forms)} heads", f"one for each of {len(targets)} targets")
    for subject, values, shape in _shapes(manifest, sum(form.width for form in forms)):
        if not _fits(values, shape):
            words = " x ".join(map(str, shape))
            raise _damaged(manifest, f"{subject} of another shape", f"{words} finite numbers")
    parts = [("scaler", manifest.scaler), ("target_scaler", manifest.target_scaler)]
    parts += [("base.scaler", manifest.base.scaler)] if manifest.base else []
    for subject, part in parts:
        if min(part.scale, default=1.0) <= 0.0:
            raise _damaged(manifest, f"{subject}.scale of {min(part.scale)}", "all above 0")


def _shapes(manifest: Manifest, raw: int) -> Iterator[tuple[str, object, tuple[int, ...]]]:
    """List what has to have which shape."""
    targets, levels = len(manifest.targets), len(manifest.levels)
    yield from _scaler("scaler", manifest.scaler, len(manifest.inputs))
    yield from _scaler("target_scaler", manifest.target_scaler, targets)
    yield "shrinkage", manifest.shrinkage, (targets,)
    yield "levels", manifest.levels, (levels,)
    for target, numbers in manifest.calibration.items():
        for ticker, values in numbers.items():
            yield f"calibration.{target}.{ticker}", values, (levels,)
    if manifest.base:
        inputs = len(manifest.base.inputs)
        yield from _scaler("base.scaler", manifest.base.scaler, inputs)
        yield "base.weights", manifest.base.weights, (inputs, raw)
        yield "base.intercepts", manifest.base.intercepts, (raw,)


def _scaler(
    name: str, part: ScalerPart, columns: int
) -> Iterator[tuple[str, object, tuple[int, ...]]]:
    yield f"{name}.mean", part.mean, (columns,)
    yield f"{name}.scale", part.scale, (columns,)


def _fits(values: object, shape: tuple[int, ...]) -> bool:
    try:
        found = np.array(values, dtype=np.float64)
    except ValueError:  # rows of unequal length
        return False
    return found.shape == shape and bool(np.isfinite(found).all())


def _damaged(manifest: Manifest, found: str, needed: str) -> ArtifactError:
    return ArtifactError(
        f"Version {manifest.version} is damaged: its manifest has {found}, needed: {needed}. "
        "Train again, or name another version; see: forecaster models list"
    )


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
            fit_until=split.fit_until.item(),
            select_until=split.select_until.item(),
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
        "bptt_steps": settings.reach,
        "updates": looks[-1].update,
        "passes": looks[-1].passes,
        "best_update": bests[0],
        "clipped": looks[-1].clipped,
        "leaps": looks[-1].leaps,
        "looks": [(look.update, look.select_loss) for look in looks],
    }
