"""What a run would do, told without doing it: `forecaster retrain --dry-run`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from forecaster.data.sessions import calendar_for
from forecaster.pipeline.nightly.evenings import Due, Held, newest_final, night_dates
from forecaster.pipeline.nightly.training import TrainingDay, pending, why_due
from forecaster.registry.champion import champion_of
from forecaster.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done: the tickers to fetch, the nights, by whom, and why trained.

    `nights` are those whose bars are stored, `expected` those that a fetch should bring.
    """

    fetch: tuple[str, ...]
    nights: tuple[date, ...]
    expected: tuple[date, ...]
    champion: str
    judge: str | None
    train: str | None


def plan_nights(
    home: Path,
    name: str,
    settings: Settings,
    stored: Held,
    due: Due,
    *,
    asked: Sequence[str],
    fetches: Sequence[str] | None,
) -> Plan:
    """Tell what a run would do, as far as calendars and stored bars know.

    Args:
        home: the workspace.
        name: of the model.
        settings: of the run.
        stored: what there is of the tickers.
        due: the nights that stored bars allow.
        asked: tickers that were named, as they would be stored.
        fetches: the tickers that the source would be asked for, none for all; None for nothing.
    """
    new = sorted(set(asked) - set(stored.tickers))
    calendars = [*stored.calendars.values(), *map(calendar_for, new)]
    expected = () if fetches is None else _expected(calendars, due)
    nights = (*due.nights, *expected)
    choice = champion_of(home, name)
    judged, reason = None, None
    if nights:
        evening = TrainingDay(
            home=home,
            name=name,
            day=nights[-1],
            tickers=stored.tickers,
            calendars=tuple(calendars),
        )
        judged = pending(evening, decides=False)
        reason = why_due(evening, settings.retrain.every, ())
    return Plan(
        fetch=() if fetches is None else tuple(fetches) or stored.tickers,
        nights=due.nights,
        expected=expected,
        champion=choice.manifest.version if choice.manifest else "baseline",
        judge=judged,
        train=reason,
    )


def _expected(calendars: Sequence[str], due: Due) -> tuple[date, ...]:
    """List the final nights that no stored bar is of; where none was ever done, the newest."""
    newest = newest_final(calendars)
    if newest is None:
        return ()
    known = [*due.nights, *([due.last] if due.last else [])]
    return tuple(night_dates(calendars, max(known), newest)) if known else (newest,)
