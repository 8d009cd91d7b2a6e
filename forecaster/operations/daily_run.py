"""The daily run of one session: forecast, score, train and decide if due, prune; later, late bars.

Everything is done as of the session's end: on time, a week later or in a replay it ends alike.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

import pandas as pd

from forecaster import clock
from forecaster.errors import (
    ArtifactError,
    BugError,
    CannotWriteError,
    DataError,
    ExitCode,
    ForecasterError,
    StorageError,
    TickerBugError,
    TooOldError,
    TryLaterError,
    UnknownNameError,
    despite_bugs,
    severity,
)
from forecaster.forecasting.next_session import BASELINE
from forecaster.operations.challenger import train_challenger
from forecaster.operations.due_sessions import (
    SessionWork,
    missed_sessions,
    session_dates,
    settled_at,
)
from forecaster.operations.forecast_recording import forecast_session
from forecaster.operations.promotion import run_promotion_test
from forecaster.operations.scoring import RECENT, drift_flags, input_flag, score_rows, with_outcomes
from forecaster.registry import run_history
from forecaster.registry.champion_history import champion_status, decisions
from forecaster.registry.forecast_log import Selection
from forecaster.registry.promotion import NewDecision, keep_champion, promote
from forecaster.registry.versions import prune, read_manifest

log = logging.getLogger(__name__)

DRIFT_FACTOR: Final = 3  # drift trains after a third of the sessions between two trainings
_SCORED: Final = timedelta(days=2 * RECENT)  # holidays and weekends included
_SUMMARY_SCORES: Final = ("forecasts", "mse", "skill", "pinball", "coverage_80", "coverage_95")
# Errors that leave the session's run unfinished: the next run repeats it.
_UNFINISHED: Final = (CannotWriteError, StorageError, TryLaterError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The decision on a challenger; `version` is None if its training failed.

    `exit_code` is 4 if the promotion test could not be made, and that of the error for a failure.
    """

    outcome: Literal["promoted", "kept", "unable", "failed"]
    version: str | None
    reason: str
    exit_code: int = ExitCode.OK


