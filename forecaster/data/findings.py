"""What a data-quality rule is, and what it found.

Values only; the rules themselves are in `checks.py` and the `check_*.py` beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from forecaster.data.bars import History

Severity = Literal["error", "warning"]

# Position of a bar in the history, and what is odd about it in words.
Sign = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: `error` where the numbers cannot be right, `warning` where they may be.

    `find` is a pure function from a sound history to the bars that break the rule.
    """

    name: str
    severity: Severity
    find: Callable[[History], list[Sign]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A bar that breaks a rule, with the reason in words."""

    ticker: str
    rule: str
    severity: Severity
    session: date
    reason: str

    def __str__(self) -> str:
        """Name ticker, day and rule before the reason, on one line."""
        return f"{self.ticker}: {self.session} {self.rule}: {self.reason}"
