from dataclasses import replace

from forecaster.pipeline.learning.alarms import warn_of_gradients
from forecaster.settings import TrainSettings
from forecaster.training.trainer import Evaluated

CALM = Evaluated(
    update=100,
    passes=2,
    fit_loss=0.5,
    select_loss=0.5,
    best=True,
    seconds=1.0,
    clipped=10,
    leaps=0,
)
SETTINGS = TrainSettings(clip_grad=0.5)


def test_a_calm_training_is_not_warned_of(said: list[str]) -> None:
    warn_of_gradients([[CALM], [CALM]], SETTINGS)
    assert said == []


def test_the_newest_look_of_each_member_is_asked(said: list[str]) -> None:
    warn_of_gradients([[CALM], [CALM, replace(CALM, clipped=11)]], SETTINGS)
    (text,) = said
    assert text.startswith("member 2: 11 of 100 gradients were longer than --clip-grad 0.5")


def test_a_single_leap_is_told(said: list[str]) -> None:
    warn_of_gradients([[replace(CALM, leaps=1)]], SETTINGS)
    (text,) = said
    assert text.startswith("1 of 100 gradients were more than 10 times as long as the median")
