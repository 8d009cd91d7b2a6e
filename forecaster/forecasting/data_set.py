"""The data set of one training: its panel, split in time, scales and segments.

Shape letters: N rows of the panel, F inputs, K targets, R raw outputs, S series.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.columns import TRAILING_DAYS
from forecaster.data.history import Fingerprint, History, normalise_tickers
from forecaster.data.loading import Bars, iter_histories, known_tickers, read_bars
from forecaster.data.panel import MOST_EQUAL, Panel, build_panel
from forecaster.data.scaling import Scaler
from forecaster.data.sequence_packing import (
    PackedSequences,
    WindowBatches,
    pack_sequences,
    window_ends,
)
from forecaster.errors import DataError, name_some, work_without_failing
from forecaster.evaluation.splits import Split, split_by_time
from forecaster.evaluation.threads import one_thread
from forecaster.forecasting.base_model import Base, Kind, fit_base
from forecaster.forecasting.fitted_model import FittedModel, InputReader, forecastable_rows
from forecaster.models.heads import form_of
from forecaster.models.network import Network
from forecaster.settings import TrainSettings
from forecaster.training.epoch import Epoch
from forecaster.training.inference import forecast_histories, forecast_windows

log = logging.getLogger(__name__)

LINEAR_FROM_DAYS = 5 * 252
# Of one ticker at least, after the warm-up: a network learns nothing from a month.
LEAST_DAYS = {"training": 60, "validation": 5}

_NEEDED = {
    "return": "two closes in a row",
    "range": "a high above the low",
    "volume": "a volume above 0",
}


def training_panel(
    bars: Bars | None,
    home: Path,
    tickers: str | Sequence[str],
    as_of: date | None,
    settings: TrainSettings,
) -> tuple[Panel, str, tuple[str, ...]]:
    """Build the panel for a training, reading histories once; see `iter_histories`.

    Returns:
        The panel, the hash of its bars, and the tickers left out: too short, or their bars cause
        an unexpected exception.

    Raises:
        BugError, TickerBugError: no ticker is left.
    """
    given = None if bars is None else read_bars(bars, own=settings.targets)
    wanted = sorted(set(normalise_tickers(tickers)) or known_tickers(given, home))

    def work(names: Sequence[str]) -> tuple[Panel, str, list[str]]:
        digest, skipped = Fingerprint(settings.targets), list[str]()
        asked = tickers if len(names) == len(wanted) else names
        found = long_enough(iter_histories(given, home, asked, as_of), settings, skipped)
        panel = build_panel(digest.watch(found), settings.targets, universe="all")
        return panel, digest.text, skipped

    (panel, text, short), bugs = work_without_failing(wanted, work)
    for error in bugs.values():
        log.warning("%s; left out", error)
    return panel, text, (*short, *bugs)


def long_enough(
    histories: Iterable[History], settings: TrainSettings, skipped: list[str] | None = None
) -> Iterator[History]:
    """Yield the histories that are long enough for one scored window; warn of the others.

    `skipped` receives the tickers of the others. Raises DataError if none is long enough.
    """
    lookback = settings.lookback if isinstance(settings.lookback, int) else 0
    needed = max(lookback, TRAILING_DAYS) + 1
    remedy = "Fetch a longer period" + (" or lower --lookback." if lookback else ".")
    short, some = dict[str, int](), False
    for history in histories:
        if len(history.bars) >= needed:
            some = True
            yield history
        else:
            short[history.listing.ticker] = len(history.bars)
    if not some:
        texts = [f"{ticker}: {days} trading days" for ticker, days in short.items()]
        raise DataError(
            f"{'; '.join(texts[:3])}; --lookback {settings.lookback} needs at least {needed}. "
            f"{remedy}"
        )
    for ticker, days in short.items():
        log.warning(
            "%s: %d trading days, too few for %d; left out. %s", ticker, days, needed, remedy
        )
    if skipped is not None:
        skipped.extend(short)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A panel with the model to be trained on it: split, scales and base, without networks.

    `inputs` (N, F) are what the model reads, `y` (N, K) the scaled outcomes. `usable` (N,) marks
    rows that the network can forecast: all, or those with a complete window behind them.
    """

    panel: Panel
    model: FittedModel
    inputs: NDArray[np.float32]
    y: NDArray[np.float32]
    usable: NDArray[np.bool_]

    def rows(self, part: int) -> NDArray[np.bool_]:
        """Select (N, K) the known outcomes of part 0 (train), 1 (validation) or 2 (test)."""
        chosen = self.model.split.masks(self.panel.outcome_days)[part] & self.usable
        scored: NDArray[np.bool_] = chosen[:, None] & np.isfinite(self.panel.y)
        return scored


