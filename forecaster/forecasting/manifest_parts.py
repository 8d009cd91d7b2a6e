"""Write down a finished training: what the select block says of it, and the manifest.

Shape letters: N rows of the panel, K targets.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import ValidationError

from forecaster.data.panel import TARGETS
from forecaster.errors import ArtifactError
from forecaster.models.heads import Form
from forecaster.registry.manifest import (
    Manifest,
    ScalerPart,
)
from forecaster.settings import TrainSettings


def recipe_of(manifest: Manifest) -> TrainSettings:
    """Return settings that would train the same version again on the same bars.

    Raises:
        ArtifactError: this forecaster has no such settings any more.
    """
    known = {name: manifest.training[name] for name in manifest.training if _is_setting(name)}
    if known.get("bptt_k2") != "auto":
        known.pop("bptt_tolerance", None)  # of a reach that was measured then
    told = {
        **known,
        "target": tuple(manifest.targets),
        "head": tuple(manifest.network.heads),
        "lookback": manifest.network.lookback,
        "train_until": manifest.data.blocks.train_until,
        "validation_until": manifest.data.blocks.validation_until,
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
