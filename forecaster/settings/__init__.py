"""Every setting with its default, validated; `settings_sources` says which source sets it."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from forecaster.data.sources import SOURCES, describe_sources
from forecaster.errors import UsageError
from forecaster.settings.train import (
    DEFAULT_BPTT_K2,
    Contradiction,
    HeadName,
    Section,
    TrainSettings,
)

__all__ = ["DEFAULT_BPTT_K2", "Contradiction", "HeadName", "TrainSettings"]  # of `train`

Home = str | os.PathLike[str]


class FetchSettings(Section):
    """Where prices come from, and how often all of them are compared."""

    source: str = Field("yahoo", description=f"Where prices come from; {describe_sources()}.")
    compare_all_days: int = Field(
        28,
        ge=0,
        le=36_500,
        description="Days after which all stored prices are compared with the source; 0: never.",
    )

    @field_validator("source")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in SOURCES:
            raise ValueError(f"is no source; choose one of {', '.join(SOURCES)}")
        return name


class PredictSettings(Section):
    """When a forecast is refused."""

    max_stale: int = Field(5, ge=0, description="Sessions that a ticker's last bar may lie behind.")
    max_model_age: int = Field(
        252,
        ge=1,
        description="Sessions since training: warn of forecasts by an older model, refuse from "
        "twice as many on.",
    )


class RetrainSettings(Section):
    """What the daily run does besides forecasting."""

    every: int = Field(21, ge=1, description="Sessions between two trainings.")
    start: Literal["cold", "warm"] = Field(
        "cold", description="Train from random weights, or from the champion's."
    )
    drift: bool = Field(True, description="Train earlier when drift is detected.")
    keep: int = Field(30, ge=2, description="Versions that pruning keeps.")
    catch_up: int = Field(63, ge=1, description="Sessions that one run makes up for, at most.")
    checkpoint_every: int = Field(50, ge=1, description="Optimizer steps between checkpoints.")
    on_failure: str = Field(
        "",
        description="Command to run, without a shell, after any exit but 0; it gets "
        "FORECASTER_EXIT and FORECASTER_REASON.",
    )
    on_forecast: str = Field(
        "",
        description="Command to run, without a shell, after a run that made forecasts; its last "
        "argument is a JSON file of them.",
    )


SECTIONS: dict[str, type[Section]] = {
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
    if any(ord(character) < 32 or ord(character) == 127 for character in str(chosen)):
        raise UsageError(f"--home {str(chosen)!r}: has a control character; rename the folder.")
    return Path(chosen).expanduser().absolute()
