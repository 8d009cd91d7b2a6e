"""Live scores, worked by hand."""

import numpy as np
import pandas as pd
import pytest

from forecaster.evaluation.live_scores import inside, live_scores, pinball


def rows(**columns):
    there = {"name": "return", "session": pd.to_datetime(["2024-01-02", "2024-01-03"])}
    there |= {"forecast": 0.0, "persistence": 0.0, "q025": -2.0, "q10": -1.0, "q90": 1.0}
    return pd.DataFrame({**there, "q975": 2.0, "actual": [0.5, -1.5], **columns})


def test_scores_by_hand():
    """Errors .5 and -1.5; the 80 % interval holds one of two, the 95 % one both."""
    (found,) = live_scores(rows(), ("name",)).to_dict("records")
    assert (found["forecasts"], found["days"]) == (2, 2)
    assert found["mse"] == pytest.approx((0.25 + 2.25) / 2)
    assert found["mae"] == pytest.approx(1.0)
    assert found["skill"] == pytest.approx(0.0)
    assert (found["cover80"], found["cover95"]) == (0.5, 1.0)


def test_the_quantile_loss_by_hand():
    """Outcome .5: above q025 and q10, below q90 and q975; each side weighs as its level says."""
    table = rows(actual=[0.5, 0.5])
    losses = [2 * 0.025 * 2.5, 2 * 0.1 * 1.5, 2 * 0.1 * 0.5, 2 * 0.025 * 1.5]
    assert pinball(table, np.array([0.5, 0.5])) == pytest.approx([np.mean(losses)] * 2)


def test_the_wrong_forecast_loses():
    """One that is always on the other side, against one that says what came."""
    right = live_scores(rows(forecast=[0.5, -1.5]), ("name",)).iloc[0]
    wrong = live_scores(rows(forecast=[-0.5, 1.5]), ("name",)).iloc[0]
    assert right["skill"] == 1.0 and wrong["skill"] == pytest.approx(-3.0)


def test_an_interval_that_was_not_stated_holds_and_misses_nothing():
    table = rows(q10=[np.nan, -1.0])
    assert inside(table, "q10", "q90", np.array([0.5, -1.5])) == pytest.approx(
        [np.nan, 0.0], nan_ok=True
    )
    assert live_scores(table, ("name",)).iloc[0]["cover80"] == 0.0
    bare = live_scores(rows(q10=np.nan, q025=np.nan), ("name",)).iloc[0]
    assert np.isnan([bare["cover80"], bare["cover95"], bare["pinball"]]).all()


def test_skill_over_a_persistence_without_error_is_undefined():
    assert np.isnan(live_scores(rows(persistence=[0.5, -1.5]), ("name",)).iloc[0]["skill"])
