"""Forecasts as columns: the tables made of them hold the same numbers."""

import numpy as np
import pytest

from forecaster.evaluation.scored_forecasts import FORECAST_COLUMNS, ScoredForecasts

DAYS = np.array(["2020-01-02", "2020-01-03", "2020-01-02"], "datetime64[D]")


def made(target: str = "return") -> ScoredForecasts:
    """Two forecasters of three rows, of which one lacks the second row and has no density."""
    return ScoredForecasts(
        target=target,
        tickers=("BBB", "AAA", "CCC"),
        series=np.array([0, 0, 1]),
        as_of=DAYS - 1,
        session=DAYS,
        actual=np.array([0.0, 1.0, 2.0]),
        last_close=np.array([10.0, 20.0, 30.0]),
        columns={
            "own": {"forecast": np.array([0.0, 0.5, 1.0]), "log_score": np.array([-1.0, -2.0, -3])},
            "naive": {"forecast": np.array([1.0, np.nan, 0.0])},
        },
    )


def test_a_table_has_the_rows_with_a_forecast_and_every_column() -> None:
    own, naive = made().tables()
    assert tuple(own.columns) == tuple(naive.columns) == FORECAST_COLUMNS
    assert own["ticker"].tolist() == ["BBB", "BBB", "AAA"]
    assert naive["ticker"].tolist() == ["BBB", "AAA"]
    assert naive["actual"].tolist() == [0.0, 2.0] and naive["log_score"].isna().all()
    assert own["log_score"].tolist() == [-1.0, -2.0, -3.0] and own["q10"].isna().all()
    assert made().scored == ("BBB", "AAA")


def test_prices_follow_from_returns_and_not_from_other_targets() -> None:
    table = made().table("own")
    assert table["price_forecast"].tolist() == pytest.approx([10.0, 32.97, 81.55], abs=0.01)
    assert table["price_actual"].tolist() == pytest.approx([10.0, 54.37, 221.67], abs=0.01)
    assert made("range").table("own")[["price_forecast", "price_actual"]].isna().all(axis=None)


def test_errors_are_by_day_and_ticker_and_log_scores_of_those_that_have_any() -> None:
    errors = made().squared_errors()
    assert errors["own"].tolist() == [0.0, 1.0, 0.25]
    assert errors["naive"].tolist()[:2] == [1.0, 4.0] and np.isnan(errors["naive"].iloc[2])
    assert errors.index.get_level_values("ticker").tolist() == ["BBB", "AAA", "BBB"]
    assert list(made().log_scores()) == ["own"]
