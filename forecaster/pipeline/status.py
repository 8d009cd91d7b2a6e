"""`forecaster status` and `forecaster score`: how daily runs and their forecasts are doing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forecaster import clock
from forecaster.data.calendar_corrections import describe_corrections
from forecaster.data.history import normalise_tickers
from forecaster.data.quarantine import Entry, oldest_blocking
from forecaster.data.store import PriceStore
from forecaster.errors import (
    ForecasterError,
    TooOldError,
    TryLaterError,
    UnknownNameError,
    UsageError,
    no_home,
)
from forecaster.operations.due_sessions import (
    StoreState,
    model_age,
    newest_final,
    session_dates,
    settled_at,
    store_state,
)
from forecaster.operations.lock import holder
from forecaster.operations.run_log import read_heartbeat, read_on_forecast_failure
from forecaster.registry.champion_history import ChampionStatus, champion_status, champion_statuses
from forecaster.registry.forecast_log import Selection
from forecaster.registry.run_history import SessionRecord, Training, session_records, trainings
from forecaster.registry.versions import read_manifest
from forecaster.settings import Home, resolve_home

if TYPE_CHECKING:
    from forecaster.operations.scoring import LiveScores

_CLOCK_STEP: Final = 1 / 60  # hours that a running clock may be corrected by
_HOURS: Final = {"m": 1 / 60, "h": 1.0, "d": 24.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class NameStatus:
    """The status of one model name.

    `champion` is a version or "baseline"; `model_age` the sessions since its training, None of
    the baseline or of a version that cannot be read. `last` is the last finished daily run.
    `overdue_hours` is how long the oldest session without a run has been final.
    `failed` are the trainings that failed or were stopped since the last successful one.
    """

    name: str
    champion: str
    since: datetime | None
    challenger: str | None
    model_age: int | None
    last: SessionRecord | None
    unfinished: SessionRecord | None
    overdue_hours: float
    failed: tuple[Training, ...]

    @property
    def drift(self) -> list[str]:
        """The drift that the last daily run found."""
        return list(self.last.summary.get("drift") or ()) if self.last else []

    @property
    def without_forecast(self) -> dict[str, list[str]]:
        """The tickers that the last daily run did not forecast, by reason."""
        summary = self.last.summary if self.last else {}
        return {
            kind: summary[kind] for kind in ("behind", "skipped", "inactive") if summary.get(kind)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of a home: its model names, the last successful run, what is in quarantine.

    `quarantined` has the oldest reason for which a ticker stays as it is stored, `rows_left_out`
    the tickers with rows that cannot be bars. `calendars` are those
    corrected from bars, in words, `on_forecast_failure` when and why `--on-forecast` last failed.
    """

    names: tuple[NameStatus, ...]
    heartbeat: datetime | None
    quarantined: tuple[Entry, ...]
    rows_left_out: tuple[str, ...]
    calendars: tuple[str, ...]
    writer: str | None
    on_forecast_failure: str = ""

    @property
    def hours(self) -> float:
        """Hours since a run last ended well; infinite if none ever did."""
        if self.heartbeat is None:
            return float("inf")
        return (clock.now() - self.heartbeat) / timedelta(hours=1)

    def refuse_older(self, most_hours: float) -> None:
        """Check that the last successful run is recent enough, and no session overdue.

        Raises:
            TooOldError: no run has ended well for so long, or a session is overdue for longer.
            TryLaterError: the clock is behind the last run.
        """
        if self.heartbeat is None:
            raise TooOldError("No daily run has ended well here; see: forecaster schedule")
        if self.hours < -_CLOCK_STEP:
            raise TryLaterError(
                f"The clock says {clock.now():%Y-%m-%d %H:%M} UTC, but the last good run ended at "
                f"{self.heartbeat:%Y-%m-%d %H:%M} UTC; set it (timedatectl set-ntp true)."
            )
        if self.hours > most_hours:
            raise TooOldError(
                f"The last good run ended {self.hours:.1f} hours ago, at most {most_hours:g} are "
                "allowed; see logs/forecaster.log, then: forecaster retrain"
            )
        for one in self.names:
            if one.overdue_hours > most_hours:
                last = one.last.session if one.last else "none"
                raise TooOldError(
                    f"{one.name}: the last session done is {last}; the next one has been final for "
                    f"{one.overdue_hours:.1f} hours. Its bars have not come; see: forecaster "
                    "doctor"
                )


