"""Every setting with its default, validated; which source sets it is `cli/layers.py`.

Only `cli` and `pipeline` import this. Holds no behaviour beyond checks; contradictions
between options are refused here, before any work.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from forecaster.settings.sections import FetchSettings, PredictSettings, RetrainSettings
from forecaster.settings.train import (
    DEFAULT_BATCH_ROWS,
    DEFAULT_BPTT_STEPS,
    DEFAULT_BURN_IN,
    DEFAULT_STEPS_IN_WINDOWS,
    Contradiction,
    HeadName,
    TrainSettings,
)

__all__ = [
    "DEFAULT_BATCH_ROWS",
    "DEFAULT_BPTT_STEPS",
    "DEFAULT_BURN_IN",
    "DEFAULT_STEPS_IN_WINDOWS",
    "Contradiction",
    "FetchSettings",
    "HeadName",
    "Home",
    "PredictSettings",
    "RetrainSettings",
    "Settings",
    "TrainSettings",
    "resolve_home",
]

Home = str | os.PathLike[str]


class Settings(BaseModel):
    """The whole tree, as `forecaster.toml` spells it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: TrainSettings = TrainSettings()
    fetch: FetchSettings = FetchSettings()
    predict: PredictSettings = PredictSettings()
    retrain: RetrainSettings = RetrainSettings()


def resolve_home(home: Home | None) -> Path:
    """Return `--home`, else FORECASTER_HOME, else the working directory, absolute."""
    chosen = home or os.environ.get("FORECASTER_HOME") or "."
    return Path(chosen).expanduser().absolute()
