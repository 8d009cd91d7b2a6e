"""Homes whose bars come day by day, and what is compared between them."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from forecaster import clock
from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.errors import SourceDownError
from forecaster.operations.due_sessions import settled_at
from forecaster.pipeline.retrain import RetrainReport, retrain
from forecaster.registry.champion_history import champion_status, decisions
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.run_history import SessionRecord, session_records
from forecaster.settings import RetrainSettings, Settings, TrainSettings
from tests.synthetic import bars_of

QUICK = TrainSettings(hidden=4, max_steps=20, evaluate_every=10)


@dataclass(slots=True)
class Daily:
    """A source that serves the bars of all closed sessions; down if `is_down`."""

    days: int
    names: tuple[str, ...] = ("AAA", "BBB")
    name: str = "daily"
    is_down: bool = False
    asked: int = 0

    def tickers(self) -> tuple[str, ...]:
        """Serve these and no others."""
        return self.names

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve what has closed by the clock."""
        self.asked += 1
        if self.is_down:
            raise SourceDownError(f"{ticker}: the source is down. Try again later.")
        bars = bars_of(ticker, self.days)[list(BAR_COLUMNS)]
        bars = bars[bars["session"] <= pd.Timestamp(clock.now().date())]
        bars = bars[bars["session"] >= pd.Timestamp(start or "1900-01-01")]
        listing = Listing(ticker=ticker, source=self.name, basis="split-adjusted", calendar="XNYS")
        return History(listing=listing, bars=bars.reset_index(drop=True))

    @property
    def sessions(self) -> list[date]:
        """All days, oldest first."""
        return list(bars_of(self.names[0], self.days)["session"].dt.date)


def settings(every: int = 21, **train: object) -> Settings:
    """Settings of a training that takes a second."""
    return Settings(train=QUICK.model_copy(update=train), retrain=RetrainSettings(every=every))


def end_of(day: date) -> datetime:
    """When all of a day's sessions are final."""
    return settled_at(["XNYS"], day)


def on(day: date, home: Path, source: Daily, chosen: Settings, **options: object) -> RetrainReport:
    """Run at the end of a day, with the bars of that time."""
    with clock.as_if(end_of(day)):
        return retrain(home=home, settings=chosen, source=source, **options)


def last_session(home: Path, name: str = "return") -> SessionRecord | None:
    """The newest finished daily run."""
    finished = [one for one in session_records(home, name) if one.finished_at]
    return finished[-1] if finished else None


def results(home: Path, name: str = "return") -> dict[str, object]:
    """What must be equal: forecasts, decisions, champion; not the times of the runs."""
    rows = read_forecasts(home, name).drop(columns=["made_at", "late", "newest_session"])
    taken = [
        (one.session, one.outcome, one.challenger, one.before, one.after, one.reason, one.evidence)
        for one in decisions(home, name)
    ]
    place = champion_status(home, name)
    by = [
        (one.session, one.summary["version"])
        for one in session_records(home, name)
        if one.finished_at
    ]
    return {
        "forecasts": rows.to_dict("records"),
        "decisions": taken,
        "champion": (place.champion, place.predecessor, place.challenger),
        "by": by,
    }