def status(*, home: Home | None = None, name: str | None = None) -> Status:
    """Read the status of a home, of one model name or of all; nothing is changed.

    Raises:
        UnknownNameError: there is no such home, or name.
        StorageError: the registry is corrupt.
    """
    where = resolve_home(home)
    if not where.is_dir():
        raise UnknownNameError(no_home(where))
    existing = {one.name for one in champion_statuses(where)}
    existing |= {one.name for one in session_records(where)}
    if name is not None and name not in existing:
        raise UnknownNameError(
            f"--name {name}: no such model name; there is {', '.join(sorted(existing)) or 'none'}."
        )
    stored, held = store_state(where), held_entries(where)
    blocking = oldest_blocking(held)
    left_out = {one.ticker for one in held if not one.blocks}
    chosen = sorted(existing) if name is None else [name]
    return Status(
        names=tuple(_name_status(where, champion_status(where, one), stored) for one in chosen),
        heartbeat=read_heartbeat(where),
        quarantined=tuple(blocking[ticker] for ticker in sorted(blocking)),
        rows_left_out=tuple(sorted(left_out)),
        calendars=corrected_calendars(where),
        writer=holder(where),
        on_forecast_failure=read_on_forecast_failure(where),
    )


def held_entries(home: Path) -> list[Entry]:
    """List what is held in quarantine; empty if there is no store."""
    try:
        with PriceStore.open_for_reading(home) as store:
            entries = store.quarantine.entries()
    except ForecasterError:
        return []
    return [entry for entry in entries if entry.state == "held"]


def corrected_calendars(home: Path) -> tuple[str, ...]:
    """Describe the calendars that were corrected from bars; empty if there is no store."""
    try:
        with PriceStore.open_for_reading(home) as store:
            return tuple(describe_corrections(store.corrections.by_calendar()))
    except ForecasterError:
        return ()


def _name_status(home: Path, place: ChampionStatus, stored: StoreState) -> NameStatus:
    records, trained = session_records(home, place.name), trainings(home, place.name)
    last = next((one for one in reversed(records) if one.finished_at), None)
    since = last.session if last else date.min
    later = [one for one in records if not one.finished_at and one.session > since]
    done = [number for number, one in enumerate(trained) if one.state == "done"]
    since_done = trained[done[-1] + 1 :] if done else trained
    return NameStatus(
        name=place.name,
        champion=place.champion or "baseline",
        since=place.since,
        challenger=place.challenger,
        model_age=_model_age(home, place, stored),
        last=last,
        unfinished=later[0] if later else None,
        overdue_hours=_overdue(last, stored),
        failed=tuple(one for one in since_done if one.state in ("failed", "stopped")),
    )


def _model_age(home: Path, place: ChampionStatus, stored: StoreState) -> int | None:
    newest = newest_final(stored.calendars.values())
    if place.champion is None or newest is None:
        return None
    try:
        manifest = read_manifest(home, place.champion)
    except ForecasterError:
        return None
    return model_age(manifest, stored.calendars.values(), newest)


def _overdue(last: SessionRecord | None, stored: StoreState) -> float:
    """Count the hours since the session after the last one became final."""
    calendars = stored.calendars.values()
    newest = newest_final(calendars)
    if last is None or newest is None:
        return 0.0
    waiting = session_dates(calendars, last.session, newest)
    if not waiting:
        return 0.0
    return (clock.now() - settled_at(calendars, waiting[0])) / timedelta(hours=1)


def hours_of(text: str) -> float:
    """Parse an age such as 26h, 90m or 2d into hours; raise UsageError if it is malformed."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if not found:
        raise UsageError(f"--max-age {text}: minutes, hours or days are needed, such as 26h.")
    return float(found[1]) * _HOURS[found[2]]


def score(
    tickers: str | Sequence[str] = (),
    *,
    home: Home | None = None,
    name: str | None = None,
    since: date | None = None,
    as_of: date | None = None,
) -> "LiveScores":
    """Score the recorded forecasts of these tickers, or all, whose outcomes are stored.

    Raises:
        UnknownNameError: there is none of these.
    """
    where, wanted = resolve_home(home), normalise_tickers(tickers)
    if not where.is_dir():
        raise UnknownNameError(no_home(where))
    from forecaster.operations.scoring import iter_outcomes, score_rows

    chosen = Selection(name=name, since=since, until=as_of, tickers=tuple(wanted))
    found = score_rows(where, iter_outcomes(where, chosen))
    if not (len(found.table) or found.pending or found.unscorable):
        raise UnknownNameError(
            f"No forecast{f' of {name}' if name else ''} under {where / 'models'}"
            f"{' of these tickers' if wanted else ''}{f' since {since}' if since else ''}; "
            "run: forecaster predict, or forecaster retrain"
        )
    return found
