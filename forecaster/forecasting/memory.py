"""The gradient horizon of a trained network, and `--bptt-k2 auto`, which sets k2 by it.

Shape letters: N rows of the panel, S series, T days measured, F inputs, K targets.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from forecaster.bptt.batch import Batch
from forecaster.bptt.horizon import effective_memory
from forecaster.bptt.lags import trajectory
from forecaster.bptt.memory_profile import SHARES, MemoryProfile, memory_profile
from forecaster.bptt.plan import Plan
from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.forecasting.data_set import Dataset, last_stops
from forecaster.forecasting.fitting import fit_ensemble, new_network
from forecaster.models.network import Network
from forecaster.settings import DEFAULT_BPTT_K2, TrainSettings

log = logging.getLogger(__name__)

DAYS_AT_MOST, SERIES_AT_MOST = 1500, 16
LAGS, TOLERANCE = 252, 0.1
FIRST_STEPS = 100
# Below a month of days per step a smaller k1 saves nothing and makes steps noisier.
LEAST_K1 = 21

ValidationLosses = Sequence[tuple[int, float]]  # by optimizer step


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """The memory of a version, and the gradient horizon that its training should have.

    `days` (T,) are the days of the first of `tickers`. `validations` are the validation losses by
    optimizer step of this training, the first, and of others on the same data, by name.
    """

    tickers: tuple[str, ...]
    days: NDArray[np.datetime64]
    plan: Plan
    tolerance: float
    profile: MemoryProfile
    version: str = ""
    validations: Mapping[str, ValidationLosses] = field(default_factory=dict)

    def __repr__(self) -> str:
        left = ", ".join(f"{share:.0%}: {lag}" for share, lag in self.effective_memory.items())
        return (
            f"MemoryReport of version {self.version}: {len(self.days)} days, "
            f"{len(self.tickers)} tickers\n{self.plan.describe()}\n"
            f"lag with so much of the gradient left: {left}\n" + "\n".join(wrap(self.advice, 90))
        )

    @property
    def bias(self) -> pd.DataFrame:
        """Exact bias of the gradient by guaranteed horizon k: k1 = k, k2 = 2k."""
        rows = [(b.k1, b.bias, b.cosine, b.noise_ratio) for b in self.profile.biases]
        return pd.DataFrame(rows, columns=["horizon", "bias", "cosine", "bias_over_noise"])

    @property
    def effective_memory(self) -> dict[float, int]:
        """The largest lag in trading days at which that share of the gradient is left."""
        return {share: effective_memory(self.profile.curve, share) for share in SHARES}

    @property
    def advice(self) -> str:
        """One sentence: the gradient horizon for the tolerance, or why none is advised."""
        advice, advised = self.profile.advice, self.profile.advised
        if advice.days is None or advised is None:
            remedy = "Measure more --lags, or train with --bptt full."
            if self.profile.lyapunov > 0.0:
                remedy = "Gradients grow on their way back: keep BPTT truncated, and lower --lr."
            return (
                f"No --bptt-k2 can be advised for a tolerance of {self.tolerance:.0%}: "
                f"{advice.declined}. {remedy}"
            )
        ratio = advised.noise_ratio
        noise = f", {ratio:.2g} of the sampling noise" if ratio == ratio else ""
        return (
            f"For a bias of at most {self.tolerance:.0%}, guarantee a gradient horizon of "
            f"{advice.days} days: --bptt-k1 {advised.k1} --bptt-k2 {2 * advised.k1} "
            f"(measured bias {advised.bias:.2%}{noise})."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """The relative bias that the advised horizon may have, and the days back that are measured."""

    tolerance: float = TOLERANCE
    lags: int = LAGS

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            words = "give a share above 0 and below 1, such as 0.1."
            raise UsageError(f"--bptt-tolerance {self.tolerance:g}: {words}")
        if self.lags < 1:
            raise UsageError(f"--lags {self.lags}: give at least 1 day.")


def measure(
    network: Network,
    panel: Panel,
    arrays: tuple[np.ndarray, np.ndarray],
    train: NDArray[np.bool_],
    plan: Plan,
    options: MemoryOptions,
) -> MemoryReport:
    """Measure a network that was trained by a plan on the last training days.

    `arrays` are the panel's inputs (N, F) and outcomes (N, K), scaled; `train` (N,) is True where
    the outcome belongs to the training days. Raises DataError if these are too few.
    """
    stops = last_stops(train, panel.offsets)
    series, days = _rectangle(stops - panel.offsets[:-1])
    rows = stops[series] - days + np.arange(days)[:, None]  # (T, B)
    x, y = arrays[0][rows], arrays[1][rows]
    mask = train[rows][..., None] & np.isfinite(y)
    lags, threads = _lags_within(options.lags, days), torch.get_num_threads()
    # On a shared machine two threads wait for each other after every day: 100 times slower.
    torch.set_num_threads(1)
    try:
        measured = copy.deepcopy(network).cpu().double()  # gradients at long lags are small
        batch = Batch(
            torch.from_numpy(x).double(), torch.from_numpy(y).double(), torch.from_numpy(mask)
        )
        profile = memory_profile(
            trajectory(measured, batch, loss=measured.head.loss),
            lags=lags,
            tolerance=options.tolerance,
            plan=plan,
        )
    finally:
        torch.set_num_threads(threads)
    return MemoryReport(
        tickers=tuple(panel.tickers[s] for s in panel.series[panel.offsets[series]]),
        days=panel.days[rows[:, 0]],
        plan=plan,
        tolerance=options.tolerance,
        profile=profile,
    )


def _lags_within(lags: int, days: int) -> int:
    """Return the lags to measure: half of the days are kept for errors with all lags behind."""
    if days < 4:
        raise DataError(
            f"The longest series has {days} training days, too few to measure memory; "
            "fetch a longer period."
        )
    if lags > days // 2:
        log.warning("%d days measured: %d lags, not %d", days, days // 2, lags)
    return min(lags, days // 2)


def _rectangle(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Choose up to 16 series and one length, so that most days are measured without padding."""
    longest = np.argsort(-lengths, kind="stable")[:SERIES_AT_MOST]
    capped = np.minimum(lengths[longest], DAYS_AT_MOST)
    count = int(np.argmax(capped * np.arange(1, len(capped) + 1))) + 1
    return np.sort(longest[:count]), int(capped[count - 1])


