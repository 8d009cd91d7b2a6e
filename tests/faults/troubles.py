"""What can go wrong with the numbers and the memory of a training, made to happen for real."""

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from forecaster.forecasting import fitting
from forecaster.models.network import Network
from forecaster.settings import Settings

AFTER = 8  # optimizer steps; the first validation is after the 6th
HEADROOM = 1 << 26  # bytes that may still be had
BEYOND = 1e19  # an error whose square is still a float32, and the square of its gradient is not


def arrange(patch: pytest.MonkeyPatch, trouble: str | None, settings: Settings) -> Settings:
    """Make the trainings of this process fail; return the settings that it needs."""
    if trouble is None:
        return settings
    happens, changes = TROUBLES[trouble]
    run = fitting.run_training

    def troubled(network: Network, *arguments: Any) -> object:
        *others, callbacks, resume = arguments

        def troubled_step(step: int, validation: object) -> None:
            callbacks.on_step(step, validation)
            if step == AFTER:
                happens(network)

        return run(network, *others, replace(callbacks, on_step=troubled_step), resume)

    patch.setattr(fitting, "run_training", troubled)
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


def _nan(network: Network) -> None:
    """Let every loss from now on be NaN."""
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))


def _explode(network: Network) -> None:
    """Let losses stay finite and gradients overflow: errors of a size whose square is too large."""
    with torch.no_grad():
        *_, bias = network.parameters()
        bias.add_(BEYOND)


def _little_memory(network: Network) -> None:
    """Grant little more than there is now, and ask for more than that."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.empty(2 * HEADROOM, dtype=torch.uint8)


TROUBLES: dict[str, tuple[Callable[[Network], None], dict[str, object]]] = {
    "nan": (_nan, {}),
    "explode": (_explode, {"head": ("point",)}),
    "memory": (_little_memory, {}),
}
