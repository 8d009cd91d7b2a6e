"""Every setting, validated: command line > FORECASTER_* > forecaster.toml > defaults.

Only `cli` and `pipeline` import this. Holds no behaviour beyond checks; contradictions
between options are refused here, before any work.
"""

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableVariable

from forecaster.errors import ForecasterError, SettingsError, UsageError

Home = str | os.PathLike[str]

DEFAULT_BURN_IN = 20  # days; colder states forecast worse than they will when deployed
DEFAULT_BPTT_STEPS = 63  # a quarter of trading days; docs/experiments.md says why


class TrainSettings(BaseModel):
    """What one training does; the defaults are a sound start for daily prices."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Literal["elman", "gru", "lstm"] = "lstm"
    hidden: int = Field(64, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=16)
    dropout: float = Field(0.2, ge=0.0, lt=1.0)
    # NoDecode: in the environment too, names are separated by commas and not JSON.
    target: Annotated[tuple[Literal["return", "range", "volume"], ...], NoDecode] = ("return",)
    lookback: int | Literal["all"] = "all"
    bptt: Literal["full", "truncated"] = "truncated"
    bptt_steps: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    bptt_tolerance: float | None = Field(None, gt=0.0, lt=1.0)
    bptt_stride: int | None = Field(None, ge=1)
    bptt_update: Literal["chunk", "pass"] = "chunk"
    bptt_memory: Literal["auto", "store", "recompute"] = "auto"
    loss: Literal["each-day", "last-day"] | None = None
    burn_in: int | None = Field(None, ge=0)
    initial_state: Literal["zeros", "learned"] = "zeros"
    bidirectional: bool = False
    fit_until: date | None = None
    select_until: date | None = None
    max_updates: int = Field(1000, ge=1)
    lr: float = Field(1e-3, gt=0.0)
    weight_decay: float = Field(1e-3, ge=0.0)
    clip_grad: float = Field(1.0, gt=0.0)
    lanes: int = Field(64, ge=1)
    batch: int = Field(256, ge=1)
    evaluate_every: int = Field(25, ge=1)
    patience: int = Field(10, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    threads: int = Field(1, ge=1)
    workers: int = Field(2, ge=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @field_validator("target", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("target")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("name each target once: return, range, volume")
        return value

    @field_validator("lookback")
    @classmethod
    def _some_days(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(
                "a window needs at least 1 day; give a number of days, or 'all' for whole histories"
            )
        return value

    @model_validator(mode="after")
    def _one_reach(self) -> "TrainSettings":
        for name in ("bptt_steps", "bptt_stride"):
            if self.bptt == "full" and getattr(self, name) is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')} applies only to --bptt truncated; full BPTT "
                    "reaches back to each series' first day. Drop one of them"
                )
        return self

    @model_validator(mode="after")
    def _auto_alone(self) -> "TrainSettings":
        if self.bptt_steps != "auto":
            if self.bptt_tolerance is not None:
                raise ValueError(
                    "--bptt-tolerance applies only to --bptt-steps auto. Drop it, or add that"
                )
            return self
        if self.lookback != "all":
            raise ValueError(
                "--bptt-steps auto measures memory over whole histories. Give a number of days, "
                "or use --lookback all"
            )
        if self.bptt_stride is not None:
            raise ValueError("--bptt-steps auto sets --bptt-stride too. Drop one of them")
        return self

    @model_validator(mode="after")
    def _windows_or_histories(self) -> "TrainSettings":
        if self.lookback == "all":
            self._refuse_for_histories()
        elif not self.scores_each_day:
            self._refuse_for_last_day()
        elif (self.burn_in or 0) >= int(self.lookback):
            raise ValueError(
                f"--burn-in {self.burn_in} is not below --lookback {self.lookback}: no day would "
                "be scored"
            )
        if self.bidirectional and (self.lookback == "all" or self.scores_each_day):
            raise ValueError(
                "--bidirectional: a bidirectional network reads days after the one it predicts. "
                "Allowed only with --lookback and --loss last-day"
            )
        return self

    def _refuse_for_histories(self) -> None:
        if self.loss == "last-day":
            raise ValueError(
                "--loss last-day is for windows; a whole history is scored on each day. Give "
                "--lookback a number of days, or drop it"
            )
        if self.burn_in:
            raise ValueError(
                "--burn-in is for windows; a whole history starts cold once. Give --lookback a "
                "number of days, or drop it"
            )

    def _refuse_for_last_day(self) -> None:
        if self.bptt_stride is not None:
            raise ValueError(
                "Only the last day of a window has an error; --bptt-stride has no meaning there. "
                "Drop it, or use --loss each-day or --lookback all"
            )
        if self.burn_in:
            raise ValueError(
                "--burn-in has no meaning with --loss last-day: only the last day is scored. "
                "Drop it, or use --loss each-day"
            )
        if self.bidirectional and self.reach is not None and self.reach < int(self.lookback):
            raise ValueError(
                f"--bidirectional: a bidirectional network cannot be cut at {self.reach} days "
                f"inside windows of {self.lookback}. Use --bptt full"
            )

    @property
    def scores_each_day(self) -> bool:
        """Whether every day is scored, as in whole histories, or a window's last alone."""
        return self.lookback == "all" or self.loss == "each-day"

    @property
    def days_before_scoring(self) -> int | None:
        """Unscored first days of windows scored on each day; None for all else."""
        if self.lookback == "all" or not self.scores_each_day:
            return None
        default = min(DEFAULT_BURN_IN, int(self.lookback) - 1)
        return default if self.burn_in is None else self.burn_in

    @property
    def reach(self) -> int | None:
        """Days that an error reaches back, or None for full BPTT."""
        if self.bptt == "full":
            return None
        return self.bptt_steps if isinstance(self.bptt_steps, int) else DEFAULT_BPTT_STEPS


