"""Evaluate a version: next-day forecasts of the report block, beside the baselines."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.data.bars import History
from forecaster.data.fingerprint import fingerprint
from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.baselines import (
    better_on_select,
    least_squares,
    per_series,
    train_mean,
)
from forecaster.evaluation.metrics import alarms, scores
from forecaster.evaluation.splits import Split
from forecaster.pipeline.prices import load_histories
from forecaster.pipeline.trained import Trained, load_trained
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import find_version
from forecaster.settings import resolve_home

log = logging.getLogger(__name__)

AR_LAGS = 5
FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual", "q10", "q90"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a version is worth on days that it never saw.

    `forecasts` has one row per forecast and forecaster (`FORECAST_COLUMNS`); `scores` and
    `per_ticker` are long tables of metric values; `blocks` maps fit, select and report to
    their first and last day; `choices` says which variant of a baseline the select block
    preferred; `alarms` are scores too good to be true.
    """

    version: str
    targets: tuple[str, ...]
    blocks: dict[str, tuple[date, date]]
    scores: pd.DataFrame
    per_ticker: pd.DataFrame
    forecasts: pd.DataFrame
    choices: dict[str, str]
    alarms: tuple[str, ...]
    missing: tuple[str, ...]


def evaluate(
    version: str | None = None,
    *,
    bars: pd.DataFrame | None = None,
    targets: Sequence[str] = (),
    home: Path | None = None,
    as_of: date | None = None,
) -> Evaluation:
    """Score a version's next-day forecasts beside the baselines, all on the same days.

    Every baseline is fitted on the fit block; the select block chooses between a pooled
    and a per-ticker fit. The report block, from the day after the select block to the
    newest bar, is looked at once, to score.

    Args:
        version: name of a version; None for the newest.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        targets: which of the version's targets; none means all.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen; None for all.

    Raises:
        ArtifactError: the version is damaged.
        DataError: no day of the report block can be scored.
        UnknownNameError: no such version.
        UsageError: the version does not forecast a target asked for.
    """
    where = resolve_home(home)
    manifest = find_version(where, version)
    chosen = _chosen_targets(manifest, targets)
    trained = load_trained(where, manifest)
    histories, missing = _histories(manifest, bars, where, as_of)
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
        alarms=tuple(alarms(pooled)),
        missing=missing,
    )


def _chosen_targets(manifest: Manifest, targets: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in targets if name not in manifest.targets]
    if unknown:
        raise UsageError(
            f"Version {manifest.version} forecasts {', '.join(manifest.targets)}, not "
            f"{', '.join(unknown)}; train one with --target {','.join(unknown)}."
        )
    return tuple(targets) or tuple(manifest.targets)


def _histories(
    manifest: Manifest, bars: pd.DataFrame | None, home: Path, as_of: date | None
) -> tuple[list[History], tuple[str, ...]]:
    """Read the tickers that the version was trained on, and name those that are gone."""
    held = {history.listing.ticker: history for history in load_histories(bars, home, (), as_of)}
    trained_on = manifest.data.tickers
    missing = tuple(ticker for ticker in trained_on if ticker not in held)
    if len(missing) == len(trained_on):
        raise DataError(
            f"Version {manifest.version} was trained on {', '.join(trained_on[:5])}, none of which "
            "has prices here; fetch them."
        )
    for ticker in missing:
        log.warning("%s: trained on, but not in the store any more; not evaluated", ticker)
    return [held[ticker] for ticker in trained_on if ticker in held], missing


def _compare_fingerprint(manifest: Manifest, histories: list[History]) -> None:
    """Say when the bars that the version was trained on have changed since."""
    last = pd.Timestamp(manifest.data.blocks.last)
    seen = [
        History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in histories
    ]
    if fingerprint(seen) != manifest.data.fingerprint:
        log.warning(
            "data    the bars until %s are not the ones that version %s was trained on",
            *(last.date(), manifest.version),
        )


