"""The version that forecasts: a named one, the champion, or what takes its place with a warning."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from forecaster.errors import (
    ArtifactError,
    SettingsError,
    StorageError,
    UnknownNameError,
    UsageError,
    no_home,
)
from forecaster.registry.champion_history import (
    ChampionStatus,
    Decision,
    Registered,
    champion_status,
    champion_statuses,
    decisions,
    registered,
)
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import (
    list_versions,
    load_weights,
    read_manifest,
    refuse_unknown,
    verify,
)

log = logging.getLogger(__name__)


def find_version(
    home: Path,
    version: str | None = None,
    target: str | None = None,
    as_of: date | None = None,
    *,
    without: Collection[str] = (),
) -> Manifest:
    """Read the manifest of a version, or of the newest suitable one whose files are intact.

    Suitable is one of `target`, trained and validated until `as_of`, and not among `without`.

    Raises:
        ArtifactError, UnknownNameError: the named, or every version is corrupt; none is suitable.
    """
    if version is not None:
        refuse_unknown(home, version)
        return read_manifest(home, version)
    unsuitable: list[Manifest] = []
    corrupt: dict[str, ArtifactError] = {}
    for name in reversed([name for name in list_versions(home) if name not in without]):
        try:
            manifest = read_manifest(home, name)
            if target not in (None, *manifest.targets) or not _is_trained_by(manifest, as_of):
                unsuitable.append(manifest)
                continue
            load_weights(home, manifest)
        except ArtifactError as error:
            corrupt[name] = error
            continue
        text = "version %s is corrupt, using the older %s; see: forecaster models list"
        for skipped in corrupt:
            log.warning(text, skipped, name)
        return manifest
    if corrupt:
        raise next(iter(corrupt.values()))
    raise UnknownNameError(_none_suitable(home, unsuitable, target, as_of))


def _is_trained_by(manifest: Manifest, as_of: date | None) -> bool:
    return as_of is None or manifest.data.blocks.validation_until <= as_of


def _none_suitable(
    home: Path, unsuitable: list[Manifest], target: str | None, as_of: date | None
) -> str:
    """Describe what is missing, what there is instead, and what to type."""
    option = f" {_option(target)}" if target else ""
    if not home.is_dir():
        return no_home(home)
    if not unsuitable:
        return f"No trained version under {home / 'models'}; run: forecaster train{option}"
    able = [manifest for manifest in unsuitable if target in (None, *manifest.targets)]
    if not able:
        others = unsuitable[0].targets
        return (
            f"No version under {home / 'models'} forecasts {target}; the newest forecasts "
            f"{', '.join(others)}. Use --target {others[0]}, or run: forecaster train{option}"
        )
    oldest = min(able, key=lambda manifest: manifest.data.blocks.validation_until)
    return (
        f"Every version under {home / 'models'}{f' for {target}' if target else ''} was trained on "
        f"days after --as-of {as_of}, the oldest, {oldest.version}, until "
        f"{oldest.data.blocks.validation_until}. Choose a later --as-of, or run: forecaster "
        f"train{option} --as-of {as_of}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The version that forecasts, and its model name; a manifest None is the baseline.

    `trouble` is why another one should forecast: the champion or the registry is corrupt.
    """

    manifest: Manifest | None
    name: str
    trouble: str | None = None


def _option(target: str) -> str:
    own = target not in ("return", "range", "volume")
    return f"--target-column {target}" if own else f"--target {target}"


def named_version(
    home: Path, version: str, target: str | None = None
) -> tuple[Choice, tuple[str, ...]]:
    """Choose a version by its id, with the target asked for, or all that it forecasts.

    Raises:
        ArtifactError, UnknownNameError: the version is corrupt, or there is none.
        UsageError: it does not forecast the target.
    """
    manifest = find_version(home, version)
    if target is not None and target not in manifest.targets:
        raise UsageError(
            f"Version {version} forecasts {', '.join(manifest.targets)}, not {target}; "
            f"train one with {_option(target)}."
        )
    try:
        known = registered(home).get(version)
    except (SettingsError, StorageError) as error:
        log.warning("%s", error)
        known = None
    name = known.name if known else ",".join(manifest.targets)
    return Choice(manifest=manifest, name=name), (target,) if target else tuple(manifest.targets)


