"""The baseline that serves as champion: honest, calibrated, never silent."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import DataError, UnknownNameError
from forecaster.evaluation.conformal import uncalibrated_intervals
from forecaster.evaluation.volatility import ewma_student
from forecaster.forecasting.forecast_tables import PREDICTION_COLUMNS
from forecaster.forecasting.next_session import (
    BASELINE,
    Baseline,
    ForecastRequest,
    Prediction,
    forecast_baseline,
    forecast_next_session,
)
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 900, "BBB": 500})
LAST = BARS["session"].max().date()
TARGETS = ("return", "range", "volume")


def predict(bars: pd.DataFrame, as_of: date, tickers: str = "") -> Prediction:
    request = ForecastRequest.of(Path(), tickers or (), bars, as_of, max_stale=5)
    return forecast_next_session(Baseline(targets=TARGETS), "all", TARGETS, request)


def forecasts(bars: pd.DataFrame = BARS, tickers: str = "") -> pd.DataFrame:
    return predict(bars, bars["session"].max().date(), tickers).forecasts


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Panel:
    histories = load_histories(BARS, tmp_path_factory.mktemp("home"), (), None)
    return build_panel(histories, TARGETS, universe=None)


def test_every_ticker_and_target_has_a_row_that_predict_could_have_made():
    table = forecasts()
    assert tuple(table.columns) == PREDICTION_COLUMNS and len(table) == 6
    assert set(table["version"]) == {BASELINE}
    assert set(zip(table["target"], table["forecaster"], strict=True)) == {
        ("return", "ewma-t"),
        ("range", "har"),
        ("volume", "har"),
    }
    assert (table["q025"] < table["q10"]).all() and (table["q90"] < table["q975"]).all()
    assert (table["session"] > table["as_of"]).all() and (table["interval"] == "own").all()


def test_tomorrow_is_today_with_a_width_of_its_own():
    """A ticker three times as wild gets three times the interval; none gets a direction."""
    wild = BARS.copy()
    mine = wild["ticker"] == "BBB"
    for name in ("open", "high", "low", "close"):
        wild.loc[mine, name] = wild.loc[mine, name] ** 3 / 2500.0
    calm, loud = (table[table["target"] == "return"] for table in (forecasts(), forecasts(wild)))
    assert (loud["forecast"] == 0.0).all() and (loud["prob_up"] == 0.5).all()
    np.testing.assert_allclose(loud["price_forecast"], loud["last_close"])
    width = {
        name: (table["q90"] - table["q10"]).to_numpy()
        for name, table in (("calm", calm), ("loud", loud))
    }
    assert width["loud"][1] == pytest.approx(3 * width["calm"][1], rel=0.02)


@pytest.mark.parametrize("target", TARGETS)
def test_its_intervals_cover_days_that_it_was_not_fitted_on(panel: Panel, target: str):
    fit = panel.outcome_days <= np.datetime64("2012-01-01")
    rows = np.flatnonzero(panel.outcome_days > np.datetime64("2012-01-01"))
    stated = forecast_baseline(panel, target, fit, rows)
    inside = uncalibrated_intervals(stated.distribution).inside(
        panel.y[rows, panel.targets.index(target)], 0.8
    )
    assert np.nanmean(inside) == pytest.approx(0.8, abs=0.05)


def test_rows_outside_training_change_nothing(panel: Panel):
    from dataclasses import replace

    fit = panel.outcome_days <= np.datetime64("2012-01-01")
    other = replace(panel, y=np.where(fit[:, None], panel.y, 7.0))
    for target in TARGETS:
        one, same = (forecast_baseline(p, target, fit, panel.newest) for p in (panel, other))
        np.testing.assert_array_equal(one.center, same.center)
        np.testing.assert_array_equal(
            one.distribution.quantile([0.1, 0.9]), same.distribution.quantile([0.1, 0.9])
        )


def test_the_return_is_the_benchmark_of_the_evaluation_around_zero(panel: Panel):
    k, fit = panel.targets.index("return"), ~np.isnat(panel.outcome_days)
    benchmark = ewma_student(panel.today[:, k], panel.series, panel.y[:, k], fit)
    stated = forecast_baseline(panel, "return", fit, panel.newest)
    np.testing.assert_array_equal(stated.distribution.scale, benchmark.scale[panel.newest])  # type: ignore[attr-defined]


def test_tickers_asked_for_are_forecast_as_among_all():
    whole, one = forecasts(), forecasts(tickers="BBB")
    pd.testing.assert_frame_equal(
        one, whole[whole["ticker"] == "BBB"].reset_index(drop=True), check_exact=True
    )


def test_a_young_store_is_forecast_with_what_there_is():
    """Thirty days: a normal, and tomorrow = today, which has no interval."""
    table = forecasts(ragged_bars({"AAA": 30})).set_index("target")
    assert np.isfinite(table.loc["return", ["forecast", "q10", "q90"]].astype(float)).all()
    assert table.loc["range", "forecaster"] == "persistence"
    assert np.isfinite(table.loc["range", "forecast"])
    assert np.isnan(table.loc["range", "q10"]) and table.loc["range", "interval"] == "none"


def test_a_ticker_that_cannot_be_forecast_is_reported_and_left_out(logged_warnings: list[str]):
    bars = ragged_bars({"AAA": 300, "NEW": 12})
    old = ragged_bars({"OLD": 300}).iloc[:250]
    found = predict(pd.concat([bars, old]), date(2011, 3, 11))
    assert found.skipped == ("NEW", "OLD") and set(found.forecasts["ticker"]) == {"AAA"}
    assert any(
        text.startswith("NEW: no forecast from 12 trading days; at least 23 are needed")
        for text in logged_warnings
    )
    assert any(text.startswith("OLD: the last bar is of") for text in logged_warnings)


def test_no_ticker_to_forecast_is_an_error():
    with pytest.raises(DataError, match="AAA: no forecast"):
        forecasts(ragged_bars({"AAA": 12}))
    with pytest.raises(UnknownNameError, match="ZZZ"):
        forecasts(tickers="ZZZ")
