"""Fitting without files: what a walk-forward fold does in a process of its own."""

import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import ArtifactError
from forecaster.evaluation.splits import split_by_time
from forecaster.forecasting.fitted_model import weights_of
from forecaster.forecasting.fitting import FitResult, fit_panel
from forecaster.forecasting.loading import load_model
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.forecasting.samples import means
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
    assert again.validations == made.validations


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
