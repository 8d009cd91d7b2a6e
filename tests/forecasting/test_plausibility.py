"""Forecasts far outside of what a ticker ever did, and versions that make mostly such."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import ArtifactError
from forecaster.forecasting.plausibility import LEAST_MARGIN, absurd_forecasts, refuse_damaged
from tests.synthetic import ragged_bars

TICKERS = {"AAA": 300, "BBB": 200}
BARS = ragged_bars(TICKERS)


def panel_of(bars: pd.DataFrame, *targets: str) -> Panel:
    return build_panel(load_histories(bars, Path(), (), None), targets, universe=None)


def absurd(panel: Panel, target: str, *values: float, able: bool = True) -> list[str]:
    found = absurd_forecasts(panel, {target: np.array(values)}, np.full(len(values), able))
    return list(found)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 5.0, -5.0, 1e308, -1e30])
@pytest.mark.parametrize("target", ["return", "range", "volume"])
def test_numbers_that_cannot_be_meant_are_found(target: str, value: float) -> None:
    panel = panel_of(BARS, target)
    value *= 1.0 if target == "return" else 10.0
    assert absurd(panel, target, 0.0, value) == ["BBB"]
    assert absurd(panel, target, value, value) == ["AAA", "BBB"]


@pytest.mark.parametrize("target", ["return", "range", "volume"])
def test_whatever_a_ticker_has_done_is_no_absurd_forecast(target: str) -> None:
    """Nor half of its range beyond it: a record day may come."""
    panel = panel_of(BARS, target)
    for extreme in (np.fmin, np.fmax):
        today = extreme.reduceat(panel.today[:, 0], panel.series_offsets[:-1])
        middle = np.array([np.nanmedian(panel.today[panel.series == s, 0]) for s in (0, 1)])
        values = today + 0.5 * (today - middle) - panel.level[panel.newest, 0]
        assert absurd(panel, target, *values) == []


def test_the_bound_is_the_range_of_the_ticker_s_own_days() -> None:
    panel = panel_of(BARS, "return")
    low, high = np.nanmin(panel.today[panel.series == 0]), np.nanmax(panel.today[panel.series == 0])
    margin = high - low
    assert margin > LEAST_MARGIN
    assert absurd(panel, "return", high + 0.99 * margin, 0.0) == []
    assert absurd(panel, "return", high + 1.01 * margin, 0.0) == ["AAA"]
    assert absurd(panel, "return", low - 1.01 * margin, 0.0) == ["AAA"]


def test_a_halted_ticker_has_a_margin_of_its_own() -> None:
    """All of its returns are 0, and a small forecast is none the worse for it."""
    bars = BARS[BARS["ticker"] == "AAA"].copy()
    bars[["open", "high", "low", "close"]] = 5.0
    panel = panel_of(bars, "return")
    assert absurd(panel, "return", 0.9 * LEAST_MARGIN) == []
    assert absurd(panel, "return", 1.1 * LEAST_MARGIN) == ["AAA"]


def test_a_ticker_that_cannot_be_forecast_is_not_absurd() -> None:
    assert absurd(panel_of(BARS, "return"), "return", np.nan, 0.0, able=False) == []


def test_more_than_half_of_them_are_a_corrupt_version() -> None:
    refuse_damaged("v1", ["AAA: nan"], of=2)
    refuse_damaged("v1", [], of=0)
    with pytest.raises(ArtifactError, match=r"v1 is corrupt: 2 of 3 forecasts are absurd \(AAA"):
        refuse_damaged("v1", ["AAA: nan", "BBB: nan"], of=3)
