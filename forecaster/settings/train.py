"""What one training does, and which of its settings contradict each other."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

DEFAULT_BURN_IN = 20  # days; colder states forecast worse than they will when deployed
DEFAULT_BATCH_ROWS = 64
LARGEST = 2**32  # of whole numbers, which reach arrays of 64 bits
DEFAULT_BPTT_K2 = 21  # a month of trading days; docs/experiments.md says why
DEFAULT_BPTT_K2_IN_WINDOWS = 63  # a quarter; most windows are shorter, and then uncut

HeadName = Literal["point", "student-t", "quantiles"]
TargetName = Literal["return", "range", "volume"]
OWN_NAME = "[a-z][a-z0-9_]{0,30}"

_network = partial(Field, json_schema_extra={"group": "Network"})
_gradient = partial(Field, json_schema_extra={"group": "Gradient"})
_days = partial(Field, json_schema_extra={"group": "Data"})
_optimizer = partial(Field, json_schema_extra={"group": "Optimizer"})
_machine = partial(Field, json_schema_extra={"group": "Machine"})


class Contradiction(ValueError):
    """A setting without meaning beside others: `needless` gives way to a higher `beside`."""

    def __init__(self, text: str, needless: str, *beside: str) -> None:
        super().__init__(text)
        self.needless, self.beside = needless, beside


class Section(BaseModel):
    """A section of `forecaster.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Yield the settings that are not the defaults: all of them fill a screen."""
        for name, setting in type(self).model_fields.items():
            if getattr(self, name) != setting.default:
                yield name, getattr(self, name)

    @field_validator("*", mode="after")
    @classmethod
    def _is_moderate(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise ValueError(f"a number below {LARGEST:,} is needed")
        return value


class TrainSettings(Section):
    """What one training does; the defaults are a sound start for daily prices."""

    model: Literal["elman", "gru", "lstm", "mlp"] = _network(
        "lstm", description="Recurrent cell; mlp has no memory."
    )
    hidden: int = _network(64, ge=1, le=4096, description="Hidden units per layer.")
    layers: int = _network(1, ge=1, le=16, description="Recurrent layers.")
    dropout: float = _network(
        0.2, ge=0.0, lt=1.0, description="Share of outputs dropped while training."
    )
    input_dropout: float = _network(
        0.1, ge=0.0, lt=1.0, description="Share of inputs dropped while training."
    )
    base: Literal["auto", "none", "har", "linear"] = _network(
        "auto",
        description="Base that the network corrects; auto: linear from 5 years on, else har.",
    )
    head: tuple[HeadName, ...] | None = _network(
        None, description="One for all targets, or one for each [student-t for return, else point]."
    )
    point_loss: Literal["mse", "huber"] = _network("mse", description="Loss of point heads.")
    target_column: str | None = _days(
        None, description="Own column that is forecast, of positive numbers, such as rv5 [none]."
    )
    target: tuple[TargetName, ...] = _days(
        ("return",), description="Several, comma-separated, share one network."
    )
    lookback: int | Literal["all"] = _days(
        "all", description="Days of a stateless window, or all: whole histories, state carried."
    )
    bptt: Literal["full", "truncated"] = _gradient(
        "truncated", description="Gradient over the whole history, or cut."
    )
    bptt_k2: Annotated[int, Field(ge=1)] | Literal["auto"] | None = _gradient(
        None,
        description="Gradient horizon in days, truncated only; auto measures it [21, windows 63].",
    )
    bptt_tolerance: float | None = _gradient(
        None,
        gt=0.0,
        lt=1.0,
        description="Relative bias of the gradient that --bptt-k2 auto allows [0.1].",
    )
    bptt_k1: int | None = _gradient(
        None, ge=1, description="Days of a chunk; divides --bptt-k2 [equal to it]."
    )
    step_per: Literal["chunk", "epoch"] = _gradient(
        "chunk", description="Optimizer step after each chunk, or once per epoch."
    )
    bptt_memory: Literal["auto", "store", "recompute"] = _gradient(
        "auto", description="Store activations, or recompute them: same gradient."
    )
    loss: Literal["each-day", "last-day"] | None = _days(
        None, description="Days of a window that are scored, --lookback W only [last-day]."
    )
    burn_in: int | None = _days(
        None, ge=0, description="Unscored first days of windows, each-day only [20]."
    )
    initial_state: Literal["zeros", "learned"] = _network(
        "zeros", description="State that a series starts from."
    )
    recurrent_weights: Literal["default", "orthogonal", "identity"] = _network(
        "default", description="Start of the weights from state to state; identity: elman only."
    )
    forget_bias: float | None = _network(
        None, description="Start of the LSTM's forget gate; 3 keeps 0.95 a day [near 0]."
    )
    bidirectional: bool = _network(
        False, description="Read windows from both ends, last-day loss only."
    )
    train_until: date | None = _days(None, description="Last day of the training rows [70 %].")
    validation_until: date | None = _days(
        None, description="Last day of the validation rows [85 %]."
    )
    max_steps: int = _optimizer(1500, ge=1, description="Optimizer steps at most.")
    lr: float = _optimizer(2e-3, gt=0.0, description="Peak learning rate.")
    weight_decay: float = _optimizer(1e-3, ge=0.0, description="Decoupled (AdamW) weight decay.")
    clip_grad: float = _optimizer(1.0, gt=0.0, description="Largest gradient norm.")
    batch_rows: int = _optimizer(
        DEFAULT_BATCH_ROWS, ge=1, description="Whole histories trained side by side, at most."
    )
    batch: int = _optimizer(256, ge=1, description="Windows per optimizer step.")
    evaluate_every: int = _optimizer(50, ge=1, description="Optimizer steps between validations.")
    patience: int = _optimizer(
        10, ge=1, description="Validations without improvement before training stops."
    )
    seed: int = _optimizer(0, ge=0, lt=2**32, description="Same seed, same weights on CPU.")
    members: int = _optimizer(
        1, ge=1, le=32, description="Networks of an ensemble, with the seeds from --seed on."
    )
    threads: int = _machine(
        1, ge=1, description="Threads of torch; one stays fast when the machine is shared."
    )
    workers: int = _machine(
        2,
        ge=1,
        description="Threads that share a step's windows on a CPU; any number, same weights.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = _machine(
        "auto", description="auto takes a GPU if there is one."
    )
    tf32: bool = _machine(
        False, description="Faster products of 3 digits on an NVIDIA GPU, not of 7."
    )

    @field_validator("target", "head", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("target")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_empty = not value and not info.data.get("target_column")
        if is_empty or len(set(value)) < len(value):
            raise ValueError("list each target once: return, range, volume")
        return value

    @field_validator("target_column")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and (
            not re.fullmatch(OWN_NAME, value) or value in get_args(TargetName)
        ):
            raise ValueError(
                "a-z, 0-9 and _ after a letter are needed, as in rv5, and no other target"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, values: Any) -> Any:
        """Forecast an own column alone where no target is given beside it."""
        if isinstance(values, Mapping) and values.get("target_column"):
            return {"target": (), **values}
        return values

    @field_validator("lookback")
    @classmethod
    def _some_days(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(
                "a window needs at least 1 day; use a number of days, or 'all' for whole histories"
            )
        return value

    @model_validator(mode="after")
    def _no_contradictions(self) -> "TrainSettings":
        for rule in _RULES:
            if rule.is_broken(self):
                k2, k1 = self.horizon or 0, self.bptt_k1 or 1
                text = rule.text.format(
                    it=self,
                    option=f"--{rule.needless.replace('_', '-')}",
                    heads=len(self.head or ()),
                    targets=len(self.targets),
                    names=", ".join(self.targets),
                    untrained=k1 - k2,
                    multiple=-(-k2 // k1) * k1,
                )
                raise Contradiction(text, rule.needless, *rule.beside)
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets: the given ones, then the own column."""
        return (*self.target, *([self.target_column] if self.target_column else ()))

    @property
    def heads(self) -> tuple[HeadName, ...]:
        """The head of each target: by default a distribution for returns, else a point."""
        if self.head is None:
            return tuple("student-t" if name == "return" else "point" for name in self.targets)
        return self.head * len(self.targets) if len(self.head) == 1 else self.head

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
        """Gradient horizon in days, or None for full BPTT."""
        if self.bptt == "full":
            return None
        default = DEFAULT_BPTT_K2 if self.lookback == "all" else DEFAULT_BPTT_K2_IN_WINDOWS
        return self.bptt_k2 if isinstance(self.bptt_k2, int) else default


class _Rule(NamedTuple):
    """A setting that has no meaning beside others, when that is so, and the message."""

    needless: str
    beside: tuple[str, ...]
    is_broken: Callable[[TrainSettings], bool]
    text: str


_NO_MEMORY = (
    "{option} has no meaning with --model mlp, which reads each day by itself. Drop one of them"
)
_NOT_CUT = (
    "{option} applies only to --bptt truncated; full BPTT reaches back to each series' first day. "
    "Drop one of them"
)
# The first broken rule is reported. The last two are those of `Plan`, in its words: here a
# lower source can give way.
_RULES = (
    _Rule(
        "head",
        ("target",),
        lambda it: it.head is not None and len(it.head) not in (1, len(it.targets)),
        "--head lists {heads} heads for {targets} targets: {names}. Use one for all, or one for "
        "each",
    ),
    _Rule(
        "initial_state",
        ("model",),
        lambda it: it.model == "mlp" and it.initial_state != "zeros",
        _NO_MEMORY,
    ),
    _Rule(
        "recurrent_weights",
        ("model",),
        lambda it: it.model == "mlp" and it.recurrent_weights != "default",
        _NO_MEMORY,
    ),
    _Rule(
        "recurrent_weights",
        ("model",),
        lambda it: it.recurrent_weights == "identity" and it.model != "elman",
        "--recurrent-weights identity copies the state of --model elman; a {it.model} has gates. "
        "Use orthogonal, or --forget-bias with lstm",
    ),
    _Rule(
        "forget_bias",
        ("model",),
        lambda it: it.forget_bias is not None and it.model != "lstm",
        "--forget-bias is the LSTM's; a {it.model} has no forget gate. Drop it, or use --model "
        "lstm",
    ),
    _Rule(
        "bidirectional", ("model",), lambda it: it.model == "mlp" and it.bidirectional, _NO_MEMORY
    ),
    _Rule("bptt_k2", ("bptt",), lambda it: it.bptt == "full" and it.bptt_k2 is not None, _NOT_CUT),
    _Rule("bptt_k1", ("bptt",), lambda it: it.bptt == "full" and it.bptt_k1 is not None, _NOT_CUT),
    _Rule(
        "bptt_tolerance",
        ("bptt_k2", "bptt", "lookback"),
        lambda it: it.bptt_k2 != "auto" and it.bptt_tolerance is not None,
        "--bptt-tolerance applies only to --bptt-k2 auto. Drop it, or add that",
    ),
    _Rule(
        "bptt_k2",
        ("lookback",),
        lambda it: it.bptt_k2 == "auto" and it.lookback != "all",
        "--bptt-k2 auto measures memory over whole histories. Use a number of days, or "
        "--lookback all",
    ),
    _Rule(
        "bptt_k1",
        ("bptt_k2",),
        lambda it: it.bptt_k2 == "auto" and it.bptt_k1 is not None,
        "--bptt-k2 auto sets --bptt-k1 too. Drop one of them",
    ),
    _Rule(
        "loss",
        ("lookback",),
        lambda it: it.lookback == "all" and it.loss == "last-day",
        "--loss last-day is for windows; a whole history is scored on each day. Set --lookback to "
        "a number of days, or drop it",
    ),
    _Rule(
        "burn_in",
        ("lookback",),
        lambda it: it.lookback == "all" and bool(it.burn_in),
        "--burn-in is for windows; a whole history starts cold once. Set --lookback to a number "
        "of days, or drop it",
    ),
    _Rule(
        "bptt_k1",
        ("lookback", "loss"),
        lambda it: not it.scores_each_day and it.bptt_k1 is not None,
        "Only the last day of a window has an error; --bptt-k1 has no meaning there. Drop it, or "
        "use --loss each-day or --lookback all",
    ),
    _Rule(
        "burn_in",
        ("lookback", "loss"),
        lambda it: not it.scores_each_day and bool(it.burn_in),
        "--burn-in has no meaning with --loss last-day: only the last day is scored. Drop it, or "
        "use --loss each-day",
    ),
    _Rule(
        "bptt_k2",
        ("bidirectional", "lookback"),
        lambda it: (
            it.bidirectional
            and not it.scores_each_day
            and it.horizon is not None
            and it.horizon < int(it.lookback)
        ),
        "--bidirectional: a bidirectional network cannot be cut at {it.horizon} days inside "
        "windows of {it.lookback}. Use --bptt full",
    ),
    _Rule(
        "burn_in",
        ("lookback",),
        lambda it: it.lookback != "all" and (it.burn_in or 0) >= int(it.lookback),
        "--burn-in {it.burn_in} is not below --lookback {it.lookback}: no day would be scored",
    ),
    _Rule(
        "batch_rows",
        ("lookback",),
        lambda it: it.lookback != "all" and it.batch_rows != DEFAULT_BATCH_ROWS,
        "--batch-rows applies only to whole histories; windows are taken batch by batch. Use "
        "--lookback all, or drop it",
    ),
    _Rule(
        "bidirectional",
        ("lookback", "loss"),
        lambda it: it.bidirectional and it.scores_each_day,
        "--bidirectional: a bidirectional network reads days after the one it predicts. Allowed "
        "only with --lookback and --loss last-day",
    ),
    _Rule(
        "bptt_k1",
        ("bptt_k2",),
        lambda it: (it.horizon or 0) < (it.bptt_k1 or 0),
        "--bptt-k2 {it.horizon} is shorter than --bptt-k1 {it.bptt_k1}: the errors of the "
        "{untrained} oldest days of every chunk would never be trained on. Use --bptt-k2 "
        "{it.bptt_k1} or more",
    ),
    _Rule(
        "bptt_k1",
        ("bptt_k2",),
        lambda it: (it.horizon or 0) % (it.bptt_k1 or 1) > 0,
        "--bptt-k2 must be a multiple of --bptt-k1 ({it.bptt_k1}): try {multiple}",
    ),
)
