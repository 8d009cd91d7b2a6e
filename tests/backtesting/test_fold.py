"""Benchmarks with the network's own inputs: fitted on the same days, forecast by the same code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecaster.backtesting.fold import MEMORYLESS
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.evaluation.regression import least_squares
from forecaster.evaluation.splits import Split, split_by_time
from forecaster.forecasting.base_model import HAR_INPUTS
from forecaster.forecasting.data_set import build_dataset
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.fitting import fit_panel
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

SETTINGS = TrainSettings(hidden=4, max_steps=25, target="return,range,volume")


@pytest.fixture(scope="module")
def panel() -> Panel:
    histories = load_histories(ragged_bars({"AAA": 900, "BBB": 700}), Path(), (), None)
    return build_panel(histories, SETTINGS.target, universe=["AAA", "BBB"])


def linear_model(panel: Panel, split: Split) -> FittedModel:
    """Fit the linear model with the network's inputs, without a network."""
    linear = SETTINGS.model_copy(update={"base": "linear"})
    return build_dataset(panel, split, linear).model


@pytest.fixture(scope="module")
def split(panel: Panel) -> Split:
    return split_by_time(panel.days)


def test_a_network_without_output_is_its_base(panel: Panel, split: Split) -> None:
    """The linear model is what a network on the linear base adds to."""
    linear = SETTINGS.model_copy(update={"base": "linear"})
    network = fit_panel(panel, split, linear).model
    rows = np.ones(len(panel.days), dtype=bool)
    alone = linear_model(panel, split)
    np.testing.assert_allclose(
        alone.raw_by_member(panel, rows)[0],
        replace(network, networks=()).raw_by_member(panel, rows)[0],
    )
    assert not np.allclose(
        alone.raw_by_member(panel, rows)[0], network.raw_by_member(panel, rows)[0]
    )


def test_the_har_base_is_least_squares_on_hars_terms(panel: Panel, split: Split) -> None:
    har = SETTINGS.model_copy(update={"base": "har", "target": ("range",), "head": None})
    one = replace(
        panel,
        targets=("range",),
        today=panel.today[:, 1:2],
        level=panel.level[:, 1:2],
        y=panel.y[:, 1:2],
    )
    base = replace(fit_panel(one, split, har).model, networks=())
    assert base.reader.base is not None and base.reader.base.names == HAR_INPUTS["range"]
    fit, _, report = split.masks(panel.outcome_days)
    expected = least_squares(one.har_terms("range"), one.y[:, 0], fit)
    known = report & np.isfinite(one.y[:, 0])
    found = base.distributions(one, report)["range"].mean()[known]
    np.testing.assert_allclose(found, expected[known], atol=0.02)


def test_the_network_without_memory_reads_one_day(panel: Panel, split: Split) -> None:
    """Its core is the MLP, on the inputs of the settings."""
    made = fit_panel(panel, split, SETTINGS.model_copy(update=MEMORYLESS)).model
    network = made.networks[0]
    assert type(network.core.core).__name__ == "MLPCore"
    inputs = made.reader.inputs(panel)
    rows = np.ones(len(panel.days), dtype=bool)
    raw = made.raw_by_member(panel, rows)[0]
    assert raw.shape[1] == 5 and np.isfinite(raw).all()
    assert inputs.shape[1] == len(made.reader.names) + 5


def test_no_day_after_training_touches_the_linear_model(panel: Panel, split: Split) -> None:
    """Other outcomes and other inputs later: the same numbers, bit for bit."""
    later = panel.days > split.train_until
    draw = np.random.default_rng(0)
    columns = {
        name: np.where(later, values + draw.normal(size=len(values)), values)
        for name, values in panel.columns.items()
        if name != "gap_days"
    }
    wild = replace(
        panel,
        columns=panel.columns | columns,
        y=np.where(later[:, None], panel.y * 7.0, panel.y),
    )
    one, other = (linear_model(given, split).reader.base for given in (panel, wild))
    assert one is not None and other is not None
    # The last training day's outcome is known; what comes after it is not read.
    np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(one.intercepts, other.intercepts)