def prepare_dataset(panel: Panel, settings: TrainSettings) -> Dataset:
    """Split a panel at the dates of the settings and scale it; see `build_dataset`."""
    _require_quantities(panel)
    split = split_by_time(
        panel.days, train_until=settings.train_until, validation_until=settings.validation_until
    )
    return build_dataset(panel, split, settings)


@one_thread()
def build_dataset(
    panel: Panel, split: Split, settings: TrainSettings, base: Base | None = None
) -> Dataset:
    """Fit the scales and the base of a panel on the training days of a split.

    The split overrides the dates of the settings; rows after its validation days are not read. A
    `base` fitted on just these days with these settings saves the work.

    Raises:
        DataError: a target has too few training or validation days, or does not move on them.
    """
    usable = forecastable_rows(panel.offsets, settings.lookback)
    train, validation, _ = split.masks(panel.outcome_days)
    parts = {"training": train & usable, "validation": validation & usable}
    panel = _without_constants(panel, parts)
    _require_days(panel, parts, split, settings)
    target_scaler = Scaler.fit(panel.y, train & usable)
    y = target_scaler.apply_target(panel.y)
    forms = tuple(form_of(head, settings.point_loss) for head in settings.heads)
    kind = _kind_of_base(settings, panel.days[train & usable])
    if kind is None:
        base = None
    elif base is None:
        base = fit_base(kind, panel, (train & usable)[:, None] & np.isfinite(y), y, forms)
    reader = InputReader.of(panel, split.train_until, base)
    model = FittedModel(
        targets=panel.targets,
        tickers=panel.tickers,
        cross_section=len(panel.tickers) > 1,
        split=split,
        network_name=settings.model,
        networks=(),
        lookback=settings.lookback,
        reader=reader,
        target_scaler=target_scaler,
        forms=forms,
        shrinkage=np.zeros(len(forms)),
        calibration={},
    )
    return Dataset(panel=panel, model=model, inputs=reader.inputs(panel), y=y, usable=usable)


def _without_constants(panel: Panel, parts: dict[str, NDArray[np.bool_]]) -> Panel:
    """Leave out the targets of a series that mostly have one value in a part."""
    y = panel.y
    for part, rows in parts.items():
        shares = panel.equal_shares(rows)
        for number, k in np.argwhere(shares > MOST_EQUAL).tolist():
            y = panel.y.copy() if y is panel.y else y
            y[(panel.series == number) & rows, k] = np.nan
            log.warning(
                "%s: %s is the same on %.0f %% of its %s days; not used there",
                *(panel.tickers[number], panel.targets[k], 100 * shares[number, k], part),
            )
    return replace(panel, y=y)


def _require_days(
    panel: Panel, parts: dict[str, NDArray[np.bool_]], split: Split, settings: TrainSettings
) -> None:
    """Refuse a target without a series of `LEAST_DAYS` outcomes in each part."""
    for part, rows in parts.items():
        scored = np.isfinite(panel.y) & rows[:, None]
        days = np.add.reduceat(scored, panel.series_offsets[:-1], axis=0, dtype=np.int64).max(
            axis=0, initial=0
        )
        short = int(np.argmin(days))
        if days[short] < LEAST_DAYS[part]:
            raise DataError(
                f"The {part} days (train until {split.train_until}, validation until "
                f"{split.validation_until}) have {days[short]} days with a "
                f"{panel.targets[short]} that moves, after {TRAILING_DAYS} days of warm-up and "
                f"--lookback {settings.lookback}; {LEAST_DAYS[part]} are needed. Fetch a longer "
                "period, lower --lookback or move --train-until."
            )


