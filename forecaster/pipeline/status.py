"""Whether the nights are being done, by whom, and what a person should look at."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from forecaster import clock
from forecaster.errors import (
    ArtifactError,
    ForecasterError,
    TooOldError,
    UnknownNameError,
    UsageError,
)
from forecaster.operations import due_sessions
from forecaster.operations.due_sessions import StoreState, model_age, session_dates
from forecaster.operations.lock import holder
from forecaster.operations.run_log import last_beat
from forecaster.pipeline.doctor_checks import held
from forecaster.registry.champion_history import ChampionStatus, champion_status, champion_statuses
from forecaster.registry.run_history import SessionRecord, Training, session_records, trainings
from forecaster.registry.versions import read_manifest
from forecaster.settings import Home, resolve_home

_HOURS: Final = {"m": 1 / 60, "h": 1.0, "d": 24.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class NameStatus:
    """How one model name stands.

    `champion` is a version or "baseline"; `model_age` the sessions since its training, None of
    the baseline or of a version that cannot be read. `night` is the last that was done.
    `overdue_hours` is for how long the oldest night not done has been final; 0 where none waits,
    and after a replay, which is of the past. `failed` are the trainings that failed or were
    stopped since the last that was done.
    """

    name: str
    champion: str
    since: datetime | None
    challenger: str | None
    model_age: int | None
    session: SessionRecord | None
    unfinished: SessionRecord | None
    overdue_hours: float
    failed: tuple[Training, ...]

    @property
    def drift(self) -> list[str]:
        """What the last night found to have drifted."""
        return list(self._told("drift"))

    @property
    def doubt(self) -> dict[str, list[str]]:
        """The tickers that the last night went without, by why."""
        kinds = ("behind", "skipped", "inactive")
        return {kind: list(self._told(kind)) for kind in kinds if self._told(kind)}

    def _told(self, key: str) -> Any:
        return (self.session.summary if self.session else {}).get(key) or []


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a home stands: its names, when a run last ended well, what awaits a person."""

    names: tuple[NameStatus, ...]
    beat: datetime | None
    quarantined: tuple[str, ...]
    writer: str | None

    @property
    def hours(self) -> float:
        """Hours since a run last ended well; infinite where none ever did."""
        if self.beat is None:
            return float("inf")
        return (clock.now() - self.beat).total_seconds() / 3600

    def refuse_older(self, most_hours: float) -> None:
        """Be the dead man's switch.

        Raises:
            TooOldError: no run has ended well for so long, or a night is overdue for longer.
        """
        if self.beat is None:
            raise TooOldError("No night was ever done here; see: forecaster schedule")
        if self.hours > most_hours:
            raise TooOldError(
                f"The last good run ended {self.hours:.1f} hours ago, at most {most_hours:g} are "
                "allowed; see logs/forecaster.log, then: forecaster retrain"
            )
        for one in self.names:
            if one.overdue_hours > most_hours:
                last = one.session.session if one.session else "none"
                raise TooOldError(
                    f"{one.name}: the last night done is {last}; the next one has been final for "
                    f"{one.overdue_hours:.1f} hours. Its bars have not come; see: forecaster "
                    "doctor"
                )


def status(*, home: Home | None = None, name: str | None = None) -> Status:
    """Tell how the nights of a home stand; nothing is changed.

    Args:
        home: the workspace; None as the command line resolves it.
        name: of one model name; None for all.

    Raises:
        UnknownNameError: there is no such home, or name.
        StorageError: the registry is damaged.
    """
    where = resolve_home(home)
    if not where.is_dir():
        raise UnknownNameError(f"{where}: no such home; create it with: mkdir -p {where}")
    there = {one.name for one in champion_statuses(where)} | {
        one.name for one in session_records(where)
    }
    if name is not None and name not in there:
        raise UnknownNameError(
            f"--name {name}: no model has it; there is {', '.join(sorted(there)) or 'none'}."
        )
    stored = due_sessions.held(where)
    chosen = sorted(there) if name is None else [name]
    return Status(
        names=tuple(_of_name(where, champion_status(where, one), stored) for one in chosen),
        beat=last_beat(where),
        quarantined=tuple(sorted(set(held(where)))),
        writer=holder(where),
    )


def _of_name(home: Path, place: ChampionStatus, stored: StoreState) -> NameStatus:
    mine, trained = session_records(home, place.name), trainings(home, place.name)
    finished = [one for one in mine if one.finished_at]
    last = finished[-1] if finished else None
    done = [number for number, one in enumerate(trained) if one.state == "done"]
    since_done = trained[done[-1] + 1 :] if done else trained
    begun = [
        one for one in mine if not one.finished_at and (not last or one.session > last.session)
    ]
    return NameStatus(
        name=place.name,
        champion=place.champion or "baseline",
        since=place.since,
        challenger=place.challenger,
        model_age=_model_age(home, place, stored),
        session=last,
        unfinished=begun[0] if begun else None,
        overdue_hours=_overdue(last, stored),
        failed=tuple(one for one in since_done if one.state in ("failed", "stopped")),
    )


def _model_age(home: Path, place: ChampionStatus, stored: StoreState) -> int | None:
    if place.champion is None:
        return None
    try:
        manifest = read_manifest(home, place.champion)
    except (ArtifactError, ForecasterError):
        return None
    newest = due_sessions.newest_final(stored.calendars.values())
    return model_age(manifest, stored.calendars.values(), newest) if newest else None


def _overdue(last: SessionRecord | None, stored: StoreState) -> float:
    """Count the hours since the night after the last became final."""
    calendars = stored.calendars.values()
    newest = due_sessions.newest_final(calendars)
    if last is None or newest is None or last.summary.get("replay"):
        return 0.0
    waiting = session_dates(calendars, last.session, newest)
    if not waiting:
        return 0.0
    return (clock.now() - due_sessions.evening(calendars, waiting[0])) / timedelta(hours=1)


def hours_of(text: str) -> float:
    """Read an age such as 26h, 90m or 2d.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if not found:
        raise UsageError(f"--max-age {text}: minutes, hours or days are needed, such as 26h.")
    return float(found[1]) * _HOURS[found[2]]