def champion_of(home: Path, name: str) -> Choice:
    """Choose the champion of a model name, its predecessor if that is corrupt, or the baseline."""
    return _first_intact(home, champion_status(home, name))


def champion_at_session_start(home: Path, name: str, session: date) -> Choice:
    """Choose the champion, or the one before it if this session's run has promoted another.

    A daily run that was killed after its promotion resumes with the version of its forecasts.
    """
    taken = [one for one in decisions(home, name) if one.session == session]
    changed = next((one for one in taken if one.before != one.after), None)
    if changed is None:
        return champion_of(home, name)
    try:
        return Choice(manifest=verify(home, changed.before) if changed.before else None, name=name)
    except (ArtifactError, UnknownNameError):
        return champion_of(home, name)


def find_champion(
    home: Path, target: str, as_of: date | None = None, name: str | None = None
) -> Choice:
    """Choose a champion that forecasts a target, or the newest version if nothing was decided.

    The champion of the name that equals the target comes first, then the newest champion. One
    trained or validated on days after `as_of` is replaced by the newest version that was neither
    that nor rejected.

    Raises:
        ArtifactError, UnknownNameError: every version is corrupt, or none is suitable.
    """
    try:
        registry = _Registry.read(home, name)
    except (SettingsError, StorageError) as error:
        return _newest_without_registry(home, target, as_of, error)[0]
    for status in sorted(registry.decided, key=lambda one: _rank(one, target)):
        if target in registry.targets(status):
            choice = _first_intact(home, status)
            if choice.manifest is None or _is_trained_by(choice.manifest, as_of):
                return choice
    return registry.newest(target, as_of)[0]


def find_champions(
    home: Path, as_of: date | None = None, name: str | None = None
) -> list[tuple[Choice, tuple[str, ...]]]:
    """Choose who forecasts each target of the champions, or of the newest version without any.

    A baseline leaves a target to the champion of another name. Returned are choices with their
    targets, at least one.

    Raises:
        ArtifactError, UnknownNameError: every version is corrupt, or none is suitable.
        UsageError: two names have a champion for the same target.
    """
    try:
        registry = _Registry.read(home, name)
    except (SettingsError, StorageError) as error:
        return [_newest_without_registry(home, None, as_of, error)]
    owners, found = _owners(registry), []
    if not owners:
        return [registry.newest(None, as_of)]
    for status in registry.decided:
        targets = tuple(target for target, owner in owners.items() if owner == status.name)
        if not targets:
            continue
        choice = _first_intact(home, status)
        if choice.manifest is None or _is_trained_by(choice.manifest, as_of):
            found.append((choice, targets))
        else:
            found += [(registry.newest(target, as_of)[0], (target,)) for target in targets]
    return found


