"""Versions on disk: a folder each, written whole or not at all, verified before use.

Weights are safetensors, the rest is a JSON manifest that carries the SHA-256 of every
file; nothing is ever unpickled. Knows no network: arrays by name go in and come out.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from forecaster.database import sync_folder
from forecaster.errors import ArtifactError, CannotWriteError, StorageError, UnknownNameError
from forecaster.registry.manifest import HASH_PIECE, SCHEMA, Manifest

MANIFEST, UNFINISHED = "manifest.json", ".unfinished"
_SECOND = len("20240301-221502")
_VERSION_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9]+-[0-9a-f]{8}")

Weights = dict[str, np.ndarray]


def check_writable(home: Path) -> Path:
    """Make sure that a version could be written, before any work is done for it.

    Returns:
        The folder of versions, created if the home is there.

    Raises:
        CannotWriteError: the home is missing, or nothing can be written in it.
    """
    if not home.is_dir():
        raise CannotWriteError(f"{home}: no such home; create it with: mkdir -p {home}")
    folder = home / "models" / UNFINISHED
    if folder.is_symlink():
        raise CannotWriteError(f"{folder}: is a link, which nothing here makes; remove it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
    """Write a version: files and manifest to a side folder first, then one rename.

    Args:
        home: the workspace.
        manifest: complete but for `version` and `files`, which are filled in here.
        members: the weights of each member, in the manifest's order.
        created: becomes the first part of the id, in UTC.

    Returns:
        The manifest as written.

    Raises:
        CannotWriteError: the home is missing or read-only.
        StorageError: the disk refused on the way; nothing is left behind.
    """
    folder = check_writable(home)
    side = folder / UNFINISHED / uuid4().hex
    try:
        side.mkdir()
        hashes = {}
        for member, weights in zip(manifest.members, members, strict=True):
            content = save_tensors(weights)
            hashes[member.weights] = hashlib.sha256(content).hexdigest()
            _write(side / member.weights, content)
        whole = manifest.model_copy(update={"files": hashes})
        name = (
            f"{created:%Y%m%d-%H%M%S}-{manifest.network.model}-{whole.content_hash()[:HASH_PIECE]}"
        )
        whole = whole.model_copy(update={"version": name})
        _write(side / MANIFEST, whole.document().encode())
        sync_folder(side)
        if not (folder / name).exists():  # a resumed training writes what it wrote before
            os.replace(side, folder / name)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{side}: {error.strerror}; free some space and train again. No version was changed."
        ) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return whole


def list_versions(home: Path) -> list[str]:
    """Name all versions, oldest first; an empty list where there is no folder.

    A name tells the second; versions of one second are put in order by their manifests.
    """
    folder = home / "models"
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if _VERSION_ID.fullmatch(path.name)]
    seconds = Counter(name[:_SECOND] for name in names)
    return sorted(
        names,
        key=lambda name: (
            name[:_SECOND],
            _created_at(folder / name) if seconds[name[:_SECOND]] > 1 else "",
            name,
        ),
    )


def _created_at(folder: Path) -> str:
    """Read when a version was made, in UTC to the microsecond; empty where that is not told."""
    try:
        moment = datetime.fromisoformat(json.loads(_read(folder, MANIFEST))["created_at"])
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def read_manifest(home: Path, version: str) -> Manifest:
    """Read and verify one manifest against its version id.

    Raises:
        ArtifactError: unreadable, of another schema, or changed since it was written.
    """
    try:
        content = json.loads(_read(home / "models" / version, MANIFEST))
        schema = content.get("schema") if isinstance(content, dict) else None
        if isinstance(schema, str) and schema != SCHEMA:
            raise ArtifactError(
                f"Version {version} was written by another forecaster: its schema is {schema!r}, "
                f"this one reads {SCHEMA!r}. Train again, or name another version; see: "
                "forecaster models list"
            )
        manifest = Manifest.model_validate(content)
        piece = manifest.content_hash()[:HASH_PIECE]
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise _damaged(version, f"{MANIFEST} cannot be read ({type(error).__name__})") from error
    if manifest.version != version or piece != version[-HASH_PIECE:]:
        raise _damaged(version, f"{MANIFEST} was changed after it was written")
    return manifest


def verify(home: Path, version: str) -> Manifest:
    """Read a version's manifest after checking every file of it.

    Raises:
        ArtifactError: a file is damaged.
        UnknownNameError: there is no such version.
    """
    names = list_versions(home)
    if version not in names:
        raise UnknownNameError(
            f"No version {version!r} under {home / 'models'}; it holds "
            f"{', '.join(names[-3:]) or 'none'}. See: forecaster models list"
        )
    manifest = read_manifest(home, version)
    load_weights(home, manifest)
    return manifest


def load_weights(home: Path, manifest: Manifest) -> list[Weights]:
    """Read every member's weights, each verified against the manifest before it is parsed.

    Raises:
        ArtifactError: a file is missing, outside the version's folder, or not the one written.
    """
    folder = home / "models" / manifest.version
    return [_load_member(folder, manifest, member.weights) for member in manifest.members]


def _load_member(folder: Path, manifest: Manifest, name: str) -> Weights:
    if Path(name).name != name or (folder / name).is_symlink():
        raise _damaged(manifest.version, f"{name} lies outside its folder")
    try:
        content = _read(folder, name)
    except (OSError, ValueError, MemoryError) as error:
        raise _damaged(manifest.version, f"{name}: {_why(error)}") from error
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        raise _damaged(manifest.version, f"{name} has another SHA-256 than when it was written")
    try:
        tensors: Weights = load_tensors(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a number type that numpy has not
        raise _damaged(manifest.version, f"{name} is not safetensors ({error})") from error
    return tensors


def _read(folder: Path, name: str) -> bytes:
    """Read a file of a version; neither the folder nor the file may be a link.

    Raises:
        OSError: it cannot be read, or one of the two is a link.
        ValueError: it is no file.
    """
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Not waiting, so that a pipe in a file's place cannot hold us.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    finally:
        os.close(inside)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a file")
        return file.read()


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or "too large to read"


def _damaged(version: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"Version {version} is damaged: {what}. Train again, or name another "
        "version; see: forecaster models list"
    )


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