def _forecast_table(
    trained: Trained, panel: Panel, split: Split, targets: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Let every forecaster forecast every report day that all of them can."""
    network = trained.forecast(panel)
    _, _, report = split.masks(panel.outcome_days)
    tables, choices = [], {}
    for target in targets:
        k = panel.targets.index(target)
        forecasts, chosen = _baselines(panel, target, split, np.isfinite(network[:, k]))
        choices.update(chosen)
        forecasts = {trained.manifest.network.model: network[:, k], **forecasts}
        able = np.isfinite(np.column_stack(list(forecasts.values()))).all(axis=1)
        rows = np.flatnonzero(report & able & np.isfinite(panel.y[:, k]))
        if len(rows) == 0:
            raise DataError(
                f"No day after {split.select_until} can be scored for {target}: the prices end "
                f"{panel.days.max()}. Fetch newer prices, or train with an earlier --select-until."
            )
        tables.extend(
            _rows(trained.manifest, panel, target, name, values, rows)
            for name, values in forecasts.items()
        )
    return pd.concat(tables, ignore_index=True), choices


def _baselines(
    panel: Panel, target: str, split: Split, able: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Fit the baselines of a target; forecasts (N,) are deviations from the panel's level.

    Args:
        able: (N,) rows that the network can forecast: all are fitted on the same days.

    Returns:
        Forecasts by name, persistence first, and the variant that the select block chose.
    """
    k = panel.targets.index(target)
    y, series = panel.y[:, k], panel.series
    fit, select, _ = (block & able for block in split.masks(panel.outcome_days))

    def linear(name: str, x: np.ndarray) -> tuple[str, np.ndarray]:
        pooled = least_squares(x, y, fit)
        each = per_series(least_squares, x, y, fit, series)
        variant, best = better_on_select({"pooled": pooled, "per ticker": each}, y, select)
        choices[name] = variant
        return name, best

    choices: dict[str, str] = {}
    mean = train_mean(y + panel.level[:, k], fit) - panel.level[:, k]
    if target == "return":
        autoregression = linear(f"ar{AR_LAGS}", panel.lags(target, AR_LAGS))
        return {"zero-return": np.zeros(len(y)), "mean": mean, **dict([autoregression])}, choices
    terms = panel.har_terms(target)
    shared = np.nan_to_num(panel.shared_inputs, nan=0.0)
    har = [linear("har", terms), linear("har-x", np.column_stack([terms, shared]))]
    return {"persistence": terms[:, 0], "mean": mean, **dict(har)}, choices


def _rows(
    manifest: Manifest,
    panel: Panel,
    target: str,
    name: str,
    values: np.ndarray,
    rows: np.ndarray,
) -> pd.DataFrame:
    """Write one forecaster's forecasts of one target into the table that all rooms exchange."""
    k = panel.targets.index(target)
    level, close = panel.level[rows, k], panel.close[rows]
    forecast, actual = values[rows] + level, panel.y[rows, k] + level
    tickers = np.array(panel.tickers)[panel.series[rows]]
    low, high = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if name == manifest.network.model:
        low, high = interval_around(manifest, target, tickers, forecast)
    priced = target == "return"
    return pd.DataFrame(
        {
            "ticker": tickers,
            "as_of": panel.days[rows].astype("datetime64[s]"),
            "session": panel.outcome_days[rows].astype("datetime64[s]"),
            "target": target,
            "forecaster": name,
            "forecast": forecast,
            "actual": actual,
            "last_close": close,
            "price_forecast": close * np.exp(forecast) if priced else np.nan,
            "price_actual": close * np.exp(actual) if priced else np.nan,
            "q10": low,
            "q90": high,
        },
        columns=list(FORECAST_COLUMNS),
    )


def interval_around(
    manifest: Manifest, target: str, tickers: np.ndarray, forecast: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the select block's residual bounds to forecasts; NaN where there are none.

    Args:
        tickers: (n,) ticker of each forecast; one without bounds of its own takes the pooled.
        forecast: (n,) in the target's own units.

    Returns:
        Lower and upper ends, each (n,), holding `manifest.coverage` of the outcomes.
    """
    bounds = manifest.intervals.get(target, {})
    none = (float("nan"), float("nan"))
    pairs = np.array([bounds.get(t, bounds.get("", none)) for t in tickers.tolist()]).reshape(-1, 2)
    return forecast + pairs[:, 0], forecast + pairs[:, 1]


def _block_days(panel: Panel, split: Split) -> dict[str, tuple[date, date]]:
    """First and last session forecast in each block."""
    known = np.isfinite(panel.y).any(axis=1)
    masks = split.masks(panel.outcome_days)
    return {
        name: (days.min().item(), days.max().item())
        for name, mask in zip(("fit", "select", "report"), masks, strict=True)
        if len(days := panel.outcome_days[mask & known])
    }
