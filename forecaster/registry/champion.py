"""Who forecasts where no version is named: the champion, or whoever stands in for it, told aloud.

Knows manifests and the registry; a champion that is damaged is never passed over in silence.
"""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from forecaster.errors import ArtifactError, SettingsError, StorageError, UnknownNameError
from forecaster.registry.champion_history import (
    ChampionStatus,
    Decision,
    Registered,
    champion_statuses,
    decisions,
    registered,
)
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, load_weights, read_manifest, verify

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
    return able and (as_of is None or manifest.data.blocks.validation_until <= as_of)


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
    oldest = min(able, key=lambda manifest: manifest.data.blocks.validation_until)
    return (
        f"Every version under {home / 'models'}{f' for {target}' if target else ''} was fitted on "
        f"days after --as-of {as_of}, the oldest, {oldest.version}, until "
        f"{oldest.data.blocks.validation_until}. Choose a later --as-of, or run: forecaster "
        f"train{option} --as-of {as_of}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who serves, and of which model name; a manifest None is the baseline.

    `trouble` says why it is not the one that should be: the champion or the registry is damaged.
    Whoever forecasts with it ends with exit code 3. None where all is well.
    """

    manifest: Manifest | None
    name: str
    trouble: str | None = None


def named_version(home: Path, version: str) -> Choice:
    """Take a version by its id, under the model name that it is registered for.

    Raises:
        ArtifactError: it is damaged.
        UnknownNameError: there is no such version.
    """
    manifest = find_version(home, version)
    try:
        known = registered(home).get(version)
    except (SettingsError, StorageError) as error:
        log.warning("%s", error)
        known = None
    return Choice(manifest=manifest, name=known.name if known else ",".join(manifest.targets))


def champion_of(home: Path, name: str) -> Choice:
    """Choose the champion of a model name, its predecessor where that is damaged, or the baseline.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    found = next(
        (one for one in champion_statuses(home) if one.name == name), ChampionStatus(name=name)
    )
    return _first_whole(home, found)


def champion_at_session_start(home: Path, name: str, night: date) -> Choice:
    """Choose the champion, or the one before it where this very night has crowned another.

    A night that was killed after its promotion is taken up with whom its forecasts were made.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    crowned = [
        one for one in decisions(home, name) if one.night == night and one.before != one.after
    ]
    if not crowned:
        return champion_of(home, name)
    if crowned[0].before is None:
        return Choice(manifest=None, name=name)
    try:
        return Choice(manifest=verify(home, crowned[0].before), name=name)
    except (ArtifactError, UnknownNameError):
        return champion_of(home, name)


def targets_of(home: Path, name: str) -> set[str]:
    """Tell what a model name forecasts; see `find_champion` for one that cannot be told.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    found = next(
        (one for one in champion_statuses(home) if one.name == name), ChampionStatus(name=name)
    )
    return _targets(home, found, registered(home).values())


def find_champion(
    home: Path, target: str, as_of: date | None = None, name: str | None = None
) -> Choice:
    """Choose who forecasts a target: a champion, or the newest version where none was ever judged.

    The champion of the name that is the target goes before those of others, the newest champion
    first. One that was fitted or selected on days after `as_of` leaves its place to the newest
    version that was not, and was not refused.

    Args:
        home: the workspace.
        target: what is forecast.
        as_of: the last day known; None for now.
        name: of this model name only; None for any.

    Raises:
        ArtifactError: every version there is is damaged.
        UnknownNameError: there is none that serves.
    """
    try:
        known, taken, all_places = registered(home), decisions(home), champion_statuses(home)
    except (SettingsError, StorageError) as error:
        trouble = "who is champion cannot be told; the newest version forecasts"
        log.warning("%s. %s", trouble, error)
        return _newest(home, target, as_of, {}, [], name=None, trouble=trouble)
    places = [one for one in all_places if name in (None, one.name)]
    if name is not None and not places:
        there = ", ".join(one.name for one in all_places)
        raise UnknownNameError(
            f"--name {name}: no version is registered under it; there is {there or 'none'}. Run: "
            f"forecaster train --target {target} --name {name}"
        )
    judged = {one.name for one in taken if one.outcome != "pruned"}
    for place in sorted(places, key=lambda one: _rank(one, target)):
        if place.name not in judged or target not in _targets(home, place, known.values()):
            continue
        choice = _first_whole(home, place)
        if choice.manifest is None or _is_fitted_before(choice.manifest, as_of):
            return choice
    return _newest(home, target, as_of, known, taken, name=name)


def _rank(place: ChampionStatus, target: str) -> tuple[bool, bool, float]:
    """Order names: champions before baselines, the target's own, the newest."""
    since = place.since.timestamp() if place.since else 0.0
    return place.champion is None, place.name != target, -since


def _targets(home: Path, place: ChampionStatus, known: Iterable[Registered]) -> set[str]:
    """Tell what a name forecasts: as its versions say, or its own letters where none is whole."""
    mine = [one.version for one in known if one.name == place.name]
    for version in (place.champion, place.predecessor, *reversed(mine)):
        if version is not None:
            try:
                return set(read_manifest(home, version).targets)
            except ArtifactError:
                continue
    return set(place.name.split(","))


def _is_fitted_before(manifest: Manifest, as_of: date | None) -> bool:
    return as_of is None or manifest.data.blocks.validation_until <= as_of


def _first_whole(home: Path, place: ChampionStatus) -> Choice:
    """Verify the champion, then its predecessor; the baseline serves where neither is whole."""
    damage: list[str] = []
    for version in dict.fromkeys((place.champion, place.predecessor)):
        if version is None:
            continue
        try:
            manifest = verify(home, version)
        except (ArtifactError, UnknownNameError) as error:
            damage.append(str(error))
        else:
            return Choice(manifest=manifest, name=place.name, trouble=_told(place, damage, version))
    return Choice(manifest=None, name=place.name, trouble=_told(place, damage, "the baseline"))


def _told(place: ChampionStatus, damage: list[str], used: str) -> str | None:
    """Say aloud that the champion does not serve; nothing where it does."""
    if not damage:
        return None
    trouble = f"the champion of {place.name} is damaged; {used} forecasts in its place"
    remedy = f"To make it so: forecaster models rollback --name {place.name}"
    log.warning("%s. %s %s", trouble, " ".join(damage), remedy)
    return trouble


def _newest(
    home: Path,
    target: str,
    as_of: date | None,
    known: dict[str, Registered],
    taken: list[Decision],
    *,
    name: str | None,
    trouble: str | None = None,
) -> Choice:
    """Choose the newest version that serves and that nobody has refused."""
    others = {one.version for one in known.values() if name not in (None, one.name)}
    manifest = find_version(home, None, target, as_of, without=_refused(known, taken) | others)
    mine = known.get(manifest.version)
    return Choice(
        manifest=manifest, name=mine.name if mine else ",".join(manifest.targets), trouble=trouble
    )


def _refused(known: dict[str, Registered], taken: list[Decision]) -> set[str]:
    """Name what failed, what lost against the champion, and what was rolled back."""
    once = {one.after for one in taken}
    fallen = {one.before for one in taken if one.outcome == "rolled-back"}
    return {
        one.version
        for one in known.values()
        if one.status == "failed"
        or (one.status == "retired" and (one.version not in once or one.version in fallen))
    }
