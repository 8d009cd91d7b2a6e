"""The BPTT plan: gradient horizon, optimizer steps and memory of backpropagation through time."""

from dataclasses import dataclass
from typing import Literal, get_args

from forecaster.errors import UsageError

Kind = Literal["full", "truncated"]
StepPer = Literal["chunk", "epoch"]
Memory = Literal["auto", "store", "recompute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BPTTPlan:
    """Full or truncated backpropagation through time.

    Args:
        k2: trading days each error may travel back, its own included; truncated only.
        k1: days of a chunk, whose errors start together; divides k2, and is k2 unless given.
            Every error then travels k2 - k1 + 1 to k2 days back.
        step_per: one optimizer step per chunk or epoch.
        memory: keep every day's activations ("store"), recompute them in chunks
            ("recompute": the same gradient), or choose by the gradient horizon ("auto").

    Raises:
        UsageError: the numbers contradict each other.

    Source: Williams and Peng (1990), BPTT(h; h') with h = k2 and h' = k1; the losses of
    the last k1 days enter, so that each day counts once.
    """

    kind: Kind
    k2: int | None = None
    k1: int | None = None
    step_per: StepPer = "chunk"
    memory: Memory = "auto"

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("--bptt", self.kind, get_args(Kind)),
            ("--step-per", self.step_per, get_args(StepPer)),
            ("--bptt-memory", self.memory, get_args(Memory)),
        ):
            if value not in known:
                raise UsageError(f"{flag} {value} is not known; choose {' or '.join(known)}.")
        if self.kind == "truncated":
            self._check_numbers()
            return
        for flag, number in (("--bptt-k2", self.k2), ("--bptt-k1", self.k1)):
            if number is not None:
                raise UsageError(
                    f"{flag} applies only to --bptt truncated; full BPTT reaches back to each "
                    "series' first day. Drop one of them."
                )

    def _check_numbers(self) -> None:
        k1, k2 = self.k1, self.k2
        if k2 is None or k2 < 1:
            raise UsageError(
                f"--bptt-k2 is {k2}; truncated BPTT needs at least 1 day. "
                "Give --bptt-k2 a number of days, or use --bptt full."
            )
        if k1 is None:
            return
        if k1 < 1:
            raise UsageError(f"--bptt-k1 is {k1}; give at least 1 day, or drop it.")
        if k2 < k1:
            raise UsageError(
                f"--bptt-k2 {k2} is shorter than --bptt-k1 {k1}: the errors of the {k1 - k2} "
                f"oldest days of every chunk would never be trained on. Use --bptt-k2 {k1} or more."
            )
        if k2 % k1:
            raise UsageError(
                f"--bptt-k2 must be a multiple of --bptt-k1 ({k1}): try {-(-k2 // k1) * k1}."
            )

    @classmethod
    def full(cls, *, step_per: StepPer = "chunk", memory: Memory = "auto") -> "BPTTPlan":
        """Make a plan in which errors travel back to the first day."""
        return cls(kind="full", step_per=step_per, memory=memory)

    @classmethod
    def truncated(
        cls,
        *,
        k2: int,
        k1: int | None = None,
        step_per: StepPer = "chunk",
        memory: Memory = "auto",
    ) -> "BPTTPlan":
        """Make a plan in which errors travel back at most k2 days, their own included."""
        return cls(kind="truncated", k2=k2, k1=k1, step_per=step_per, memory=memory)

    def horizon(self, days: int) -> int:
        """Return the most days of `days` that one error travels through."""
        return days if self.k2 is None else min(self.k2, days)

    def chunk_days(self, days: int) -> int:
        """Return the length of the chunks that `days` are cut into: k1, or all for full BPTT."""
        return days if self.k2 is None else min(self.k1 or self.k2, days)

    def chunk_lengths(self, days: int) -> tuple[int, ...]:
        """Return the days of each of these chunks, from the first on; the last may be shorter."""
        most = self.chunk_days(days)
        return tuple(min(most, days - first) for first in range(0, days, most))

    @property
    def context_chunks(self) -> int:
        """Chunks before its own that an error travels through: k2 / k1 - 1, 0 for full BPTT."""
        return 0 if self.k2 is None else self.k2 // (self.k1 or self.k2) - 1

    def describe(self) -> str:
        """Return one line on the gradient horizon: k1, k2, and the mean over errors."""
        if self.k2 is None:
            return "full: gradients flow back to each series' first day"
        k1, k2 = self.k1 or self.k2, self.k2
        if k2 == 1:
            return "truncated, k1 = k2 = 1 day"
        numbers = f"k1 = k2 = {k2:,}" if k1 == k2 else f"k1 = {k1:,}, k2 = {k2:,}"
        return f"truncated, {numbers} days (mean horizon {k2 - (k1 - 1) / 2:g})"
