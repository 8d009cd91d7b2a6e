"""`--bptt-k2 auto`: a short first training, its memory measured, a reach set by it."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from forecaster.bptt.memory_profile import SHARES, MemoryProfile, memory_profile
from forecaster.bptt.plan import BPTTPlan
from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.forecasting.data_set import Dataset
from forecaster.models.network import Network
from forecaster.report.memory import MemoryFigures, OverTime, memory_page
from forecaster.settings import DEFAULT_BPTT_K2, TrainSettings

EvaluationCount = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What a version remembers, and the reach that its training should have.

    `days` (T,) are the days of the first of `tickers`; the others' stretches end with the
    fit block too. `bias` is a table with a row per guaranteed reach. `looks` are the select
    losses by update of this training, the first, and of others on the same data, by name.
    """

    version: str
    tickers: tuple[str, ...]
    days: NDArray[np.datetime64]
    plan: BPTTPlan
    tolerance: float
    profile: MemoryProfile
    looks: Mapping[str, EvaluationCount] = field(default_factory=dict)

    @property
    def bias(self) -> pd.DataFrame:
        """Exact bias of the gradient at guaranteed reaches k: stride k, steps 2k."""
        rows = [(b.k1, b.bias, b.cosine, b.noise_ratio) for b in self.profile.biases]
        return pd.DataFrame(rows, columns=["reach", "bias", "cosine", "bias_over_noise"])

    @property
    def effective_memory(self) -> dict[float, int]:
        """The largest lag in trading days at which that share of the gradient is left."""
        return {share: self.profile.effective_memory(share) for share in SHARES}

    @property
    def advice(self) -> str:
        """One sentence: the reach for the tolerance, or why none is advised."""
        advice, advised = self.profile.advice, self.profile.advised
        if advice.days is None or advised is None:
            return (
                f"No --bptt-k2 can be advised for a tolerance of {self.tolerance:.0%}: "
                f"{advice.declined}. {self._remedy}"
            )
        ratio = advised.noise_ratio
        noise = f", {ratio:.2g} of the sampling noise" if ratio == ratio else ""
        return (
            f"For a bias of at most {self.tolerance:.0%}, let every error reach back "
            f"{advice.days} days: --bptt-k1 {advised.k1} --bptt-k2 {2 * advised.k1} "
            f"(measured bias {advised.bias:.2%}{noise})."
        )

    @property
    def _remedy(self) -> str:
        if self.profile.lyapunov > 0.0:
            return "Errors grow as they travel back: keep BPTT truncated, and lower --lr."
        return "Measure more --lags, or train with --bptt full."

    def html(self) -> str:
        """Draw the report as one page that needs no network."""
        profile = self.profile
        left = self.effective_memory.items()
        rows = [f"{share:.0%}: {_days(k, profile.lags)}" for share, k in left]
        own = profile.own
        facts = {
            "plan of this version": self.plan.describe(),
            "its bias": "none" if own is None else f"{own.bias:.2%}",
            "gradient left": ", ".join(rows),
            "decay": f"{profile.decay:.4f} a day, half-life {profile.half_life:.1f} days",
            "Lyapunov exponent": f"{profile.lyapunov:+.4f} a day",
            "noise": f"standard error {profile.relative_noise:.0%} of the gradient's norm",
            "measured on": f"{len(self.tickers)} series ({', '.join(self.tickers)}), "
            f"{len(self.days):,} days {self.days[0]}..{self.days[-1]} of the fit block",
        }
        figures = MemoryFigures(
            days=self.days,
            anchors=profile.anchors,
            by_lag=profile.by_lag,
            curve=profile.curve,
            decay=profile.decay,
            bias=self.bias,
            noise=profile.relative_noise,
            tolerance=self.tolerance,
            steps=self.plan.k2,
            stride=self.plan.k1 or self.plan.k2,
            over_time=OverTime(
                days=self.days,
                growth=profile.growth,
                stretched_days=profile.states.stretched_days,
                stretch=profile.states.stretch,
                norms=profile.states.norms,
                cold=profile.states.cold_start.cold,
                warm=profile.states.cold_start.warm,
                looks=self.looks,
            ),
        )
        title = f"How far back the gradient of {self.version} reaches"
        return memory_page(title, self.advice, facts, profile.alarms, figures)


def _days(lag: int, lags: int) -> str:
    return f"{lag} days or more" if lag == lags else f"{lag} days"


log = logging.getLogger(__name__)

DAYS_AT_MOST, SERIES_AT_MOST = 1500, 16
LAGS, TOLERANCE = 252, 0.1


def check_options(tolerance: float, lags: int) -> None:
    """Refuse numbers that mean nothing, before any work."""
    if not 0.0 < tolerance < 1.0:
        raise UsageError(
            f"--bptt-tolerance {tolerance:g}: give a share above 0 and below 1, such as 0.1."
        )
    if lags < 1:
        raise UsageError(f"--lags {lags}: give at least 1 day.")


