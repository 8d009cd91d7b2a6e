"""The BPTT plan: gradient horizon, optimizer steps and memory of backpropagation through time."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["full", "truncated"]
StepPer = Literal["chunk", "epoch"]
Memory = Literal["auto", "store", "recompute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Full or truncated backpropagation through time.

    Args:
        k2: trading days each error may travel back, its own included; truncated only.
        k1: days of a chunk, whose errors start together; divides k2, and is k2 unless given.
            Every error then travels k2 - k1 + 1 to k2 days back.
        step_per: one optimizer step per chunk or epoch; for the training loop, `gradients` takes
            no step.
        memory: keep every day's activations ("store"), recompute them in pieces of up to 50
            days ("recompute": the same bits), or choose by the gradient horizon ("auto").

    Raises:
        ValueError: the numbers contradict each other.

    Examples:
        >>> Plan.truncated(k2=20).describe()
        'truncated, k1 = k2 = 20 days (mean horizon 10.5)'

    Source: Williams and Peng (1990), BPTT(h; h') with h = k2 and h' = k1; the losses of
    the last k1 days enter, so that each day counts once.
    """

    kind: Kind
    k2: int | None = None
    k1: int | None = None
    step_per: StepPer = "chunk"
    memory: Memory = "auto"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, get_args(Kind)),
            ("step_per", self.step_per, get_args(StepPer)),
            ("memory", self.memory, get_args(Memory)),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is not known; give {' or '.join(known)}.")
        if self.kind == "truncated":
            self._check_numbers()
            return
        for name, number in (("k2", self.k2), ("k1", self.k1)):
            if number is not None:
                raise ValueError(
                    f"{name} is {number}, yet full BPTT reaches back to each series' first day; "
                    "drop it, or give Plan.truncated."
                )

    def _check_numbers(self) -> None:
        k1, k2 = self.k1, self.k2
        if k2 is None or k2 < 1:
            raise ValueError(f"k2 is {k2}; give at least 1 day, or Plan.full().")
        if k1 is None:
            return
        if k1 < 1:
            raise ValueError(f"k1 is {k1}; give at least 1 day, or drop it.")
        if k2 < k1:
            raise ValueError(
                f"k2 {k2} is shorter than k1 {k1}: the errors of the {k1 - k2} oldest days of "
                f"every chunk would never be trained on. Give a k2 of {k1} or more."
            )
        if k2 % k1:
            raise ValueError(f"k2 {k2} is no multiple of k1 {k1}; try {-(-k2 // k1) * k1}.")

    @classmethod
    def full(cls, *, step_per: StepPer = "chunk", memory: Memory = "auto") -> "Plan":
        """Make a plan in which errors travel back to the first day."""
        return cls(kind="full", step_per=step_per, memory=memory)

    @classmethod
    def truncated(
        cls,
        k2: int,
        k1: int | None = None,
        *,
        step_per: StepPer = "chunk",
        memory: Memory = "auto",
    ) -> "Plan":
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
