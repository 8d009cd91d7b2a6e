"""Every setting with its default, validated; `settings_sources` says which source sets it."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from forecaster.settings.sections import FetchSettings, PredictSettings, RetrainSettings
from forecaster.settings.train import (
    DEFAULT_BATCH_ROWS,
    DEFAULT_BPTT_K2,
    DEFAULT_BPTT_K2_IN_WINDOWS,
    DEFAULT_BURN_IN,
    Contradiction,
    HeadName,
    TrainSettings,
)

__all__ = [
    "DEFAULT_BATCH_ROWS",
    "DEFAULT_BPTT_K2",
    "DEFAULT_BPTT_K2_IN_WINDOWS",
    "DEFAULT_BURN_IN",
    "SECTIONS",
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
SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainSettings,
    "fetch": FetchSettings,
    "predict": PredictSettings,
    "retrain": RetrainSettings,
}


class Settings(BaseModel):
    """The sections of `forecaster.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: TrainSettings = TrainSettings()
    fetch: FetchSettings = FetchSettings()
    predict: PredictSettings = PredictSettings()
    retrain: RetrainSettings = RetrainSettings()


def resolve_home(home: Home | None) -> Path:
    """Return `--home`, else FORECASTER_HOME, else the working directory, absolute."""
    chosen = home or os.environ.get("FORECASTER_HOME") or "."
    return Path(chosen).expanduser().absolute()
