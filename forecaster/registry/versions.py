"""Versions on disk: a folder each, written completely or not at all, verified before use.

Weights are safetensors, everything else is a JSON manifest with the SHA-256 of every file;
nothing is ever unpickled. A pruned version's folder is renamed before it is removed, so that no
partial version is ever seen; the next prune finishes one that was killed.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from forecaster import clock
from forecaster.errors import (
    ArtifactError,
    CannotWriteError,
    StorageError,
    UnknownNameError,
    UsageError,
    no_home,
)
from forecaster.files import atomic_file, make_private, sync_folder
from forecaster.registry.champion_history import champion_statuses
from forecaster.registry.manifest import (
    HASH_LENGTH,
    SCHEMA,
    SCHEMA_2,
    Manifest,
    content_hash,
    from_schema_2,
)
from forecaster.registry.registry_file import changing, now_text

MANIFEST, UNFINISHED = "manifest.json", ".unfinished"
_LARGEST_MANIFEST: Final = 2**26  # of 10,000 tickers with their calibration: 10 MB
_LARGEST_HEADER: Final = 2**20
_SECOND = len("20240301-221502")
_VERSION_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9]+-[0-9a-f]{8}")
_PRUNED: Final = "pruned-"
_ABANDONED: Final = re.compile(r"(probe-)?[0-9a-f]{32}|.+\.[0-9a-f]{32}\.part")
_OLD: Final = timedelta(days=1)  # another process may still be writing a version
_FORGET: Final = """
    INSERT INTO decisions
        (name, session, made_at, outcome, challenger, "before", "after", reason, evidence)
    SELECT versions.name, NULL, ?, 'pruned', versions.version, aliases.version, aliases.version,
        ?, '{}'
    FROM versions JOIN aliases ON aliases.name = versions.name AND aliases.alias = 'champion'
    WHERE versions.version = ?
"""

Weights = dict[str, np.ndarray]


def check_writable(home: Path) -> Path:
    """Create the folder of versions, before any work is done for one, and return it."""
    if not home.is_dir():
        raise CannotWriteError(no_home(home))
    folder = home / "models" / UNFINISHED
    if folder.is_symlink():
        raise CannotWriteError(f"{folder}: is a link, which forecaster never makes; remove it.")
    try:
        make_private(folder)
        probe = folder / f"probe-{uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotWriteError(
            f"{home / 'models'}: {error.strerror}; make it writable or choose another --home."
        ) from error
    return home / "models"


def save_version(
    home: Path, manifest: Manifest, members: list[Weights], created: datetime
) -> Manifest:
    """Write a version into a temporary folder, then rename it; return the manifest as written.

    `version` and `files` of the manifest are filled in; `created` becomes the first part of the id.

    Raises:
        CannotWriteError: the home is missing or read-only.
        StorageError: the disk failed; nothing is left behind.
    """
    folder = check_writable(home)
    side = folder / UNFINISHED / uuid4().hex
    try:
        make_private(side)
        hashes = {}
        for member, weights in zip(manifest.members, members, strict=True):
            content = save_tensors(weights)
            hashes[member.weights] = hashlib.sha256(content).hexdigest()
            with atomic_file(side / member.weights) as file:
                file.write(content)
        written = manifest.model_copy(update={"files": hashes})
        digest = written.content_hash()[:HASH_LENGTH]
        name = f"{created:%Y%m%d-%H%M%S}-{manifest.network.model}-{digest}"
        written = written.model_copy(update={"version": name})
        with atomic_file(side / MANIFEST) as file:
            file.write(written.document().encode())
        sync_folder(side)
        if not (folder / name).exists():  # a resumed training writes the same again
            os.replace(side, folder / name)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{side}: {error.strerror}; free some space and train again. No version was changed."
        ) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return written


def list_versions(home: Path) -> list[str]:
    """List all versions, oldest first; empty if there is no folder.

    An id has the second; versions of one second are ordered by their manifests.
    """
    folder = home / "models"
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if _VERSION_ID.fullmatch(path.name)]
    seconds = Counter(name[:_SECOND] for name in names)
    times = {one: _created_at(folder / one) if seconds[one[:_SECOND]] > 1 else "" for one in names}
    return sorted(names, key=lambda name: (name[:_SECOND], times[name], name))


def _created_at(folder: Path) -> str:
    """Read the time a version was made, in UTC to the microsecond; empty if it can't be read."""
    try:
        moment = datetime.fromisoformat(
            json.loads(_read(folder, MANIFEST, _LARGEST_MANIFEST))["created_at"]
        )
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def read_manifest(home: Path, version: str) -> Manifest:
    """Read one manifest, of schema 3 or 2, and verify it against its version id.

    Raises:
        ArtifactError: unreadable, of another schema, or changed since it was written.
    """
    try:
        document = json.loads(_read(home / "models" / version, MANIFEST, _LARGEST_MANIFEST))
        schema = document.get("schema") if isinstance(document, dict) else None
        if isinstance(schema, str) and schema not in (SCHEMA, SCHEMA_2):
            raise ArtifactError(
                f"Version {version} was written by another version of forecaster: its schema is "
                f"{schema!r}, this one reads {SCHEMA!r}. Train again, or name another version; "
                "see: forecaster models list"
            )
        current = from_schema_2(document) if schema == SCHEMA_2 else document
        manifest, digest = Manifest.model_validate(current), content_hash(document)[:HASH_LENGTH]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _corrupt(version, f"{MANIFEST} cannot be read ({type(error).__name__})") from error
    if manifest.version != version or digest != version[-HASH_LENGTH:]:
        raise _corrupt(version, f"{MANIFEST} was changed after it was written")
    return manifest


