"""Old versions out of the registry: never one that serves, could serve again, or wants to.

A folder leaves its place in one rename before anything of it is removed, so that no half-removed
version is ever seen. What a prune was killed in is finished by the next one.
"""

import os
import re
import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from forecaster import clock
from forecaster.database import sync_folder
from forecaster.errors import StorageError, UsageError
from forecaster.registry.champion_history import champion_statuses
from forecaster.registry.registry_file import changing, instant
from forecaster.registry.versions import UNFINISHED, check_writable, list_versions

_PRUNED: Final = "pruned-"
_ABANDONED: Final = re.compile(r"(probe-)?[0-9a-f]{32}|.+\.checkpoint\.[0-9a-f]{32}\.part")
_PATIENCE: Final = timedelta(days=1)  # for another process to finish writing a version
_FORGET: Final = """
    INSERT INTO decisions
        (name, night, made_at, outcome, challenger, "before", "after", reason, evidence)
    SELECT versions.name, NULL, ?, 'pruned', versions.version, aliases.version, aliases.version,
        ?, '{}'
    FROM versions JOIN aliases ON aliases.name = versions.name AND aliases.alias = 'champion'
    WHERE versions.version = ?
"""


def prune(home: Path, keep: int = 30, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove the oldest versions until so many are left.

    Champions, their predecessors and current challengers stay, though they count.

    Args:
        home: the workspace.
        keep: how many versions may stay, at least 1.
        dry_run: only say which would go.

    Returns:
        The versions removed, oldest first.

    Raises:
        CannotWriteError: the home is read-only; nothing was removed.
        StorageError: the registry is damaged, or the disk failed; a version is whole or gone.
        UsageError: `keep` is less than 1.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: at least 1 version stays; for example --keep 30.")
    serving = _serving(home)
    there = list_versions(home)
    old = [version for version in there if version not in serving]
    doomed = tuple(old[: max(0, len(there) - keep)])
    if dry_run:
        return doomed
    folder = check_writable(home)
    try:
        for version in doomed:
            os.rename(folder / version, folder / UNFINISHED / f"{_PRUNED}{version}")
        sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}; the version is still whole. Check the disk."
        ) from error
    _forget(home, serving, f"not among the {keep} versions that are kept")
    _sweep(folder / UNFINISHED)
    return doomed


def _serving(home: Path) -> set[str]:
    found = champion_statuses(home)
    places = [(one.champion, one.predecessor, one.challenger) for one in found]
    return {version for place in places for version in place if version is not None}


def _forget(home: Path, serving: set[str], reason: str) -> None:
    """Drop the rows of versions that have no folder any more, whoever removed it."""
    with changing(home) as connection:
        known = [version for (version,) in connection.execute("SELECT version FROM versions")]
        for version in sorted(set(known) - set(list_versions(home)) - serving):
            connection.execute(_FORGET, (instant(), reason, version))
            connection.execute("DELETE FROM versions WHERE version = ?", (version,))


def _sweep(unfinished: Path) -> None:
    """Remove what pruned versions and writers that were killed have left."""
    for path in unfinished.iterdir():
        if path.name.startswith(_PRUNED) or (_ABANDONED.fullmatch(path.name) and _is_old(path)):
            with suppress(OSError):
                path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


def _is_old(path: Path) -> bool:
    with suppress(OSError):
        return path.lstat().st_mtime < (clock.now() - _PATIENCE).timestamp()
    return False
