"""Removal of old versions; champions, their predecessors and challengers stay.

A folder is renamed before anything of it is removed, so that no partial version is ever seen. The
next prune finishes one that was killed.
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
from forecaster.registry.registry_file import changing, now_text
from forecaster.registry.versions import UNFINISHED, check_writable, list_versions

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


def prune(home: Path, keep: int = 30, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove the oldest versions until so many are left.

    Champions, their predecessors and current challengers stay, but count.

    Args:
        home: the workspace.
        keep: how many versions may stay, at least 1.
        dry_run: only return which would be removed.

    Returns:
        The versions removed, oldest first.

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


def _forget(home: Path, needed: set[str], reason: str) -> None:
    """Remove the rows of versions whose folder is gone, however it was removed."""
    with changing(home) as connection:
        known = [version for (version,) in connection.execute("SELECT version FROM versions")]
        for version in sorted(set(known) - set(list_versions(home)) - needed):
            connection.execute(_FORGET, (now_text(), reason, version))
            connection.execute("DELETE FROM versions WHERE version = ?", (version,))


def _sweep(unfinished: Path) -> None:
    """Remove what pruned versions and killed writers have left."""
    for path in unfinished.iterdir():
        if path.name.startswith(_PRUNED) or (_ABANDONED.fullmatch(path.name) and _is_old(path)):
            with suppress(OSError):
                path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


def _is_old(path: Path) -> bool:
    with suppress(OSError):
        return path.lstat().st_mtime < (clock.now() - _OLD).timestamp()
    return False
