"""Look at everything that a night needs, and say of each what is well or what to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forecaster import clock
from forecaster.data.sources import check_source
from forecaster.errors import ExitCode, ForecasterError, UnknownNameError
from forecaster.operations.run_log import last_beat
from forecaster.pipeline import doctor_checks as checks
from forecaster.settings import Home, resolve_home

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: well, worth a note, or bad; what was seen, and what to do.

    `exit_code` is that of the error that a command would end in.
    """

    subject: str
    state: State
    seen: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.OK


def examine(
    *,
    home: Home | None = None,
    settings_error: ForecasterError | None = None,
    offline: bool = False,
) -> list[Finding]:
    """Examine the machine and a home; nothing in the home is changed.

    Args:
        home: the workspace; None as the command line resolves it.
        settings_error: what reading the settings ended in, if it failed.
        offline: leave the network alone.

    Returns:
        What was found, in the order in which it should be mended.
    """
    where = resolve_home(home)
    found = [_python(), *_packages(), _home(where), _disk(where), _settings(settings_error)]
    found += [_clock(where), *_calendars(where), _store(where), *_doubts(where), _registry(where)]
    found += [*_versions(where), _lock(where), _nights(where)]
    return found if offline else [*found, _network()]


def exit_code(findings: list[Finding]) -> ExitCode:
    """Return the exit code of the first that is bad; 0 where none is."""
    return next((one.exit_code for one in findings if one.state == "bad"), ExitCode.OK)


def _python() -> Finding:
    version, good = checks.python_version()
    remedy = "" if good else "install Python 3.11 or newer"
    return Finding(
        subject="python",
        state="ok" if good else "bad",
        seen=version,
        remedy=remedy,
        exit_code=ExitCode.BUG,
    )


def _packages() -> Iterator[Finding]:
    """One line for all that fit, one for each that does not."""
    fitting, odd = checks.packages()
    yield Finding(subject="packages", state="ok" if fitting else "note", seen=", ".join(fitting))
    for name, needed, found in odd:
        yield Finding(
            subject="packages",
            state="bad",
            seen=f"{name} {found or 'is missing'}, {needed} is needed",
            remedy="pip install -c constraints.txt . in the checkout, or make setup",
            exit_code=ExitCode.BUG,
        )


def _home(home: Path) -> Finding:
    try:
        checks.refuse_unwritable_home(home)
    except ForecasterError as error:
        return _bad("home", error)
    if checks.is_open_to_others(home):
        return Finding(
            subject="home",
            state="note",
            seen=f"{home}: others may write in it",
            remedy=f"chmod go-w {home}",
        )
    return Finding(subject="home", state="ok", seen=str(home))


def _disk(home: Path) -> Finding:
    free = checks.free_bytes(home)
    state: State = "bad" if free < checks.TOO_LITTLE else "ok"
    if state == "ok" and free < checks.LITTLE:
        state = "note"
    return Finding(
        subject="disk",
        state=state,
        seen=f"{free / 1e9:.1f} GB free",
        remedy="" if state == "ok" else "free some space; forecaster models prune, data/cache/",
        exit_code=ExitCode.IO_ERROR,
    )


def _settings(error: ForecasterError | None) -> Finding:
    if error is not None:
        return _bad("settings", error)
    return Finding(subject="settings", state="ok", seen="forecaster config show lists them")


def _clock(home: Path) -> Finding:
    now, newest = clock.now(), checks.newest_fetch(home)
    behind = newest is not None and now < newest - checks.SKEW
    return Finding(
        subject="clock",
        state="bad" if behind else "ok",
        seen=f"{now:%Y-%m-%d %H:%M} UTC" + (f", before prices of {newest}" if behind else ""),
        remedy="set the clock; nothing is forecast with a clock set back" if behind else "",
        exit_code=ExitCode.TRY_LATER,
    )


def _calendars(home: Path) -> Iterator[Finding]:
    try:
        found = checks.calendars(home, clock.now())
    except ForecasterError as error:
        yield _bad("calendars", error)
        return
    for name, last in found.items():
        yield Finding(subject="calendar", state="ok", seen=f"{name}: last final session {last}")


def _store(home: Path) -> Finding:
    return _checked("store", lambda: checks.store(home))


def _registry(home: Path) -> Finding:
    return _checked("registry", lambda: checks.registry(home))


def _checked(subject: str, look: Callable[[], str]) -> Finding:
    """Say what was seen; there being nothing yet is worth a note, being damaged is bad."""
    try:
        return Finding(subject=subject, state="ok", seen=look())
    except UnknownNameError as error:
        return Finding(subject=subject, state="note", seen=str(error))
    except ForecasterError as error:
        return _bad(subject, error)


def _doubts(home: Path) -> Iterator[Finding]:
    held = checks.held(home)
    if held:
        yield Finding(
            subject="prices",
            state="note",
            seen=f"{len(held):,} bars in quarantine: {', '.join(sorted(set(held))[:5])}",
            remedy="forecaster data quarantine list, then release or drop",
        )


def _versions(home: Path) -> Iterator[Finding]:
    whole, damaged, champions = checks.versions(home)
    yield Finding(subject="versions", state="ok", seen=f"{whole} whole{_named(champions)}")
    for name, error in damaged.items():
        crowned = name in champions.values()
        yield Finding(
            subject="versions",
            state="bad" if crowned else "note",
            seen=f"{'champion ' if crowned else ''}{error}",
            remedy=f"forecaster models rollback, or remove models/{name}",
            exit_code=ExitCode.BAD_DATA,
        )


def _named(champions: dict[str, str | None]) -> str:
    told = [f"{name}: {version or 'the baseline'}" for name, version in champions.items()]
    return f"; champion of {', '.join(told)}" if told else ""


def _lock(home: Path) -> Finding:
    who = checks.who_writes(home)
    return Finding(subject="lock", state="note" if who else "ok", seen=who or "nobody is writing")


def _nights(home: Path) -> Finding:
    last = last_beat(home)
    if last is None:
        return Finding(
            subject="nights",
            state="note",
            seen="no night was done yet",
            remedy="forecaster schedule",
        )
    hours = (clock.now() - last).total_seconds() / 3600
    return Finding(
        subject="nights", state="ok", seen=f"the last good run ended {hours:.1f} hours ago"
    )


def _network() -> Finding:
    return _checked("network", lambda: check_source("yahoo"))


def _bad(subject: str, error: ForecasterError) -> Finding:
    """Turn an error into a finding; its sentence carries the remedy."""
    return Finding(subject=subject, state="bad", seen=str(error), exit_code=error.exit_code)
