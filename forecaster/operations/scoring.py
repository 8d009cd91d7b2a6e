"""Past forecasts compared with their outcomes: scores, and the drift of a champion.

The outcome of a forecast is the ticker's next bar, whatever session the calendar expected. Late
forecasts count for drift, too: a session that is caught up decides as it would have on time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.columns import own_columns
from forecaster.data.history import History
from forecaster.data.panel import TARGETS, build_panel, compute_features, own_targets
from forecaster.data.sessions import (
    MAX_MISSED_SESSIONS,
    as_date,
    close_of,
    count_sessions,
    missed_sessions,
)
from forecaster.data.store import PriceStore
from forecaster.errors import ArtifactError, UnknownNameError
from forecaster.evaluation.live_scores import (
    LIVE_COLUMNS,
    ExpectedError,
    Flag,
    LiveSums,
    coverage_drift,
    error_drift,
    input_drift,
    inside,
    scaled_errors,
)
from forecaster.registry.champion_history import Decision
from forecaster.registry.forecast_log import FORECAST_LOG_COLUMNS, Selection, iter_forecasts
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, read_manifest

SCORE_COLUMNS: Final = ("made", "name", "target", "version", *LIVE_COLUMNS, "expected_mse")
ALL: Final = "all"
RECENT: Final = 63  # sessions that drift is measured on, a quarter
RECENT_INPUTS: Final = 21  # likewise of inputs, which many tickers share
_BY: Final = ("made", "name", "target", "version")
_BY_TICKER: Final = ("name", "target", "ticker")
_KEYS: Final = ["ticker", "target", "as_of"]
_DAYS: Final = {"as_of": "datetime64[s]", "outcome_day": "datetime64[s]"}
_NONE: Final = pd.DataFrame(columns=[*_KEYS, "outcome_day", "actual", "persistence"])
_INPUT_HISTORY: Final = timedelta(days=3 * 365)  # more than the longest input reads


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScores:
    """Scores of past forecasts.

    `table` (SCORE_COLUMNS) has a row per version and, if a name has had several, one of all;
    `made` is `live`, or `late` for forecasts made after the close of their session, `expected_mse`
    the version's on its validation days, NaN of the baseline. `per_ticker` has the live ones.
    `pending` forecasts have no outcome yet; `unscorable` ones have none although there is a later
    bar: their own bar is gone, nothing was traded, or the ticker's bars lack a part.
    """

    table: pd.DataFrame
    per_ticker: pd.DataFrame
    pending: int
    unscorable: int


def score_rows(home: Path, parts: Iterable[pd.DataFrame]) -> LiveScores:
    """Score forecasts with outcomes, all of some tickers at a time; see `iter_outcomes`."""
    sums, per_ticker = LiveSums(_BY), [LiveSums(_BY_TICKER).table()]
    pending = unscorable = 0
    for rows in parts:
        known = rows["actual"].notna() & rows["persistence"].notna()
        has_later = rows["newest"] > rows["as_of"]
        pending += int((~known & ~has_later).sum())
        unscorable += int((~known & has_later).sum())
        found = rows[known].assign(made=np.where(rows.loc[known, "late"], "late", "live"))
        sums.add(found)
        own = LiveSums(_BY_TICKER)
        own.add(found[found["made"] == "live"])
        per_ticker.append(own.table())
    both = _joined([sums.table(), sums.pooled("version", ALL).table()], _BY)
    both["expected_mse"] = [
        _expected_mse(home, str(version), str(target))
        for version, target in zip(both["version"], both["target"], strict=True)
    ]
    return LiveScores(
        table=both[list(SCORE_COLUMNS)],
        per_ticker=_joined(per_ticker, _BY_TICKER),
        pending=pending,
        unscorable=unscorable,
    )


def _joined(tables: Sequence[pd.DataFrame], by: Sequence[str]) -> pd.DataFrame:
    """Join tables of which any may be empty, in the order of their groups."""
    table = pd.concat([one for one in tables if len(one)] or tables[:1])
    return table.sort_values(list(by), ignore_index=True)


def _expected_mse(home: Path, version: str, target: str) -> float:
    """Read a version's validation error; NaN of the baseline, or of a version that is gone."""
    try:
        known = version in list_versions(home)
        metrics = read_manifest(home, version).metrics if known else {}
    except ArtifactError:
        metrics = {}
    return metrics.get(f"validation_mse_{target}", float("nan"))


def with_outcomes(home: Path, chosen: Selection) -> pd.DataFrame:
    """Read forecasts with their outcomes as one table; see `iter_outcomes`."""
    parts = list(iter_outcomes(home, chosen))
    if not parts:
        return pd.DataFrame(columns=[*FORECAST_LOG_COLUMNS, "moved", "actual", "persistence"])
    order = ["as_of", "name", "ticker", "target", "version"]
    return pd.concat(parts, ignore_index=True).sort_values(order, ignore_index=True)


