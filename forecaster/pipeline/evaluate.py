"""Evaluate a version: next-day forecasts of the report block, beside the baselines."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data.bars import History
from forecaster.data.fingerprint import fingerprint
from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.metrics import METRICS, alarms, scores
from forecaster.evaluation.significance import Comparison, compare
from forecaster.evaluation.splits import Split
from forecaster.pipeline.baselines import baseline_forecasts
from forecaster.pipeline.prices import held_tickers, load_histories
from forecaster.pipeline.table import forecast_table, some
from forecaster.pipeline.trained import Trained, load_trained
from forecaster.registry.choice import find_version
from forecaster.registry.manifest import Manifest
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a version is worth on days that it never saw.

    `forecasts` has one row per forecast and forecaster (`FORECAST_COLUMNS`); `scores` and
    `per_ticker` are long tables of metric values; `blocks` maps fit, select and report to
    their first and last day; `choices` says, by target, which variant of a baseline the
    select block preferred; `comparisons` test the version against each baseline; `alarms`
    are scores too good to be true. `missing` are tickers trained on that have no prices here
    any more, `unscored` by target those without a report day that can be scored.
    """

    version: str
    targets: tuple[str, ...]
    blocks: dict[str, tuple[date, date]]
    scores: pd.DataFrame
    per_ticker: pd.DataFrame
    forecasts: pd.DataFrame
    choices: dict[str, dict[str, str]]
    comparisons: tuple[Comparison, ...]
    alarms: tuple[str, ...]
    missing: tuple[str, ...]
    unscored: dict[str, tuple[str, ...]]

    def scorecard(self, target: str, *, by_ticker: bool = False) -> pd.DataFrame:
        """Lay a target's scores out as a table, one column per metric.

        Returns:
            A row per forecaster, the version first and persistence second; with
            `by_ticker` a row per ticker, the version's own scores alone.
        """
        table = self.per_ticker if by_ticker else self.scores
        table = table[table["target"] == target]
        if by_ticker:
            table = table[table["forecaster"] == table["forecaster"].iloc[0]]
        key = "ticker" if by_ticker else "forecaster"
        wide = table.pivot(index=key, columns="metric", values="value").reset_index()
        order = {name: place for place, name in enumerate(table[key].unique())}
        return wide.sort_values(key, key=lambda k: k.map(order))[[key, *METRICS]]


def evaluate(
    version: str | None = None,
    *,
    bars: pd.DataFrame | None = None,
    targets: str | Sequence[str] = (),
    home: Home | None = None,
    as_of: date | None = None,
) -> Evaluation:
    """Score a version's next-day forecasts beside the baselines, all on the same days.

    Every baseline is fitted on the fit block; the select block chooses between a pooled
    and a per-ticker fit. The report block, from the day after the select block to the
    newest bar, is looked at once, to score.

    Args:
        version: name of a version; None for the newest that was fitted and selected on days
            until `as_of`.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        targets: which of the version's targets; none means all.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen; None for all.

    Raises:
        ArtifactError: the version is damaged.
        DataError: no day of the report block can be scored, or none of the fit or the select
            block is there to fit and choose the baselines.
        UnknownNameError: no such version, or none that old.
        UsageError: the version does not forecast a target asked for; `as_of` is no date or
            lies in the future.
    """
    clock.check_as_of(as_of)
    where = resolve_home(home)
    manifest = find_version(where, version, as_of=as_of)
    chosen = _chosen_targets(manifest, targets)
    trained = load_trained(where, manifest)
    histories, missing = trained_on(manifest, bars, where, as_of)
    if not missing and (as_of is None or as_of >= manifest.data.blocks.last):
        _compare_fingerprint(manifest, histories)
    panel = trained.panel(histories)
    blocks = manifest.data.blocks
    split = Split(
        fit_until=np.datetime64(blocks.fit_until, "D"),
        select_until=np.datetime64(blocks.select_until, "D"),
    )
    forecasts, choices = _forecast_table(trained, panel, split, chosen)
    pooled = scores(forecasts)
    return Evaluation(
        version=manifest.version,
        targets=chosen,
        blocks=_block_days(panel, split),
        scores=pooled,
        per_ticker=scores(forecasts, by=("ticker",)),
        forecasts=forecasts,
        choices=choices,
        comparisons=_comparisons(forecasts),
        alarms=tuple(alarms(pooled)),
        missing=missing,
        unscored=_unscored(panel, forecasts, chosen),
    )