def verify(home: Path, version: str) -> Manifest:
    """Read a version's manifest and verify every file; raise ArtifactError if one is corrupt."""
    refuse_unknown(home, version)
    manifest = read_manifest(home, version)
    load_weights(home, manifest)
    return manifest


def refuse_unknown(home: Path, version: str) -> None:
    """Raise UnknownNameError for a version id that is not in the home."""
    names = list_versions(home)
    if version not in names:
        raise UnknownNameError(
            f"No version {version!r} under {home / 'models'}; it has "
            f"{', '.join(names[-3:]) or 'none'}. See: forecaster models list"
        )


def load_weights(home: Path, manifest: Manifest) -> list[Weights]:
    """Read every member's weights; raise ArtifactError if a file isn't as the manifest says."""
    folder = home / "models" / manifest.version
    return [_load_member(folder, manifest, member.weights) for member in manifest.members]


def _load_member(folder: Path, manifest: Manifest, name: str) -> Weights:
    if Path(name).name != name or (folder / name).is_symlink():
        raise _corrupt(manifest.version, f"{name} lies outside its folder")
    try:
        content = _read(folder, name, _largest_weights(manifest))
    except (OSError, ValueError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _corrupt(manifest.version, f"{name}: {reason or 'too large to read'}") from error
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        raise _corrupt(manifest.version, f"{name} has another SHA-256 than when it was written")
    if int.from_bytes(content[:8], "little") > _LARGEST_HEADER:
        raise _corrupt(manifest.version, f"{name} is not safetensors (its header is too long)")
    try:
        tensors: Weights = load_tensors(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type unknown to numpy
        raise _corrupt(manifest.version, f"{name} is not safetensors ({error})") from error
    return tensors


def _largest_weights(manifest: Manifest) -> int:
    """Bound the bytes of a weights file: four gates, two directions, 8-byte numbers, doubled."""
    network = manifest.network
    width = len(manifest.inputs) + 3 * network.hidden + 1000  # 1000: biases, heads
    return 2**20 + 2 * 8 * 4 * 2 * network.layers * network.hidden * width


def _read(folder: Path, name: str, largest: int) -> bytes:
    """Read a file of a version; neither the folder nor the file may be a link."""
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Without O_NONBLOCK a pipe in the file's place would block.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    finally:
        os.close(inside)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a file")
        if found.st_size > largest:
            raise ValueError(f"has {found.st_size:,} bytes, at most {largest:,} are expected")
        return file.read()


def _corrupt(version: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"Version {version} is corrupt: {what}. Train again, or name another "
        "version; see: forecaster models list"
    )


def prune(home: Path, keep: int = 30, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove the oldest versions until `keep` stay, and return them, oldest first.

    Champions, predecessors and challengers stay, but count.

    Raises:
        CannotWriteError: the home is read-only; nothing was removed.
        StorageError: the registry is corrupt, or the disk failed; each version is intact or gone.
        UsageError: `keep` is less than 1.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: at least 1 version stays; for example --keep 30.")
    found = champion_statuses(home)
    needed = {one for s in found for one in (s.champion, s.predecessor, s.challenger) if one}
    existing = list_versions(home)
    old = [version for version in existing if version not in needed]
    removed = tuple(old[: max(0, len(existing) - keep)])
    if dry_run:
        return removed
    folder = check_writable(home)
    _remove_states(home, set(existing) - set(removed))
    try:
        for version in removed:
            os.rename(folder / version, folder / UNFINISHED / f"{_PRUNED}{version}")
        sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}; the version is still intact. Check the disk."
        ) from error
    _forget(home, needed, f"not among the {keep} versions that are kept")
    _sweep(folder / UNFINISHED)
    return removed


def state_path(home: Path, version: str) -> Path:
    """Return the path of what a version remembers of its tickers, which may be deleted."""
    return home / "models" / "state" / f"{version}.db"


def _remove_states(home: Path, kept: set[str]) -> None:
    """Remove the states of versions that are gone, with SQLite's own files beside them."""
    for path in state_path(home, "").parent.glob("*.db*"):
        if path.name.partition(".db")[0] not in kept:
            with suppress(OSError):
                path.unlink()


def _forget(home: Path, needed: set[str], reason: str) -> None:
    """Remove the rows of versions whose folder is gone, however it was removed."""
    with changing(home) as connection:
        known = {version for (version,) in connection.execute("SELECT version FROM versions")}
        for version in sorted(known - set(list_versions(home)) - needed):
            connection.execute(_FORGET, (now_text(), reason, version))
            connection.execute("DELETE FROM versions WHERE version = ?", (version,))


def _sweep(unfinished: Path) -> None:
    """Remove what pruned versions and killed writers have left."""
    newest = (clock.now() - _OLD).timestamp()
    for path in unfinished.iterdir():
        with suppress(OSError):
            is_abandoned = _ABANDONED.fullmatch(path.name) and path.lstat().st_mtime < newest
            if path.name.startswith(_PRUNED) or is_abandoned:
                path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
