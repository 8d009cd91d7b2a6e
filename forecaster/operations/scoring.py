"""Past forecasts compared with their outcomes: scores, and the drift of a champion.

Late forecasts count for drift, too: a session that is caught up decides as it would have on time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import BAR_COLUMNS, History
from forecaster.data.panel import TARGETS, build_panel, compute_features
from forecaster.data.store import PriceStore
from forecaster.errors import ArtifactError
from forecaster.evaluation.live_scores import (
    LIVE_COLUMNS,
    ExpectedError,
    Flag,
    coverage_drift,
    error_drift,
    input_drift,
    inside,
    live_scores,
    scaled_errors,
)
from forecaster.registry.champion_history import Decision
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, read_manifest

SCORE_COLUMNS: Final = ("made", "name", "target", "version", *LIVE_COLUMNS, "expected_mse")
ALL: Final = "all"
RECENT: Final = 63  # sessions that drift is measured on, a quarter
RECENT_INPUTS: Final = 21  # likewise of inputs, which many tickers share
_KEYS: Final = ["ticker", "target", "as_of", "session"]
_WARM_UP: Final = timedelta(days=14)  # bars before the first forecast, for trailing quantities
_INPUT_HISTORY: Final = timedelta(days=3 * 365)  # more than the longest input reads


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScores:
    """Scores of past forecasts.

    `table` (SCORE_COLUMNS) has a row per version and, if a name has had several, one of all;
    `made` is `live`, or `late` for forecasts made after the close of their session, `expected_mse`
    the version's on its validation days, NaN of the baseline. `per_ticker` has the live ones.
    `pending` forecasts have no outcome yet, `unscorable` ones none although a later bar exists.
    """

    table: pd.DataFrame
    per_ticker: pd.DataFrame
    forecasts: pd.DataFrame
    pending: int
    unscorable: int


def score_rows(home: Path, rows: pd.DataFrame) -> LiveScores:
    """Score rows of the forecast log that carry their outcomes (see `with_outcomes`)."""
    by = ["made", "name", "target", "version"]
    known = rows["actual"].notna() & rows["persistence"].notna()
    is_unscorable = ~known & (rows["session"] <= rows["newest"])
    found = rows[known].assign(made=np.where(rows.loc[known, "late"], "late", "live"))
    table = live_scores(found, by)
    counts = table.groupby(by[:3])["version"].transform("size")
    several = found.merge(table.loc[counts > 1, by[:3]].drop_duplicates(), on=by[:3])
    pooled = live_scores(several.assign(version=ALL), by)
    both = pd.concat([part for part in (table, pooled) if len(part)] or [table], ignore_index=True)
    both["expected_mse"] = [
        _expected_mse(home, str(version), str(target))
        for version, target in zip(both["version"], both["target"], strict=True)
    ]
    live = found[found["made"] == "live"]
    return LiveScores(
        table=both.sort_values(by, ignore_index=True)[list(SCORE_COLUMNS)],
        per_ticker=live_scores(live, ("name", "target", "ticker")),
        forecasts=found,
        pending=int((~known & ~is_unscorable).sum()),
        unscorable=int(is_unscorable.sum()),
    )


def _expected_mse(home: Path, version: str, target: str) -> float:
    """Read a version's validation error; NaN of the baseline, or of a version that is gone."""
    try:
        known = version in list_versions(home)
        metrics = read_manifest(home, version).metrics if known else {}
    except ArtifactError:
        metrics = {}
    return metrics.get(f"validation_mse_{target}", float("nan"))


def with_outcomes(
    home: Path,
    name: str | None = None,
    *,
    since: date | None = None,
    until: date | None = None,
    scheduled_only: bool = False,
) -> pd.DataFrame:
    """Read the forecasts made from `since` to `until`, with outcomes that the stored bars have.

    Of equal forecasts by hand and by the daily run the one that was not late counts, then the
    earlier.

    Returns:
        FORECAST_LOG_COLUMNS, `actual` and `persistence` in the target's units, and the `newest`
        day of the ticker's bars. `actual` is NaN if the next bar is not of the session.
    """
    rows = read_forecasts(home, name, since)
    if scheduled_only:
        rows = rows[rows["scheduled"]]
    if until is not None:
        rows = rows[rows["as_of"] <= pd.Timestamp(until)]
    rows = rows.sort_values(["late", "made_at"], kind="stable")
    rows = rows.drop_duplicates(["name", "version", *_KEYS[:3]])
    rows = rows.sort_values(["as_of", "name", "ticker", "target", "version"], ignore_index=True)
    if rows.empty:
        return rows.assign(actual=np.nan, persistence=np.nan, newest=rows["as_of"])
    first = rows["as_of"].min().date() - _WARM_UP
    histories = _recent_histories(home, sorted(set(rows["ticker"])), first, until)
    known = outcomes(histories, [name for name in TARGETS if name in set(rows["target"])])
    found = rows.merge(known, on=_KEYS, how="left", validate="many_to_one")
    last = {one.listing.ticker: one.bars["session"].iloc[-1] for one in histories}
    newest = [last.get(ticker, pd.NaT) for ticker in found["ticker"]]
    return found.assign(newest=pd.to_datetime(pd.Series(newest, found.index)))


