"""What a version remembers of a ticker after a bar: enough to forecast the next and to go on.

Every next-session forecast is made from such states. A state is made from a whole history, or from
an earlier state and the bars since; the two differ by rounding alone. Knows no file.

Shape letters: N rows of the panel, S series, K targets, M members, R raw outputs of all targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import (
    POOLED_WINDOWS,
    Adaptive,
    Intervals,
    Track,
    next_intervals,
    pooled,
    uncalibrated_intervals,
    updated_tracks,
)
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.forecasting.fitted_model import (
    FittedModel,
    forecast_rows,
    mixture_of_members,
    shrink,
)
from forecaster.forecasting.forecast_tables import TargetForecast, interval_sources
from forecaster.forecasting.plausibility import absurd_values, refuse_damaged
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network
from forecaster.training.inference import forecast_from

Cells = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TickerState:
    """A version's memory of one ticker after its bar of a `day`.

    `able`: a complete window lies behind it. `level`, `low` and `high` (K,) are each target's level
    and the extremes of all days. `raw` (M, R) are the members' raw outputs, shrunk; `cells` their
    recurrent states, arrays (Y, H). `tracks` (K) are those of the intervals; they are `whole` if
    they have every outcome since the training, not only the last ones.
    """

    ticker: str
    day: np.datetime64
    close: float
    able: bool
    level: np.ndarray
    low: np.ndarray
    high: np.ndarray
    raw: np.ndarray
    cells: tuple[Cells, ...]
    tracks: tuple[Track, ...]
    whole: bool

    @property
    def is_young(self) -> bool:
        """Whether an interval depends on the outcomes of other tickers, for want of its own."""
        return self.able and any(len(one.known) < Adaptive().least for one in self.tracks)


def advance(
    model: FittedModel, panel: Panel, before: Mapping[str, TickerState]
) -> list[TickerState]:
    """Make the states after each series' newest row, from those `before` or from its first row.

    A series with an earlier state must have that day's row and at least one later row, and as many
    rows before as the inputs of later ones read.
    """
    earlier = [before.get(ticker) for ticker in panel.tickers]
    begin = panel.series_offsets[:-1].copy()
    for number, (start, stop) in enumerate(pairwise(panel.series_offsets)):
        if (state := earlier[number]) is not None:
            begin[number] += 1 + np.searchsorted(panel.days[start:stop], state.day)
    raws, cells = _run(model, panel, begin, earlier)
    tracks = _tracks(model, panel, begin, earlier, raws)
    starts, newest, able = panel.series_offsets[:-1], panel.newest, model.forecastable(panel)
    low, high = (f.reduceat(panel.today, starts, axis=0) for f in (np.fmin, np.fmax))
    return [
        TickerState(
            ticker=ticker,
            day=panel.days[row],
            close=float(panel.close[row]),
            able=bool(able[row]),
            level=panel.level[row],
            low=low[number] if state is None else np.fmin(low[number], state.low),
            high=high[number] if state is None else np.fmax(high[number], state.high),
            raw=np.stack([raw[row] for raw in raws]),
            cells=cells[number],
            tracks=tuple(by_series[number] for by_series in tracks),
            whole=state is None or state.whole,
        )
        for number, (ticker, row, state) in enumerate(
            zip(panel.tickers, newest, earlier, strict=True)
        )
    ]


def _run(
    model: FittedModel,
    panel: Panel,
    begin: NDArray[np.int64],
    earlier: Sequence[TickerState | None],
) -> tuple[list[np.ndarray], list[tuple[Cells, ...]]]:
    """Return each member's raw outputs (N, R) from the last row known before, and cells (S)."""
    inputs = model.reader.inputs(panel)
    base = model.reader.base_outputs(inputs)
    rows = model.rows_since_training(panel) & (np.arange(len(inputs)) >= begin[panel.series])
    cells: list[tuple[Cells, ...]] = [()] * len(earlier)
    raws = []
    if not model.networks:
        raws.append(np.where(rows[:, None], base, np.nan))
    for member, network in enumerate(model.networks):
        if isinstance(model.lookback, int):
            tensor = torch.from_numpy(inputs)
            raw = forecast_rows(network, tensor, panel.offsets, model.lookback, rows)
        else:
            starts = [one.cells[member] if one and one.cells else () for one in earlier]
            raw, ends = _run_histories(network, inputs, panel, begin, starts)
            raw = np.where(rows[:, None], raw, np.nan)
            cells = [(*before, end) for before, end in zip(cells, ends, strict=True)]
        raws.append(shrink(raw, base, model.forms, model.shrinkage))
    for number, state in enumerate(earlier):
        if state is not None:
            for raw, known in zip(raws, state.raw, strict=True):
                raw[begin[number] - 1] = known
    return raws, cells


def _run_histories(
    network: Network,
    inputs: np.ndarray,
    panel: Panel,
    begin: NDArray[np.int64],
    starts: Sequence[Cells],
) -> tuple[np.ndarray, list[Cells]]:
    """Run a network through the new rows of each segment; return its outputs and last cells."""
    first, stop = panel.offsets[:-1], panel.offsets[1:]
    series = panel.series[first]
    new = np.flatnonzero(begin[series] < stop)
    first, stop, series = first[new], stop[new], series[new]
    goes_on = begin[series] > first  # the row before is of the same segment
    state = network.initial_state(len(new))
    with torch.no_grad():
        tensors = [tensor.clone() for tensor in state.tensors]
    for place in np.flatnonzero(goes_on):
        for tensor, values in zip(tensors, starts[series[place]], strict=True):
            tensor[:, place] = torch.from_numpy(values)
    begins = np.maximum(first, begin[series])
    ends: dict[int, RecurrentState] = {}
    start = RecurrentState(tuple(tensors))
    raw = forecast_from(network, torch.from_numpy(inputs), begins, stop - begins, start, ends)
    last = np.searchsorted(series, np.arange(len(starts)), side="right") - 1
    return raw, [
        tuple(tensor[:, 0].cpu().numpy() for tensor in ends[int(place)].tensors) for place in last
    ]


