"""`forecaster retrain`: the daily runs of all due sessions, at any hour, any number of times."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

from forecaster import clock
from forecaster.data.calendar_names import calendar_for
from forecaster.data.history import normalise_tickers
from forecaster.data.sources import Source
from forecaster.data.store import PriceStore
from forecaster.errors import (
    BugError,
    ExitCode,
    ForecasterError,
    PartialFailure,
    SourceDownError,
    TryLaterError,
    UnknownNameError,
    despite_bugs,
    name_some,
    severity,
)
from forecaster.operations import due_sessions
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.operations.due_sessions import (
    Due,
    SessionWork,
    StoreState,
    find_due,
    newest_final,
    store_state,
)
from forecaster.operations.lock import writer
from forecaster.operations.run_log import RunLog, run_log, write_heartbeat
from forecaster.pipeline.data import check_prices
from forecaster.pipeline.fetch import fetch, rows_left_out
from forecaster.registry.champion import champion_of
from forecaster.registry.registry_file import check_name, check_registry
from forecaster.settings import Home, Settings, resolve_home

if TYPE_CHECKING:
    from forecaster.operations.daily_run import SessionReport as SessionReport

__all__ = ["Plan", "RetrainReport", "SessionReport", "retrain"]

log = logging.getLogger(__name__)

_FORECASTS_MADE: Final = (ExitCode.OK, ExitCode.PARTIAL, ExitCode.NO_DECISION)
_CHECKED_AT_ONCE: Final = 100  # tickers
_SOURCE_FAILS: Final = (SourceDownError, TryLaterError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do, as far as calendars and stored bars show.

    `fetch` are the tickers to ask the source for, `sessions` those whose bars are stored,
    `expected` those that a fetch should bring; `challenger` is waiting for its promotion test,
    `train` is why a training is due.
    """

    fetch: tuple[str, ...]
    sessions: tuple[date, ...]
    expected: tuple[date, ...]
    champion: str
    challenger: str | None
    train: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainReport:
    """What a run did: its sessions, oldest first; what it would do, after `dry_run`.

    `late` are tickers whose bar of the last session came only now; they were forecast from it.
    `waiting_for` is a final session without any bar. `exit_code` and `reason` are those of the
    worst trouble; 0 and "" if there is none.
    """

    name: str
    sessions: "tuple[SessionReport, ...]" = ()
    late: tuple[str, ...] = ()
    plan: Plan | None = None
    waiting_for: date | None = None
    exit_code: int = ExitCode.OK
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
    """Run all sessions since the last finished one, or on the first run the newest alone.

    A session's run forecasts with the champion, scores past forecasts, and every so many sessions
    trains a challenger and makes its promotion test. Idempotent: a second run does nothing. An
    interrupted run is resumed.

    No tickers means all in the store, a name None its targets. With `as_of`, as if it were the last
    day known, or `no_fetch` prices are taken as they are stored. `dry_run` only returns the plan.
    `source` is used instead of the one in the settings.

    Raises:
        CannotWriteError: the home is missing or read-only; raised before any work.
        StorageError: the disk failed; the next run resumes.
        SourceDownError: the source does not answer, and nothing could be done without it.
        TryLaterError: likewise if it limits our rate; another process is writing, or the clock is
            behind the stored prices.
        UnknownNameError: there are no prices.
        UsageError: a malformed ticker or name, `as_of` in the future.
    """
    settings = settings or Settings()
    where = resolve_home(home)
    name = check_name(name or ",".join(settings.train.targets))
    clock.check_as_of(as_of)
    fetches, wanted = as_of is None and not no_fetch, tuple(normalise_tickers(tickers))
    run = _Run(where, name, settings, wanted, as_of, fetches, source)
    if dry_run:
        refuse_clock_behind(where)
        return RetrainReport(name=name, plan=run.plan())
    with writer(where, "forecaster retrain"), run_log(where) as journal:
        try:
            report = run.all_sessions(journal)
        except ForecasterError as error:
            journal.write("stopped", name=name, exit_code=error.exit_code, reason=str(error))
            raise
    if report.exit_code in _FORECASTS_MADE and as_of is None:  # a replay proves no schedule
        write_heartbeat(where)
    return report


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its arguments, resolved."""

    home: Path
    name: str
    settings: Settings
    tickers: tuple[str, ...]
    as_of: date | None
    fetches: bool
    source: Source | None

    def plan(self) -> Plan:
        """Return what would be done."""
        from forecaster.operations.daily_run import training_due, untested_challenger

        stored = store_state(self.home, self.tickers)
        due, wanted = self._due(stored), self._to_fetch(stored)
        new = {name: calendar_for(name) for name in self.tickers if name not in stored.calendars}
        with_new = replace(stored, calendars=stored.calendars | new)
        expected: tuple[date, ...] = ()
        if wanted is None:
            wanted = self._lacking(stored, due)
        else:
            wanted = wanted or stored.tickers
            expected = _expected(with_new.calendars.values(), due)
        champion, challenger, train = champion_of(self.home, self.name).manifest, None, None
        if due.sessions or expected:
            work, day = self._work(with_new), (*due.sessions, *expected)[-1]
            challenger = untested_challenger(work, day, record=False)
            train = training_due(work, day, ())
        return Plan(
            fetch=wanted,
            sessions=due.sessions,
            expected=expected,
            champion=champion.version if champion else "baseline",
            challenger=challenger,
            train=train,
        )

    def all_sessions(self, journal: RunLog) -> RetrainReport:
        """Fetch missing bars, then run one session after another."""
        check_registry(self.home)
        stored = store_state(self.home, self.tickers)
        has_fetched, trouble, bugs = False, None, list[BugError]()
        began = clock.now()
        wanted = self._to_fetch(stored)
        if wanted is not None:
            has_fetched, trouble = self._fetch(wanted)
            stored = store_state(self.home, self.tickers)
        if not stored.newest:
            raise trouble or UnknownNameError(
                f"No prices under {self.home / 'data'}; name tickers: forecaster retrain TICKER"
            )
        due = self._due(stored)
        if due.left_out:
            log.warning(
                "%d sessions before %s are too long ago and left out (retrain.catch_up = %d)",
                *(due.left_out, due.sessions[0], self.settings.retrain.catch_up),
            )
        if due.sessions and has_fetched:
            with despite_bugs("check", bugs):
                self._check(stored, due.sessions[-1])
        reports = tuple(self._session(stored, day, journal) for day in due.sessions)
        waiting = due.newest if due.is_waiting else None
        if waiting and self.as_of is None:
            log.warning("no bar of %s has come yet; the next run asks again", waiting)
        # A failure of the source counts only while a session waits for its bars.
        counts = waiting or isinstance(trouble, BugError)
        troubles: list[ForecasterError] = [*bugs, trouble] if trouble and counts else [*bugs]
        if reports and self.as_of is None:
            troubles += self._quarantined(began)
        code, reason = self._worst(stored, reports, troubles)
        return RetrainReport(
            name=self.name,
            sessions=reports,
            late=self._late_bars(stored, due, journal),
            waiting_for=waiting,
            exit_code=code,
            reason=reason if code else "",
        )

    def _session(self, stored: StoreState, day: date, journal: RunLog) -> "SessionReport":
        # Torch is imported only here: most runs of an hourly cron have no session to do.
        from forecaster.operations.daily_run import run_session

        log.info("session %s", day)
        report = run_session(self._work(stored), day)
        result = {"exit_code": report.exit_code, "reason": report.reason}
        journal.write("session", name=self.name, session=day, **result, **report.summary())
        return report

    def _late_bars(self, stored: StoreState, due: Due, journal: RunLog) -> tuple[str, ...]:
        """Fetch bars that the last session lacked, if nothing else was due; forecast from them."""
        wanted = self._lacking(stored, due)
        if not wanted or due.last is None:
            return ()
        for ticker in wanted:  # one by one, without warnings: the session's run has reported them
            _, failed = self._fetch((ticker,))
            if failed:
                log.info("%s", failed)
            if isinstance(failed, _SOURCE_FAILS):
                break
        if set(wanted) <= set(due_sessions.missed_sessions(self.home, stored, due.last)):
            return ()
        from forecaster.operations.daily_run import forecast_late_bars

        late = forecast_late_bars(self._work(stored), due.last, wanted)
        journal.write("late bars", name=self.name, session=due.last, tickers=late)
        return late

    def _lacking(self, stored: StoreState, due: Due) -> tuple[str, ...]:
        name = self.name
        return due_sessions.lacking_bars(self.home, name, stored, due) if self.fetches else ()

    def _work(self, stored: StoreState) -> SessionWork:
        is_replay = self.as_of is not None
        return SessionWork(self.home, self.name, self.settings, stored, is_replay)

    def _worst(
        self,
        stored: StoreState,
        reports: "tuple[SessionReport, ...]",
        troubles: Sequence[ForecasterError],
    ) -> tuple[int, str]:
        """Return the worst exit code and its reason."""
        codes = [(int(error.exit_code), str(error)) for error in troubles]
        codes += [(one.exit_code, f"{one.session}: {one.reason}") for one in reports]
        absent = sorted(set(self.tickers) - set(stored.tickers))
        if absent:
            codes.append((ExitCode.PARTIAL, f"no prices of {', '.join(absent)}"))
        return max(codes, key=lambda pair: severity(pair[0]), default=(ExitCode.OK, ""))

    def _due(self, stored: StoreState) -> Due:
        return find_due(self.home, self.name, stored, self.as_of, self.settings.retrain.catch_up)

    def _to_fetch(self, stored: StoreState) -> tuple[str, ...] | None:
        """Return the tickers to fetch: none means all, None means that nothing is fetched."""
        if not self.fetches:
            return None
        newest, done = newest_final(stored.calendars.values()), self._due(stored).last
        if not stored.newest or (newest is not None and (done is None or done < newest)):
            return self.tickers
        return tuple(sorted(set(self.tickers) - set(stored.tickers))) or None

    def _fetch(self, tickers: tuple[str, ...]) -> tuple[bool, ForecasterError | None]:
        """Fetch; return whether the source was read, and what failed, without raising it."""
        chosen = self.settings.fetch.source
        if not (tickers or self.source or _comes_from(self.home, chosen)):
            log.info("fetch   nothing stored comes from %s", chosen)
            return False, None
        bugs = list[BugError]()
        try:
            with despite_bugs("fetch", bugs):
                report = fetch(
                    tickers,
                    settings=self.settings.fetch,
                    home=self.home,
                    source=self.source,
                    on_ticker=lambda one, number, of: log.info("fetch   %d/%d %s", number, of, one),
                )
                return True, report.failure
        except _SOURCE_FAILS as error:
            log.warning("%s", error)
            return False, error
        return False, bugs[0]

    def _check(self, stored: StoreState, day: date) -> None:
        """Check stored prices against every rule; what breaks one is in quarantine from now.

        Served bars were checked before they were stored: of many tickers a fifth is read again on
        each day of the week.
        """
        names = stored.tickers
        if len(names) > _CHECKED_AT_ONCE:
            names = tuple(name for name in names if crc32(name.encode()) % 5 == day.weekday() % 5)
        found = check_prices(names, home=self.home).wrong if names else ()
        for ticker in sorted({entry.ticker for entry in found}):
            log.warning("check   %s: an error in stored bars; see: forecaster status", ticker)
        with PriceStore.open_for_writing(self.home) as store:
            store.quarantine.add(found, clock.now())

    def _quarantined(self, began: datetime) -> list[PartialFailure]:
        """Return the tickers in quarantine as a failure of every session, until none is.

        Rows that were left out since the run began are a failure of this one.
        """
        with PriceStore.open_for_reading(self.home) as store:
            blocking = store.quarantine.blocking()
            left_out = rows_left_out(store.quarantine.left_out_since(began))
        names = [name for name in sorted(blocking) if not self.tickers or name in self.tickers]
        text = f"in quarantine: {name_some(names)}; see: forecaster status"
        failures = [PartialFailure(text)] if names else []
        return [*failures, left_out] if left_out else failures


def _comes_from(home: Path, source: str) -> bool:
    """Whether any stored bar comes from a source, or nothing is stored yet."""
    try:
        with PriceStore.open_for_reading(home) as store:
            return bool(store.tickers(source)) or not store.tickers()
    except UnknownNameError:
        return True


def _expected(calendars: Collection[str], due: Due) -> tuple[date, ...]:
    """List the final sessions without stored bars; if none was ever run, the newest."""
    newest = newest_final(calendars)
    if newest is None:
        return ()
    known = [*due.sessions, *([due.last] if due.last else [])]
    if not known:
        return (newest,)
    return tuple(due_sessions.session_dates(calendars, max(known), newest))
