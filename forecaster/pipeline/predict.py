"""Forecast the next session of each ticker with a trained version."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.data.history import History, fingerprint, normalise_tickers
from forecaster.data.loading import held_tickers, load_histories
from forecaster.data.panel import Panel
from forecaster.errors import NAMED_AT_MOST, DataError, UsageError, name_some
from forecaster.evaluation.distributions import Predictive
from forecaster.forecasting.baseline import predict_baseline
from forecaster.forecasting.forecast_tables import (
    PREDICTION_COLUMNS,
    PredictedRows,
    Prediction,
    interval_ends,
    interval_kinds,
    next_sessions,
    served_intervals,
    stale_tickers,
)
from forecaster.forecasting.loading import Trained, load_model
from forecaster.operations.due_sessions import accepted_age
from forecaster.operations.forecast_recording import Maker, remembered
from forecaster.registry.champion import Choice, find_champion, named_version, targets_of
from forecaster.registry.manifest import Manifest
from forecaster.settings import Home, PredictSettings, resolve_home

__all__ = ["PREDICTION_COLUMNS", "Prediction", "predict"]

log = logging.getLogger(__name__)

DEFAULT_TARGET = "return"


def predict(
    tickers: str | Sequence[str] = (),
    *,
    version: str | None = None,
    target: str | None = None,
    name: str | None = None,
    bars: pd.DataFrame | None = None,
    home: Home | None = None,
    as_of: date | None = None,
    settings: PredictSettings | None = None,
    ledger: Maker | None = "by-hand",
) -> Prediction:
    """Forecast the session after each ticker's last final bar, and remember it.

    Args:
        tickers: which; none means all there are.
        version: name of a version; None for the champion that forecasts the target (see
            `registry/champion.py`): the baseline where that is champion, the newest version
            where nothing was ever judged.
        target: what to forecast; None for the return, or for all that a named version has
            where that has no return, and one that a model name has.
        name: the champion of this model name; None for any that forecasts the target.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        home: the workspace; None as the command line resolves it.
        as_of: forecast as after the close of this day; None for now.
        settings: when to refuse; None for the defaults.
        ledger: who makes these forecasts, as the ledger of the home is told; None to tell it
            nothing. Nor is it told of a caller's own bars. A person's forecasts are returned even
            where they cannot be written down.

    Returns:
        One row per ticker and target. `forecast` and the quantiles are in the target's
        units, prices in the listing's currency, empty for range and volume.

    Raises:
        ArtifactError: the version is damaged.
        DataError: no ticker can be forecast: stale, or too short.
        TooOldError: the champion is, and no version was named.
        UnknownNameError: no such ticker or version, or none that old.
        UsageError: `as_of` is no date or lies in the future; a malformed ticker; the version
            has no such target; both `version` and `name`.
    """
    where = resolve_home(home)
    wanted = normalise_tickers(tickers)
    asked = load_histories(bars, where, wanted, as_of)  # a wrong name is said before any work
    if name is not None and target is None:
        target = _first_target(where, name)
    choice = _choice(where, version, target, as_of, name)
    if version is None:
        _check_age(choice, asked, settings or PredictSettings())
    if choice.manifest is None:
        log.info("the baseline forecasts: it is champion of %s", choice.name)
        made = predict_baseline(
            [target or DEFAULT_TARGET],
            tickers=wanted,
            bars=bars,
            home=where,
            as_of=as_of,
            settings=settings,
        )
    else:
        histories = _with_universe(asked, choice.manifest, bars, where, as_of) if wanted else asked
        chosen = _chosen(choice.manifest, target)
        names = [history.listing.ticker for history in asked]
        missing = _missing(choice.manifest, bars, where)
        made = _forecast(where, choice.manifest, histories, names, chosen, missing, as_of, settings)
    made = replace(made, name=choice.name, troubles=(choice.trouble,) if choice.trouble else ())
    return made if bars is not None or ledger is None else remembered(where, made, ledger)


def _first_target(home: Path, name: str) -> str:
    there = targets_of(home, name)
    return DEFAULT_TARGET if DEFAULT_TARGET in there else min(there)


def _check_age(choice: Choice, histories: list[History], settings: PredictSettings) -> None:
    """Warn of a model that was trained long before the newest bar, or refuse it."""
    if choice.manifest is not None:
        calendars = {history.listing.calendar for history in histories}
        newest = max(history.bars["session"].iloc[-1] for history in histories).date()
        accepted_age(choice.manifest, calendars, newest, settings.max_model_age)


def _choice(
    home: Path, version: str | None, target: str | None, as_of: date | None, name: str | None
) -> Choice:
    if version is None:
        return find_champion(home, target or DEFAULT_TARGET, as_of, name)
    if name is not None:
        raise UsageError(f"--version {version} and --name {name}: give one of the two.")
    return named_version(home, version)


def _forecast(
    home: Path,
    manifest: Manifest,
    histories: list[History],
    names: list[str],
    chosen: list[str],
    missing: tuple[str, ...],
    as_of: date | None,
    settings: PredictSettings | None,
) -> Prediction:
    """Forecast some tickers with a version, given the histories that its panel needs."""
    trained = load_model(home, manifest)
    panel = trained.panel(histories)
    stated = trained.predictive(panel, _learnt_from(panel, manifest))
    forecast = np.column_stack([stated[name].mean() for name in panel.targets])
    stale = stale_tickers(histories, as_of, (settings or PredictSettings()).max_stale)
    able = _able(panel, forecast, [panel.targets.index(name) for name in chosen])
    kept = [ticker for ticker in names if ticker not in stale and ticker in able]
    skipped = tuple(ticker for ticker in names if ticker not in kept)
    if not kept:
        raise DataError(_nobody(skipped, stale, manifest))
    for ticker in skipped:
        log.warning("%s", stale.get(ticker) or _too_short(ticker, manifest))
    tables = [_table(trained, panel, histories, stated, name, kept) for name in chosen]
    table = pd.concat(tables, ignore_index=True)
    made = _told(manifest, table, skipped, missing)
    return replace(made, fingerprint=fingerprint(histories))


def _told(
    manifest: Manifest, table: pd.DataFrame, skipped: tuple[str, ...], missing: tuple[str, ...]
) -> Prediction:
    """Say aloud what makes these forecasts worth less than they look."""
    known_until = manifest.data.blocks.validation_until
    in_sample = bool((table["session"] <= pd.Timestamp(known_until)).any())
    if in_sample:
        log.warning(
            "version %s was fitted and selected on days until %s and has seen what it forecasts "
            "here from %s; that says nothing of its worth. Name no version, or train --as-of that "
            "day",
            *(manifest.version, known_until, table["as_of"].min().date()),
        )
    if missing and manifest.data.cross_section:
        log.warning(
            "%s: trained on, but without prices here; the panel's mean that every forecast reads "
            "lacks them. Run: forecaster fetch %s",
            *(name_some(missing), " ".join(missing[:NAMED_AT_MOST])),
        )
    strange = table.loc[~table["trained_on"], "ticker"].unique().tolist()
    if strange:
        log.warning("%s: version %s was not trained on it", name_some(strange), manifest.version)
    pooled = table.loc[table["interval"] == "pooled", "ticker"].unique().tolist()
    if pooled:
        log.warning("%s: no interval of its own, but that of all tickers pooled", name_some(pooled))
    return Prediction(
        version=manifest.version,
        forecasts=table,
        skipped=skipped,
        missing=missing,
        in_sample=in_sample,
    )


def _chosen(manifest: Manifest, target: str | None) -> list[str]:
    if target is None:
        return [DEFAULT_TARGET] if DEFAULT_TARGET in manifest.targets else list(manifest.targets)
    if target not in manifest.targets:
        raise UsageError(
            f"Version {manifest.version} forecasts {', '.join(manifest.targets)}, not {target}; "
            f"train one with --target {target}."
        )
    return [target]


def _with_universe(
    asked: list[History],
    manifest: Manifest,
    bars: pd.DataFrame | None,
    home: Path,
    as_of: date | None,
) -> list[History]:
    """Add, for the panel's mean, the tickers that the version was trained on."""
    held = {history.listing.ticker: history for history in asked}
    for history in load_histories(bars, home, (), as_of):
        if history.listing.ticker in manifest.data.tickers:
            held.setdefault(history.listing.ticker, history)
    return [held[ticker] for ticker in sorted(held)]


