"""Values that cannot be changed, and where the home is."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from forecaster.settings import DEFAULT_BPTT_K2, TrainSettings, resolve_home


def test_settings_cannot_be_changed():
    """A value, made once."""
    with pytest.raises(ValueError, match="frozen"):
        TrainSettings().lr = 0.5


def test_a_contradiction_is_a_value_error_where_settings_are_made():
    """From Python there is no command line to blame: pydantic's own error, a ValueError."""
    with pytest.raises(ValidationError, match="--bptt-k2 applies only to --bptt truncated"):
        TrainSettings(bptt="full", bptt_k2=20)
    assert issubclass(ValidationError, ValueError)


def test_the_horizon_by_hand():
    """None for full, the steps given, the default's else."""
    assert TrainSettings().horizon == DEFAULT_BPTT_K2 == 21
    assert TrainSettings(lookback=60).horizon == 63
    assert TrainSettings(bptt_k2=20).horizon == 20
    assert TrainSettings(bptt="full").horizon is None


def test_home_is_the_option_then_the_variable_then_here(tmp_path, monkeypatch):
    """Absolute in any case, so that a later change of directory does not move it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORECASTER_HOME", raising=False)
    assert resolve_home(None) == tmp_path
    monkeypatch.setenv("FORECASTER_HOME", "")
    assert resolve_home(None) == tmp_path
    monkeypatch.setenv("FORECASTER_HOME", "elsewhere")
    assert resolve_home(None) == tmp_path / "elsewhere"
    assert resolve_home(Path("given")) == resolve_home("given") == tmp_path / "given"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_home(Path("~/prices")) == tmp_path / "prices"


def test_heads_by_hand():
    """A distribution for returns and a number else; one for all, or one for each."""
    made = TrainSettings(target="range,return")
    assert made.heads == ("point", "student-t")
    assert TrainSettings(target="range,return", head="quantiles").heads == ("quantiles",) * 2
    each = TrainSettings(target="range,return", head="point,quantiles")
    assert each.heads == ("point", "quantiles")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "point,point"}, "--head lists 2 heads for 1 targets: return"),
        ({"head": "normal"}, "Input should be 'point', 'student-t' or 'quantiles'"),
        ({"model": "mlp", "initial_state": "learned"}, "--initial-state has no meaning with"),
        ({"recurrent_weights": "identity"}, "--recurrent-weights identity copies the state of"),
        ({"model": "gru", "forget_bias": 3.0}, "--forget-bias is the LSTM's; a gru has no"),
        ({"model": "mlp", "bidirectional": True, "lookback": 9}, "--bidirectional has no meaning"),
        ({"input_dropout": 1.0}, "less than 1"),
    ],
)
def test_heads_and_states_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        TrainSettings(**options)


def test_an_own_column_is_forecast_alone_or_beside_given_targets() -> None:
    assert TrainSettings(target_column="rv5").targets == ("rv5",)
    both = TrainSettings(target="range,return", target_column="rv5")
    assert both.targets == ("range", "return", "rv5")
    assert both.heads == ("point", "student-t", "point")
    assert TrainSettings.model_validate(both.model_dump()) == both
    for name in ("range", "5rv", "RV5", "a b"):
        with pytest.raises(ValidationError, match="a-z, 0-9 and _"):
            TrainSettings(target_column=name)
