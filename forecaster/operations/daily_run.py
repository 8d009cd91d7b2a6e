"""One night of one model name: forecast, score, and where it is due train, judge and prune.

All of it as of the night's evening: done on time, a week later or in a replay, it ends alike.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from forecaster import clock
from forecaster.errors import DataError, ExitCode, TooOldError
from forecaster.forecasting.baseline import BASELINE
from forecaster.operations.drift import RECENT, drift_flags, inputs_flag
from forecaster.operations.due_sessions import StoreState, evening, silent_for
from forecaster.operations.forecast_recording import with_outcomes
from forecaster.operations.retraining import (
    Decided,
    TrainingDay,
    decide,
    pending,
    train_and_judge,
    why_due,
)
from forecaster.operations.session_forecasts import Forecasts, forecast_session
from forecaster.pipeline.score import scored
from forecaster.registry.champion_history import Decision, decisions
from forecaster.registry.pruning import prune
from forecaster.registry.run_history import begin_session, finish_session
from forecaster.registry.versions import read_manifest
from forecaster.settings import Settings

log = logging.getLogger(__name__)

_SCORED = timedelta(days=2 * RECENT)  # holidays and weekends included
_TOLD = ("forecasts", "mse", "skill", "pinball", "cover80", "cover95")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWork:
    """What is the same for all nights of a run: where, for whom, with which settings."""

    home: Path
    name: str
    settings: Settings
    stored: StoreState
    is_replay: bool = False


@dataclass(slots=True, kw_only=True)
class SessionReport:
    """What a night did.

    `version` made the forecasts, empty where none were made. `behind` are tickers whose bar of
    the night is not there, `inactive` those that have had none for long, `skipped` those that
    could not be forecast. `troubles` are exit codes with their reasons.
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
    troubles: list[tuple[ExitCode, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """The gravest of its troubles, as numbers go; 0 where there is none."""
        return max((code for code, _ in self.troubles), default=ExitCode.OK)

    @property
    def reason(self) -> str:
        """Why the exit code is what it is; empty where all is well."""
        return next((text for code, text in self.troubles if code == self.exit_code), "")

    def summary(self) -> dict[str, Any]:
        """Tell what the registry keeps of the night."""
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
    """Do a night, and store that it is done.

    Whatever was done of it before is not done again: forecasts, a training's decision.

    Args:
        work: for whom.
        day: the night, a final session.

    Raises:
        CannotWriteError, StorageError, TryLaterError: the disk failed or someone else writes;
            the night is not done, and the next run takes it up.
    """
    made_at = clock.now()
    begin_session(work.home, work.name, day)
    report = SessionReport(session=day)
    with clock.as_if(evening(work.stored.calendars.values(), day)):
        _look_for_bars(work, report)
        _forecast(work, report, made_at)
        _score(work, report)
        _train(work, report)
        report.pruned = tuple(prune(work.home, keep=work.settings.retrain.keep))
    summary = {**report.summary(), "replay": work.is_replay}
    outcome = "done" if report.forecasts is not None else "no forecast"
    finish_session(
        work.home, work.name, day, outcome=outcome, exit_code=report.exit_code, summary=summary
    )
    return report


def no_bar_of(day: date, tickers: Sequence[str]) -> str:
    """Say which tickers lack their bar of a night."""
    return f"no bar of {day}: {', '.join(tickers)}"


def _look_for_bars(work: SessionWork, report: SessionReport) -> None:
    """Name the tickers that lack the night's bar; those that have long been silent apart."""
    silent = silent_for(work.home, work.stored, report.session)
    long = work.settings.predict.max_stale
    report.behind = tuple(name for name, missed in silent.items() if missed <= long)
    report.inactive = tuple(name for name, missed in silent.items() if missed > long)
    if report.behind:
        report.troubles.append((ExitCode.PARTIAL, no_bar_of(report.session, report.behind)))
    for name in report.inactive:
        if silent[name] == long + 1:  # once
            log.warning("%s: no bar for %d sessions; it is left out from now on", name, long + 1)


def _forecast(work: SessionWork, report: SessionReport, made_at: datetime) -> None:
    """Forecast; a model too old or prices too few leave the night without, but do not end it."""
    try:
        found = _forecasts(work, report, made_at)
    except (TooOldError, DataError) as error:
        log.warning("%s", error)
        report.troubles.append((error.exit_code, str(error)))
        return
    report.forecasts, report.version = found.rows, found.version
    report.new, report.age = found.new, found.age
    report.skipped = tuple(one for one in found.skipped if one not in report.inactive)
    if found.trouble:
        report.troubles.append((ExitCode.PARTIAL, found.trouble))
    if set(report.skipped) - set(report.behind):
        report.troubles.append((ExitCode.PARTIAL, f"no forecast for {', '.join(report.skipped)}"))


def _forecasts(work: SessionWork, report: SessionReport, made_at: datetime) -> Forecasts:
    return forecast_session(
        work.home,
        work.name,
        work.settings.train.target,
        day=report.session,
        tickers=work.stored.known_by(report.session),
        calendars=work.stored.calendars,
        made_at=made_at,
        settings=work.settings.predict,
    )


def _score(work: SessionWork, report: SessionReport) -> None:
    """Hold the nights' forecasts of the last quarter against what has come."""
    rows = with_outcomes(
        work.home, work.name, since=report.session - _SCORED, until=report.session, by_session=True
    )
    if rows.empty:
        return
    # All versions and late ones together: what this name's nights were worth.
    found = scored(work.home, rows.assign(version=work.name, late=False)).table
    for row in found.to_dict("records"):
        report.scores[str(row["target"])] = {key: float(row[key]) for key in _TOLD}
    if report.version and report.version != BASELINE:
        shifted = inputs_flag(work.home, read_manifest(work.home, report.version), report.session)
        flags = drift_flags(rows, report.version, _crowning(work, report.version))
        report.drift = tuple(flag.reason for flag in (*flags, shifted) if flag is not None)
        for reason in report.drift:
            log.warning("drift   %s", reason)


def _crowning(work: SessionWork, version: str) -> Decision | None:
    """Find the decision that made a version champion."""
    taken = [one for one in decisions(work.home, work.name) if one.after == version]
    return taken[-1] if taken else None


def _train(work: SessionWork, report: SessionReport) -> None:
    """Judge a challenger that waits for it; train and judge another where one is due."""
    settings = work.settings
    training = TrainingDay(
        home=work.home,
        name=work.name,
        day=report.session,
        tickers=work.stored.known_by(report.session),
        calendars=tuple(work.stored.calendars.values()),
    )
    waiting = pending(training)
    decided = [decide(training, waiting)] if waiting else []
    report.due = why_due(
        training, settings.retrain.every, report.drift if settings.retrain.drift else ()
    )
    if report.due:
        log.info("train   %s: %s", report.session, report.due)
        decided.append(train_and_judge(training, settings))
    report.decided = tuple(decided)
    report.troubles += [(one.exit_code, one.reason) for one in decided if one.exit_code]
