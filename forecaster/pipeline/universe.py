"""The prices of the tickers that a version was trained on."""

import logging
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.data.bars import History
from forecaster.data.fingerprint import fingerprint
from forecaster.errors import DataError
from forecaster.pipeline.prices import held_tickers, load_histories
from forecaster.pipeline.table import some
from forecaster.registry.manifest import Manifest

log = logging.getLogger(__name__)


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


def compare_fingerprint(manifest: Manifest, histories: list[History]) -> None:
    """Say when the bars that the version was trained on have changed since."""
    last = pd.Timestamp(manifest.data.blocks.last)
    seen = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in histories]
    if fingerprint(seen) != manifest.data.fingerprint:
        log.warning(
            "the bars until %s are not the ones that version %s was trained on",
            *(last.date(), manifest.version),
        )
