"""Every test-set evaluation is counted, with all that overlap it."""

import json
from datetime import date
from pathlib import Path

import pytest

from forecaster.evaluation.evaluation import EvaluationCount
from forecaster.registry.test_set_evaluations import OLD_FILE, count_evaluation

MAY, JUNE, JULY = date(2020, 5, 1), date(2020, 6, 1), date(2020, 7, 1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


def test_evaluations_of_overlapping_days_add_up_over_questions(home: Path) -> None:
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


def old_counts(home: Path, *looks: dict[str, object]) -> Path:
    """The file in which 0.1.0 counted evaluations."""
    path = home / "models" / OLD_FILE
    path.write_text(json.dumps({"schema": "forecaster.looks/1", "looks": looks}))
    return path


def test_counts_of_the_first_release_are_taken_over_once(home: Path) -> None:
    old = {"question": "one", "first": "2020-05-01", "last": "2020-06-01", "count": 4}
    path = old_counts(home, old, {**old, "question": "two", "count": 2})
    first = count_evaluation(home, "one", MAY, JUNE)
    assert (first.same, first.total, first.questions) == (5, 7, 2)
    assert not path.exists() and path.with_name("looks.json.taken-over").exists()
    assert count_evaluation(home, "one", MAY, JULY).total == 8


def test_a_kill_before_the_old_file_is_renamed_counts_nothing_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"question": "one", "first": "2020-05-01", "last": "2020-06-01", "count": 4}
    old_counts(home, old)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        count_evaluation(home, "one", MAY, JUNE)
    assert count_evaluation(home, "one", MAY, JUNE).same == 6


def test_an_old_file_of_another_schema_stops_the_count_with_a_warning(
    home: Path, logged_warnings: list[str]
) -> None:
    path = home / "models" / OLD_FILE
    path.write_text(json.dumps({"schema": "else"}))
    nothing = EvaluationCount(same=None, total=None, questions=None)
    assert count_evaluation(home, "one", MAY, JUNE) == nothing
    assert json.loads(path.read_text()) == {"schema": "else"}
    assert "cannot be counted" in logged_warnings[0]


def test_a_missing_home_counts_nothing(tmp_path: Path, logged_warnings: list[str]) -> None:
    assert count_evaluation(tmp_path / "none", "one", MAY, JUNE).total is None
    assert len(logged_warnings) == 1
