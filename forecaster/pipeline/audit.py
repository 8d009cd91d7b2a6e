"""Prove that no future touches a forecast: change what came after a date, demand the same bits.

Everything after a date is cut off, blanked or corrupted, at several dates; bars, features,
inputs, scales, the base, a short training, its calibration, the baselines and the forecasts
are computed again, and whatever was known on that date must come out as before.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.audit.alterations import as_date
from forecaster.audit.comparison import Leak, Tally
from forecaster.audit.look_ahead import Subject, compare_all, some_of, spread
from forecaster.data.history import History
from forecaster.data.loading import load_histories
from forecaster.errors import LeakError, UsageError
from forecaster.forecasting.loading import load_model, version_histories
from forecaster.forecasting.model_manifest import recipe_of
from forecaster.forecasting.training_panel import long_enough
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions
from forecaster.settings import Home, TrainSettings, resolve_home

DATES, UPDATES, TICKERS = 6, 32, 20
AUDIT_COLUMNS = ("stage", "dates", "values", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was compared, stage by stage in the order of the pipeline, and what differed.

    `version` is None where the default recipe was audited; `dates` are the last days that were
    left as they are; `tickers` were read out of `of_tickers`.
    """

    version: str | None
    tickers: tuple[str, ...]
    of_tickers: int
    first: date
    last: date
    dates: tuple[date, ...]
    updates: int
    tallies: tuple[Tally, ...]

    @property
    def values(self) -> int:
        """Count all values compared."""
        return sum(tally.values for tally in self.tallies)

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """The first difference of each stage that has one: the first of them is the cause."""
        return tuple(tally.leak for tally in self.tallies if tally.leak is not None)

    @property
    def empty(self) -> tuple[str, ...]:
        """Stages of which nothing was compared."""
        return tuple(tally.stage for tally in self.tallies if not tally.values and not tally.leak)

    def table(self) -> pd.DataFrame:
        """Lay the stages out (`AUDIT_COLUMNS`), `verdict` identical, LEAK or nothing compared."""
        rows = [
            (tally.stage, len(tally.dates), tally.values, self._verdict(tally))
            for tally in self.tallies
        ]
        return pd.DataFrame(rows, columns=list(AUDIT_COLUMNS))

    def _verdict(self, tally: Tally) -> str:
        if tally.leak is not None:
            return "LEAK"
        return "nothing compared" if tally.stage in self.empty else "identical"

    def refuse(self) -> None:
        """Say no where the future touches the past, or where nothing was compared.

        Raises:
            LeakError: names the first stage, row and column that differ.
        """
        if self.leaks:
            more = len(self.leaks) - 1
            others = f" ({more} later stage{'s' if more > 1 else ''} too)" if more else ""
            raise LeakError(f"The future leaks into {self.leaks[0].describe()}{others}.")
        if self.empty:
            raise LeakError(
                f"Nothing was compared of {', '.join(self.empty)}, so nothing is proven; "
                "fetch a longer period or give --dates more."
            )


def audit(
    version: str | None = None,
    *,
    bars: pd.DataFrame | None = None,
    home: Home | None = None,
    dates: int = DATES,
    tickers: int = TICKERS,
    updates: int = UPDATES,
    as_of: date | None = None,
) -> AuditReport:
    """Change everything after several dates, and compare all that may not depend on it.

    Args:
        version: name of a version; None for the newest, or for the default settings where
            there is none yet.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        home: the workspace; None as the command line resolves it.
        dates: after which bars are changed, at least 3, spread over the blocks of time. The last
            days of the fit and of the select block come on top.
        tickers: how many are read at most, the longest, the shortest and some between.
        updates: of the short trainings.
        as_of: last session to be seen; None for all.

    Raises:
        ArtifactError: the version is damaged.
        DataError: no day comes after the select block, or the prices are too few.
        UnknownNameError: no such version, or no prices.
        UsageError: a number is out of range, or `as_of` lies in the future.
    """
    _check(dates, tickers, updates)
    where = resolve_home(home)
    asked = version is not None or bool(list_versions(where))
    manifest = find_version(where, version, as_of=as_of) if asked else None
    settings = TrainSettings() if manifest is None else recipe_of(manifest)
    held = _histories(manifest, bars, where, as_of, settings)
    trained = None if manifest is None else load_model(where, manifest)
    subject = Subject.of(some_of(held, tickers), settings, trained, updates)
    cuts = spread(subject.panel.days, subject.recipe.split, dates)
    days = subject.panel.days
    return AuditReport(
        version=manifest.version if manifest else None,
        tickers=subject.panel.tickers,
        of_tickers=len(held),
        first=as_date(days.min()),
        last=as_date(days.max()),
        dates=tuple(as_date(cut) for cut in cuts),
        updates=updates,
        tallies=tuple(compare_all(subject, cuts)),
    )


def _check(dates: int, tickers: int, updates: int) -> None:
    for name, value, least in (
        ("dates", dates, 3),
        ("tickers", tickers, 1),
        ("updates", updates, 1),
    ):
        if value < least:
            raise UsageError(f"--{name} {value}: give at least {least}.")


def _histories(
    manifest: Manifest | None,
    bars: pd.DataFrame | None,
    home: Path,
    as_of: date | None,
    settings: TrainSettings,
) -> list[History]:
    if manifest is not None:
        return version_histories(manifest, bars, home, as_of)[0]
    return list(long_enough(load_histories(bars, home, (), as_of), settings))
