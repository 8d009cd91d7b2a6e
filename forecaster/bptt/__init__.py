"""The gradient engine: full and truncated backpropagation through time for recurrent modules."""

from forecaster.bptt.batch import Batch, Gradients, sum_gradients
from forecaster.bptt.engine import gradients
from forecaster.bptt.horizon import Horizon, PlanBias, suggest_horizon, truncation_bias
from forecaster.bptt.lags import contributions, gradient_by_lag
from forecaster.bptt.plan import Plan
from forecaster.bptt.recurrent import EachDay, Recurrent

__all__ = [
    "Batch",
    "EachDay",
    "Gradients",
    "Horizon",
    "Plan",
    "PlanBias",
    "Recurrent",
    "contributions",
    "gradient_by_lag",
    "gradients",
    "suggest_horizon",
    "sum_gradients",
    "truncation_bias",
]
