"""`forecaster doctor`: checks of everything that a daily run needs; nothing is changed.

`CHECKS` is the table of checks, in the order in which their findings should be fixed.
"""

import importlib.metadata
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement

from forecaster import clock, database
from forecaster.data import sessions, store_rows
from forecaster.data.sources import check_source
from forecaster.data.store import PriceStore
from forecaster.errors import (
    ArtifactError,
    ExitCode,
    ForecasterError,
    StorageError,
    UnknownNameError,
    name_some,
)
from forecaster.operations.lock import holder
from forecaster.operations.run_log import read_heartbeat
from forecaster.pipeline.status import quarantined_tickers
from forecaster.registry.champion_history import champion_statuses
from forecaster.registry.registry_file import registry_path
from forecaster.registry.versions import list_versions, verify
from forecaster.settings import FetchSettings, Home, resolve_home
from forecaster.settings.settings_sources import load_settings

State = Literal["ok", "note", "bad"]

LOW_DISK: Final = 2_000_000_000  # bytes
FULL_DISK: Final = 200_000_000
_CLOCK_SKEW: Final = timedelta(hours=1)
_OLDEST_PYTHON: Final = (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check: ok, a note, or bad; what was seen, and what to do.

    `exit_code` is that of the error that a command would end with; `subject` the check's.
    """

    state: State
    seen: str
    remedy: str = ""
    exit_code: int = ExitCode.OK
    subject: str = ""


def examine(*, home: Home | None = None, offline: bool = False) -> list[Finding]:
    """Examine the machine and a home; the source only if not offline.

    An absent file is a note, any other error a bad finding. The findings are in the order in which
    they should be fixed.
    """
    where, found = resolve_home(home), list[Finding]()
    for subject, check in CHECKS.items():
        if offline and check is _source:
            continue
        try:
            for finding in check(where):
                found.append(replace(finding, subject=subject))
        except UnknownNameError as error:
            found.append(Finding(state="note", seen=str(error), subject=subject))
        except ForecasterError as error:
            code = error.exit_code
            found.append(Finding(state="bad", seen=str(error), exit_code=code, subject=subject))
    return found


def exit_code(findings: list[Finding]) -> int:
    """Return the exit code of the first bad finding; 0 if there is none."""
    return next((one.exit_code for one in findings if one.state == "bad"), ExitCode.OK)


def _python(home: Path) -> Iterator[Finding]:
    is_new = sys.version_info >= _OLDEST_PYTHON
    yield Finding(
        state="ok" if is_new else "bad",
        seen=f"{platform.python_version()} on {platform.machine()}",
        remedy="" if is_new else "install Python 3.11 or newer",
        exit_code=ExitCode.BUG,
    )


def _packages(home: Path) -> Iterator[Finding]:
    """Compare installed packages with the declared ones: one line for all that fit."""
    fitting = [f"forecaster {importlib.metadata.version('forecaster')}"]
    wrong = []
    for text in importlib.metadata.requires("forecaster") or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing, {wanted.specifier} is needed")
            continue
        if wanted.specifier.contains(found, prereleases=True):
            fitting.append(f"{wanted.name} {found}")
        else:
            wrong.append(f"{wanted.name} {found}, {wanted.specifier} is needed")
    yield Finding(state="ok", seen=", ".join(fitting))
    for seen in wrong:
        yield Finding(
            state="bad",
            seen=seen,
            remedy="pip install -c constraints.txt . in the checkout, or make setup",
            exit_code=ExitCode.BUG,
        )


def _home(home: Path) -> Iterator[Finding]:
    for path in (store_rows.store_path(home), registry_path(home)):
        if not home.is_dir() or path.parent.exists():
            database.refuse_unwritable(home, path)
        elif not os.access(home, os.W_OK):  # checked without creating any folder
            database.refuse_unwritable(home, home / path.name)
    if home.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            state="note", seen=f"{home}: others may write in it", remedy=f"chmod go-w {home}"
        )
    else:
        yield Finding(state="ok", seen=str(home))


def _disk(home: Path) -> Iterator[Finding]:
    place = next(one for one in (home, *home.parents) if one.exists())
    free = shutil.disk_usage(place).free
    state: State = "bad" if free < FULL_DISK else "note" if free < LOW_DISK else "ok"
    yield Finding(
        state=state,
        seen=f"{free / 1e9:.1f} GB free",
        remedy="" if state == "ok" else "free some space; forecaster models prune",
        exit_code=ExitCode.IO_ERROR,
    )


def _settings(home: Path) -> Iterator[Finding]:
    load_settings(home)
    yield Finding(state="ok", seen="forecaster config show lists them")


def _clock(home: Path) -> Iterator[Finding]:
    now, newest = clock.now(), _newest_fetch(home)
    is_behind = newest is not None and now < newest - _CLOCK_SKEW
    yield Finding(
        state="bad" if is_behind else "ok",
        seen=f"{now:%Y-%m-%d %H:%M} UTC" + (f", before prices of {newest}" if is_behind else ""),
        remedy="set the clock; nothing is forecast with a clock set back" if is_behind else "",
        exit_code=ExitCode.TRY_LATER,
    )


def _newest_fetch(home: Path) -> datetime | None:
    try:
        with PriceStore.open_for_reading(home) as store:
            fetched = store.summary()["fetched_at"]
    except ForecasterError:
        return None
    return datetime.fromisoformat(str(fetched.max())) if len(fetched) else None


def _calendars(home: Path) -> Iterator[Finding]:
    """Read the calendars of all stored tickers, or New York's if there are none."""
    try:
        with PriceStore.open_for_reading(home) as store:
            names = {store.listing(ticker).calendar for ticker in store.tickers()}
    except UnknownNameError:
        names = set()
    for name in sorted(names or {"XNYS"}):
        last = sessions.last_final_session(name, clock.now())
        yield Finding(state="ok", seen=f"{name}: last final session {last}")


def _store(home: Path) -> Iterator[Finding]:
    with PriceStore.open_for_reading(home) as opened:
        names, path = opened.tickers(), opened.path
    yield _intact(path, f"{len(names):,} tickers")


def _quarantine(home: Path) -> Iterator[Finding]:
    found = quarantined_tickers(home)
    if found:
        yield Finding(
            state="note",
            seen=f"{len(found):,} bars in quarantine: {name_some(sorted(set(found)))}",
            remedy="forecaster data quarantine list, then release or drop",
        )


def _registry(home: Path) -> Iterator[Finding]:
    path = registry_path(home)
    if not path.exists():
        raise UnknownNameError("none yet; run: forecaster train, or forecaster retrain")
    names = [one.name for one in champion_statuses(home)]
    yield _intact(path, f"models {', '.join(names) or 'none'}")


def _intact(path: Path, content: str) -> Finding:
    """Read every page of a database; raise StorageError if it is corrupt."""
    wrong = database.integrity_error(path)
    if wrong:
        raise StorageError(
            f"{path}: corrupt: {wrong}. Restore a backup, or save what is readable with "
            f"`sqlite3 {path} .recover`."
        )
    seen = f"{content}, {path.stat().st_size / 1e6:.1f} MB, intact"
    return Finding(state="ok", seen=seen)


def _versions(home: Path) -> Iterator[Finding]:
    """Verify every version; a corrupt champion is bad, another corrupt version a note."""
    names, corrupt = list_versions(home), {}
    for name in names:
        try:
            verify(home, name)
        except ArtifactError as error:
            corrupt[name] = str(error)
    try:
        champions = {one.name: one.champion for one in champion_statuses(home)}
    except ForecasterError:
        champions = {}
    listed = ", ".join(f"{name}: {one or 'the baseline'}" for name, one in champions.items())
    seen = f"{len(names) - len(corrupt)} intact" + (f"; champion of {listed}" if listed else "")
    yield Finding(state="ok", seen=seen)
    for name, text in corrupt.items():
        is_champion = name in champions.values()
        yield Finding(
            state="bad" if is_champion else "note",
            seen=f"{'champion ' if is_champion else ''}{text}",
            remedy=f"forecaster models rollback, or remove models/{name}",
            exit_code=ExitCode.BAD_DATA,
        )


def _lock(home: Path) -> Iterator[Finding]:
    found = holder(home)
    yield Finding(
        subject="lock", state="note" if found else "ok", seen=found or "no process is writing"
    )


def _daily_runs(home: Path) -> Iterator[Finding]:
    last = read_heartbeat(home)
    if last is None:
        yield Finding(state="note", seen="none has ended well yet", remedy="forecaster schedule")
    else:
        hours = (clock.now() - last).total_seconds() / 3600
        seen = f"the last good run ended {hours:.1f} hours ago"
        yield Finding(state="ok", seen=seen)


def _source(home: Path) -> Iterator[Finding]:
    """Ask the source of the settings for a few bars; nothing is stored."""
    try:
        settings = load_settings(home).fetch
    except ForecasterError:  # a finding of its own
        settings = FetchSettings()
    yield Finding(state="ok", seen=check_source(settings.source))


CHECKS: Final[dict[str, Callable[[Path], Iterator[Finding]]]] = {
    "python": _python,
    "packages": _packages,
    "home": _home,
    "disk": _disk,
    "settings": _settings,
    "clock": _clock,
    "calendar": _calendars,
    "store": _store,
    "prices": _quarantine,
    "registry": _registry,
    "versions": _versions,
    "lock": _lock,
    "daily run": _daily_runs,
    "source": _source,
}
