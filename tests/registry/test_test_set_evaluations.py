"""Every look at report days is counted, whoever looked, and told."""

import json
from datetime import date
from pathlib import Path

import pytest

from forecaster.evaluation.evaluation import EvaluationCount
from forecaster.registry.test_set_evaluations import FILE, count_evaluation

MAY, JUNE, JULY = date(2020, 5, 1), date(2020, 6, 1), date(2020, 7, 1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


def test_looks_at_overlapping_days_add_up_over_questions(home: Path) -> None:
    assert count_evaluation(home, "one", MAY, JUNE) == EvaluationCount(same=1, total=1, questions=1)
    assert count_evaluation(home, "one", MAY, JULY) == EvaluationCount(same=2, total=2, questions=1)
    assert count_evaluation(home, "two", JUNE, JULY) == EvaluationCount(
        same=1, total=3, questions=2
    )
    assert count_evaluation(home, "one", JUNE, JULY) == EvaluationCount(
        same=1, total=4, questions=2
    )
    later = date(2020, 8, 1)
    assert count_evaluation(home, "one", later, later) == EvaluationCount(
        same=1, total=1, questions=1
    )


def test_a_file_of_another_kind_is_left_alone_and_told_of(
    home: Path, logged_warnings: list[str]
) -> None:
    (home / "models" / FILE).write_text(json.dumps({"schema": "else"}))
    nothing = EvaluationCount(same=None, total=None, questions=None)
    assert count_evaluation(home, "one", MAY, JUNE) == nothing
    assert json.loads((home / "models" / FILE).read_text()) == {"schema": "else"}
    assert "cannot be counted" in logged_warnings[0]


def test_a_home_without_models_counts_nothing(tmp_path: Path, logged_warnings: list[str]) -> None:
    assert count_evaluation(tmp_path, "one", MAY, JUNE).total is None
    assert len(logged_warnings) == 1