@dataclass(slots=True, kw_only=True)
class SessionReport:
    """The result of one session's run.

    `behind` are tickers that lack the session's bar, `inactive` those that have had none for long,
    `skipped` those that could not be forecast. `troubles` are exit codes with their reasons.
    """

    session: date
    version: str = ""
    forecasts: pd.DataFrame | None = None
    new: int = 0
    age: int = 0
    behind: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    drift: tuple[str, ...] = ()
    due: str | None = None
    decided: tuple[Decided, ...] = ()
    pruned: tuple[str, ...] = ()
    troubles: list[tuple[int, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The worst exit code of its troubles; 0 if there is none."""
        return max((code for code, _ in self.troubles), default=ExitCode.OK, key=severity)

    @property
    def reason(self) -> str:
        """The reason of the exit code; empty if all is well."""
        return next((text for code, text in self.troubles if code == self.exit_code), "")

    def summary(self) -> dict[str, Any]:
        """Return what the registry stores of the session."""
        return {
            "version": self.version,
            "forecasts": 0 if self.forecasts is None else len(self.forecasts),
            "new": self.new,
            "model_age": self.age,
            "behind": list(self.behind),
            "inactive": list(self.inactive),
            "skipped": list(self.skipped),
            "scores": self.scores,
            "drift": list(self.drift),
            "due": self.due,
            "decided": [
                {"outcome": one.outcome, "version": one.version, "reason": one.reason}
                for one in self.decided
            ],
            "pruned": list(self.pruned),
            "troubles": [text for _, text in self.troubles],
        }


def run_session(work: SessionWork, day: date) -> SessionReport:
    """Run everything that is due for a final session and record that it is finished.

    Raises:
        CannotWriteError, StorageError, TryLaterError: the disk failed or another process writes;
            the run is unfinished, and the next one repeats it.
    """
    made_at = clock.now()
    run_history.begin_session(work.home, work.name, day)
    report, bugs = SessionReport(session=day), list[BugError]()
    with clock.as_if(settled_at(work.stored.calendars.values(), day)):
        with despite_bugs("check", bugs):
            _check_bars(work, report)
        with despite_bugs("forecast", bugs):
            _forecast(work, report, made_at)
        is_made = report.forecasts is not None or not bugs
        if is_made:
            with despite_bugs("score", bugs):
                _score(work, report)
            with despite_bugs("train", bugs):
                _train(work, report)
            with despite_bugs("prune", bugs):
                report.pruned = tuple(prune(work.home, keep=work.settings.retrain.keep))
    report.troubles += [(bug.exit_code, str(bug)) for bug in bugs]
    if not is_made:
        return report  # the next run repeats it, unless a newer session is due
    summary = {**report.summary(), "replay": work.is_replay}
    outcome = "done" if report.forecasts is not None else "no forecast"
    run_history.finish_session(
        work.home, work.name, day, outcome=outcome, exit_code=report.exit_code, summary=summary
    )
    return report


def _check_bars(work: SessionWork, report: SessionReport) -> None:
    """Find the tickers that lack the session's bar; separately those that long have had none."""
    missed = missed_sessions(work.home, work.stored, report.session)
    most = work.settings.predict.max_stale
    report.behind = tuple(name for name, count in missed.items() if count <= most)
    report.inactive = tuple(name for name, count in missed.items() if count > most)
    if report.behind:
        trouble = _lacking_bar(report.session, report.behind)
        report.troubles.append((ExitCode.PARTIAL, trouble))
    for name in report.inactive:
        if missed[name] == most + 1:  # once
            log.warning("%s: no bar for %d sessions; it is left out from now on", name, most + 1)


def _lacking_bar(day: date, tickers: Sequence[str]) -> str:
    return f"no bar of {day}: {', '.join(tickers)}"


def _forecast(work: SessionWork, report: SessionReport, made_at: datetime) -> None:
    """Forecast, unless the model is too old or prices are too few."""
    try:
        found, report.age = forecast_session(work, report.session, made_at)
    except (BugError, DataError, TickerBugError, TooOldError) as error:
        log.warning("%s", error)
        report.troubles.append((error.exit_code, str(error)))
        return
    report.forecasts, report.version = found.forecasts, found.version
    report.new = found.recorded or 0
    report.skipped = tuple(one for one in found.skipped if one not in report.inactive)
    report.troubles += [(ExitCode.PARTIAL, text) for text in found.troubles]
    if set(report.skipped) - set(report.behind):
        trouble = f"no forecast for {', '.join(report.skipped)}"
        report.troubles.append((ExitCode.PARTIAL, trouble))


def _score(work: SessionWork, report: SessionReport) -> None:
    """Score the scheduled forecasts of the last quarter, and check the champion for drift."""
    home, name, day = work.home, work.name, report.session
    chosen = Selection(name=name, since=day - _SCORED, until=day, scheduled_only=True)
    rows = with_outcomes(home, chosen)
    if rows.empty:
        return
    # All versions together, late ones too: the scores of this model name.
    found = score_rows(home, [rows.assign(version=name, late=False)]).table
    for row in found.to_dict("records"):
        report.scores[str(row["target"])] = {key: float(row[key]) for key in _SUMMARY_SCORES}
    if report.version and report.version != BASELINE:
        promotions = [one for one in decisions(home, name) if one.after == report.version]
        flags = [
            *drift_flags(rows, report.version, promotions[-1] if promotions else None),
            input_flag(home, read_manifest(home, report.version), day),
        ]
        report.drift = tuple(flag.reason for flag in flags if flag is not None)
        for reason in report.drift:
            log.warning("drift   %s", reason)


def _train(work: SessionWork, report: SessionReport) -> None:
    """Test a challenger that has not been; train and test another if one is due."""
    challenger = untested_challenger(work, report.session)
    decided = [decide(work, report.session, challenger)] if challenger else []
    drift = report.drift if work.settings.retrain.drift else ()
    report.due = training_due(work, report.session, drift)
    if report.due:
        log.info("train   %s: %s", report.session, report.due)
        decided.append(train_and_decide(work, report.session))
    report.decided = tuple(decided)
    report.troubles += [(one.exit_code, one.reason) for one in decided if one.exit_code]


def training_due(work: SessionWork, day: date, drift: Sequence[str]) -> str | None:
    """Return why a training is due at the end of a session; None if none is."""
    every = work.settings.retrain.every
    records = run_history.trainings(work.home, work.name)
    done = [one.session for one in records if one.state == "done"]
    last = max((session for session in done if session is not None), default=None)
    if last is None:
        return "never trained"
    passed = len(session_dates(work.stored.calendars.values(), last, day))
    if passed >= every:
        return f"{passed} sessions since the last training, as of {last}"
    if drift and DRIFT_FACTOR * passed >= every:
        return f"drift: {drift[0]}"
    return None


def untested_challenger(work: SessionWork, day: date, *, record: bool = True) -> str | None:
    """Find an untested challenger trained by a day; record a corrupt one as failed if `record`."""
    home, name = work.home, work.name
    challenger = champion_status(home, name).challenger
    if challenger is None or any(one.challenger == challenger for one in decisions(home, name)):
        return None
    try:
        last = read_manifest(home, challenger).data.blocks.last
    except ForecasterError as error:
        log.warning("challenger %s", error)
        if record:
            _record_failure(work, day, challenger, error)
        return None
    return challenger if last <= day else None


def train_and_decide(work: SessionWork, day: date) -> Decided:
    """Train a challenger and decide on it; after a failure the champion stays."""
    tickers = work.stored.known_by(day)
    try:
        version = train_challenger(work.home, work.name, work.settings, tickers, day)
    except _UNFINISHED:
        raise
    except ForecasterError as error:
        log.warning("training failed, the champion stays: %s", error)
        return Decided(outcome="failed", version=None, reason=str(error), exit_code=error.exit_code)
    return decide(work, day, version)


def decide(work: SessionWork, day: date, version: str) -> Decided:
    """Make the promotion test of a challenger and store the decision with its numbers."""
    home, name = work.home, work.name
    try:
        found = run_promotion_test(home, name, version, day)
    except _UNFINISHED:
        raise
    except ForecasterError as error:
        log.warning("%s cannot be tested, the champion stays: %s", version, error)
        return _record_failure(work, day, version, error)
    reason, evidence = found.reason, found.evidence
    if found.promoted:
        promote(home, name, version, reason=reason, session=day, evidence=evidence)
        return Decided(outcome="promoted", version=version, reason=reason)
    outcome: Literal["kept", "unable"] = "kept" if found.able else "unable"
    keep_champion(home, NewDecision(name, outcome, reason, version, day, evidence))
    code = ExitCode.OK if found.able else ExitCode.NO_DECISION
    return Decided(outcome=outcome, version=version, reason=reason, exit_code=code)


def _record_failure(work: SessionWork, day: date, version: str, error: ForecasterError) -> Decided:
    reason = str(error)
    keep_champion(work.home, NewDecision(work.name, "failed", reason, version, day))
    return Decided(outcome="failed", version=version, reason=reason, exit_code=error.exit_code)


def forecast_late_bars(work: SessionWork, day: date, lacking: Collection[str]) -> tuple[str, ...]:
    """Forecast the tickers whose bar of a finished session came late, and amend its summary.

    The session's own version forecasts them, whichever is champion by now. Return the tickers that
    were forecast; none if that version can no longer forecast.
    """
    records = run_history.session_records(work.home, work.name)
    record = next(one for one in records if one.session == day)
    missed = missed_sessions(work.home, work.stored, day)
    served = tuple(sorted(set(lacking) - set(missed)))
    if not served:
        return ()
    made_at, version = clock.now(), record.summary["version"] or None
    with clock.as_if(settled_at(work.stored.calendars.values(), day)):
        try:
            # Every ticker: the forecasts that were recorded before stay.
            found, _ = forecast_session(work, day, made_at, version)
        except (
            *(ArtifactError, BugError, DataError, TickerBugError),
            *(TooOldError, UnknownNameError),
        ) as error:
            log.warning("%s", error)
            return ()
    summary = _amended(record.summary, day, served, found.recorded or 0)
    code = record.exit_code or ExitCode.OK
    if code == ExitCode.PARTIAL and not summary["troubles"]:
        code = ExitCode.OK
    run_history.amend_session(work.home, work.name, day, exit_code=code, summary=summary)
    return served


def _amended(
    summary: dict[str, Any], day: date, served: Collection[str], new: int
) -> dict[str, Any]:
    """Return a session's summary with its late bars."""
    before = summary["behind"]
    behind = [ticker for ticker in before if ticker not in served]
    troubles = [text for text in summary["troubles"] if text != _lacking_bar(day, before)]
    if behind:
        troubles.insert(0, _lacking_bar(day, behind))
    skipped = [ticker for ticker in summary["skipped"] if ticker not in served]
    return {
        **summary,
        "behind": behind,
        "skipped": skipped,
        "troubles": troubles,
        "forecasts": summary["forecasts"] + len(summary["skipped"]) - len(skipped),
        "new": summary["new"] + new,
    }
