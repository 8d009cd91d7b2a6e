"""Settings as keywords or a dict, for Python: the same names, types and checks as the sections'.

`tests/settings/test_keywords.py` compares each class here with its section.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, TypeVar

from pydantic import ValidationError

from forecaster.errors import UsageError
from forecaster.settings.train import Contradiction, HeadName, Section, TargetName

S = TypeVar("S", bound=Section)


class UnknownSettingError(UsageError, TypeError):
    """A keyword that is no setting; also the `TypeError` that a wrong keyword is in Python."""


class TrainKeywords(TypedDict, total=False):
    """`TrainSettings` as keywords; several names may be one text, separated by commas."""

    model: Literal["elman", "gru", "lstm", "mlp"]
    hidden: int
    layers: int
    dropout: float
    input_dropout: float
    base: Literal["auto", "none", "har", "linear"]
    head: HeadName | str | Sequence[HeadName] | None
    point_loss: Literal["mse", "huber"]
    target_column: str | None
    target: TargetName | str | Sequence[TargetName]
    lookback: int | Literal["all"]
    bptt: Literal["full", "truncated"]
    bptt_k2: int | Literal["auto"] | None
    bptt_tolerance: float | None
    bptt_k1: int | None
    step_per: Literal["chunk", "epoch"]
    bptt_memory: Literal["auto", "store", "recompute"]
    loss: Literal["each-day", "last-day"] | None
    burn_in: int | None
    initial_state: Literal["zeros", "learned"]
    recurrent_weights: Literal["default", "orthogonal", "identity"]
    forget_bias: float | None
    bidirectional: bool
    train_until: date | str | None
    validation_until: date | str | None
    max_steps: int
    lr: float
    weight_decay: float
    clip_grad: float
    batch_rows: int
    batch: int
    evaluate_every: int
    patience: int
    seed: int
    members: int
    threads: int
    workers: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    tf32: bool


class FetchKeywords(TypedDict, total=False):
    """`FetchSettings` as keywords."""

    source: str
    compare_all_days: int


class PredictKeywords(TypedDict, total=False):
    """`PredictSettings` as keywords."""

    max_stale: int
    max_model_age: int


def settings_from(
    kind: type[S], settings: S | Mapping[str, Any] | None, keywords: Mapping[str, Any]
) -> S:
    """Make the settings of a section from its value or a dict, and from keywords, which win.

    Raises:
        UnknownSettingError: a name is no setting.
        UsageError: a value is not valid, or settings contradict each other.
    """
    if isinstance(settings, kind):
        if not keywords:
            return settings
        given: dict[str, Any] = settings.model_dump(exclude_unset=True)
    elif settings is None or isinstance(settings, Mapping):
        given = dict(settings or {})
    else:
        raise UsageError(
            f"settings is a {type(settings).__name__}; a {kind.__name__} or a dict is needed."
        )
    given |= keywords
    for name in given:
        check_setting(kind, name)
    try:
        return kind(**given)
    except ValidationError as error:
        raise UsageError(_explain(error)) from error


def check_setting(kind: type[Section], name: str) -> None:
    """Raise UnknownSettingError, with the nearest name, unless a section has a setting."""
    if name not in kind.model_fields:
        near = get_close_matches(name, list(kind.model_fields), n=1)
        remedy = f"did you mean {near[0]}?" if near else f"help({kind.__name__}) lists them."
        raise UnknownSettingError(f"{name}: no such setting; {remedy}")


def _explain(error: ValidationError) -> str:
    """Return the first fault in one line, in Python's names."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Contradiction):
        option = re.compile("--([a-z][a-z0-9-]*)")
        return option.sub(lambda found: found[1].replace("-", "_"), f"{cause}.")
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{first['loc'][0]} = {first['input']!r}: {text}."
