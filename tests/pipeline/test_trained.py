"""A version at work: what is believed of its network, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.errors import ArtifactError
from forecaster.pipeline.prices import load_histories
from forecaster.pipeline.train import train
from forecaster.pipeline.trained import Trained, load_trained
from forecaster.registry.manifest import Manifest
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 300, "BBB": 260})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    home = tmp_path_factory.mktemp("home")
    settings = TrainSettings(hidden=4, max_updates=25, target="return,range")
    return home, train(BARS, settings=settings, home=home).manifest


def forecast(home: Path, trained: Trained) -> np.ndarray:
    panel = trained.panel(load_histories(BARS, home, (), None))
    return trained.forecast(panel, np.ones(len(panel.days), dtype=bool))


def test_a_forecast_is_the_fit_mean_plus_what_is_believed_of_the_rest(
    made: tuple[Path, Manifest],
) -> None:
    home, manifest = made
    trained = load_trained(home, manifest)
    full, half, none = (
        forecast(
            home,
            Trained(
                manifest=manifest,
                fitted=replace(trained.fitted, shrinkage=np.array([share, share])),
            ),
        )
        for share in (1.0, 0.5, 0.0)
    )
    mean = np.array(manifest.target_scaler.mean)
    np.testing.assert_allclose(none, np.broadcast_to(mean, none.shape))
    np.testing.assert_allclose(half - mean, (full - mean) / 2)
    assert np.ptp(full[:, 1]) > 0


def test_other_inputs_than_trained_on_are_refused(made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    fewer = manifest.model_copy(update={"inputs": manifest.inputs[:-1]})
    trained = Trained(manifest=fewer, fitted=load_trained(home, manifest).fitted)
    with pytest.raises(ArtifactError, match="train again"):
        forecast(home, trained)


def test_weights_of_another_network_are_refused(made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    wider = manifest.network.model_copy(update={"hidden": 8})
    with pytest.raises(ArtifactError, match="shapes"):
        load_trained(home, manifest.model_copy(update={"network": wider}))


def test_a_version_works_on_as_many_threads_as_it_was_trained_with(
    made: tuple[Path, Manifest],
) -> None:
    home, manifest = made
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load_trained(home, manifest)
        assert torch.get_num_threads() == manifest.training["threads"] == 1
    finally:
        torch.set_num_threads(before)
