"""Drift of a champion: errors, coverage and inputs."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecaster.operations.due_sessions import store_state
from forecaster.operations.scoring import drift_flags, expected_error, input_flag
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.train import train
from forecaster.registry.champion_history import Decision
from forecaster.registry.versions import list_versions, read_manifest
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

VERSION = "20240101-000000-lstm-00000000"


def rows(actual, *, version=VERSION, session=True):
    """One ticker on as many sessions; the 80 % interval is -1.28 to 1.28, the 95 % one 1.96."""
    count = len(actual)
    days = pd.bdate_range("2024-01-01", periods=count)
    ends = {"q025": -1.96, "q10": -1.28, "q90": 1.28, "q975": 1.96}
    known = {"version": version, "scheduled": session, "target": "return", "forecast": 0.0}
    return pd.DataFrame({"session": days, "actual": actual, **known, **ends})


def promoted(mean, error):
    """A promotion with this expected error."""
    evidence = {"expected": {"return": {"mean": mean, "error": error}}}
    return Decision(
        id=1,
        name="return",
        session=None,
        made_at=datetime(2024, 1, 1, tzinfo=UTC),
        outcome="promoted",
        challenger=VERSION,
        before=None,
        after=VERSION,
        reason="",
        evidence=evidence,
    )


@pytest.fixture
def calm():
    return np.random.default_rng(0).standard_normal(63)


def test_a_champion_with_expected_errors_is_not_flagged(calm):
    expected = np.abs(calm).mean() / 2.56
    assert drift_flags(rows(calm), VERSION, promoted(expected, 0.01)) == []


def test_errors_and_coverage_that_drift_are_flagged(calm):
    """Outcomes twice as wide as expected: errors, and both intervals."""
    expected = np.abs(calm).mean() / 2.56
    flags = drift_flags(rows(2.5 * calm), VERSION, promoted(expected, 0.01))
    assert [flag.kind for flag in flags] == ["error", "coverage", "coverage"]


def test_only_the_last_quarter_counts(calm):
    wild = np.r_[20.0 * calm, calm]
    assert drift_flags(rows(wild), VERSION, None) == []


def test_forecasts_of_others_do_not_count(calm):
    """Neither those of an earlier champion nor forecasts by hand."""
    assert drift_flags(rows(9.0 * calm, version="baseline"), VERSION, None) == []
    assert drift_flags(rows(9.0 * calm, session=False), VERSION, None) == []


def test_a_champion_promoted_by_hand_has_no_expected_error():
    assert expected_error(None, "return") is None
    assert expected_error(promoted(None, 0.1), "return") is None
    assert expected_error(promoted(0.3, 0.1), "range") is None
    assert expected_error(promoted(0.3, 0.1), "return").mean == 0.3


@pytest.fixture
def home(tmp_path):
    file = tmp_path / "bars.csv"
    ragged_bars({"AAA": 700, "BBB": 500}).to_csv(file, index=False)
    import_files([file], home=tmp_path)
    train(settings=TrainSettings(hidden=4, max_steps=5), home=tmp_path)
    return tmp_path


def test_inputs_that_left_the_training_range_are_flagged(home):
    """As if the version had been trained on inputs of another size."""
    (version,) = list_versions(home)
    manifest = read_manifest(home, version)
    day = max(store_state(home).newest.values())
    assert input_flag(home, manifest, day) is None
    moved = manifest.scaler.model_copy(
        update={
            "mean": [
                value - 9.0 * s
                for value, s in zip(manifest.scaler.mean, manifest.scaler.scale, strict=True)
            ]
        }
    )
    flag = input_flag(home, manifest.model_copy(update={"scaler": moved}), day)
    assert flag is not None and flag.kind == "inputs"
    assert input_flag(home, manifest, day - timedelta(days=9000)) is None
