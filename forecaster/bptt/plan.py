"""The BPTT plan: how far back errors travel, how often weights move, how memory is spent.

A frozen value, validated when made. Knows no network and no arrays. Day counts are
trading days; k2 and k1 are the names of Williams and Peng's and Sutskever's two numbers.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from forecaster.errors import UsageError

Kind = Literal["full", "truncated"]
Update = Literal["chunk", "pass"]
Memory = Literal["auto", "store", "recompute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BPTTPlan:
    """Full or truncated backpropagation through time.

    Make one with `BPTTPlan.full()` or `BPTTPlan.truncated(steps=63)`.

    Args:
        kind: "full" or "truncated".
        steps: k2, the days each error may reach back, its own included; truncated only.
        stride: k1, the days between two blocks of errors; divides `steps`, and is `steps`
            unless given. Every error then reaches k2 - k1 + 1 to k2 days back.
        update: move the weights after every block ("chunk") or once per pass ("pass").
        memory: keep every day's activations ("store"), recompute them in chunks
            ("recompute": the same gradient), or choose by the reach ("auto").

    Raises:
        UsageError: the numbers contradict each other.

    Source: Williams and Peng (1990), BPTT(h; h') with h = k2 and h' = k1; the losses of
    the last k1 days enter, so that each day counts once.
    """

    kind: Kind
    steps: int | None = None
    stride: int | None = None
    update: Update = "chunk"
    memory: Memory = "auto"

    def __post_init__(self) -> None:
        _require_known("--bptt", self.kind, get_args(Kind))
        _require_known("--step-per", self.update, get_args(Update))
        _require_known("--bptt-memory", self.memory, get_args(Memory))
        if self.kind == "full":
            self._refuse_numbers()
        else:
            self._check_numbers()

    def _refuse_numbers(self) -> None:
        for flag, number in (("--bptt-k2", self.steps), ("--bptt-k1", self.stride)):
            if number is not None:
                raise UsageError(
                    f"{flag} applies only to --bptt truncated; full BPTT reaches back to each "
                    "series' first day. Drop one of them."
                )

    def _check_numbers(self) -> None:
        steps, stride = self.steps, self.stride
        if steps is None or steps < 1:
            raise UsageError(
                f"--bptt-k2 is {steps}; truncated BPTT needs at least 1 day. "
                "Give --bptt-k2 a number of days, or use --bptt full."
            )
        if stride is None:
            return
        if stride < 1:
            raise UsageError(f"--bptt-k1 is {stride}; give at least 1 day, or drop it.")
        if steps < stride:
            raise UsageError(
                f"--bptt-k2 {steps} is shorter than --bptt-k1 {stride}: the errors of the "
                f"{stride - steps} oldest days in every block would never be learned from. Use "
                f"--bptt-k2 {stride} or more."
            )
        if steps % stride:
            raise UsageError(
                f"--bptt-k2 must be a multiple of --bptt-k1 ({stride}): "
                f"try {-(-steps // stride) * stride}."
            )

    @classmethod
    def full(cls, *, update: Update = "chunk", memory: Memory = "auto") -> "BPTTPlan":
        """Let errors reach back to the first day."""
        return cls(kind="full", update=update, memory=memory)

    @classmethod
    def truncated(
        cls,
        *,
        steps: int,
        stride: int | None = None,
        update: Update = "chunk",
        memory: Memory = "auto",
    ) -> "BPTTPlan":
        """Let errors reach back up to `steps` days, the day of the error included."""
        return cls(kind="truncated", steps=steps, stride=stride, update=update, memory=memory)

    def horizon(self, days: int) -> int:
        """Give the most days of a block of `days` that one error travels through."""
        return days if self.steps is None else min(self.steps, days)

    def grid(self, days: int) -> int:
        """Give k1 for a block of `days`: the days between two grid lines, all for full BPTT."""
        return days if self.steps is None else min(self.stride or self.steps, days)

    def describe(self) -> str:
        """Say in one line how far errors reach."""
        if self.steps is None:
            return "full: errors reach back to each series' first day"
        if self.steps == 1:
            return "truncated: errors reach back up to 1 day"
        least = self.steps - (self.stride or self.steps) + 1
        mean = (least + self.steps) / 2
        return f"truncated: errors reach back up to {self.steps:,} days (mean {mean:g})"


def _require_known(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{flag} {value} is not known; choose {' or '.join(known)}.")