def _chosen_targets(manifest: Manifest, targets: str | Sequence[str]) -> tuple[str, ...]:
    targets = [targets] if isinstance(targets, str) else targets
    unknown = [name for name in targets if name not in manifest.targets]
    if unknown:
        raise UsageError(
            f"Version {manifest.version} forecasts {', '.join(manifest.targets)}, not "
            f"{', '.join(unknown)}; train one with --target {','.join(unknown)}."
        )
    return tuple(targets) or tuple(manifest.targets)


def trained_on(
    manifest: Manifest, bars: pd.DataFrame | None, home: Path, as_of: date | None
) -> tuple[list[History], tuple[str, ...]]:
    """Read the tickers that a version was trained on, and name those that are gone.

    Raises:
        DataError: none is left.
    """
    seen = {history.listing.ticker: history for history in load_histories(bars, home, (), as_of)}
    trained_on, held = manifest.data.tickers, held_tickers(bars, home)
    if not any(ticker in seen for ticker in trained_on):
        raise DataError(
            f"Version {manifest.version} was trained on {some(trained_on)}; none of them has "
            f"prices here{f' until {as_of}' if as_of else ''}. Fetch them."
        )
    missing = tuple(ticker for ticker in trained_on if ticker not in held)
    if missing:
        log.warning("%s: trained on, but without prices here any more; left out", some(missing))
    return [seen[ticker] for ticker in trained_on if ticker in seen], missing


def _compare_fingerprint(manifest: Manifest, histories: list[History]) -> None:
    """Say when the bars that the version was trained on have changed since."""
    last = pd.Timestamp(manifest.data.blocks.last)
    seen = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in histories]
    if fingerprint(seen) != manifest.data.fingerprint:
        log.warning(
            "the bars until %s are not the ones that version %s was trained on",
            *(last.date(), manifest.version),
        )


def _forecast_table(
    trained: Trained, panel: Panel, split: Split, targets: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    """Let every forecaster forecast every report day that all of them can."""
    _, _, report = split.masks(panel.outcome_days)
    able, own = trained.able(panel), trained.manifest.network.model
    stated, tickers = trained.predictive(panel, report), np.array(panel.tickers)[panel.series]
    tables: list[pd.DataFrame] = []
    choices: dict[str, dict[str, str]] = {}
    for target in targets:
        k = panel.targets.index(target)
        forecasts, choices[target] = baseline_forecasts(panel, target, split, able)
        forecasts = {own: stated[target].mean(), **forecasts}
        all_able = np.isfinite(np.column_stack(list(forecasts.values()))).all(axis=1)
        rows = np.flatnonzero(report & all_able & np.isfinite(panel.y[:, k]))
        if len(rows) == 0:
            raise DataError(
                f"No day after {split.select_until} can be scored for {target}: the prices end "
                f"{panel.days.max()}. Fetch newer prices, give a later --as-of, or train with an "
                "earlier --select-until."
            )
        ends = trained.calibrated(target, stated[target].take(rows), tickers[rows])
        tables.extend(
            forecast_table(panel, target, name, values, rows, ends if name == own else None)
            for name, values in forecasts.items()
        )
    return pd.concat(tables, ignore_index=True), choices


def _unscored(
    panel: Panel, forecasts: pd.DataFrame, targets: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Name, by target, the tickers without a scored report day."""
    scored = forecasts.groupby("target")["ticker"].unique()
    found = {name: tuple(t for t in panel.tickers if t not in scored[name]) for name in targets}
    for target, tickers in found.items():
        if tickers:
            log.warning("%s: no report day can be scored for %s", some(tickers), target)
    return {target: tickers for target, tickers in found.items() if tickers}


def _comparisons(forecasts: pd.DataFrame) -> tuple[Comparison, ...]:
    """Test the version, the first forecaster of each target, against every baseline."""
    found = []
    for target, rows in forecasts.groupby("target", sort=False):
        own, *rivals = rows["forecaster"].unique().tolist()
        found += [compare(rows, str(target), own, rival) for rival in rivals]
    return tuple(found)


def _block_days(panel: Panel, split: Split) -> dict[str, tuple[date, date]]:
    """First and last session forecast in each block."""
    known = np.isfinite(panel.y).any(axis=1)
    masks = split.masks(panel.outcome_days)
    return {
        name: (days.min().item(), days.max().item())
        for name, mask in zip(("fit", "select", "report"), masks, strict=True)
        if len(days := panel.outcome_days[mask & known])
    }