def _kind_of_base(settings: TrainSettings, train_days: NDArray[np.datetime64]) -> Kind | None:
    """Choose the base model; with under five years a hundred weights are noise."""
    if settings.base == "auto":
        return "linear" if len(np.unique(train_days)) >= LINEAR_FROM_DAYS else "har"
    return None if settings.base == "none" else settings.base


def _require_quantities(panel: Panel) -> None:
    """Refuse a target without a single day in any ticker; warn of the tickers without."""
    for target, today in zip(panel.targets, panel.today.T, strict=True):
        days = np.bincount(panel.series[np.isfinite(today)], minlength=len(panel.tickers))
        lacking = [ticker for ticker, count in zip(panel.tickers, days, strict=True) if not count]
        if not lacking:
            continue
        needed = _NEEDED.get(target, f"numbers in a column {target}")
        text = f"{target} needs {needed}; {name_some(lacking)}: none on any day"
        if len(lacking) == len(panel.tickers):
            remedy = f"Import such prices, or leave {target} out of --target."
            if target not in _NEEDED:
                remedy = f"Run: forecaster data import FILE --keep {target}"
            raise DataError(f"{text}. {remedy}")
        log.warning("%s; not trained on there", text)


def epoch_batches(dataset: Dataset, settings: TrainSettings) -> Callable[[int], Epoch]:
    """Return a function that draws an epoch by seed and number: windows, or packed histories."""
    panel, lookback = dataset.panel, settings.lookback
    scored = np.asarray(dataset.rows(0).any(axis=1))
    if isinstance(lookback, int):
        ends = window_ends(panel.offsets, lookback, scored)
        return lambda number: WindowBatches.drawn(
            ends, lookback, settings.batch, np.random.default_rng((settings.seed, number))
        )
    first, stop = panel.offsets[:-1], last_stops(scored, panel.offsets)
    longest = longest_history(dataset)
    chunk = min(settings.bptt_k1 or settings.horizon or longest, longest)

    def packed(number: int) -> PackedSequences:
        generator = np.random.default_rng((settings.seed, number))
        # A new phase each epoch: else the same days always start a chunk, where errors go back 0.
        # A chunk that holds the longest history is full BPTT, which has no phase.
        phase = chunk if chunk == longest else int(generator.integers(1, chunk + 1))
        return pack_sequences(first, stop, settings.batch_rows, chunk, generator, phase)

    return packed


def longest_history(dataset: Dataset) -> int:
    """Count the days of the longest series, up to its last training day."""
    offsets = dataset.panel.offsets
    stops = last_stops(np.asarray(dataset.rows(0).any(axis=1)), offsets)
    return int((stops - offsets[:-1]).max())


def last_stops(scored: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the flat row after each series' last scored row, (S,); its first row without any."""
    last = np.where(scored, np.arange(1, len(scored) + 1), 0)
    stops: NDArray[np.int64] = np.maximum(np.maximum.reduceat(last, offsets[:-1]), offsets[:-1])
    return stops


def validation_loss(
    dataset: Dataset, settings: TrainSettings, inputs: torch.Tensor, y: np.ndarray
) -> Callable[[Network], float]:
    """Return a function that computes the head's own loss on the validation days, in scaled units.

    `inputs` (N, F) are the data set's, on the network's device.
    """
    panel, rows, lookback = dataset.panel, dataset.rows(1), settings.lookback
    scored = np.asarray(rows.any(axis=1))
    if isinstance(lookback, int):
        ends = window_ends(panel.offsets, lookback, scored)
        return lambda network: _mean_loss(
            network, forecast_windows(network, inputs, ends, lookback), y[ends], rows[ends]
        )
    # Rows after the validation days would be forecast for nothing.
    stops = last_stops(scored, panel.offsets)
    return lambda network: _mean_loss(
        network, forecast_histories(network, inputs, panel.offsets, stops), y, rows
    )


def _mean_loss(network: Network, raw: np.ndarray, outcome: np.ndarray, known: np.ndarray) -> float:
    chosen = known.any(axis=1)
    losses = network.head.loss(
        torch.from_numpy(raw[chosen]),
        torch.from_numpy(np.where(known[chosen], outcome[chosen], 0.0).astype(np.float64)),
    )
    return float(losses.numpy()[known[chosen]].mean())
