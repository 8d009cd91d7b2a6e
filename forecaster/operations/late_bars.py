"""Bars that a finished night lacked and that came after all: forecast from, and noted in the night.

The night's own version forecasts them, whoever has become champion since.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from forecaster import clock
from forecaster.data.ingest import FetchReport
from forecaster.errors import (
    ArtifactError,
    DataError,
    ExitCode,
    ForecasterError,
    TooOldError,
    UnknownNameError,
)
from forecaster.operations.daily_run import SessionWork, no_bar_of
from forecaster.operations.due_sessions import SOURCE_FAILS, Due, StoreState, evening, silent_for
from forecaster.operations.session_forecasts import forecast_session
from forecaster.registry.run_history import amend_session, session_records

log = logging.getLogger(__name__)

# Fetches some tickers; tells what became of them, or why nothing did.
Fetch = Callable[[tuple[str, ...]], tuple[FetchReport | None, ForecasterError | None]]


def lacking(home: Path, name: str, stored: StoreState, due: Due) -> tuple[str, ...]:
    """Name the tickers whose bar the last night lacked, as long as no newer night is known of."""
    if due.last is None or due.sessions or due.is_waiting:
        return ()
    (last,) = (one for one in session_records(home, name) if one.session == due.last)
    return tuple(one for one in last.summary.get("behind", ()) if one in stored.calendars)


def ask_again(tickers: Sequence[str], fetch: Fetch) -> None:
    """Fetch each by itself, which says nothing of those that fail: the night has said it.

    Stops where the source itself fails.
    """
    for ticker in tickers:
        fetched, trouble = fetch((ticker,))
        failed = fetched.failures.get(ticker) if fetched is not None else trouble
        if failed:
            log.info("%s", failed)
        if isinstance(failed, SOURCE_FAILS):
            return


def forecast_latecomers(work: SessionWork, day: date, lacking: Collection[str]) -> tuple[str, ...]:
    """Forecast the tickers that have their bar of a night now, and note it in the night.

    Args:
        work: for whom.
        day: the night, finished.
        lacking: tickers that had no bar of it then.

    Returns:
        The tickers that were forecast; none where the night's version cannot forecast any more.
    """
    told = next(one for one in session_records(work.home, work.name) if one.session == day)
    silent = silent_for(work.home, work.stored, day)
    came = tuple(sorted(set(lacking) - set(silent)))
    made_at = clock.now()
    with clock.as_if(evening(work.stored.calendars.values(), day)):
        try:
            found = forecast_session(
                work.home,
                work.name,
                work.settings.train.target,
                day=day,
                tickers=work.stored.known_by(day),  # what was forecast before stays
                calendars=work.stored.calendars,
                made_at=made_at,
                settings=work.settings.predict,
                by=told.summary["version"] or None,
            )
        except (ArtifactError, UnknownNameError, TooOldError, DataError) as error:
            log.warning("%s", error)
            return ()
    summary = _amended(told.summary, day, came, found.new)
    code = told.exit_code or ExitCode.OK
    if code == ExitCode.PARTIAL and not summary["troubles"]:
        code = ExitCode.OK
    amend_session(work.home, work.name, day, exit_code=code, summary=summary)
    return came


def _amended(summary: dict[str, Any], day: date, came: Collection[str], new: int) -> dict[str, Any]:
    """Tell a night's summary as it is with these bars."""
    before = summary["behind"]
    behind = [ticker for ticker in before if ticker not in came]
    troubles = [text for text in summary["troubles"] if text != no_bar_of(day, before)]
    if behind:
        troubles.insert(0, no_bar_of(day, behind))
    known = summary["forecasts"] + sum(ticker in summary["skipped"] for ticker in came)
    skipped = [ticker for ticker in summary["skipped"] if ticker not in came]
    return {
        **summary,
        "behind": behind,
        "skipped": skipped,
        "troubles": troubles,
        "forecasts": known,
        "new": summary["new"] + new,
    }
