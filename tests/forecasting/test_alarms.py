import logging
from dataclasses import replace

import pytest

from forecaster.forecasting.training_log import log_gradients
from forecaster.settings import TrainSettings
from forecaster.training.trainer import Validation

CALM = Validation(
    step=1100,
    epoch=2,
    train_loss=0.5,
    validation_loss=0.5,
    best=True,
    seconds=1.0,
    clipped=110,
    spikes=1,
)
SETTINGS = TrainSettings(clip_grad=0.5)


@pytest.fixture
def heard(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """Hears what the package says in passing, too."""
    monkeypatch.setattr(logging.getLogger("forecaster"), "propagate", True)
    caplog.set_level(logging.INFO, logger="forecaster")
    return caplog


def test_clipping_is_said_and_a_single_leap_is_chance(
    logged_warnings: list[str], heard: pytest.LogCaptureFixture
) -> None:
    log_gradients([[replace(CALM, clipped=0), CALM]], SETTINGS)
    assert heard.messages == ["norms   110 of 1,100 gradients clipped at --clip-grad 0.5"]
    assert logged_warnings == []


def test_clipping_in_more_than_a_tenth_of_the_updates_is_said_to_be_often(
    logged_warnings: list[str], heard: pytest.LogCaptureFixture
) -> None:
    log_gradients([[CALM], [replace(CALM, clipped=111)]], SETTINGS)
    first, second = heard.messages
    assert first.startswith("norms   member 1: 110") and "pace" not in first
    assert second.startswith("norms   member 2: 111") and second.endswith("and not --lr")
    assert logged_warnings == []


def test_leaps_are_warned_of(logged_warnings: list[str]) -> None:
    log_gradients([[CALM], [replace(CALM, spikes=2)]], SETTINGS)
    (text,) = logged_warnings
    assert text.startswith("member 2: 2 of 1100 gradients were more than 10 times as long")
