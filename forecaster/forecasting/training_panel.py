"""The panel that a training reads: the histories that are long enough, read once into arrays."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.data.features import TRAILING_DAYS
from forecaster.data.history import Fingerprint, History
from forecaster.data.loading import iter_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import DataError
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)


def training_panel(
    bars: pd.DataFrame | None,
    home: Path,
    tickers: Sequence[str],
    as_of: date | None,
    settings: TrainSettings,
) -> tuple[Panel, str, tuple[str, ...]]:
    """Build the panel for a training.

    Args:
        bars: a caller's own long table, or None for the store of this home.
        home: the workspace.
        tickers: none means all there are.
        as_of: last session to be read; None for all.
        settings: the targets, and how many days a ticker needs.

    Returns:
        The panel, the hash of its bars, and the tickers left out as too short.

    Raises:
        DataError: a bar cannot be, or no ticker is long enough.
        UnknownNameError: a ticker is not there, or nothing is.
        UsageError: `as_of` lies in the future, or a ticker is malformed.
    """
    digest, skipped = Fingerprint(), list[str]()
    found = long_enough(iter_histories(bars, home, tickers, as_of), settings, skipped)
    panel = build_panel(digest.watch(found), settings.target, universe="all")
    return panel, digest.text, tuple(skipped)


def long_enough(
    histories: Iterable[History], settings: TrainSettings, skipped: list[str] | None = None
) -> Iterator[History]:
    """Yield the histories that are long enough for one scored window; warn of the others.

    Args:
        histories: read once.
        settings: the lookback.
        skipped: receives the tickers of the others.

    Raises:
        DataError: none is long enough.
    """
    lookback = settings.lookback if isinstance(settings.lookback, int) else 0
    needed = max(lookback, TRAILING_DAYS) + 1
    remedy = "Fetch a longer period" + (" or lower --lookback." if lookback else ".")
    short: list[tuple[str, int]] = []
    some = False
    for history in histories:
        days = len(history.bars)
        if days >= needed:
            some = True
            yield history
        else:
            short.append((history.listing.ticker, days))
    if not some:
        texts = "; ".join(f"{ticker}: {days} trading days" for ticker, days in short[:3])
        raise DataError(
            f"{texts}; --lookback {settings.lookback} needs at least {needed}. {remedy}"
        )
    for ticker, days in short:
        log.warning(
            "%s: %d trading days, too few for %d; left out. %s", ticker, days, needed, remedy
        )
    if skipped is not None:
        skipped += [ticker for ticker, _ in short]
