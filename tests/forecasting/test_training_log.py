"""What a training says of its plan before it begins."""

import logging

import pytest
import torch

from forecaster.data.loading import load_histories
from forecaster.forecasting.data_set import Dataset, longest_history, prepare
from forecaster.forecasting.fitting import plan_of
from forecaster.forecasting.training_log import describe_horizon, log_header
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

WINDOWS = {"lookback": 30}
EACH_DAY = {"lookback": 30, "loss": "each-day"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    home = tmp_path_factory.mktemp("home")
    histories = load_histories(ragged_bars({"AAA": 400, "BBB": 200}), home, (), None)
    return prepare(histories, TrainSettings())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "truncated: errors reach back up to 21 days (mean 11), weights move every 21 days"),
        (
            {"bptt_k2": 126, "bptt_k1": 63},
            "truncated: errors reach back up to 126 days (mean 95), weights move every 63 days",
        ),
        ({"bptt_k2": 1}, "truncated: errors reach back up to 1 day, weights move every day"),
        ({"step_per": "epoch"}, "(mean 11), weights move once per pass"),
        (
            {"bptt": "full"},
            "to each series' first day, weights move after each set of whole histories",
        ),
        ({**WINDOWS}, "full: errors reach back to the first of a window's 30 days"),
        ({**WINDOWS, "bptt": "full"}, "full: errors reach back to the first of a window's 30 days"),
        (
            {**WINDOWS, "bptt_k2": 20},
            "truncated: errors reach back exactly 20 days of a window's 30",
        ),
        (
            {**EACH_DAY, "bptt_k2": 9},
            "truncated: errors reach back up to 9 days (mean 5) inside windows of 30",
        ),
    ],
)
def test_the_reach_is_that_of_the_samples(options: dict[str, object], words: str) -> None:
    """A window ends every reach; its last day's error reaches exactly so far."""
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
        ({}, "2 lanes, as many as series, "),
        ({"lanes": 1}, "1 lane 100% full, "),
        ({"step_per": "epoch", "max_steps": 9}, "1 update per pass (--max-steps 9 is 9 pas"),
        ({"bptt": "full"}, "; each day scored once"),
        (WINDOWS, "windows of 30 days, 256 at a time, "),
        (WINDOWS, "; last day scored"),
        (EACH_DAY, "; days scored after the first 20"),
        ({**EACH_DAY, "burn_in": 5}, "; days scored after the first 5"),
    ],
)
def test_the_header_says_what_a_pass_is(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, options: dict[str, object], words: str
) -> None:
    assert words in header(dataset, caplog, **options)[4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bptt_k2": 5000}, "is not shorter than the longest history's {days} fit days: this"),
        ({"bptt_k2": 5000, "bptt_k1": 50}, "errors reach back in full, 100 times over"),
        ({**WINDOWS, "bptt_k2": 30}, "not shorter than the 30-day windows: this is full BPTT"),
        ({**EACH_DAY, "bptt_k2": 40, "bptt_k1": 10}, "windows: this is full BPTT"),
        ({"initial_state": "learned"}, "a learned initial state only sees the first 21 days of"),
    ],
)
def test_what_may_surprise_is_noticed(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, options: dict[str, object], words: str
) -> None:
    assert words.format(days=longest_history(dataset)) in header(dataset, caplog, **options)[-1]


@pytest.mark.parametrize("options", [{}, {**WINDOWS, "bptt_k2": 29}, {"bptt": "full"}])
def test_nothing_is_noticed_where_nothing_surprises(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, options: dict[str, object]
) -> None:
    assert len(header(dataset, caplog, **options)) == 5
