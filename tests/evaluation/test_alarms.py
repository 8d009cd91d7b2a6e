import numpy as np
import pandas as pd
import pytest

from forecaster.evaluation.scores import alarms


def pooled(days, *, target="return", **values):
    """Pooled scores of one forecaster."""
    return pd.DataFrame(
        [(target, "lstm", metric, number, days, days) for metric, number in values.items()],
        columns=["target", "forecaster", "metric", "value", "days", "forecasts"],
    )


@pytest.mark.parametrize(
    ("metric", "number", "label"),
    [("skill", 0.0101, "R2 over zero of 1.01%"), ("direction_accuracy", 0.56, "of 56.00%")],
)
def test_what_is_too_good_rings(metric, number, label):
    """From 250 days on, with the forecaster, the number and the level; not a day earlier."""
    (text,) = alarms(pooled(250, **{metric: number}))
    assert text.startswith("lstm: ")
    assert label in text
    assert "leak" in text
    assert alarms(pooled(249, **{metric: number})) == []


@pytest.mark.parametrize(
    "table",
    [
        pooled(1000, skill=0.01, direction_accuracy=0.55),
        pooled(1000, skill=np.nan, direction_accuracy=np.nan),
        pooled(1000, skill=-0.5, mse=3.0, mae=2.0),
        pooled(1000, target="range", skill=0.4, direction_accuracy=0.7),
    ],
    ids=["at the levels", "undefined", "losing", "range"],
)
def test_what_may_be_does_not_ring(table):
    """The levels themselves, undefined values, losses, and targets that can be forecast."""
    assert alarms(table) == []
