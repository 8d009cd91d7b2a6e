"""The result of an evaluation.  Knows neither networks nor files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCount:
    """Number of evaluations so far on test days that overlap this one's, itself included.

    `same` counts those of the same question (version and walk), `total` all of them,
    `questions` the different questions. All are None where they could not be counted.
    """

    same: int | None
    total: int | None
    questions: int | None