def measure(
    version: str,
    network: Network,
    panel: Panel,
    arrays: tuple[np.ndarray, np.ndarray],
    fit: NDArray[np.bool_],
    plan: BPTTPlan,
    *,
    tolerance: float,
    lags: int,
) -> MemoryReport:
    """Measure a network on the last days of the fit block.

    Args:
        version: what to call the network.
        network: of the panel's inputs and targets.
        panel: what the rows are of.
        arrays: (N, F) inputs and (N, K) outcomes, scaled.
        fit: (N,) True on rows whose outcome belongs to the fit block.
        plan: what the network was trained with.
        tolerance: as in `memory`.
        lags: as in `memory`.

    Raises:
        DataError: no series has enough fit days.
    """
    stops = _stops(fit, panel.offsets)
    series, days = _rectangle(stops - panel.offsets[:-1])
    rows = stops[series] - days + np.arange(days)[:, None]  # (T, B)
    x, y = arrays[0][rows], arrays[1][rows]
    mask = fit[rows][..., None] & np.isfinite(y)
    with _one_thread():
        profile = memory_profile(
            copy.deepcopy(network).cpu().double(),  # the far lags are small
            torch.from_numpy(x).double(),
            torch.from_numpy(y).double(),
            torch.from_numpy(mask),
            lags=_lags_within(lags, days),
            tolerance=tolerance,
            plan=plan,
        )
    return MemoryReport(
        version=version,
        tickers=tuple(panel.tickers[s] for s in panel.series[panel.offsets[series]]),
        days=panel.days[rows[:, 0]],
        plan=plan,
        tolerance=tolerance,
        profile=profile,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, then on as many as before.

    On a shared machine two threads wait for each other after every day: 100 times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lags_within(lags: int, days: int) -> int:
    """Keep half of the days for errors with all lags behind them."""
    if days < 4:
        raise DataError(
            f"The fit block holds {days} days of the longest series, too few to measure memory; "
            "fetch a longer period."
        )
    if lags > days // 2:
        log.warning("%d days measured: %d lags, not %d", days, days // 2, lags)
    return min(lags, days // 2)


def _stops(fit: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S,) flat row after each series' last fit row; its first row where there is none."""
    last = np.where(fit, np.arange(1, len(fit) + 1), 0)
    stops: NDArray[np.int64] = np.maximum(np.maximum.reduceat(last, offsets[:-1]), offsets[:-1])
    return stops


def _rectangle(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Choose up to 16 series and one length, so that most days are measured without padding."""
    longest = np.argsort(-lengths, kind="stable")[:SERIES_AT_MOST]
    capped = np.minimum(lengths[longest], DAYS_AT_MOST)
    count = int(np.argmax(capped * np.arange(1, len(capped) + 1))) + 1
    return np.sort(longest[:count]), int(capped[count - 1])


FIRST_UPDATES = 100
# Below a month of days per update a shorter stride saves nothing and makes updates noisier.
LEAST_STRIDE = 21


def with_measured_horizon(
    dataset: Dataset, settings: TrainSettings, fit: Callable[[TrainSettings], Network]
) -> TrainSettings:
    """Replace `bptt_k2 = "auto"` by numbers measured on a network trained shortly.

    Args:
        material: what is trained on; only its fit block is measured.
        settings: with `bptt_k2` "auto".
        fit: trains a fresh network as settings say.

    Raises:
        UsageError: the memory exceeds what was measured; the text names what to give instead.
    """
    updates = min(FIRST_UPDATES, settings.max_steps)
    plan = BPTTPlan.truncated(k2=DEFAULT_BPTT_K2)
    changes = {"bptt_k2": None, "max_steps": updates}
    network = fit(settings.model_copy(update=changes))
    report = measure(
        "first stage",
        network,
        dataset.panel,
        (dataset.inputs, dataset.y),
        np.asarray(dataset.rows(0).any(axis=1)),
        plan,
        tolerance=settings.bptt_tolerance or TOLERANCE,
        lags=LAGS,
    )
    days = report.profile.advice.days
    if days is None:
        raise UsageError(_refusal(report))
    stride = max(days, LEAST_STRIDE)
    log.info(
        "bptt    auto: after %d updates a reach of %d days keeps the bias below %.3g %%: "
        "--bptt-k1 %d --bptt-k2 %d",
        *(updates, days, 100 * report.tolerance, stride, 2 * stride),
    )
    return settings.model_copy(update={"bptt_k2": 2 * stride, "bptt_k1": stride})


def _refusal(report: MemoryReport) -> str:
    lags, why = report.profile.lags, report.profile.advice.declined
    remedy = f"Use --bptt full, or --bptt-k1 {lags} --bptt-k2 {2 * lags}"
    if report.profile.lyapunov > 0.0:
        remedy = f"Errors explode: use --bptt-k2 {DEFAULT_BPTT_K2} and a lower --lr"
    return f"--bptt-k2 auto declines: {why}. {remedy}, or raise --bptt-tolerance."
