"""`forecaster doctor`: checks of everything that a daily run needs; nothing is changed.

`CHECKS` is the table of checks, in the order in which their findings should be fixed.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement

from forecaster import clock, database
from forecaster.data import price_database, sessions
from forecaster.data.sources import check_source
from forecaster.data.store import PriceStore
from forecaster.data.trading_calendar import is_guess, split_name, trading_calendar
from forecaster.errors import (
    ArtifactError,
    ExitCode,
    ForecasterError,
    StorageError,
    UnknownNameError,
    name_some,
)
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.operations.lock import holder
from forecaster.operations.run_log import read_heartbeat
from forecaster.pipeline.status import held_entries
from forecaster.registry.champion_history import champion_statuses
from forecaster.registry.registry_file import registry_path
from forecaster.registry.versions import list_versions, verify
from forecaster.settings import FetchSettings, Home, resolve_home
from forecaster.settings.settings_sources import load_settings

State = Literal["ok", "note", "bad"]

LOW_DISK: Final = 2_000_000_000  # bytes
FULL_DISK: Final = 200_000_000
_OLD_CALENDARS: Final = 365  # days; holidays are declared year by year
_REACH: Final = timedelta(days=60)  # of known holidays, from today
_UPDATE_CALENDARS: Final = "pip install --upgrade exchange_calendars"
_OLDEST_PYTHON: Final = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: ok, a note, or bad; what was seen, and what to do.

    `exit_code` is that of the error that a command would end with.
    """

    state: State
    seen: str
    remedy: str = ""
    exit_code: int = ExitCode.OK
    subject: str = ""


def examine(*, home: Home | None = None, offline: bool = False) -> list[Finding]:
    """Examine the machine and a home; the source only if not offline.

    An absent file is a note, any other error a bad finding.
    """
    where, found = resolve_home(home), list[Finding]()
    for subject, check in CHECKS.items():
        if offline and check is _source:
            continue
        try:
            for finding in check(where):
                found.append(replace(finding, subject=subject))
        except UnknownNameError as error:
            found.append(Finding("note", str(error), subject=subject))
        except ForecasterError as error:
            found.append(Finding("bad", str(error), "", error.exit_code, subject))
    return found


def exit_code(findings: list[Finding]) -> int:
    """Return the exit code of the first bad finding; 0 if there is none."""
    return next((one.exit_code for one in findings if one.state == "bad"), ExitCode.OK)


def _python(home: Path) -> Iterator[Finding]:
    seen = f"{platform.python_version()} on {platform.machine()}"
    if sys.version_info >= _OLDEST_PYTHON:
        yield Finding("ok", seen)
    else:
        yield Finding("bad", seen, "install Python 3.11 or newer", ExitCode.BUG)


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
    yield Finding("ok", ", ".join(fitting))
    remedy = "pip install -c constraints.txt . in the checkout, or make setup"
    for seen in wrong:
        yield Finding("bad", seen, remedy, ExitCode.BUG)


def _home(home: Path) -> Iterator[Finding]:
    for path in (price_database.store_path(home), registry_path(home)):
        if not home.is_dir() or path.parent.exists():
            database.refuse_unwritable(home, path)
        elif not os.access(home, os.W_OK):  # checked without creating any folder
            database.refuse_unwritable(home, home / path.name)
    folders = [path for path in (home, home / "data", home / "models") if path.is_dir()]
    shared = [path for path in folders if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)]
    for path in shared:
        remedy = f"chmod go-w {shlex.quote(str(path))}"
        yield Finding("note", f"{path}: others may write in it", remedy)
    if not shared:
        yield Finding("ok", str(home))


def _disk(home: Path) -> Iterator[Finding]:
    place = next(one for one in (home, *home.parents) if one.exists())
    free = shutil.disk_usage(place).free
    state: State = "bad" if free < FULL_DISK else "note" if free < LOW_DISK else "ok"
    remedy = "" if state == "ok" else "free some space; forecaster models prune"
    yield Finding(state, f"{free / 1e9:.1f} GB free", remedy, ExitCode.IO_ERROR)


def _settings(home: Path) -> Iterator[Finding]:
    load_settings(home)
    yield Finding("ok", "forecaster config show lists them")


