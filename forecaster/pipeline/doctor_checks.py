"""What `doctor` looks at, one thing each; facts out, judged elsewhere. Changes nothing."""

import importlib.metadata
import os
import platform
import shutil
import stat
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from forecaster import database
from forecaster.data import sessions, store_rows
from forecaster.data.store import PriceStore
from forecaster.errors import ArtifactError, ForecasterError, StorageError, UnknownNameError
from forecaster.operations.lock import holder
from forecaster.registry.champion_history import champion_statuses
from forecaster.registry.registry_file import registry_path
from forecaster.registry.versions import list_versions, verify

LITTLE: Final = 2_000_000_000  # bytes
TOO_LITTLE: Final = 200_000_000
SKEW: Final = timedelta(hours=1)
_OLDEST_PYTHON: Final = (3, 11)


def python_version() -> tuple[str, bool]:
    """Tell Python's version, and whether it is new enough."""
    return f"{platform.python_version()} on {platform.machine()}", sys.version_info >= (
        *_OLDEST_PYTHON,
    )


def packages() -> tuple[list[str], list[tuple[str, str, str | None]]]:
    """Hold installed packages against what this one declares.

    Returns:
        Those that fit, with their versions; of the others name, what is needed, what is there.
    """
    odd: list[tuple[str, str, str | None]] = []
    fitting = [f"forecaster {importlib.metadata.version('forecaster')}"]
    for text in importlib.metadata.requires("forecaster") or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            odd.append((wanted.name, str(wanted.specifier), None))
            continue
        if wanted.specifier.contains(found, prereleases=True):
            fitting.append(f"{wanted.name} {found}")
        else:
            odd.append((wanted.name, str(wanted.specifier), found))
    return fitting, odd


def refuse_unwritable_home(home: Path) -> None:
    """Raise what a command that writes would: CannotWriteError."""
    for path in (store_rows.store_path(home), registry_path(home)):
        if path.parent.exists() or path == store_rows.store_path(home):
            _refuse_unwritable(home, path)


def _refuse_unwritable(home: Path, path: Path) -> None:
    """As `database.refuse_unwritable`, but without making any folder."""
    if not home.is_dir() or path.parent.exists():
        database.refuse_unwritable(home, path)
    elif not os.access(home, os.W_OK):
        database.refuse_unwritable(home, home / path.name)


def is_open_to_others(home: Path) -> bool:
    """Tell whether group or others may write in the home: what lies there is run on trust."""
    return bool(home.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def free_bytes(home: Path) -> int:
    """Tell how much the disk of the home, or of its nearest folder that is there, still takes."""
    place = next(one for one in (home, *home.parents) if one.exists())
    return shutil.disk_usage(place).free


def newest_fetch(home: Path) -> datetime | None:
    """Tell when the newest stored prices were fetched; None where there are none to read."""
    try:
        with PriceStore.open_for_reading(home) as store:
            told = store.summary()["fetched_at"]
    except ForecasterError:
        return None
    return datetime.fromisoformat(str(told.max())) if len(told) else None


def calendars(home: Path, now: datetime) -> dict[str, date]:
    """Tell the last final session of each calendar in the store, of New York where it is empty."""
    try:
        with PriceStore.open_for_reading(home) as store:
            names = {store.listing(ticker).calendar for ticker in store.tickers()}
    except UnknownNameError:
        names = set()
    return {name: sessions.last_final_session(name, now) for name in sorted(names or {"XNYS"})}


def store(home: Path) -> str:
    """Read every page of the price store, and say what it holds.

    Raises:
        UnknownNameError: there is none.
        StorageError: it is damaged.
        SettingsError: it was made by another version.
    """
    with PriceStore.open_for_reading(home) as opened:
        names, path = opened.tickers(), opened.path
    _refuse_damaged(path)
    return f"{len(names):,} tickers, {path.stat().st_size / 1e6:.1f} MB, whole"


def held(home: Path) -> list[str]:
    """Name the tickers of all bars that await a person."""
    try:
        with PriceStore.open_for_reading(home) as opened:
            entries = opened.quarantine.entries()
    except ForecasterError:
        return []
    return [entry.ticker for entry in entries if entry.state == "held"]


def registry(home: Path) -> str:
    """Read every page of the registry, and say what it holds.

    Raises:
        UnknownNameError: there is none.
        StorageError: it is damaged.
        SettingsError: it was made by another version.
    """
    path = registry_path(home)
    if not path.exists():
        raise UnknownNameError("none yet; run: forecaster train, or forecaster retrain")
    names = [one.name for one in champion_statuses(home)]
    _refuse_damaged(path)
    return f"models {', '.join(names) or 'none'}, {path.stat().st_size / 1e6:.1f} MB, whole"


def _refuse_damaged(path: Path) -> None:
    wrong = database.integrity_error(path)
    if wrong:
        raise StorageError(
            f"{path}: damaged: {wrong}. Restore a backup, or save what is readable with "
            f"`sqlite3 {path} .recover`."
        )


def versions(home: Path) -> tuple[int, dict[str, str], dict[str, str | None]]:
    """Verify every version: how many are whole, what is wrong with the others, who is champion."""
    damaged = {}
    names = list_versions(home)
    for name in names:
        try:
            verify(home, name)
        except ArtifactError as error:
            damaged[name] = str(error)
    try:
        champions = {one.name: one.champion for one in champion_statuses(home)}
    except ForecasterError:
        champions = {}
    return len(names) - len(damaged), damaged, champions


def who_writes(home: Path) -> str | None:
    """Tell who holds the writers' lock; None where nobody does."""
    return holder(home)
