"""What came of past forecasts: the ledger's rows with the outcome of their session beside them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data.history import BAR_COLUMNS, History
from forecaster.data.panel import TARGETS, build_panel
from forecaster.data.sessions import is_final
from forecaster.data.store import PriceStore
from forecaster.errors import CannotWriteError, SettingsError, StorageError, TryLaterError
from forecaster.forecasting.next_session import Prediction
from forecaster.registry.forecast_log import read_forecasts, record_forecasts

log = logging.getLogger(__name__)

Maker = Literal["by-hand", "daily-run"]


def recorded(home: Path, made: Prediction, maker: Maker) -> Prediction:
    """Write forecasts into the ledger of a home, and say in them how many were new.

    Raises:
        CannotWriteError, SettingsError, StorageError, TryLaterError: the ledger cannot be
            written, and the night made them. A person is told so aloud instead, in one line.
    """
    try:
        count = _record(home, made, scheduled=maker == "daily-run")
    except CannotWriteError as error:
        if maker == "daily-run":
            raise
        log.info("these forecasts are not recorded: %s", error)
        return made
    except (SettingsError, StorageError, TryLaterError) as error:
        if maker == "daily-run":
            raise
        log.warning("these forecasts are not recorded: %s", error)
        return replace(made, troubles=(*made.troubles, "these forecasts are not recorded"))
    return replace(made, recorded=count)


def _record(home: Path, made: Prediction, *, scheduled: bool) -> int:
    now, table = clock.now(), made.forecasts
    with PriceStore.open_for_reading(home) as store:
        calendars = {name: store.listing(name).calendar for name in set(table["ticker"])}
    pairs = zip(table["ticker"], table["session"], strict=True)
    late = [is_final(calendars[name], day.date(), now, timedelta(0)) for name, day in pairs]
    return record_forecasts(
        home,
        made.name,
        table.assign(late=late),
        fingerprint=made.fingerprint,
        made_at=now,
        scheduled=scheduled,
    )


_KEYS: Final = ["ticker", "target", "as_of", "session"]
# Enough bars before the first forecast for the day's own quantities.
_BEFORE: Final = timedelta(days=14)


def with_outcomes(
    home: Path,
    name: str | None = None,
    *,
    since: date | None = None,
    until: date | None = None,
    by_session: bool = False,
) -> pd.DataFrame:
    """Read the ledger with what came, as far as the stored bars tell it.

    Of a forecast that a person and the night made alike, the one that was not late counts, then
    the earlier.

    Args:
        home: the workspace.
        name: of one model name; None for all.
        since: only forecasts made as of this day or later.
        until: as if this were the last day known; None for all.
        by_night: only what nights forecast, not what a person asked for.

    Returns:
        The ledger's columns, `actual` and `persistence` in the target's units, and the `newest`
        day of the ticker's bars. `actual` is NaN where the session has no bar, or where another
        bar came first.

    Raises:
        UnknownNameError: nothing is stored.
    """
    rows = read_forecasts(home, name, since)
    if by_session:
        rows = rows[rows["scheduled"]]
    if until is not None:
        rows = rows[rows["as_of"] <= pd.Timestamp(until)]
    rows = rows.sort_values(["late", "made_at"], kind="stable")
    rows = rows.drop_duplicates(["name", "version", *_KEYS[:3]])
    rows = rows.sort_values(["as_of", "name", "ticker", "target", "version"], ignore_index=True)
    if rows.empty:
        return rows.assign(actual=np.nan, persistence=np.nan, newest=rows["as_of"])
    first = rows["as_of"].min().date() - _BEFORE
    histories = recent_histories(home, sorted(set(rows["ticker"])), first, until)
    came = outcomes(histories, [name for name in TARGETS if name in set(rows["target"])])
    found = rows.merge(came, on=_KEYS, how="left", validate="many_to_one")
    last = {one.listing.ticker: one.bars["session"].iloc[-1] for one in histories}
    newest = [last.get(ticker, pd.NaT) for ticker in found["ticker"]]
    return found.assign(newest=pd.to_datetime(pd.Series(newest, found.index)))


def outcomes(histories: Sequence[History], targets: Sequence[str]) -> pd.DataFrame:
    """Tell the outcome of each day's next session, and what "tomorrow = today" said of it.

    Returns:
        A row per ticker, target and day: `ticker, target, as_of, session, actual, persistence`.
    """
    parts = []
    for history in histories:
        own = build_panel([history], targets, universe=None)
        rows = np.flatnonzero(~np.isnat(own.outcome_days))
        for k, target in enumerate(targets):
            parts.append(
                pd.DataFrame(
                    {
                        "ticker": history.listing.ticker,
                        "target": target,
                        "as_of": own.days[rows].astype("datetime64[s]"),
                        "session": own.outcome_days[rows].astype("datetime64[s]"),
                        "actual": own.today[rows + 1, k],
                        # Of a return "tomorrow = today" is said of the price.
                        "persistence": 0.0 if target == "return" else own.today[rows, k],
                    }
                )
            )
    if not parts:
        return pd.DataFrame(columns=[*_KEYS, "actual", "persistence"])
    return pd.concat(parts, ignore_index=True)


def recent_histories(
    home: Path, tickers: Sequence[str], since: date, until: date | None
) -> list[History]:
    """Read the bars of those tickers that are stored, from one day to another.

    Raises:
        UnknownNameError: nothing is stored.
    """
    with PriceStore.open_for_reading(home) as store:
        names = [ticker for ticker in tickers if ticker in set(store.tickers())]
        bars = store.all_bars(names, until, since)
        return [
            History(
                listing=store.listing(str(ticker)),
                bars=rows[list(BAR_COLUMNS)].reset_index(drop=True),
            )
            for ticker, rows in bars.groupby("ticker", sort=True)
            if len(rows)
        ]
