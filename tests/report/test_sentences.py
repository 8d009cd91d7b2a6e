"""Results in words: conclusions with the numbers that they rest on."""

import pytest

from forecaster.evaluation.scores import Alarm
from forecaster.report.sentences import (
    alarm_text,
    compared,
    conclusions,
    label,
    p_text,
    recurrence_gain,
    title,
)
from tests.report.samples import comparison, part_sample, sample

NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "prose"),
    [
        ("lstm", "LSTM"),
        ("lstm-x3", "LSTM-x3"),
        ("zero-return", "zero return"),
        ("har-x", "HAR-X"),
        ("ar5", "AR5"),
        ("egarch-t", "EGARCH-t"),
        ("mean", "mean"),
        ("elman", "elman"),
    ],
)
def test_names_in_prose(name: str, prose: str) -> None:
    assert label(name) == prose


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"difference": -0.0066, "adjusted_p_value": 0.28, "tests": 11, "days": 755},
            "LSTM vs HAR: no significant difference (MSE 0.66 % lower, Diebold–Mariano p = 0.28, "
            "Holm over 11 tests; 755 days; test-set evaluation 1)",
        ),
        (
            {"difference": -0.0548, "adjusted_p_value": 1e-5, "tests": 1, "days": 1755},
            "LSTM vs HAR: significantly better (MSE 5.5 % lower, Diebold–Mariano p < 0.001, "
            "Holm over 1 test; 1,755 days; test-set evaluation 1)",
        ),
        (
            {"difference": 0.3, "p_value": 0.049, "adjusted_p_value": None},
            "LSTM vs HAR: significantly worse (MSE 30 % higher, Diebold–Mariano p = 0.049; "
            "300 days; test-set evaluation 1)",
        ),
        (
            {"difference": -0.0123, "loss": "log loss", "unit": "nats"},
            "LSTM vs HAR: significantly better (log loss 0.0123 nats lower, Diebold–Mariano "
            "p = 0.002, Holm over 2 tests; 300 days; test-set evaluation 1)",
        ),
        (
            {"difference": -0.5, "p_value": NAN, "days": 1},
            "LSTM vs HAR: MSE 50 % lower over 1 day, too few for a test",
        ),
        ({"difference": 0.0, "p_value": NAN}, "LSTM vs HAR: same forecasts"),
    ],
)
def test_a_comparison_in_words(changes: dict[str, object], sentence: str) -> None:
    assert compared(comparison("har", **changes), 1) == sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "significant gain from recurrence over an MLP with the same inputs (MSE 1.2 % lower"),
        ({"difference": 0.0123}, "significant loss from recurrence against an MLP"),
        ({"adjusted_p_value": 0.5}, "no significant gain from recurrence over an MLP"),
        (
            {"forecaster": "mlp", "benchmark": "linear"},
            "significant gain from the network over the",
        ),
        ({"p_value": NAN, "difference": 0.0}, "LSTM vs MLP: same forecasts"),
    ],
)
def test_the_gain_from_recurrence_in_words(changes: dict[str, object], words: str) -> None:
    given = {"benchmark": "mlp", **changes}
    assert recurrence_gain(comparison(**given)).startswith(words)  # type: ignore[arg-type]


def test_no_p_value_is_zero() -> None:
    assert [p_text(p) for p in (0.0, 0.0009, 0.001, 0.2834)] == [
        *("p < 0.001", "p < 0.001", "p = 0.001", "p = 0.28"),
    ]


def test_conclusions_have_the_number_of_test_set_evaluations() -> None:
    first, second = conclusions(sample(), "return")
    assert first.endswith("300 days; test-set evaluation 2)")
    assert second.startswith("LSTM vs mean: no significant difference")


def test_the_title_has_network_tickers_targets_and_test_days() -> None:
    both = sample(part_sample(), part_sample("range"))
    expected = "LSTM on 2 tickers: return and range, test 2020-01-01 to 2020-01-01"
    assert title(both) == expected


def test_an_alarm_has_the_value_and_the_level() -> None:
    alarm = Alarm(forecaster="lstm", metric="directional_accuracy", value=0.56, level=0.55)
    assert alarm_text(alarm) == (
        "LSTM: directional accuracy of 56.00 % on daily returns is above 55 %; assume a leak "
        "until explained."
    )
