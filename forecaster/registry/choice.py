"""Which version serves: the one named, or the newest that is whole, able and old enough.

Knows manifests and files only; a damaged version is passed over by name, never in silence.
"""

import logging
from collections.abc import Collection, Iterable
from datetime import date
from pathlib import Path

from forecaster.errors import ArtifactError, UnknownNameError
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, load_weights, read_manifest

log = logging.getLogger(__name__)


def find_version(
    home: Path,
    version: str | None = None,
    target: str | None = None,
    as_of: date | None = None,
    *,
    without: Collection[str] = (),
) -> Manifest:
    """Read the manifest of a version, or of the newest one that serves.

    Args:
        home: the workspace.
        version: its name, taken as it is; None for the newest whose files are all whole.
        target: without a name, only a version that forecasts this.
        as_of: without a name, only a version that was fitted and selected on days until then.
        without: without a name, none of these.

    Raises:
        ArtifactError: the named version, or every one there is, is damaged.
        UnknownNameError: there is none, or none that serves.
    """
    names = list_versions(home)
    if version is not None:
        if version not in names:
            raise UnknownNameError(
                f"No version {version!r} under {home / 'models'}; it holds "
                f"{', '.join(names[-3:]) or 'none'}. See: forecaster models list"
            )
        return read_manifest(home, version)
    passed: list[Manifest] = []
    damage: dict[str, ArtifactError] = {}
    for name in reversed([name for name in names if name not in without]):
        try:
            manifest = read_manifest(home, name)
            if _serves(manifest, target, as_of):
                load_weights(home, manifest)
                _name_passed_over(damage, name)
                return manifest
        except ArtifactError as error:
            damage[name] = error
        else:
            passed.append(manifest)
    if damage:
        raise next(iter(damage.values()))
    raise UnknownNameError(_none_serves(home, passed, target, as_of))


def _name_passed_over(damaged: Iterable[str], used: str) -> None:
    for name in damaged:
        log.warning(
            "version %s is damaged, using the older %s; see: forecaster models list", name, used
        )


def _serves(manifest: Manifest, target: str | None, as_of: date | None) -> bool:
    able = target is None or target in manifest.targets
    return able and (as_of is None or manifest.data.blocks.select_until <= as_of)


def _none_serves(home: Path, passed: list[Manifest], target: str | None, as_of: date | None) -> str:
    """Say what is missing, what there is instead, and what to type."""
    option = f" --target {target}" if target else ""
    if not passed:
        return f"No trained version under {home / 'models'}; run: forecaster train{option}"
    able = [manifest for manifest in passed if _serves(manifest, target, None)]
    if not able:
        others = passed[0].targets
        return (
            f"No version under {home / 'models'} forecasts {target}; the newest forecasts "
            f"{', '.join(others)}. Name it with --target {others[0]}, or run: forecaster "
            f"train{option}"
        )
    oldest = min(able, key=lambda manifest: manifest.data.blocks.select_until)
    return (
        f"Every version under {home / 'models'}{f' for {target}' if target else ''} was fitted on "
        f"days after --as-of {as_of}, the oldest, {oldest.version}, until "
        f"{oldest.data.blocks.select_until}. Choose a later --as-of, or run: forecaster "
        f"train{option} --as-of {as_of}"
    )