def _clock(home: Path) -> Iterator[Finding]:
    refuse_clock_behind(home)
    yield Finding("ok", f"{clock.now():%Y-%m-%d %H:%M} UTC")


def _calendars(home: Path) -> Iterator[Finding]:
    """Read the calendars of all stored tickers, or New York's if there are none."""
    yield _calendar_package()
    names: set[str] = set()
    with suppress(UnknownNameError), PriceStore.open_for_reading(home) as store:
        names = {one.calendar for one in store.states()}
    for name in sorted(names or {"XNYS"}):
        base, opened, closed = split_name(name)
        seen = f"{base}: last final session {sessions.last_final_session(name, clock.now())}"
        if opened or closed:
            seen += f", {len(opened) + len(closed):,} days corrected from bars"
        until = sessions.as_date(trading_calendar(base).last_known)
        if is_guess(base):
            yield Finding("note", f"{seen}, a guess without holidays")
        elif until - clock.now().date() < _REACH:
            yield Finding("note", f"{seen}, holidays known until {until}", _UPDATE_CALENDARS)
        else:
            yield Finding("ok", seen)


def _calendar_package() -> Finding:
    """Return the version and age of the calendar package, by the time of its installation."""
    name = "exchange_calendars"
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return Finding("bad", f"{name} is missing", _UPDATE_CALENDARS, ExitCode.BUG)
    installed = datetime.fromtimestamp(Path(spec.origin).stat().st_mtime, UTC)
    days = max((clock.now() - installed).days, 0)
    seen = f"{name} {importlib.metadata.version(name)}, installed {days:,} days ago"
    old = days > _OLD_CALENDARS
    return Finding("note" if old else "ok", seen, _UPDATE_CALENDARS if old else "")


def _store(home: Path) -> Iterator[Finding]:
    with PriceStore.open_for_reading(home) as opened:
        names, path = opened.tickers(), opened.path
    yield _intact(path, f"{len(names):,} tickers")


def _quarantine(home: Path) -> Iterator[Finding]:
    found = held_entries(home)
    if found:
        names = name_some(sorted({one.ticker for one in found}))
        seen = f"{len(found):,} findings in quarantine: {names}"
        yield Finding("note", seen, "forecaster data quarantine list, then release or drop")


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
    return Finding("ok", f"{content}, {path.stat().st_size / 1e6:.1f} MB, intact")


def _versions(home: Path) -> Iterator[Finding]:
    """Verify every version; a corrupt champion is bad, another corrupt version a note."""
    names, corrupt = list_versions(home), {}
    for name in names:
        try:
            verify(home, name)
        except ArtifactError as error:
            corrupt[name] = str(error)
    champions: dict[str, str | None] = {}
    with suppress(ForecasterError):
        champions = {one.name: one.champion for one in champion_statuses(home)}
    listed = ", ".join(f"{name}: {one or 'the baseline'}" for name, one in champions.items())
    seen = f"{len(names) - len(corrupt)} intact" + (f"; champion of {listed}" if listed else "")
    yield Finding("ok", seen)
    for name, text in corrupt.items():
        remedy = f"forecaster models rollback, or remove models/{name}"
        if name in champions.values():
            yield Finding("bad", f"champion {text}", remedy, ExitCode.BAD_DATA)
        else:
            yield Finding("note", text, remedy)


def _lock(home: Path) -> Iterator[Finding]:
    found = holder(home)
    yield Finding("note", found) if found else Finding("ok", "no process is writing")


def _daily_runs(home: Path) -> Iterator[Finding]:
    last = read_heartbeat(home)
    if last is None:
        yield Finding("note", "none has ended well yet", "forecaster schedule")
    else:
        hours = (clock.now() - last) / timedelta(hours=1)
        yield Finding("ok", f"the last good run ended {hours:.1f} hours ago")


def _source(home: Path) -> Iterator[Finding]:
    """Ask the source of the settings for a few bars; nothing is stored."""
    settings = FetchSettings()
    with suppress(ForecasterError):  # a finding of its own
        settings = load_settings(home).fetch
    yield Finding("ok", check_source(settings.source))


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