class FetchSettings(BaseModel):
    """Where prices come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["yahoo", "sample"] = "yahoo"


class PredictSettings(BaseModel):
    """When a forecast is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_stale: int = Field(5, ge=0)


class Settings(BaseSettings):
    """The whole tree, as `forecaster.toml` spells it."""

    model_config = SettingsConfigDict(
        env_prefix="FORECASTER_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    train: TrainSettings = TrainSettings()
    fetch: FetchSettings = FetchSettings()
    predict: PredictSettings = PredictSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the command line first, then the environment, then the file of this home."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def resolve_home(home: Home | None) -> Path:
    """Return `--home`, else FORECASTER_HOME, else the working directory, absolute."""
    chosen = home or os.environ.get("FORECASTER_HOME") or "."
    return Path(chosen).expanduser().absolute()


def load_settings(home: Path, section: str, given: Mapping[str, Any]) -> Settings:
    """Merge the sources, the command line's values for one section on top.

    Args:
        home: where `forecaster.toml` is read from, if it is there.
        section: `train`, `fetch` or `predict`.
        given: options by name; None means not given.

    Raises:
        UsageError: an option of the command line is not valid.
        SettingsError: a value of the file or the environment is not valid or not known.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    file = home / "forecaster.toml"

    class Here(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return Here(**{section: chosen})  # type: ignore[arg-type]
    except ValidationError as error:
        raise _explained(error, {(section, name) for name in chosen}) from error
    except UnreadableVariable as error:
        raise SettingsError(f"FORECASTER_*: {error}; correct the environment.") from error
    except (ValueError, OSError) as error:
        raise SettingsError(f"{file}: {error}; correct the file.") from error


def _explained(error: ValidationError, given: set[tuple[str, str]]) -> ForecasterError:
    """Name the option or key, what was found and what is needed, in one line."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    if len(place) < 2:  # a contradiction carries no field, its text names the options
        ours = any(_option(name) in text for _, name in given)
        return UsageError(f"{text}.") if ours else SettingsError(f"{'.'.join(place)}: {text}.")
    name = place[1]
    if (place[0], name) in given:
        return UsageError(f"{_option(name)} {_shown(first['input'])}: {text}.")
    return SettingsError(
        f"Setting {'.'.join(place)} = {first['input']!r} from forecaster.toml or the environment: "
        f"{text}."
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
