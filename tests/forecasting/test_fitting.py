"""Fitting without files, as a walk-forward fold does it; ensembles, calibrated together."""

import pickle
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import ArtifactError
from forecaster.evaluation.calibration import scores_by_series, scores_of, shrinkage
from forecaster.evaluation.mixture import Mixture, arrays_of, assemble, from_arrays, mixture
from forecaster.evaluation.quantiles import LEVELS
from forecaster.evaluation.splits import split_by_time
from forecaster.forecasting.data_set import Dataset
from forecaster.forecasting.fitted_model import (
    ensemble_weights,
    location_columns,
    mixture_of_members,
    weights_of,
)
from forecaster.forecasting.fitting import FitResult, fit, fit_panel
from forecaster.forecasting.model_version import load_model, recipe_of
from forecaster.pipeline.evaluate import Walk, evaluate
from forecaster.pipeline.memory import memory
from forecaster.pipeline.train import TrainReport, train
from forecaster.registry.versions import read_manifest
from forecaster.settings import TrainSettings
from tests.forecasting.samples import dataset_of, means, raw_means
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 400, "BBB": 300})
SETTINGS = TrainSettings(hidden=4, max_steps=25, target="return,range")
SPLIT = {"train_until": date(2010, 12, 31), "validation_until": date(2011, 3, 31)}


@pytest.fixture(scope="module")
def panel() -> Panel:
    histories = load_histories(BARS, Path(), (), None)
    return build_panel(histories, SETTINGS.target, universe=["AAA", "BBB"])


def fitted(panel: Panel, **options: object) -> FitResult:
    return fit_panel(panel, split_by_time(panel.days, **SPLIT), SETTINGS, **options)  # type: ignore[arg-type]


def test_a_fold_forecasts_what_a_version_of_the_same_days_forecasts(
    panel: Panel, tmp_path: Path
) -> None:
    """The registry adds files, not numbers."""
    made = train(BARS, settings=SETTINGS.model_copy(update=SPLIT), home=tmp_path)
    version = load_model(tmp_path, made.manifest)
    np.testing.assert_array_equal(means(fitted(panel).model, panel), means(version, panel))


def test_what_goes_in_and_comes_out_pickles(panel: Panel) -> None:
    """Worker processes are handed the panel and hand back the fit."""
    made = fitted(pickle.loads(pickle.dumps(panel)))
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(means(made.model, panel), means(again.model, panel))
    assert again.validations_by_member == made.validations_by_member


def test_a_warm_start_begins_from_the_weights_given(panel: Panel) -> None:
    """So small a rate moves nothing: what comes out is what went in."""
    cold = fitted(panel)
    start = weights_of(cold.model.networks[0])
    still = SETTINGS.model_copy(update={"lr": 1e-12, "max_steps": 1, "seed": 9})
    warm = fit_panel(panel, split_by_time(panel.days, **SPLIT), still, start=start)
    for name, value in weights_of(warm.model.networks[0]).items():
        np.testing.assert_allclose(value, start[name], atol=1e-9)


def test_a_start_of_another_network_is_refused(panel: Panel) -> None:
    with pytest.raises(ArtifactError, match=r"The weights to start from: .* train again"):
        fitted(panel, start={"core.fused.weight_ih_l0": np.zeros((1, 1), dtype=np.float32)})


MORE_BARS = ragged_bars({"AAA": 420, "BBB": 300})
ONE = TrainSettings(hidden=4, max_steps=40, evaluate_every=10, target="return,range", seed=5)
THREE = ONE.model_copy(update={"members": 3})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return dataset_of(load_histories(MORE_BARS, Path(), (), None), ONE)


@pytest.fixture(scope="module")
def ensemble(dataset: Dataset) -> FitResult:
    return fit(dataset, THREE, CPU)


@pytest.fixture(scope="module")
def singles(dataset: Dataset) -> list[FitResult]:
    """The members' seeds, each trained as a version of its own."""
    return [fit(dataset, ONE.model_copy(update={"seed": seed}), CPU) for seed in (5, 6, 7)]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    home = tmp_path_factory.mktemp("home")
    return home, train(MORE_BARS, settings=THREE, home=home)


