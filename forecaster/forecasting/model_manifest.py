"""A fitted model as a manifest, and back: what a version stores beside its weights.

Shape letters: K targets, R raw outputs of all targets together.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import torch
from pydantic import ValidationError

import forecaster
from forecaster.data.panel import TARGETS
from forecaster.data.scaling import Scaler
from forecaster.errors import ArtifactError
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Dataset
from forecaster.forecasting.fitting import FitResult
from forecaster.models.heads import LEVELS, Form
from forecaster.registry.manifest import (
    BasePart,
    BlocksPart,
    DataPart,
    Manifest,
    MemberPart,
    NetworkPart,
    ScalerPart,
)
from forecaster.settings import TrainSettings
from forecaster.training.trainer import Validation


def make_manifest(
    dataset: Dataset,
    settings: TrainSettings,
    bars_hash: str,
    fit: FitResult,
    created: datetime,
) -> Manifest:
    """Return everything that a later evaluation or forecast needs, without the weights."""
    panel = dataset.panel
    return Manifest(
        created_at=created.isoformat(timespec="microseconds"),
        code_version=forecaster.__version__,
        torch_version=str(torch.__version__),
        targets=list(panel.targets),
        inputs=list(dataset.model.reader.names),
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
            MemberPart(
                weights=f"weights-{member + 1}.safetensors" if member else "weights.safetensors",
                seed=settings.seed + member,
            )
            for member in range(settings.members)
        ],
        base=_base_part(dataset.model.reader.base),
        scaler=_scaler_part(dataset.model.reader.scaler),
        target_scaler=_scaler_part(dataset.model.target_scaler),
        shrinkage=fit.model.shrinkage.tolist(),
        data=_data_part(dataset, bars_hash),
        training=_training_part(settings, fit.validations_by_member, dataset.model.reader.base),
        metrics={f"validation_mse_{name}": mse for name, mse in fit.validation_mse.items()},
        levels=list(LEVELS),
        calibration={
            target: {ticker: list(scores) for ticker, scores in by_ticker.items()}
            for target, by_ticker in fit.model.calibration.items()
        },
        files={},
    )


def _data_part(dataset: Dataset, bars_hash: str) -> DataPart:
    panel, split = dataset.panel, dataset.model.split
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
    settings: TrainSettings, by_member: Sequence[Sequence[Validation]], base: Base | None
) -> dict[str, str | int | float | list[tuple[int, float]] | None]:
    """Return the settings and the course of the training, of the first member where it differs."""
    validations, last = by_member[0], by_member[0][-1]
    bests = [[one for one in mine if one.best][-1].step for mine in by_member]
    several = {"best_steps": ", ".join(map(str, bests))} if len(bests) > 1 else {}
    return {
        **several,
        **settings.model_dump(mode="json", exclude={"target", "lookback", "head"}),
        "head": ",".join(settings.heads),
        "base": "none" if base is None else base.kind,
        "bptt_k2": settings.horizon,
        "steps": last.step,
        "epochs": last.epoch,
        "best_step": bests[0],
        "clipped": last.clipped,
        "gradient_spikes": last.spikes,
        "validations": [(one.step, one.validation_loss) for one in validations],
    }


def _scaler_part(scaler: Scaler) -> ScalerPart:
    return ScalerPart(mean=scaler.mean.tolist(), scale=scaler.scale.tolist())


def scaler_of(part: ScalerPart) -> Scaler:
    """Read a scaler back from the manifest."""
    return Scaler(mean=np.array(part.mean), scale=np.array(part.scale))


def _base_part(base: Base | None) -> BasePart | None:
    if base is None:
        return None
    return BasePart(
        kind=base.kind,
        inputs=list(base.names),
        scaler=_scaler_part(base.scaler),
        weights=base.weights.tolist(),
        intercepts=base.intercepts.tolist(),
    )


def base_of(part: BasePart | None) -> Base | None:
    """Read a base back from the manifest."""
    if part is None:
        return None
    return Base(
        kind=part.kind,
        names=tuple(part.inputs),
        scaler=scaler_of(part.scaler),
        weights=np.array(part.weights),
        intercepts=np.array(part.intercepts),
    )


def recipe_of(manifest: Manifest) -> TrainSettings:
    """Return settings that would train the same version again on the same bars.

    Raises:
        ArtifactError: this forecaster no longer has such settings.
    """
    training = manifest.training
    known = {name: training[name] for name in training if name in TrainSettings.model_fields}
    if known.get("bptt_k2") != "auto":
        known.pop("bptt_tolerance", None)  # belongs to a k2 that was measured then
    values = {
        **known,
        "target": tuple(manifest.targets),
        "head": tuple(manifest.network.heads),
        "lookback": manifest.network.lookback,
        "train_until": manifest.data.blocks.train_until,
        "validation_until": manifest.data.blocks.validation_until,
    }
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"Version {manifest.version} was trained with settings that this forecaster does not "
            f"know ({error.error_count()} of them); train again."
        ) from error


def check_numbers(manifest: Manifest, forms: Sequence[Form]) -> None:
    """Refuse a manifest whose lists have another length than needed or are not finite.

    Args:
        manifest: as read.
        forms: (K,) of its heads.

    Raises:
        ArtifactError: what does not fit, and what would.
    """
    targets = manifest.targets
    if not set(targets) <= set(TARGETS) or not targets or len(set(targets)) < len(targets):
        raise _corrupt(manifest, f"targets {', '.join(targets)}", f"some of {', '.join(TARGETS)}")
    if len(forms) != len(targets):
        raise _corrupt(manifest, f"{len(forms)} heads", f"one for each of {len(targets)} targets")
    for subject, values, shape in _shapes(manifest, sum(form.width for form in forms)):
        if not _fits(values, shape):
            words = " x ".join(map(str, shape))
            raise _corrupt(manifest, f"{subject} of another shape", f"{words} finite numbers")
    parts = [("scaler", manifest.scaler), ("target_scaler", manifest.target_scaler)]
    parts += [("base.scaler", manifest.base.scaler)] if manifest.base else []
    for subject, part in parts:
        if min(part.scale, default=1.0) <= 0.0:
            raise _corrupt(manifest, f"{subject}.scale of {min(part.scale)}", "all above 0")


def _shapes(manifest: Manifest, raw: int) -> Iterator[tuple[str, object, tuple[int, ...]]]:
    """Yield each list of numbers with its name and the shape that it must have."""
    targets, levels = len(manifest.targets), len(manifest.levels)
    yield from _scaler_shapes("scaler", manifest.scaler, len(manifest.inputs))
    yield from _scaler_shapes("target_scaler", manifest.target_scaler, targets)
    yield "shrinkage", manifest.shrinkage, (targets,)
    yield "levels", manifest.levels, (levels,)
    for target, numbers in manifest.calibration.items():
        for ticker, values in numbers.items():
            yield f"calibration.{target}.{ticker}", values, (levels,)
    if manifest.base:
        inputs = len(manifest.base.inputs)
        yield from _scaler_shapes("base.scaler", manifest.base.scaler, inputs)
        yield "base.weights", manifest.base.weights, (inputs, raw)
        yield "base.intercepts", manifest.base.intercepts, (raw,)


def _scaler_shapes(
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


def _corrupt(manifest: Manifest, found: str, needed: str) -> ArtifactError:
    return ArtifactError(
        f"Version {manifest.version} is corrupt: its manifest has {found}, needed: {needed}. "
        "Train again, or choose another version; see: forecaster models list"
    )
