"""What one training does, with the contradictions between its options.

Holds no behaviour beyond checks; whatever is contradictory is refused here, before any work.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DEFAULT_BURN_IN = 20  # days; colder states forecast worse than they will when deployed
DEFAULT_BATCH_ROWS = 64
DEFAULT_BPTT_STEPS = 21  # a month of trading days; docs/experiments.md says why
DEFAULT_STEPS_IN_WINDOWS = 63  # a quarter; most windows are shorter, and then uncut

HeadName = Literal["point", "student-t", "quantiles"]


class Contradiction(ValueError):
    """A setting without meaning beside others: `needless` gives way to a higher `beside`."""

    def __init__(self, text: str, *, needless: str, beside: tuple[str, ...]) -> None:
        super().__init__(text)
        self.needless, self.beside = needless, beside


class TrainSettings(BaseModel):
    """What one training does; the defaults are a sound start for daily prices.

    Raises:
        pydantic.ValidationError: a value that cannot be, or a `Contradiction`; a ValueError.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Literal["elman", "gru", "lstm", "mlp"] = "lstm"
    hidden: int = Field(64, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=16)
    dropout: float = Field(0.2, ge=0.0, lt=1.0)
    input_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    base: Literal["auto", "none", "har", "linear"] = "auto"
    head: tuple[HeadName, ...] | None = None
    point_loss: Literal["mse", "huber"] = "mse"
    target: tuple[Literal["return", "range", "volume"], ...] = ("return",)
    lookback: int | Literal["all"] = "all"
    bptt: Literal["full", "truncated"] = "truncated"
    bptt_k2: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    bptt_tolerance: float | None = Field(None, gt=0.0, lt=1.0)
    bptt_k1: int | None = Field(None, ge=1)
    step_per: Literal["chunk", "epoch"] = "chunk"
    bptt_memory: Literal["auto", "store", "recompute"] = "auto"
    loss: Literal["each-day", "last-day"] | None = None
    burn_in: int | None = Field(None, ge=0)
    initial_state: Literal["zeros", "learned"] = "zeros"
    bidirectional: bool = False
    train_until: date | None = None
    validation_until: date | None = None
    max_steps: int = Field(1500, ge=1)
    lr: float = Field(2e-3, gt=0.0)
    weight_decay: float = Field(1e-3, ge=0.0)
    clip_grad: float = Field(1.0, gt=0.0)
    batch_rows: int = Field(DEFAULT_BATCH_ROWS, ge=1)
    batch: int = Field(256, ge=1)
    evaluate_every: int = Field(50, ge=1)
    patience: int = Field(10, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    members: int = Field(1, ge=1, le=32)
    threads: int = Field(1, ge=1)
    workers: int = Field(2, ge=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @field_validator("target", "head", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("target")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("name each target once: return, range, volume")
        return value

    @model_validator(mode="after")
    def _heads_and_states_there_are(self) -> "TrainSettings":
        if self.head is not None and len(self.head) not in (1, len(self.target)):
            text = f"--head names {len(self.head)} heads for {len(self.target)} targets: "
            text += f"{', '.join(self.target)}. Give one for all, or one for each"
            raise Contradiction(text, needless="head", beside=("target",))
        for name in ("initial_state", "bidirectional"):
            if self.model == "mlp" and getattr(self, name) not in ("zeros", False):
                text = f"--{name.replace('_', '-')} has no meaning with --model mlp, which reads "
                text += "each day by itself. Drop one of them"
                raise Contradiction(text, needless=name, beside=("model",))
        return self

    @field_validator("lookback")
    @classmethod
    def _some_days(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(
                "a window needs at least 1 day; give a number of days, or 'all' for whole histories"
            )
        return value

    @model_validator(mode="after")
    def _one_horizon(self) -> "TrainSettings":
        for name in ("bptt_k2", "bptt_k1"):
            if self.bptt == "full" and getattr(self, name) is not None:
                raise Contradiction(
                    f"--{name.replace('_', '-')} applies only to --bptt truncated; full BPTT "
                    "reaches back to each series' first day. Drop one of them",
                    needless=name,
                    beside=("bptt",),
                )
        return self

    @model_validator(mode="after")
    def _auto_alone(self) -> "TrainSettings":
        if self.bptt_k2 != "auto":
            if self.bptt_tolerance is not None:
                raise Contradiction(
                    "--bptt-tolerance applies only to --bptt-k2 auto. Drop it, or add that",
                    needless="bptt_tolerance",
                    beside=("bptt_k2", "bptt", "lookback"),
                )
            return self
        if self.lookback != "all":
            raise Contradiction(
                "--bptt-k2 auto measures memory over whole histories. Give a number of days, "
                "or use --lookback all",
                needless="bptt_k2",
                beside=("lookback",),
            )
        if self.bptt_k1 is not None:
            raise Contradiction(
                "--bptt-k2 auto sets --bptt-k1 too. Drop one of them",
                needless="bptt_k1",
                beside=("bptt_k2",),
            )
        return self

    @model_validator(mode="after")
    def _windows_or_histories(self) -> "TrainSettings":
        if self.lookback == "all":
            self._refuse_for_histories()
        elif not self.scores_each_day:
            self._refuse_for_last_day()
        elif (self.burn_in or 0) >= int(self.lookback):
            raise Contradiction(
                f"--burn-in {self.burn_in} is not below --lookback {self.lookback}: no day would "
                "be scored",
                needless="burn_in",
                beside=("lookback",),
            )
        if self.lookback != "all" and self.batch_rows != DEFAULT_BATCH_ROWS:
            raise Contradiction(
                "--batch-rows carry whole histories; windows are taken batch by batch. Give --lookback "
                "all, or drop it",
                needless="batch_rows",
                beside=("lookback",),
            )
        if self.bidirectional and (self.lookback == "all" or self.scores_each_day):
            raise Contradiction(
                "--bidirectional: a bidirectional network reads days after the one it predicts. "
                "Allowed only with --lookback and --loss last-day",
                needless="bidirectional",
                beside=("lookback", "loss"),
            )
        return self

    @model_validator(mode="after")
    def _stride_divides(self) -> "TrainSettings":
        """Refuse what `BPTTPlan` refuses, in its words: here a lower source can give way."""
        steps, stride = self.horizon, self.bptt_k1
        if steps is None or stride is None:
            return self
        if steps < stride:
            raise Contradiction(
                f"--bptt-k2 {steps} is shorter than --bptt-k1 {stride}: the errors of the "
                f"{stride - steps} oldest days in every block would never be learned from. Use "
                f"--bptt-k2 {stride} or more",
                needless="bptt_k1",
                beside=("bptt_k2",),
            )
        if steps % stride:
            raise Contradiction(
                f"--bptt-k2 must be a multiple of --bptt-k1 ({stride}): "
                f"try {-(-steps // stride) * stride}",
                needless="bptt_k1",
                beside=("bptt_k2",),
            )
        return self

    def _refuse_for_histories(self) -> None:
        if self.loss == "last-day":
            raise Contradiction(
                "--loss last-day is for windows; a whole history is scored on each day. Give "
                "--lookback a number of days, or drop it",
                needless="loss",
                beside=("lookback",),
            )
        if self.burn_in:
            raise Contradiction(
                "--burn-in is for windows; a whole history starts cold once. Give --lookback a "
                "number of days, or drop it",
                needless="burn_in",
                beside=("lookback",),
            )

    def _refuse_for_last_day(self) -> None:
        if self.bptt_k1 is not None:
            raise Contradiction(
                "Only the last day of a window has an error; --bptt-k1 has no meaning there. "
                "Drop it, or use --loss each-day or --lookback all",
                needless="bptt_k1",
                beside=("lookback", "loss"),
            )
        if self.burn_in:
            raise Contradiction(
                "--burn-in has no meaning with --loss last-day: only the last day is scored. "
                "Drop it, or use --loss each-day",
                needless="burn_in",
                beside=("lookback", "loss"),
            )
        if self.bidirectional and self.horizon is not None and self.horizon < int(self.lookback):
            raise Contradiction(
                f"--bidirectional: a bidirectional network cannot be cut at {self.horizon} days "
                f"inside windows of {self.lookback}. Use --bptt full",
                needless="bptt_k2",
                beside=("bidirectional", "lookback"),
            )

    @property
    def heads(self) -> tuple[HeadName, ...]:
        """The head of each target: a distribution for returns, a number else, unless told."""
        if self.head is None:
            return tuple("student-t" if name == "return" else "point" for name in self.target)
        return self.head * len(self.target) if len(self.head) == 1 else self.head

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
    def horizon(self) -> int | None:
        """Days that an error reaches back, or None for full BPTT."""
        if self.bptt == "full":
            return None
        default = DEFAULT_BPTT_STEPS if self.lookback == "all" else DEFAULT_STEPS_IN_WINDOWS
        return self.bptt_k2 if isinstance(self.bptt_k2, int) else default