def _tracks(
    model: FittedModel,
    panel: Panel,
    begin: NDArray[np.int64],
    earlier: Sequence[TickerState | None],
    raws: Sequence[np.ndarray],
) -> list[list[Track]]:
    """Add the outcomes of all forecasts since the training to each target's tracks (S)."""
    known = np.array([state is not None for state in earlier])
    since = begin - known  # the last forecast's outcome has come
    rows = model.rows_since_training(panel) & (np.arange(len(panel.days)) >= since[panel.series])
    numbers, found = np.flatnonzero(rows), []
    made = mixture_of_members([raw[numbers] for raw in raws], model.forms, model.target_scaler)
    for k, forecasts in enumerate(made):
        wanted = np.flatnonzero(np.isfinite(forecasts.mean()))
        part = numbers[wanted]
        tracks = [Track.empty() if state is None else state.tracks[k] for state in earlier]
        arrays = (panel.series[part], panel.days[part], panel.outcome_days[part])
        found.append(updated_tracks(forecasts.take(wanted), panel.y[part, k], *arrays, tracks))
    return found


def newest_panel(targets: Sequence[str], states: Sequence[TickerState]) -> Panel:
    """Build a panel of one row per ticker, its newest, with what is known of it."""
    offsets, level = np.arange(len(states) + 1), np.stack([one.level for one in states])
    days = np.array([one.day for one in states])
    return Panel(
        tickers=tuple(one.ticker for one in states),
        series_offsets=offsets,
        offsets=offsets,
        days=days,
        outcome_days=np.full_like(days, np.datetime64("NaT")),
        close=np.array([one.close for one in states]),
        columns={},
        targets=tuple(targets),
        today=np.full_like(level, np.nan),
        level=level,
        y=np.full_like(level, np.nan),
    )


def forecast_next(
    model: FittedModel, states: Sequence[TickerState], everyone: Sequence[TickerState]
) -> dict[str, TargetForecast]:
    """Forecast the session after each state, S forecasts by target.

    A young ticker's intervals are those of the outcomes of `everyone`.
    """
    tickers, made = np.array([one.ticker for one in states]), {}
    raws = np.stack([one.raw for one in states], axis=1)
    found = mixture_of_members(list(raws), model.forms, model.target_scaler)
    for k, (target, newest) in enumerate(zip(model.targets, found, strict=True)):
        tracks, others = [one.tracks[k] for one in states], [one.tracks[k] for one in everyone]
        least = Adaptive().least
        pools = [
            mine if len(mine.known) >= least else pooled(others, one.day)
            for one, mine in zip(states, tracks, strict=True)
        ]
        calibrated = model.calibrated(target, newest, tickers)
        made[target] = TargetForecast(
            forecaster=model.network_name,
            center=newest.mean(),
            distribution=calibrated,
            intervals=_served(newest, calibrated, tracks, pools),
            interval_source=interval_sources(model.calibration.get(target, {}), tickers),
            trained_on=np.isin(tickers, model.tickers),
        )
    return made


def _served(
    newest: Predictive, calibrated: Predictive, tracks: Sequence[Track], pools: Sequence[Track]
) -> Intervals:
    """Compute the intervals served; those of the validation days stand in for unknown ones."""
    drawn = next_intervals(newest, tracks, pools).bounds
    few = np.array([len(pool.known) < Adaptive().least for pool in pools])
    unknown = few & isinstance(newest, Point)  # nothing but outcomes determines a width
    return Intervals(
        {
            coverage: np.where(unknown[:, None] | np.isnan(drawn[coverage]), ends, drawn[coverage])
            for coverage, ends in uncalibrated_intervals(calibrated).bounds.items()
        }
    )


def lacks_outcomes(young: Sequence[TickerState], everyone: Sequence[TickerState]) -> bool:
    """Whether the tracks of `everyone` have lost outcomes that young tickers' intervals read."""
    most = POOLED_WINDOWS * Adaptive().window
    for one_young in young:
        for k in range(len(one_young.tracks)):
            pool = pooled([one.tracks[k] for one in everyone], one_young.day).known
            cut = [one.tracks[k].known[0] for one in everyone if not one.whole]
            if cut and (len(pool) < most or max(cut) > pool[0]):
                return True
    return False


def absurd_states(
    model: FittedModel, states: Sequence[TickerState], made: Mapping[str, TargetForecast]
) -> dict[str, str]:
    """Explain, by ticker, which next-session forecasts are absurd; see `absurd_forecasts`.

    Raises:
        ArtifactError: most of them are.
    """
    able, found = np.array([one.able for one in states]), dict[str, str]()
    tickers = [one.ticker for one in states]
    for k, (target, forecast) in enumerate(made.items()):
        level, low, high = (
            np.array([getattr(one, name)[k] for one in states]) for name in ("level", "low", "high")
        )
        ready = able & np.isfinite(level)
        found |= absurd_values(tickers, target, forecast.center + level, (low, high), ready)
    refuse_damaged(model.version, found.values(), int(able.sum()))
    return found
