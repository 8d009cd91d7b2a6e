"""The settings that a version was trained with, read back from its manifest."""

from pydantic import ValidationError

from forecaster.errors import ArtifactError
from forecaster.registry.manifest import Manifest
from forecaster.settings import TrainSettings


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
