"""Every night that is due, in order: `forecaster retrain`, at any hour, as often as one likes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forecaster import clock
from forecaster.data.ingest import FetchReport
from forecaster.data.sources import Source
from forecaster.errors import ExitCode, ForecasterError, UnknownNameError
from forecaster.operations import due_sessions
from forecaster.operations.due_sessions import Due, StoreState
from forecaster.operations.late_bars import ask_again, lacking
from forecaster.operations.lock import writer
from forecaster.operations.run_log import RunLog, beat, run_log
from forecaster.pipeline.data_check import check_prices
from forecaster.pipeline.fetch import fetch
from forecaster.registry.registry_file import check_name, check_registry
from forecaster.settings import Home, Settings, resolve_home

if TYPE_CHECKING:
    from forecaster.operations.daily_run import SessionReport, SessionWork
    from forecaster.operations.retraining import Plan

log = logging.getLogger(__name__)

# The session's forecasts are there.
_WELL: Final = (ExitCode.OK, ExitCode.PARTIAL, ExitCode.NO_DECISION)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainReport:
    """What a run did: its nights, oldest first; what it would do, after `dry_run`.

    `late` are tickers whose bar of the last night came only now; they were forecast from it.
    `waiting_for` is a final session of which no bar has come. `exit_code` and `reason` tell the
    gravest trouble; 0 and "" where there is none.
    """

    name: str
    sessions: "tuple[SessionReport, ...]" = ()
    late: tuple[str, ...] = ()
    plan: "Plan | None" = None
    waiting_for: date | None = None
    exit_code: ExitCode = ExitCode.OK
    reason: str = ""


def retrain(
    tickers: str | Sequence[str] = (),
    *,
    settings: Settings | None = None,
    name: str | None = None,
    home: Home | None = None,
    as_of: date | None = None,
    no_fetch: bool = False,
    dry_run: bool = False,
    source: Source | None = None,
) -> RetrainReport:
    """Do all nights since the last one that was done, or on the first run the newest alone.

    A night forecasts with the champion, scores what came, and every so many sessions trains a
    challenger and lets the gate decide. What is done is never done again: a second run does
    nothing. A run that was killed or stopped is taken up where it was.

    Args:
        tickers: which; none means all in the store.
        settings: of fetching, training and the night; None for the defaults.
        name: of the model; None for its targets.
        home: the workspace; None as the command line resolves it.
        as_of: as if this were the last day known; prices are then taken as they are stored.
        no_fetch: take prices as they are stored.
        dry_run: only tell what would be done; nothing is written.
        source: a source to use instead of the one that the settings name.

    Returns:
        What was done. Troubles that leave the forecasts intact are in its exit code.

    Raises:
        CannotWriteError: the home is missing or read-only; found out before any work.
        StorageError: the disk failed; the next run goes on.
        TryLaterError: another process writes, the source limits our rate and nothing could be
            done without it, or the clock is behind the stored prices.
        SourceDownError: likewise of a source that does not answer.
        UnknownNameError: there are no prices.
        UsageError: a malformed ticker or name, `as_of` in the future.
    """
    settings = settings or Settings()
    where = resolve_home(home)
    name = check_name(name or ",".join(settings.train.target))
    clock.check_as_of(as_of)
    wanted = [tickers] if isinstance(tickers, str) else list(tickers)
    run = _Run(
        home=where,
        name=name,
        settings=settings,
        tickers=tuple(wanted),
        as_of=as_of,
        fetches=as_of is None and not no_fetch,
        source=source,
    )
    if dry_run:
        return RetrainReport(name=name, plan=run.plan())
    with writer(where, "forecaster retrain"), run_log(where) as journal:
        try:
            report = run.all_nights(journal)
        except ForecasterError as error:
            journal.write("stopped", name=name, exit_code=error.exit_code, reason=str(error))
            raise
    if report.exit_code in _WELL:
        beat(where)
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run: what was asked for, unpacked."""

    home: Path
    name: str
    settings: Settings
    tickers: tuple[str, ...]
    as_of: date | None
    fetches: bool
    source: Source | None

    def plan(self) -> "Plan":
        """Tell what would be done, from calendars and what is stored."""
        from forecaster.operations.retraining import plan_sessions

        stored = due_sessions.held(self.home, self.tickers)
        due, wanted = self._due(stored), self._to_fetch(stored)
        if wanted is None and self.fetches:
            wanted = lacking(self.home, self.name, stored, due) or None
        return plan_sessions(
            self.home,
            self.name,
            self.settings,
            stored,
            due,
            asked=due_sessions.asked(self.tickers),
            fetches=wanted,
        )

    def all_nights(self, journal: RunLog) -> RetrainReport:
        """Fetch what is missing, then do one night after another."""
        check_registry(self.home)
        stored = due_sessions.held(self.home, self.tickers)
        due_sessions.refuse_clock_set_back(stored)
        fetched, trouble = None, None
        wanted = self._to_fetch(stored)
        if wanted is not None:
            fetched, trouble = self._fetch(wanted)
            stored = due_sessions.held(self.home, self.tickers)
        if not stored.newest:
            if fetched is not None:
                fetched.raise_failures()
            raise trouble or UnknownNameError(
                f"No prices under {self.home / 'data'}; name tickers: forecaster retrain TICKER"
            )
        due = self._due(stored)
        if due.left_out:
            log.warning(
                "%d nights before %s are too long ago and left out (retrain.catch_up = %d)",
                *(due.left_out, due.sessions[0], self.settings.retrain.catch_up),
            )
        if due.sessions and fetched is not None:
            self._check()
        reports = [self._night(stored, day, journal) for day in due.sessions]
        report = self._told(stored, due, reports, fetched, trouble)
        return replace(report, late=self._made_up_for(stored, due, journal))

    def _night(self, stored: StoreState, day: date, journal: RunLog) -> "SessionReport":
        # Torch is imported here and not before: most runs of an hourly cron find no night.
        from forecaster.operations.daily_run import run_session

        log.info("night   %s", day)
        report = run_session(self._work(stored), day)
        journal.write(
            "night",
            name=self.name,
            session=day,
            exit_code=report.exit_code,
            reason=report.reason,
            **report.summary(),
        )
        return report

    def _made_up_for(self, stored: StoreState, due: Due, journal: RunLog) -> tuple[str, ...]:
        """Ask again for bars that the last night lacked, if there was nothing else to do."""
        wanted = lacking(self.home, self.name, stored, due) if self.fetches else ()
        if not wanted or due.last is None:
            return ()
        ask_again(wanted, self._fetch)
        if set(wanted) <= set(due_sessions.silent_for(self.home, stored, due.last)):
            return ()
        from forecaster.operations.late_bars import forecast_latecomers

        late = forecast_latecomers(self._work(stored), due.last, wanted)
        journal.write("late bars", name=self.name, session=due.last, tickers=late)
        return late

    def _work(self, stored: StoreState) -> "SessionWork":
        from forecaster.operations.daily_run import SessionWork

        return SessionWork(
            home=self.home,
            name=self.name,
            settings=self.settings,
            stored=stored,
            is_replay=self.as_of is not None,
        )

    def _told(
        self,
        stored: StoreState,
        due: Due,
        reports: "list[SessionReport]",
        fetched: FetchReport | None,
        trouble: ForecasterError | None,
    ) -> RetrainReport:
        """Sum up; a source that failed matters where a night waits for it."""
        codes = [(one.exit_code, f"{one.session}: {one.reason}") for one in reports]
        code, reason = max(codes, key=lambda pair: pair[0], default=(ExitCode.OK, ""))
        waiting = due.newest if due.is_waiting else None
        if waiting and trouble:
            code, reason = max((code, reason), (trouble.exit_code, str(trouble)))
        elif waiting and fetched is not None and fetched.failures:
            code, reason = max((code, reason), _first_failure(fetched))
        lost = sorted(set(due_sessions.asked(self.tickers)) - set(stored.tickers))
        if lost:
            code, reason = max(
                (code, reason), (ExitCode.PARTIAL, f"no prices of {', '.join(lost)}")
            )
        if waiting and self.as_of is None:
            log.warning("no bar of %s has come yet; the next run asks again", waiting)
        return RetrainReport(
            name=self.name,
            sessions=tuple(reports),
            waiting_for=waiting,
            exit_code=code,
            reason=reason if code else "",
        )

    def _due(self, stored: StoreState) -> Due:
        catch_up = self.settings.retrain.catch_up
        return due_sessions.due(self.home, self.name, stored, self.as_of, catch_up)

    def _to_fetch(self, stored: StoreState) -> tuple[str, ...] | None:
        """Name what the source is asked for: all (none named), new tickers, or None for nothing."""
        if not self.fetches:
            return None
        newest = due_sessions.newest_final(stored.calendars.values())
        done = self._due(stored).last
        if not stored.newest or (newest is not None and (done is None or done < newest)):
            return self.tickers
        unknown = set(due_sessions.asked(self.tickers)) - set(stored.tickers)
        return tuple(sorted(unknown)) or None

    def _fetch(self, tickers: tuple[str, ...]) -> tuple[FetchReport | None, ForecasterError | None]:
        """Fetch; whatever the source does, what is stored can still be forecast from."""
        chosen = self.settings.fetch.source
        if not (tickers or self.source or due_sessions.comes_from(self.home, chosen)):
            log.info("fetch   nothing stored comes from %s", chosen)
            return None, None
        try:
            return (
                fetch(
                    tickers,
                    settings=self.settings.fetch,
                    home=self.home,
                    source=self.source,
                    on_ticker=lambda one, number, of: log.info("fetch   %d/%d %s", number, of, one),
                ),
                None,
            )
        except due_sessions.SOURCE_FAILS as error:
            log.warning("%s", error)
            return None, error

    def _check(self) -> None:
        """Hold the stored prices against every rule; a person is told, and nothing stops."""
        found = check_prices(self.tickers, home=self.home)
        errors = found.table[found.table["severity"] == "error"]
        if len(errors):
            names = sorted(set(errors["ticker"]))
            log.warning(
                "check   %d errors in %s; see: forecaster data check",
                len(errors),
                ", ".join(names[:5]),
            )


def _first_failure(fetched: FetchReport) -> tuple[ExitCode, str]:
    try:
        fetched.raise_failures()
    except ForecasterError as error:
        return error.exit_code, str(error)
    return ExitCode.OK, ""