def with_bptt_horizon(
    dataset: Dataset, settings: TrainSettings, device: torch.device
) -> TrainSettings:
    """Replace `bptt_k2 = "auto"` by numbers measured on a network trained shortly.

    Raises:
        UsageError: the memory exceeds what was measured.
    """
    if settings.bptt_k2 != "auto":
        return settings
    steps = min(FIRST_STEPS, settings.max_steps)
    first = settings.model_copy(update={"bptt_k2": None, "max_steps": steps, "members": 1})
    (member,) = fit_ensemble(dataset, first, device)
    report = measure(
        new_network(dataset, first, member.weights).to(device),
        dataset.panel,
        (dataset.inputs, dataset.y),
        np.asarray(dataset.rows(0).any(axis=1)),
        Plan.truncated(k2=DEFAULT_BPTT_K2),
        MemoryOptions(tolerance=settings.bptt_tolerance or TOLERANCE),
    )
    days, lags = report.profile.advice.days, report.profile.lags
    if days is None:
        remedy = f"Use --bptt full, or --bptt-k1 {lags} --bptt-k2 {2 * lags}"
        if report.profile.lyapunov > 0.0:
            remedy = f"Gradients explode: use --bptt-k2 {DEFAULT_BPTT_K2} and a lower --lr"
        raise UsageError(
            f"--bptt-k2 auto declines: {report.profile.advice.declined}. {remedy}, or raise "
            "--bptt-tolerance."
        )
    k1 = max(days, LEAST_K1)
    log.info(
        "bptt    auto: after %d steps a gradient horizon of %d days keeps the bias below %.3g %%: "
        "--bptt-k1 %d --bptt-k2 %d",
        *(steps, days, 100 * report.tolerance, k1, 2 * k1),
    )
    return settings.model_copy(update={"bptt_k2": 2 * k1, "bptt_k1": k1})
