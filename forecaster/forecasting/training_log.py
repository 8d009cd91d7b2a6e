"""What the gradients of a training say of its settings, once it is done."""

import logging
from collections.abc import Sequence
from typing import Final

import torch

from forecaster.bptt.plan import BPTTPlan
from forecaster.data.sequence_packing import PackedSequences
from forecaster.forecasting.data_set import Dataset, epoch_segments, longest_history
from forecaster.settings import TrainSettings
from forecaster.training.trainer import SPIKE, Validation

log = logging.getLogger(__name__)


def log_header(
    dataset: Dataset, settings: TrainSettings, device: torch.device, plan: BPTTPlan
) -> None:
    """Log the header of a run, and what may surprise about its plan."""
    panel, split = dataset.panel, dataset.split
    fit, select, report = (int(dataset.rows(block).any(axis=1).sum()) for block in range(3))
    log.info(
        "data    %d tickers, %s days %s..%s   fit %s until %s, select %s until %s, report %s",
        *(len(panel.tickers), f"{len(panel.days):,}", panel.days.min(), panel.days.max()),
        *(f"{fit:,}", split.train_until, f"{select:,}", split.validation_until, f"{report:,}"),
    )
    log.info(
        "model   %s, %d hidden, %d inputs, target %s, %s%s",
        *(_networks(settings), settings.hidden, len(dataset.reader.names)),
        *(_heads(settings), device),
        " (--device auto found no GPU)"
        if settings.device == "auto" and device.type == "cpu"
        else "",
    )
    log.info("base    %s", _base(dataset))
    log.info("bptt    %s", describe_horizon(settings, plan))
    log.info("        %s", _schedule(dataset, settings, plan))
    _tell_of_full(dataset, settings, plan)
    if settings.initial_state == "learned" and settings.lookback == "all" and settings.horizon:
        log.warning(
            "a learned initial state only sees the first %d days of each series",
            settings.horizon,
        )


def _networks(settings: TrainSettings) -> str:
    name, last = settings.model.upper(), settings.seed + settings.members - 1
    if settings.members == 1:
        return name
    return f"{settings.members} members {name}, seeds {settings.seed}..{last}"


def _heads(settings: TrainSettings) -> str:
    pairs = zip(settings.target, settings.heads, strict=True)
    return ", ".join(f"{target} ({head})" for target, head in pairs)


def _base(dataset: Dataset) -> str:
    base = dataset.reader.base
    if base is None:
        return "none: the network forecasts alone"
    return f"{base.kind}: {len(base.names)} inputs; the network forecasts what is left of it"


def describe_horizon(settings: TrainSettings, plan: BPTTPlan) -> str:
    """Say how far back errors travel; a window ends them sooner than the plan may."""
    if settings.lookback == "all":
        return f"{plan.describe()}, weights move {_moves(plan)}"
    days = int(settings.lookback)
    if plan.k2 is None or plan.k2 >= days:
        return f"full: errors reach back to the first of a window's {days} days"
    if settings.scores_each_day:
        return f"{plan.describe()} inside windows of {days}"
    exact = f"{plan.k2} day{'s' if plan.k2 > 1 else ''}"
    return f"truncated: errors reach back exactly {exact} of a window's {days}"


def _moves(plan: BPTTPlan) -> str:
    if plan.step_per == "epoch":
        return "once per pass"
    stride = plan.k1 or plan.k2
    if stride is None:
        return "after each set of whole histories"
    return f"every {stride:,} days" if stride > 1 else "every day"


def _schedule(dataset: Dataset, settings: TrainSettings, plan: BPTTPlan) -> str:
    """Say what a pass is, which days are scored, and how many passes the budget buys."""
    one_pass = epoch_segments(dataset, settings)(1)
    updates = 1 if plan.step_per == "epoch" else len(one_pass)
    if isinstance(one_pass, PackedSequences):
        fewer = ", as many as series," if one_pass.width < settings.batch_rows else ""
        batch_rows = f"{one_pass.width} lane{'s' if one_pass.width > 1 else ''}"
        sample = f"{batch_rows}{fewer} {one_pass.utilisation:.0%} full"
        scored = "each day scored once"
    else:
        sample = f"windows of {settings.lookback} days, {settings.batch} at a time"
        cold = settings.days_before_scoring
        scored = "last day scored" if cold is None else f"days scored after the first {cold}"
    passes = settings.max_steps / updates
    return (
        f"{sample}, {updates:,} update{'s' if updates > 1 else ''} per pass "
        f"(--max-steps {settings.max_steps} is {passes:.3g} passes); {scored}"
    )


def _tell_of_full(dataset: Dataset, settings: TrainSettings, plan: BPTTPlan) -> None:
    """Notice a truncation that truncates nothing."""
    if settings.lookback == "all":
        days = longest_history(dataset)
        sample = f"the longest history's {days:,} fit days"
    else:
        days, sample = int(settings.lookback), f"the {settings.lookback}-day windows"
    if plan.k2 is None or plan.k2 < days:
        return
    blocks = 1 if settings.lookback != "all" else plan.k2 // (plan.k1 or plan.k2)
    what = "this is full BPTT" if blocks == 1 else f"errors reach back in full, {blocks} times over"
    log.info(
        "        truncation at %s days is not shorter than %s: %s", f"{plan.k2:,}", sample, what
    )


# Above this share of updates, clipping sets the pace of the training and not the learning rate.
# Said, and no more: with a few series an update's gradient is mostly noise, and long.
CLIPPED_OFTEN: Final = 0.1
# With a few series a training in twenty has one.
LEAPS_BY_CHANCE: Final = 1


def log_gradients(
    validations_by_member: Sequence[Sequence[Validation]], settings: TrainSettings
) -> None:
    """Say how many gradients were clipped; warn where several leapt far above those before."""
    for number, looks in enumerate(validations_by_member, start=1):
        last = looks[-1]
        who = f"member {number}: " if len(validations_by_member) > 1 else ""
        often = last.clipped > CLIPPED_OFTEN * last.step
        log.info(
            "norms   %s%s of %s gradients clipped at --clip-grad %g%s",
            *(who, f"{last.clipped:,}", f"{last.step:,}", settings.clip_grad),
            "; so often that it sets the pace, and not --lr" if often else "",
        )
        if last.spikes > LEAPS_BY_CHANCE:
            log.warning(
                "%s%d of %d gradients were more than %g times as long as those before: errors grow "
                "on their way back. Lower --lr; `forecaster memory` tells where they grow",
                *(who, last.spikes, last.step, SPIKE),
            )
