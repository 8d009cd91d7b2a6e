"""The BPTT plan: how far back in time errors travel. A value, validated when made.

Knows no network and no arrays. Day counts are trading days.
"""

from dataclasses import dataclass
from typing import Literal

from forecaster.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class BPTTPlan:
    """Full or truncated backpropagation through time.

    Make one with `BPTTPlan.full()` or `BPTTPlan.truncated(steps=63)`.

    Args:
        kind: "full" or "truncated".
        steps: days each error reaches back, its own included, at least 1; truncated only.

    Raises:
        UsageError: the two contradict each other.
    """

    kind: Literal["full", "truncated"]
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("full", "truncated"):
            raise UsageError(f"--bptt {self.kind} is not known; choose full or truncated.")
        if self.kind == "full" and self.steps is not None:
            raise UsageError(
                "--bptt-steps applies only to --bptt truncated; full BPTT reaches back to each "
                "series' first day. Drop one of them."
            )
        if self.kind == "truncated" and (self.steps is None or self.steps < 1):
            raise UsageError(
                f"--bptt-steps is {self.steps}; truncated BPTT needs at least 1 day. "
                "Give --bptt-steps a number of days, or use --bptt full."
            )

    @classmethod
    def full(cls) -> "BPTTPlan":
        """Let errors reach back to the first day."""
        return cls(kind="full")

    @classmethod
    def truncated(cls, *, steps: int) -> "BPTTPlan":
        """Let errors reach back up to `steps` days, the day of the error included."""
        return cls(kind="truncated", steps=steps)

    def reach(self, days: int) -> int:
        """Give the most days of a block of `days` that one error travels through."""
        return days if self.steps is None else min(self.steps, days)

    def describe(self) -> str:
        """Say in one line how far errors reach."""
        if self.steps is None:
            return "full: errors reach back to each series' first day"
        unit = "day" if self.steps == 1 else "days"
        return f"truncated: errors reach back up to {self.steps} {unit}"