def _missing(manifest: Manifest, bars: pd.DataFrame | None, home: Path) -> tuple[str, ...]:
    held = held_tickers(bars, home)
    return tuple(ticker for ticker in manifest.data.tickers if ticker not in held)


def _learnt_from(panel: Panel, manifest: Manifest) -> np.ndarray:
    """(N,) True on each ticker's last row, and on those that its interval learns from."""
    rows: np.ndarray = panel.outcome_days > _train_until(manifest)
    rows[panel.newest] = True
    return rows


def _train_until(manifest: Manifest) -> np.datetime64:
    return np.datetime64(manifest.data.blocks.train_until, "D")


def _able(panel: Panel, forecast: np.ndarray, columns: list[int]) -> set[str]:
    last = panel.newest
    finite = np.isfinite(forecast[last][:, columns] + panel.level[last][:, columns]).all(axis=1)
    return {ticker for ticker, able in zip(panel.tickers, finite, strict=True) if able}


def _too_short(ticker: str, manifest: Manifest) -> str:
    return (
        f"{ticker}: no forecast; version {manifest.version} reads {manifest.network.lookback} days "
        f"before it and needs a {', '.join(manifest.targets)} among the last 22"
    )


def _nobody(skipped: tuple[str, ...], stale: dict[str, str], manifest: Manifest) -> str:
    first = skipped[0]
    more = f" (and {len(skipped) - 1} more tickers)" if len(skipped) > 1 else ""
    return (stale.get(first) or _too_short(first, manifest)) + more


def _table(
    trained: Trained,
    panel: Panel,
    histories: list[History],
    stated: dict[str, Predictive],
    target: str,
    kept: list[str],
) -> pd.DataFrame:
    k = panel.targets.index(target)
    picked = [number for number, ticker in enumerate(panel.tickers) if ticker in set(kept)]
    rows = panel.newest[picked]
    own, level = stated[target].take(rows), panel.level[rows, k]
    value, tickers = own.mean() + level, np.array(panel.tickers)[picked]
    calibrated = trained.calibrated(target, own, tickers)
    served = served_intervals(trained, panel, target, stated[target], rows)
    frame = PredictedRows(
        panel=panel,
        rows=rows,
        sessions=next_sessions(panel, rows, histories),
        target=target,
    )
    return frame.table(
        forecast=value,
        ends=interval_ends(served, level),
        prob_up=calibrated.probability_above(0.0),
        forecaster=trained.manifest.network.model,
        version=trained.manifest.version,
        interval=interval_kinds(trained.manifest, target, tickers.tolist()),
        trained_on=np.isin(tickers, trained.manifest.data.tickers),
    )
