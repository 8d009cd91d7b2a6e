"""A version loaded: its shrunk network, and the files it refuses."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.data.history import History
from forecaster.data.loading import load_histories
from forecaster.errors import ArtifactError
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.fitting import FitResult, fit
from forecaster.forecasting.model_version import load_model
from forecaster.pipeline.train import train
from forecaster.registry.manifest import Manifest
from forecaster.settings import TrainSettings
from tests.forecasting.samples import dataset_of, means, raw_means
from tests.synthetic import ragged_bars

STATM = Path("/proc/self/statm")
BARS = ragged_bars({"AAA": 300, "BBB": 260})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    home = tmp_path_factory.mktemp("home")
    settings = TrainSettings(hidden=4, max_steps=25, target="return,range")
    return home, train(BARS, settings=settings, home=home).manifest


def forecast(home: Path, model: FittedModel) -> np.ndarray:
    return means(model, model.panel(load_histories(BARS, home, (), None)))


def test_a_forecast_is_the_base_plus_the_shrunk_part_of_the_network(
    made: tuple[Path, Manifest],
) -> None:
    home, manifest = made
    model = load_model(home, manifest)
    full, half, none = (
        forecast(home, replace(model, shrinkage=np.array([share, share])))
        for share in (1.0, 0.5, 0.0)
    )
    base = forecast(home, replace(model, networks=()))
    np.testing.assert_allclose(none, base)
    np.testing.assert_allclose(half - base, (full - base) / 2, atol=1e-12)
    assert np.ptp((full - base)[:, 1]) > 0


def test_other_inputs_than_trained_on_are_refused(made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    other = manifest.model_copy(update={"inputs": [*manifest.inputs[:-1], "tomorrow"]})
    with pytest.raises(ArtifactError, match="makes other ones; train again"):
        forecast(home, load_model(home, other))


def test_a_version_without_a_base_and_of_every_head_comes_back_as_it_was(
    tmp_path: Path,
) -> None:
    """The manifest of heads, base and inputs is enough to forecast the same."""
    for base, head in (("none", "quantiles"), ("har", "student-t"), ("linear", "point,quantiles")):
        settings = TrainSettings(
            hidden=4, max_steps=5, target="range,return", base=base, head=head, model="mlp"
        )
        panel = load_histories(BARS, tmp_path, (), None)
        made = fit_histories(panel, settings)
        version = train(BARS, settings=settings, home=tmp_path).manifest
        again = load_model(tmp_path, version)
        built = again.panel(panel)
        rows = np.ones(len(built.days), dtype=bool)
        np.testing.assert_array_equal(
            raw_means(again, built, rows), raw_means(made.model, built, rows)
        )
        assert version.network.heads == list(settings.heads)
        for target in version.targets:
            stated = again.distributions(built, rows)[target]
            tickers = np.array(built.tickers)[built.series]
            ends = again.calibrated(target, stated, tickers).quantile([0.025, 0.1, 0.9, 0.975])
            assert np.isfinite(ends).all() and (np.diff(ends, axis=1) >= 0).all()


def fit_histories(histories: list[History], settings: TrainSettings) -> FitResult:
    return fit(dataset_of(histories, settings), settings, torch.device("cpu"))


def test_weights_of_another_network_are_refused(made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    wider = manifest.network.model_copy(update={"hidden": 8})
    with pytest.raises(ArtifactError, match="shapes"):
        load_model(home, manifest.model_copy(update={"network": wider}))


@pytest.mark.skipif(not STATM.exists(), reason="reads memory the Linux way")
def test_a_manifest_of_a_huge_network_is_refused_before_its_memory_is_asked_for(
    made: tuple[Path, Manifest],
) -> None:
    """Sixteen layers of 4096 units are 8 GB; here there are 2 GB more than now."""
    home, manifest = made
    huge = manifest.network.model_copy(update={"hidden": 4096, "layers": 16})
    forged = manifest.model_copy(update={"network": huge})
    load_model(home, manifest)
    held = int(STATM.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**31, before[1]))
    try:
        with pytest.raises(ArtifactError, match="shapes"):
            load_model(home, forged)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_version_works_on_as_many_threads_as_it_was_trained_with(
    made: tuple[Path, Manifest],
) -> None:
    home, manifest = made
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load_model(home, manifest)
        assert torch.get_num_threads() == manifest.training["threads"] == 1
    finally:
        torch.set_num_threads(before)