def outcomes(histories: Sequence[History], targets: Sequence[str]) -> pd.DataFrame:
    """Compute the outcome of each day's next session, and its "tomorrow = today" forecast.

    A row per ticker, target and day: `ticker, target, as_of, session, actual, persistence`.
    """
    parts = []
    for history in histories:
        own = build_panel([history], targets, universe=None)
        rows = np.flatnonzero(~np.isnat(own.outcome_days))
        for k, target in enumerate(targets):
            columns = {
                "ticker": history.listing.ticker,
                "target": target,
                "as_of": own.days[rows].astype("datetime64[s]"),
                "session": own.outcome_days[rows].astype("datetime64[s]"),
                "actual": own.today[rows + 1, k],
                # For a return "tomorrow = today" means the price.
                "persistence": 0.0 if target == "return" else own.today[rows, k],
            }
            parts.append(pd.DataFrame(columns))
    if not parts:
        return pd.DataFrame(columns=[*_KEYS, "actual", "persistence"])
    return pd.concat(parts, ignore_index=True)


def drift_flags(rows: pd.DataFrame, version: str, promoted: Decision | None) -> list[Flag]:
    """Flag the errors and intervals of a champion, at most three per target.

    `rows` are forecasts with outcomes, of one model name; `promoted` is the decision that made the
    version champion, whose evidence has the expected errors.
    """
    mine = rows[rows["scheduled"] & (rows["version"] == version) & rows["actual"].notna()]
    days = np.unique(mine["session"].to_numpy())
    mine = mine[mine["session"].isin(days[-RECENT:])]
    flags: list[Flag | None] = []
    for target, group in mine.groupby("target", sort=True):
        actual, on = group["actual"].to_numpy(np.float64), group["session"].to_numpy()
        expected = expected_error(promoted, str(target))
        if expected is not None:
            made, low, high = group[["forecast", "q10", "q90"]].to_numpy(np.float64).T
            errors = scaled_errors(actual, made, low, high)
            flags.append(error_drift(str(target), errors, on, expected))
        for low_name, high_name, share in (("q10", "q90", 0.80), ("q025", "q975", 0.95)):
            covered = inside(group, low_name, high_name, actual)
            flags.append(coverage_drift(str(target), covered, on, share))
    return [flag for flag in flags if flag is not None]


def expected_error(promoted: Decision | None, target: str) -> ExpectedError | None:
    """Read the expected error of a target from a promotion; None if there is none."""
    found = ((promoted.evidence if promoted else {}).get("expected") or {}).get(target)
    if not isinstance(found, dict) or found.get("mean") is None or found.get("error") is None:
        return None
    return ExpectedError(mean=float(found["mean"]), error=float(found["error"]))


def input_flag(home: Path, manifest: Manifest, day: date) -> Flag | None:
    """Flag inputs of a version that, until a day, have left the range of its training days."""
    data = manifest.data
    histories = _recent_histories(home, data.tickers, day - _INPUT_HISTORY, day)
    if not histories:
        return None
    universe = data.tickers if data.cross_section else None
    panel = build_panel(histories, manifest.targets, universe=universe)
    last = np.unique(panel.days)[-RECENT_INPUTS:]
    inputs = compute_features(panel, manifest.inputs)[np.isin(panel.days, last)]
    mean, scale = np.array(manifest.scaler.mean), np.array(manifest.scaler.scale)
    return input_drift(manifest.inputs, inputs, mean, scale)


def _recent_histories(
    home: Path, tickers: Sequence[str], since: date, until: date | None
) -> list[History]:
    """Read the bars of those tickers that are stored, from one day to another."""
    with PriceStore.open_for_reading(home) as store:
        names = [ticker for ticker in tickers if ticker in set(store.tickers())]
        bars = store.all_bars(names, until, since)
        return [
            History(
                listing=store.listing(str(ticker)),
                bars=rows[list(BAR_COLUMNS)].reset_index(drop=True),
            )
            for ticker, rows in bars.groupby("ticker", sort=True)
        ]
