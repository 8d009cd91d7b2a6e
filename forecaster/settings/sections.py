"""The small sections of the settings: fetching, forecasting, the night."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FetchSettings(BaseModel):
    """Where prices come from, and after how many days all stored ones are compared (0: never)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["yahoo", "sample"] = "yahoo"
    compare_all_days: int = Field(28, ge=0)


class PredictSettings(BaseModel):
    """When a forecast is refused.

    `max_stale`: sessions that a ticker's last bar may lie behind. `max_model_age`: sessions since
    a model's training from which its forecasts come with a warning; from twice as many they are
    refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_stale: int = Field(5, ge=0)
    max_model_age: int = Field(252, ge=1)


class RetrainSettings(BaseModel):
    """What a night does beside forecasting, and when a model is too old.

    `every`: sessions between two trainings. `start`: weights begin at random (cold) or at the
    champion's (warm). `drift`: whether a flag of drift brings the next training forward.
    `keep`: versions that pruning leaves. `catch_up`: nights in a row that one run makes up for.
    `checkpoint_every`: updates between two checkpoints. `on_failure`: command run after any exit
    but 0, without a shell; empty for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(21, ge=1)
    start: Literal["cold", "warm"] = "cold"
    drift: bool = True
    keep: int = Field(30, ge=2)
    catch_up: int = Field(63, ge=1)
    checkpoint_every: int = Field(50, ge=1)
    on_failure: str = ""