def iter_outcomes(home: Path, chosen: Selection) -> Iterator[pd.DataFrame]:
    """Read forecasts with the outcomes that bars until `chosen.until` have, some tickers at a time.

    One forecast counts per model name, version, ticker, target and session: the last that was made
    before the close, or else the first late one. A forecast is scored against the ticker's next
    bar, with its day as `session`; `moved` if that is not the session that was forecast.

    Yields:
        FORECAST_LOG_COLUMNS, `moved`, `actual` and `persistence` ("tomorrow = today") in the
        target's units, NaN where unknown, and the `newest` day of the ticker's bars.
    """
    for rows in iter_forecasts(home, chosen):
        first = rows["as_of"].min().date()
        tickers = sorted(set(rows["ticker"]))
        try:
            with PriceStore.open_for_reading(home) as store:
                histories = _recent_histories(store, tickers, first, chosen.until)
                made = set(rows["target"])
                targets = [name for name in TARGETS if name in made]
                targets += [*own_targets(sorted(made))]
                known = pd.concat([outcomes(store, one, targets) for one in histories] or [_NONE])
        except UnknownNameError:
            histories, known = [], _NONE
        found = rows.merge(known.astype(_DAYS), on=_KEYS, how="left", validate="many_to_one")
        last = {one.listing.ticker: one.bars["session"].iloc[-1] for one in histories}
        newest = pd.to_datetime(found["ticker"].map(last))
        calendars = {one.listing.ticker: one.listing.calendar for one in histories}
        yield _one_per_session(_moved(found.assign(newest=newest), calendars))


def outcomes(store: PriceStore, history: History, targets: Sequence[str]) -> pd.DataFrame:
    """Compute the outcome of each day, which is the next bar's, and its "tomorrow = today".

    A row per target and day: `ticker, target, as_of, outcome_day, actual, persistence`. There is
    no outcome after a gap in the ticker's bars, only after a closure of its exchange.
    """
    days = history.bars["session"].to_numpy()
    columns = own_columns(history, own_targets(targets))
    kept = np.ones(len(days) - 1, dtype=np.bool_)
    for row in np.flatnonzero(missed_sessions(history) > MAX_MISSED_SESSIONS):
        ends = (as_date(history.days[row]), as_date(history.days[row + 1]))
        kept[row] = store.days_with_bars(history.listing.calendar, *ends) <= MAX_MISSED_SESSIONS
    parts = [
        pd.DataFrame(
            {
                "ticker": history.listing.ticker,
                "target": target,
                "as_of": days[:-1][kept],
                "outcome_day": days[1:][kept],
                "actual": columns[f"log_{target}"][1:][kept],
                # For a return "tomorrow = today" means the price.
                "persistence": 0.0 if target == "return" else columns[f"log_{target}"][:-1][kept],
            }
        )
        for target in targets
    ]
    return pd.concat(parts, ignore_index=True)


def _moved(rows: pd.DataFrame, calendars: dict[str, str]) -> pd.DataFrame:
    """Move forecasts to the session that came; late there are those made after its close."""
    came = rows.pop("outcome_day")
    moved = came.notna() & (came != rows["session"])
    rows = rows.assign(moved=moved, session=came.fillna(rows["session"]))
    some, late = rows[moved], rows["late"].copy()
    keys = list(zip(some["ticker"].map(calendars), some["session"].dt.date, strict=True))
    closes = {key: _close_of(*key) for key in set(keys)}
    had_later = some["newest_session"] > some["as_of"]
    was_late = had_later.where(some["newest_session"].notna(), some["late"])
    close = pd.Series([closes[key] for key in keys], some.index, some["made_at"].dtype)
    late[moved] = was_late | (some["made_at"] >= close)
    return rows.assign(late=late)


def _close_of(calendar: str, day: date) -> pd.Timestamp:
    """Return when a day with a bar closed: by the calendar, or at midnight UTC if it has none."""
    if count_sessions(calendar, day, day):
        return pd.Timestamp(close_of(calendar, day))
    return pd.Timestamp(day, tz="UTC") + timedelta(days=1)


def _one_per_session(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the last live forecast of each session, or else the first late one."""
    seconds = rows["made_at"].astype("int64")
    preferred = seconds.where(rows["late"], -seconds).sort_values(kind="stable").index
    kept = rows.loc[preferred].drop_duplicates(["name", "version", "ticker", "target", "session"])
    return rows.loc[kept.index.sort_values()]


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
    with PriceStore.open_for_reading(home) as store:
        histories = _recent_histories(store, data.tickers, day - _INPUT_HISTORY, day)
    if not histories:
        return None
    universe = data.tickers if data.cross_section else None
    panel = build_panel(histories, manifest.targets, universe=universe)
    last = np.unique(panel.days)[-RECENT_INPUTS:]
    inputs = compute_features(panel, manifest.inputs)[np.isin(panel.days, last)]
    mean, scale = np.array(manifest.scaler.mean), np.array(manifest.scaler.scale)
    return input_drift(manifest.inputs, inputs, mean, scale)


def _recent_histories(
    store: PriceStore, tickers: Sequence[str], since: date, until: date | None
) -> list[History]:
    """Read the bars of those tickers that have any, from one day to another."""
    listings = {one.ticker: store.listing(one.ticker) for one in store.states(tickers)}
    bars = store.all_bars(list(listings), until, since)
    return [
        History(listing=listings[str(ticker)], bars=rows.reset_index(drop=True))
        for ticker, rows in bars.set_index("ticker").groupby("ticker", sort=True)
    ]
