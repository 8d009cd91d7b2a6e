"""The look-ahead audit: change everything after a date, and require the same bits before it."""

from dataclasses import dataclass
from datetime import date

import pandas as pd

from forecaster import clock
from forecaster.audit.comparison import Leak, StageResult
from forecaster.audit.look_ahead import Subject, compare_all, select_dates, select_histories
from forecaster.clock import Day
from forecaster.data.loading import Bars, load_histories
from forecaster.data.sessions import as_date
from forecaster.errors import LeakError
from forecaster.forecasting.data_set import long_enough
from forecaster.forecasting.model_version import load_model, recipe_of, version_histories
from forecaster.pipeline.arguments import check_audit
from forecaster.registry.champion import find_version
from forecaster.registry.versions import list_versions
from forecaster.settings import Home, TrainSettings, resolve_home

DATES, TICKERS, MAX_STEPS = 6, 20, 32
AUDIT_COLUMNS = ("stage", "dates", "values", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was compared, stage by stage in the order of the pipeline, and what differed.

    `version` is None for the default settings; `dates` are the last days left unchanged.
    """

    version: str | None
    tickers: tuple[str, ...]
    of_tickers: int
    first: date
    last: date
    dates: tuple[date, ...]
    max_steps: int
    stages: tuple[StageResult, ...]

    def __repr__(self) -> str:
        what = f"version {self.version}" if self.version else "the default settings"
        table = self.table().to_string(index=False)
        return f"AuditReport of {what}: {len(self.leaks)} leaks in {self.values:,} values\n{table}"

    @property
    def values(self) -> int:
        """Return the number of all values compared."""
        return sum(result.values for result in self.stages)

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """Return the first difference of each stage that has one; the first is the cause."""
        return tuple(result.leak for result in self.stages if result.leak is not None)

    @property
    def empty(self) -> tuple[str, ...]:
        """List the stages of which nothing was compared."""
        return tuple(one.stage for one in self.stages if not one.values and not one.leak)

    def table(self) -> pd.DataFrame:
        """Return a row per stage (`AUDIT_COLUMNS`): identical, LEAK or nothing compared."""
        rows = []
        for one in self.stages:
            compared = "identical" if one.values else "nothing compared"
            result = "LEAK" if one.leak else compared
            rows.append((one.stage, len(one.dates), one.values, result))
        return pd.DataFrame(rows, columns=list(AUDIT_COLUMNS))

    def raise_leaks(self) -> None:
        """Raise `LeakError` where the future changes the past, or where nothing was compared."""
        if self.leaks:
            more = len(self.leaks) - 1
            others = f" ({more} later stage{'s' if more > 1 else ''} too)" if more else ""
            raise LeakError(f"The future leaks into {self.leaks[0].describe()}{others}.")
        if self.empty:
            raise LeakError(
                f"Nothing was compared of {', '.join(self.empty)}, so nothing is proven; "
                "fetch a longer period or raise --dates."
            )


def audit(
    version: str | None = None,
    *,
    bars: Bars | None = None,
    home: Home | None = None,
    dates: int = DATES,
    tickers: int = TICKERS,
    max_steps: int = MAX_STEPS,
    as_of: Day | None = None,
) -> AuditReport:
    """Change everything after several dates, and compare all that may not depend on it.

    Args:
        version: None for the newest, or for the default settings where there is none yet.
        bars: a caller's own bars (see `train`), or None for the store of the home.
        dates: after which bars are changed, at least 3, spread over train, validation and test.
            The last training and validation days are added.
        tickers: at most this many: the longest, the shortest and some between.
        max_steps: optimizer steps of the short trainings.
        as_of: last session to be read; None for all.

    Raises:
        ArtifactError: the version is corrupt.
        DataError: no day comes after the validation days, or the prices are too few.
        UnknownNameError: no such version, or no prices.
        UsageError: a number is out of range, or `as_of` lies in the future.

    Examples:
        >>> from forecaster import audit
        >>> report = audit(home="demo", dates=3, max_steps=2)
        >>> report.leaks
        ()
    """
    check_audit(dates, tickers, max_steps)
    where, last_day = resolve_home(home), clock.as_day(as_of)
    if version is not None or list_versions(where):
        manifest = find_version(where, version, as_of=last_day)
        settings, model = recipe_of(manifest), load_model(where, manifest)
        histories, _ = version_histories(manifest, bars, where, last_day)
    else:
        settings, model = TrainSettings(), None
        histories = list(long_enough(load_histories(bars, where, (), last_day), settings))
    subject = Subject.of(select_histories(histories, tickers), settings, model, max_steps)
    days = subject.panel.days
    cuts = select_dates(days, subject.split, dates)
    return AuditReport(
        version=model.version if model else None,
        tickers=subject.panel.tickers,
        of_tickers=len(histories),
        first=as_date(days.min()),
        last=as_date(days.max()),
        dates=tuple(as_date(cut) for cut in cuts),
        max_steps=max_steps,
        stages=tuple(compare_all(subject, cuts)),
    )
