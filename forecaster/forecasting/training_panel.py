"""The panel that a training reads: from a table, from the store, or from what it left behind.

A large panel is kept under `data/cache/`, by everything that it was made of, and mapped into
memory the next time.  What is there may be deleted at any time, and never matters: a panel that
is damaged, of other prices or of other code is made anew, and one that cannot be kept is not.
"""

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pandas as pd

import forecaster.data
from forecaster import clock
from forecaster.data.history import Fingerprint, History, fingerprint, normalise_tickers
from forecaster.data.loading import load_histories, stored_histories
from forecaster.data.panel import TARGETS, Panel, build_panel, series_rows
from forecaster.data.panel_file import DamagedPanelError, PanelWriter, read_about, read_panel
from forecaster.data.store import PriceStore
from forecaster.forecasting.data_set import days_needed, long_enough, warn_of_short
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)

WORTH_ROWS: Final = 1_000_000  # fewer are computed faster than anyone would notice
KEPT: Final = 2  # panels; another selection of tickers or another day is another one
_UNFINISHED: Final = ".unfinished-"
_ABANDONED: Final = 24 * 3600  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPanel:
    """A panel, the hash of the bars that it was made of, and the tickers left out as too short."""

    panel: Panel
    fingerprint: str
    skipped: tuple[str, ...]


def training_panel(
    bars: pd.DataFrame | None,
    home: Path,
    tickers: Sequence[str],
    as_of: date | None,
    settings: TrainSettings,
) -> TrainingPanel:
    """Build the panel for a training, or take the one that was built before from the same bars.

    Args:
        bars: a caller's own long table, or None for the store of this home.
        home: the workspace.
        tickers: which; none means all there are.
        as_of: last session to be seen; None for all.
        settings: the targets, and how many days a ticker needs.

    Raises:
        DataError: a bar cannot be, or no ticker is long enough.
        UnknownNameError: a ticker is not there, or nothing is.
        UsageError: `as_of` lies in the future, or a ticker is malformed.
    """
    if bars is None:
        found = _large(home, tickers, as_of, settings)
        if found is not None:
            return found
    histories, skipped = long_enough(load_histories(bars, home, tickers, as_of), settings)
    names = [history.listing.ticker for history in histories]
    panel = build_panel(histories, settings.target, universe=names if len(names) > 1 else None)
    return TrainingPanel(panel=panel, fingerprint=fingerprint(histories), skipped=tuple(skipped))


def _large(
    home: Path, tickers: Sequence[str], as_of: date | None, settings: TrainSettings
) -> TrainingPanel | None:
    """Map a kept panel, or make and keep one; None where it is small or cannot be kept."""
    clock.check_as_of(as_of)
    wanted = normalise_tickers(tickers)
    with PriceStore.open_for_reading(home) as store:
        names = sorted(set(wanted)) or store.tickers()
        about = _about(store, wanted, names, as_of, settings)
        place = home / "data" / "cache" / f"panel-{_hash(about)}"
        found = _kept(place, about, settings)
        if found is not None or store.count_bars(names, as_of) < WORTH_ROWS:
            return found
        try:
            _make(store, names, as_of, place, about)
            return _kept(place, about, settings)
        except (OSError, _UnusableError) as error:
            log.info("the panel is not kept for the next time: %s", error)
            return None


class _UnusableError(Exception):
    """A ticker has no bar, or none is long enough: the usual way tells of it."""


def _about(
    store: PriceStore,
    wanted: Sequence[str],
    names: Sequence[str],
    as_of: date | None,
    settings: TrainSettings,
) -> dict[str, Any]:
    """Tell everything that a panel is made of."""
    marks = json.dumps([names, store.marks(names)])
    return {
        "named": sorted(set(wanted)),
        "prices": hashlib.sha256(marks.encode()).hexdigest(),
        "as_of": as_of.isoformat() if as_of else None,
        "days_needed": days_needed(settings),
        "code": _code(),
    }


@cache
def _code() -> str:
    """Hash what computes a panel: our code, the libraries, and how this machine rounds."""
    digest = hashlib.sha256()
    folder = Path(next(iter(forecaster.data.__path__)))
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    for name in ("numpy", "pandas", "exchange_calendars"):
        digest.update(f"{name} {version(name)} {platform.machine()}".encode())
    canary = np.log(np.arange(1.0, 4097.0) / 7.0)
    digest.update(canary.tobytes() + np.exp(canary).tobytes())
    return digest.hexdigest()


def _hash(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def _kept(place: Path, about: dict[str, Any], settings: TrainSettings) -> TrainingPanel | None:
    """Map a panel that was kept; None where there is none, or none that can be believed."""
    if not place.is_dir():
        return None
    try:
        told = read_about(place)
        if told["made_of"] != about:
            raise DamagedPanelError(f"{place}: is of something else")
        panel = read_panel(place, settings.target)
    except DamagedPanelError as error:
        log.warning("a kept panel is damaged and made anew: %s", error)
        return None
    warn_of_short(told["short"], settings)
    _mark_used(place)
    return TrainingPanel(
        panel=panel,
        fingerprint=told["fingerprint"],
        skipped=tuple(name for name, _ in told["short"]),
    )


def _make(
    store: PriceStore, names: Sequence[str], as_of: date | None, place: Path, about: dict[str, Any]
) -> None:
    """Write a panel beside its place, a few tickers at a time, and move it there when whole."""
    unfinished = place.with_name(f"{_UNFINISHED}{uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        with PanelWriter(unfinished) as writer:
            _write(writer, stored_histories(store, names, as_of), about)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _prune(place)


def _write(writer: PanelWriter, histories: Iterable[History], about: dict[str, Any]) -> None:
    found, short = Fingerprint(), []
    for history in histories:
        ticker, days = history.listing.ticker, len(history.bars)
        if days == 0 and ticker in about["named"]:
            raise _UnusableError(f"{ticker} has no bar there")
        if days >= about["days_needed"]:
            found.add(history)
            writer.add(series_rows(history, TARGETS))
        elif days:
            short.append((ticker, days))
    if not writer.tickers:
        raise _UnusableError("no ticker is long enough")
    writer.finish({"made_of": about, "fingerprint": found.text, "short": short})


def _mark_used(place: Path) -> None:
    try:
        os.utime(place)
    except OSError:  # a read-only home forgets what was used last
        pass


def _prune(kept: Path) -> None:
    """Delete the panels used longest ago, and what a killed process left behind."""
    try:
        folders = sorted(kept.parent.glob("panel-*"), key=lambda path: -path.stat().st_mtime)
        old = [path for path in folders if path != kept][KEPT - 1 :]
        limit = clock.now().timestamp() - _ABANDONED
        left = kept.parent.glob(f"{_UNFINISHED}*")
        old += [path for path in left if path.stat().st_mtime < limit]
    except OSError:
        return
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
