"""`forecaster models`: versions with their status, a comparison of two, changes by hand."""

import json
from pathlib import Path
from typing import Any

from forecaster.errors import UnknownNameError, UsageError
from forecaster.operations.lock import writer
from forecaster.registry.champion import find_version
from forecaster.registry.champion_history import (
    ChampionStatus,
    Decision,
    Registered,
    champion_statuses,
    decisions,
    registered,
)
from forecaster.registry.manifest import Manifest
from forecaster.registry.promotion import promote, rollback
from forecaster.registry.versions import load_weights, prune, verify
from forecaster.settings import Home, resolve_home

__all__ = ["ChampionStatus"]  # and what is defined here


def shown_version(
    home: Path, version: str | None
) -> tuple[Manifest, Registered | None, list[Decision]]:
    """Read a version, or the newest: its verified manifest, its registry entry, its decisions.

    Raises:
        ArtifactError, UnknownNameError: a file is corrupt, or there is no such version.
    """
    manifest = find_version(home, version)
    load_weights(home, manifest)
    version, taken = manifest.version, []
    for one in decisions(home):
        changed = (one.before, one.after) if one.before != one.after else ()
        if version in (one.challenger, *changed):
            taken.append(one)
    return manifest, registered(home).get(version), taken


def compare_versions(home: Path, one: str, other: str) -> list[dict[str, object]]:
    """Compare two versions: `what` differs in settings, data and scores, with a value of each.

    Raises:
        ArtifactError, UnknownNameError, UsageError: one is corrupt or absent, or both are the same.
    """
    if one == other:
        raise UsageError(f"{one}: give two versions; both are the same.")
    known = registered(home)
    left, right = (_facts(verify(home, name), known.get(name)) for name in (one, other))
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    return [{"what": name, one: left.get(name), other: right.get(name)} for name in names]


def _facts(manifest: Manifest, entry: Registered | None) -> dict[str, Any]:
    """Return the facts by which two versions are compared."""
    data, blocks = manifest.data, manifest.data.blocks
    settings = {name: value for name, value in manifest.training.items() if name != "validations"}
    return {
        "status": entry.status if entry else None,
        "name": entry.name if entry else None,
        "targets": ",".join(manifest.targets),
        "heads": ",".join(manifest.network.heads),
        **manifest.network.model_dump(exclude={"heads"}),
        "inputs": len(manifest.inputs),
        "base": manifest.base.kind if manifest.base else None,
        "members": len(manifest.members),
        **settings,
        "tickers": len(data.tickers),
        "days": data.days,
        "fingerprint": data.fingerprint[:12],
        **{name: str(day) for name, day in blocks.model_dump().items()},
        "code_version": manifest.code_version,
        "torch_version": manifest.torch_version,
        "shrinkage": json.dumps([round(share, 3) for share in manifest.shrinkage]),
        **manifest.metrics,
    }


def promote_by_hand(
    version: str, *, name: str | None = None, reason: str = "", home: Home | None = None
) -> ChampionStatus:
    """Make a version champion without a promotion test; its files are verified.

    A name None is the one that it is registered for, or its targets.

    Raises:
        ArtifactError, UnknownNameError: it is corrupt, or there is no such version.
        TryLaterError: another process is writing.
        UsageError: it is registered under another name.
    """
    where = resolve_home(home)
    manifest = verify(where, version)
    with writer(where, "forecaster models promote"):
        entry = registered(where).get(version)
        own = entry.name if entry else ",".join(manifest.targets)
        return promote(where, name or own, version, reason=reason or "by hand")


def rollback_by_hand(
    *, name: str | None = None, reason: str = "", home: Home | None = None
) -> ChampionStatus:
    """Return to the champion before this one, or to the baseline.

    The name may be None where only one has a champion.

    Raises:
        TryLaterError: another process is writing.
        UnknownNameError: the baseline is champion everywhere.
        UsageError: several names have champions, and none is given.
    """
    where = resolve_home(home)
    with_champion = [one.name for one in champion_statuses(where) if one.champion]
    if name is None and len(with_champion) > 1:
        raise UsageError(
            f"{', '.join(with_champion)}: each has a champion; choose one, such as --name "
            f"{with_champion[0]}."
        )
    if not with_champion:
        raise UnknownNameError(
            "No version is champion; there is nothing to roll back. See: forecaster models list"
        )
    with writer(where, "forecaster models rollback"):
        return rollback(where, name or with_champion[0], reason or "by hand")


def prune_by_hand(keep: int, *, dry_run: bool = False, home: Home | None = None) -> tuple[str, ...]:
    """Remove the oldest versions except those in use; raise TryLaterError beside another writer."""
    where = resolve_home(home)
    if dry_run:
        return prune(where, keep, dry_run=True)
    with writer(where, "forecaster models prune"):
        return prune(where, keep)


def export_version(version: str, path: Path, *, home: Home | None = None) -> Path:
    """Write a verified version as an ONNX graph of one day; return the path of its description.

    Raises:
        ArtifactError, UnknownNameError: it is corrupt, or there is no such version.
        CannotWriteError: the folder of `path` is missing or read-only.
        UsageError: it cannot be carried from day to day, or the extra `onnx` is not installed.
    """
    from forecaster.forecasting.model_version import load_model
    from forecaster.forecasting.onnx_export import export_onnx

    where = resolve_home(home)
    return export_onnx(load_model(where, find_version(where, version)), path)
