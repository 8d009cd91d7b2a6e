"""What a training says of its plan before it begins."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from forecaster.data.loading import load_histories
from forecaster.forecasting.data_set import Dataset, longest_history
from forecaster.forecasting.fitting import FitResult, plan_of
from forecaster.forecasting.training_log import describe_horizon, log_header, log_result
from forecaster.settings import TrainSettings
from forecaster.training.trainer import Validation
from tests.forecasting.samples import dataset_of
from tests.synthetic import ragged_bars

WINDOWS = {"lookback": 30}
EACH_DAY = {"lookback": 30, "loss": "each-day"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    home = tmp_path_factory.mktemp("home")
    histories = load_histories(ragged_bars({"AAA": 400, "BBB": 200}), home, (), None)
    return dataset_of(histories, TrainSettings())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {},
            "truncated, k1 = k2 = 21 days (mean horizon 11); one optimizer step every 21 days",
        ),
        (
            {"bptt_k2": 126, "bptt_k1": 63},
            "truncated, k1 = 63, k2 = 126 days (mean horizon 95); one optimizer step every 63 days",
        ),
        ({"bptt_k2": 1}, "truncated, k1 = k2 = 1 day; one optimizer step every day"),
        ({"step_per": "epoch"}, "(mean horizon 11); one optimizer step per epoch"),
        (
            {"bptt": "full"},
            "to each series' first day; one optimizer step per batch of whole histories",
        ),
        ({**WINDOWS}, "full: gradients flow back to the first of a window's 30 days"),
        (
            {**WINDOWS, "bptt": "full"},
            "full: gradients flow back to the first of a window's 30 days",
        ),
        (
            {**WINDOWS, "bptt_k2": 20},
            "truncated: gradients flow back exactly 20 days of a window's 30",
        ),
        (
            {**EACH_DAY, "bptt_k2": 9},
            "truncated, k1 = k2 = 9 days (mean horizon 5) inside windows of 30",
        ),
    ],
)
def test_the_horizon_is_that_of_the_samples(options: dict[str, object], words: str) -> None:
    """A window ends every horizon; that of its last day's error is exact."""
    settings = TrainSettings(**options)  # type: ignore[arg-type]
    assert describe_horizon(settings, plan_of(settings)).endswith(words)


def header(dataset: Dataset, caplog: pytest.LogCaptureFixture, **options: object) -> list[str]:
    settings = TrainSettings(**options)  # type: ignore[arg-type]
    caplog.set_level(logging.INFO, logger="forecaster")
    logging.getLogger("forecaster").propagate = True
    log_header(dataset, settings, torch.device("cpu"), plan_of(settings))
    return [record.getMessage().strip() for record in caplog.records]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "2 batch rows, as many as series, "),
        ({"batch_rows": 1}, "1 batch row 100% full, "),
        ({"step_per": "epoch", "max_steps": 9}, "1 step per epoch (--max-steps 9 is 9 epo"),
        ({"bptt": "full"}, "; each day scored once"),
        (WINDOWS, "windows of 30 days, 256 at a time, "),
        (WINDOWS, "; last day scored"),
        (EACH_DAY, "; days scored after the first 20"),
        ({**EACH_DAY, "burn_in": 5}, "; days scored after the first 5"),
    ],
)
def test_the_header_describes_an_epoch(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, options: dict[str, object], words: str
) -> None:
    assert words in header(dataset, caplog, **options)[4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bptt_k2": 5000}, "is not shorter than the longest history's {days} training days: this"),
        ({"bptt_k2": 5000, "bptt_k1": 50}, "gradients flow back in full, 100 times over"),
        ({**WINDOWS, "bptt_k2": 30}, "not shorter than the 30-day windows: this is full BPTT"),
        ({**EACH_DAY, "bptt_k2": 40, "bptt_k1": 10}, "windows: this is full BPTT"),
        ({"initial_state": "learned"}, "a learned initial state only sees the first 21 days of"),
    ],
)
def test_what_may_surprise_is_logged(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, options: dict[str, object], words: str
) -> None:
    assert words.format(days=longest_history(dataset)) in header(dataset, caplog, **options)[-1]


@pytest.mark.parametrize("options", [{}, {**WINDOWS, "bptt_k2": 29}, {"bptt": "full"}])
def test_nothing_is_logged_where_nothing_surprises(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, options: dict[str, object]
) -> None:
    assert len(header(dataset, caplog, **options)) == 5


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
CLIPPING = TrainSettings(clip_grad=0.5)


@pytest.fixture
def logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """Capture what the package logs at level INFO, too."""
    monkeypatch.setattr(logging.getLogger("forecaster"), "propagate", True)
    caplog.set_level(logging.INFO, logger="forecaster")
    return caplog


def _trained(*lasts: Validation) -> FitResult:
    """Make the result of members with one validation each, of no target."""
    model = SimpleNamespace(targets=(), shrinkage=())
    validations = tuple((last,) for last in lasts)
    return FitResult(model=model, validations_by_member=validations, validation_mse={})  # type: ignore[arg-type]


def test_clipping_is_logged_and_a_single_spike_is_chance(
    logged_warnings: list[str], logged: pytest.LogCaptureFixture
) -> None:
    log_result(_trained(CALM), CLIPPING)
    assert logged.messages == ["clipping  110 of 1,100 gradients at --clip-grad 0.5"]
    assert logged_warnings == []


def test_clipping_in_more_than_a_tenth_of_the_steps_is_called_often(
    logged_warnings: list[str], logged: pytest.LogCaptureFixture
) -> None:
    log_result(_trained(CALM, replace(CALM, clipped=111)), CLIPPING)
    first, second = logged.messages
    assert first.startswith("clipping  member 1: 110") and "pace" not in first
    assert second.startswith("clipping  member 2: 111") and second.endswith("and not --lr")
    assert logged_warnings == []


def test_spikes_are_warned_of(logged_warnings: list[str]) -> None:
    log_result(_trained(CALM, replace(CALM, spikes=2)), CLIPPING)
    (text,) = logged_warnings
    assert text.startswith("member 2: 2 of 1100 gradients were more than 10 times as long")


@pytest.mark.parametrize(("tf32", "words"), [(False, "off"), (True, "on")])
def test_a_gpu_is_named_with_its_precision(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, tf32: bool, words: str
) -> None:
    """TF32 is off unless asked for; a CPU has none to name."""
    caplog.set_level(logging.INFO, logger="forecaster")
    logging.getLogger("forecaster").propagate = True
    settings = TrainSettings(tf32=tf32)
    log_header(dataset, settings, torch.device("cuda"), plan_of(settings))
    assert caplog.messages[1].endswith(f"cuda (TF32 {words})")