@dataclass(frozen=True, slots=True)
class _Registry:
    """Versions, decisions and champions of one model name, or of all."""

    home: Path
    name: str | None
    known: dict[str, Registered]
    taken: list[Decision]
    decided: list[ChampionStatus]

    @classmethod
    def read(cls, home: Path, name: str | None) -> "_Registry":
        known, taken, statuses = registered(home), decisions(home), champion_statuses(home)
        candidates = [one for one in statuses if name in (None, one.name)]
        if name is not None and not candidates:
            existing = ", ".join(one.name for one in statuses)
            raise UnknownNameError(
                f"--name {name}: no version is registered under it; there is "
                f"{existing or 'none'}. Run: forecaster train --name {name}"
            )
        names = {one.name for one in taken if one.outcome != "pruned"}
        decided = [one for one in candidates if one.name in names]
        return cls(home, name, known, taken, decided)

    def targets(self, status: ChampionStatus) -> tuple[str, ...]:
        """Read the targets of a name's versions, or split the name if none is intact."""
        mine = [one.version for one in self.known.values() if one.name == status.name]
        for version in (status.champion, status.predecessor, *reversed(mine)):
            if version is not None:
                try:
                    return tuple(read_manifest(self.home, version).targets)
                except ArtifactError:
                    continue
        return tuple(status.name.split(","))

    def newest(self, target: str | None, as_of: date | None) -> tuple[Choice, tuple[str, ...]]:
        """Choose the newest suitable version that was not rejected, with its targets."""
        promoted = {one.after for one in self.taken}
        rolled_back = {one.before for one in self.taken if one.outcome == "rolled-back"}
        without = {
            one.version
            for one in self.known.values()
            if self.name not in (None, one.name)
            or one.status == "failed"
            or (one.status == "retired" and one.version not in promoted - rolled_back)
        }
        manifest = find_version(self.home, None, target, as_of, without=without)
        mine = self.known.get(manifest.version)
        name = mine.name if mine else ",".join(manifest.targets)
        return Choice(manifest=manifest, name=name), tuple(manifest.targets)


def _owners(registry: _Registry) -> dict[str, str]:
    """Return the model name whose champion or baseline forecasts each target."""
    claims: dict[str, list[ChampionStatus]] = {}
    for status in registry.decided:
        for target in registry.targets(status):
            claims.setdefault(target, []).append(status)
    for target, statuses in claims.items():
        names = [one.name for one in statuses if one.champion is not None]
        if len(names) > 1:
            raise UsageError(
                f"Several champions forecast {target}: {', '.join(names)}. Choose one with --name, "
                "for example --name " + names[0]
            )
    return {
        target: min(statuses, key=lambda one: _rank(one, target)).name
        for target, statuses in claims.items()
    }


def _newest_without_registry(
    home: Path, target: str | None, as_of: date | None, error: Exception
) -> tuple[Choice, tuple[str, ...]]:
    trouble = "the champion is unknown; the newest version forecasts"
    log.warning("%s. %s", trouble, error)
    manifest = find_version(home, None, target, as_of)
    name, targets = ",".join(manifest.targets), tuple(manifest.targets)
    return Choice(manifest=manifest, name=name, trouble=trouble), targets


def _rank(status: ChampionStatus, target: str) -> tuple[bool, bool, float]:
    """Return a sort key: champions before baselines, the target's own name, the newest."""
    since = status.since.timestamp() if status.since else 0.0
    return status.champion is None, status.name != target, -since


def replacement(home: Path, name: str, damage: Mapping[str, str]) -> Choice:
    """Choose what forecasts in place of versions whose forecasts are damaged, as `damage` says."""
    return _first_intact(home, champion_status(home, name), damage)


def _first_intact(home: Path, status: ChampionStatus, damaged: Mapping[str, str] = {}) -> Choice:
    """Choose the champion, its predecessor, or the baseline if neither is intact."""
    manifest, damage = None, [*damaged.values()]
    for version in dict.fromkeys((status.champion, status.predecessor)):
        if version is not None and version not in damaged and manifest is None:
            try:
                manifest = verify(home, version)
            except (ArtifactError, UnknownNameError) as error:
                damage.append(str(error))
    if not damage:
        return Choice(manifest=manifest, name=status.name)
    used = manifest.version if manifest else "the baseline"
    trouble = f"the champion of {status.name} is corrupt; {used} forecasts in its place"
    remedy = f"To make it so: forecaster models rollback --name {status.name}"
    log.warning("%s. %s %s", trouble, " ".join(damage), remedy)
    return Choice(manifest=manifest, name=status.name, trouble=trouble)
