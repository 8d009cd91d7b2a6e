"""The small sections of the settings: fetching, forecasting, the daily run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from forecaster.data.sources import SOURCES, describe_sources


class FetchSettings(BaseModel):
    """Where prices come from, and how often all of them are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field("yahoo", description=f"Where prices come from; {describe_sources()}.")
    compare_all_days: int = Field(
        28,
        ge=0,
        description="Days after which all stored prices are compared with the source; 0: never.",
    )

    @field_validator("source")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in SOURCES:
            raise ValueError(f"is no source; choose one of {', '.join(SOURCES)}")
        return name


class PredictSettings(BaseModel):
    """When a forecast is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_stale: int = Field(5, ge=0, description="Sessions that a ticker's last bar may lie behind.")
    max_model_age: int = Field(
        252,
        ge=1,
        description="Sessions since training: warn of forecasts by an older model, refuse from "
        "twice as many on.",
    )


class RetrainSettings(BaseModel):
    """What the daily run does besides forecasting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