def test_members_are_the_trainings_of_their_seeds(
    ensemble: FitResult, singles: list[FitResult]
) -> None:
    """Each with its own weights and validations; nothing of one member reaches the next."""
    for network, mine, single in zip(
        ensemble.model.networks, ensemble.validations_by_member, singles, strict=True
    ):
        (alone,) = single.model.networks
        for name, value in weights_of(alone).items():
            np.testing.assert_array_equal(weights_of(network)[name], value)
        assert [one.validation_loss for one in mine] == [
            one.validation_loss for one in single.validations_by_member[0]
        ]


def test_forecasts_are_the_mean_of_the_members_before_calibration(
    dataset: Dataset, ensemble: FitResult, singles: list[FitResult]
) -> None:
    """Without shrinkage; a return's density is the mean of the densities."""
    panel = dataset.panel
    rows = np.ones(len(panel.days), dtype=bool)

    def stated(made: FitResult) -> list[object]:
        raws = replace(made.model, shrinkage=np.ones(2)).raw_by_member(panel, rows)
        return list(mixture_of_members(raws, dataset.model.forms, dataset.model.target_scaler))

    returns, ranges = stated(ensemble)
    each = [stated(single) for single in singles]
    assert isinstance(returns, Mixture)
    mean = np.mean([part[1].mean() for part in each], axis=0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(ranges.mean(), mean, rtol=1e-12)  # type: ignore[attr-defined]
    for outcome in (-0.02, 0.0, 0.01):
        y = np.full(len(rows), outcome)
        density = np.mean([np.exp(part[0].log_density(y)) for part in each], axis=0)  # type: ignore[attr-defined]
        np.testing.assert_allclose(np.exp(returns.log_density(y)), density, rtol=1e-9)


def test_the_calibration_is_of_the_ensemble(dataset: Dataset, ensemble: FitResult) -> None:
    """Errors and scores are those of the ensemble, not of any member."""
    panel = dataset.panel
    rows = np.asarray(dataset.rows(1).any(axis=1))
    for k, (target, part) in enumerate(ensemble.model.distributions(panel, rows).items()):
        y = np.where(dataset.rows(1)[:, k], panel.y[:, k], np.nan)
        mse = np.nanmean((y - part.mean()) ** 2)
        assert ensemble.validation_mse[target] == pytest.approx(mse, rel=1e-9)
        found = scores_by_series(scores_of(part, y), panel.series, panel.tickers, LEVELS)
        assert set(found) == set(ensemble.model.calibration[target]) >= {""}
        for ticker, scores in ensemble.model.calibration[target].items():
            np.testing.assert_allclose(found[ticker], scores, rtol=1e-9)


def test_the_shrinkage_is_that_of_the_members_together() -> None:
    """Of settings that learn noise, so that no share lies at a bound."""
    noisy = {"base": "har", "hidden": 16, "max_steps": 200, "lr": 0.01}
    settings = THREE.model_copy(update=noisy)
    dataset = dataset_of(load_histories(MORE_BARS, Path(), (), None), settings)
    fitted = fit(dataset, settings, CPU).model
    rows, places = np.asarray(dataset.rows(1).any(axis=1)), location_columns(dataset.model.forms)
    whole = raw_means(replace(fitted, shrinkage=np.ones(2)), dataset.panel, rows)[:, places]
    base = raw_means(replace(fitted, networks=()), dataset.panel, rows)[:, places]
    y = np.where(dataset.rows(1), dataset.y, np.nan)
    assert ((fitted.shrinkage > 0) & (fitted.shrinkage < 1)).all()
    np.testing.assert_allclose(fitted.shrinkage, shrinkage(whole - base, y - base), rtol=1e-6)


def test_a_version_of_three_comes_back_as_it_was(
    version: tuple[Path, TrainReport], dataset: Dataset, ensemble: FitResult
) -> None:
    """Same bits on repeat: `ensemble` was fitted apart from it."""
    home, made = version
    manifest = read_manifest(home, made.version)
    assert [(part.weights, part.seed) for part in manifest.members] == [
        ("weights.safetensors", 5),
        ("weights-2.safetensors", 6),
        ("weights-3.safetensors", 7),
    ]
    assert set(manifest.files) == {part.weights for part in manifest.members}
    assert recipe_of(manifest).members == 3 and set(made.validations["member"]) == {1, 2, 3}
    trained, rows = load_model(home, manifest), np.ones(len(dataset.panel.days), dtype=bool)
    for again, first in zip(
        trained.raw_by_member(dataset.panel, rows),
        ensemble.model.raw_by_member(dataset.panel, rows),
        strict=True,
    ):
        np.testing.assert_array_equal(again, first)


def test_a_corrupt_second_member_is_refused(tmp_path: Path) -> None:
    made = train(MORE_BARS, settings=THREE.model_copy(update={"max_steps": 5}), home=tmp_path)
    file = tmp_path / "models" / made.version / "weights-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(ArtifactError, match=r"weights-2\.safetensors has another SHA-256"):
        load_model(tmp_path, made.manifest)


def test_a_mixture_survives_being_cut_stored_and_assembled(
    dataset: Dataset, ensemble: FitResult
) -> None:
    """A fold stores the members' forecasts."""
    rows = np.ones(len(dataset.panel.days), dtype=bool)
    stated = tuple(ensemble.model.distributions(dataset.panel, rows).values())
    halves = np.arange(len(rows)) < 100, np.arange(len(rows)) >= 100
    parts = [
        (np.flatnonzero(half), tuple(from_arrays(arrays_of(part.take(half))) for part in stated))
        for half in halves
    ]
    for whole, again in zip(stated, assemble(parts, np.arange(len(rows))), strict=True):
        np.testing.assert_array_equal(again.quantile([0.1, 0.9]), whole.quantile([0.1, 0.9]))
    both = mixture([stated[0], stated[0]])
    assert isinstance(both, Mixture) and len(both.members) == 6


def test_a_warm_start_gives_each_member_its_own_weights(
    dataset: Dataset, ensemble: FitResult
) -> None:
    """So small a rate moves nothing: what comes out is what went in."""
    start = ensemble_weights(ensemble.model.networks)
    still = THREE.model_copy(update={"lr": 1e-12, "max_steps": 1, "seed": 90})
    warm = fit(dataset, still, CPU, start=start)
    for after, before in zip(warm.model.networks, ensemble.model.networks, strict=True):
        for name, value in weights_of(before).items():
            np.testing.assert_allclose(weights_of(after)[name], value, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["cold", "warm"])
def test_walking_forward_refits_all_members(
    version: tuple[Path, TrainReport],
    weights: Literal["cold", "warm"],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The second training's seeds begin after the version's last: 8, 9 and 10."""
    home, _ = version
    walk = Walk(refit_every=40, seeds=2, same_inputs=False, weights=weights)
    with caplog.at_level("INFO"):
        result = evaluate(bars=MORE_BARS, home=home, walk=walk, benchmarks="quick")
    names = set(result.forecasts["forecaster"])
    assert len(result.folds) == 2 and {"lstm", "lstm-x2"} <= names
    refitted = [text for text in caplog.messages if text.startswith("member  3 of 3")]
    assert refitted == [f"member  3 of 3, seed {seed}" for seed in (10, 7, 10)]


def test_memory_says_that_it_measures_the_first_member(
    version: tuple[Path, TrainReport], caplog: pytest.LogCaptureFixture
) -> None:
    home, _ = version
    with caplog.at_level("INFO"):
        memory(
            bars=MORE_BARS[MORE_BARS["session"] >= MORE_BARS["session"].unique()[150]],
            home=home,
            lags=10,
        )
    assert "member 1 of 3 is measured, seed 5" in caplog.text
