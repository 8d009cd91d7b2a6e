"""The log lines of a training: its header, and afterwards its shrinkage and gradients."""

import logging
from typing import Final

import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import PackedSequences
from forecaster.forecasting.data_set import Dataset, epoch_batches, longest_history
from forecaster.forecasting.fitting import FitResult
from forecaster.settings import TrainSettings
from forecaster.training.trainer import SPIKE

log = logging.getLogger(__name__)

# Above this share of steps, clipping sets the pace of the training and not the learning rate.
# Reported, and no more: with a few series a step's gradient is mostly noise, and long.
CLIPPED_OFTEN: Final = 0.1
# With a few series a training in twenty has one.
SPIKES_BY_CHANCE: Final = 1


def log_header(dataset: Dataset, settings: TrainSettings, device: torch.device, plan: Plan) -> None:
    """Log the header of a run, and what may surprise about its plan."""
    panel, split = dataset.panel, dataset.model.split
    train, validation, test = (int(dataset.rows(part).any(axis=1).sum()) for part in range(3))
    log.info(
        "data    %d tickers, %s rows %s..%s   train %s until %s  validation %s until %s  test %s",
        *(len(panel.tickers), f"{len(panel.days):,}", panel.days.min(), panel.days.max()),
        *(f"{train:,}", split.train_until, f"{validation:,}", split.validation_until, f"{test:,}"),
    )
    networks, count = settings.model.upper(), settings.members
    if count > 1:
        seeds = f"{settings.seed}..{settings.seed + count - 1}"
        networks = f"{count} members {networks}, seeds {seeds}"
    pairs = zip(settings.targets, settings.heads, strict=True)
    no_gpu = settings.device == "auto" and device.type == "cpu"
    tf32 = f" (TF32 {'on' if settings.tf32 else 'off'})" if device.type == "cuda" else ""
    log.info(
        "model   %s, %d hidden, %d inputs, target %s, %s%s",
        *(networks, settings.hidden, len(dataset.model.reader.names)),
        *(", ".join(f"{target} ({head})" for target, head in pairs), device),
        " (--device auto found no GPU)" if no_gpu else tf32,
    )
    if (base := dataset.model.reader.base) is None:
        log.info("base    none: the network forecasts alone")
    else:
        words = "base    %s: %d inputs; the network forecasts the residual"
        log.info(words, base.kind, len(base.names))
    log.info("bptt    %s", describe_horizon(settings, plan))
    log.info("        %s", _schedule(dataset, settings, plan))
    _log_full(dataset, settings, plan)
    if settings.initial_state == "learned" and settings.lookback == "all" and settings.horizon:
        log.warning(
            "a learned initial state only sees the first %d days of each series",
            settings.horizon,
        )


def describe_horizon(settings: TrainSettings, plan: Plan) -> str:
    """Describe the gradient horizon in words; a window may end it before the plan does."""
    if settings.lookback == "all":
        stride = plan.k1 or plan.k2
        per = "per batch of whole histories" if stride is None else f"every {stride:,} days"
        per = "per epoch" if plan.step_per == "epoch" else "every day" if stride == 1 else per
        return f"{plan.describe()}; one optimizer step {per}"
    days = settings.lookback
    if plan.k2 is None or plan.k2 >= days:
        return f"full: gradients flow back to the first of a window's {days} days"
    if settings.scores_each_day:
        return f"{plan.describe()} inside windows of {days}"
    exact = f"{plan.k2} day{'s' if plan.k2 > 1 else ''}"
    return f"truncated: gradients flow back exactly {exact} of a window's {days}"


def _schedule(dataset: Dataset, settings: TrainSettings, plan: Plan) -> str:
    """Describe an epoch, the days that are scored, and how many epochs the budget allows."""
    epoch = epoch_batches(dataset, settings)(1)
    steps = 1 if plan.step_per == "epoch" else len(epoch)
    if isinstance(epoch, PackedSequences):
        fewer = ", as many as series," if epoch.width < settings.batch_rows else ""
        batch_rows = f"{epoch.width} batch row{'s' if epoch.width > 1 else ''}"
        sample = f"{batch_rows}{fewer} {epoch.utilisation:.0%} full"
        scored = "each day scored once"
    else:
        sample = f"windows of {settings.lookback} days, {settings.batch} at a time"
        cold = settings.days_before_scoring
        scored = "last day scored" if cold is None else f"days scored after the first {cold}"
    epochs = settings.max_steps / steps
    return (
        f"{sample}, {steps:,} step{'s' if steps > 1 else ''} per epoch "
        f"(--max-steps {settings.max_steps} is {epochs:.3g} epochs); {scored}"
    )


def _log_full(dataset: Dataset, settings: TrainSettings, plan: Plan) -> None:
    """Log a truncation that truncates nothing."""
    if settings.lookback == "all":
        days = longest_history(dataset)
        sample = f"the longest history's {days:,} training days"
    else:
        days, sample = int(settings.lookback), f"the {settings.lookback}-day windows"
    if plan.k2 is None or plan.k2 < days:
        return
    times = 1 if settings.lookback != "all" else plan.k2 // (plan.k1 or plan.k2)
    full = "this is full BPTT" if times == 1 else f"gradients flow back in full, {times} times over"
    log.info(
        "        truncation at %s days is not shorter than %s: %s", f"{plan.k2:,}", sample, full
    )


def log_result(made: FitResult, settings: TrainSettings) -> None:
    """Log the shrinkage and the clipped gradients; warn of several gradient spikes."""
    for target, share in zip(made.model.targets, made.model.shrinkage, strict=True):
        log.info("shrinkage  %s %.2f (Mincer–Zarnowitz slope on validation)", target, share)
    for number, validations in enumerate(made.validations_by_member, start=1):
        last, several = validations[-1], len(made.validations_by_member) > 1
        member = f"member {number}: " if several else ""
        often = last.clipped > CLIPPED_OFTEN * last.step
        log.info(
            "clipping  %s%s of %s gradients at --clip-grad %g%s",
            *(member, f"{last.clipped:,}", f"{last.step:,}", settings.clip_grad),
            "; so often that it sets the pace, and not --lr" if often else "",
        )
        if last.spikes > SPIKES_BY_CHANCE:
            log.warning(
                "%s%d of %d gradients were more than %g times as long as those before: gradients "
                "grow on their way back. Lower --lr; `forecaster memory` shows where they grow",
                *(member, last.spikes, last.step, SPIKE),
            )
