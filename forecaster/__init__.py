"""Next-day stock forecasts with recurrent networks; the public names, imported when first used."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

# For type checkers, the same names as in _HOMES: a test compares.
if TYPE_CHECKING:
    from forecaster.errors import ForecasterError as ForecasterError
    from forecaster.estimators.forecasts import Forecasts as Forecasts
    from forecaster.estimators.panel_split import PanelTimeSeriesSplit as PanelTimeSeriesSplit
    from forecaster.estimators.price_forecaster import PriceForecaster as PriceForecaster
    from forecaster.estimators.recurrent_regressor import RecurrentRegressor as RecurrentRegressor
    from forecaster.evaluation.evaluation import Evaluation as Evaluation
    from forecaster.evaluation.splits import Walk as Walk
    from forecaster.forecasting.memory import MemoryReport as MemoryReport
    from forecaster.forecasting.next_session import Prediction as Prediction
    from forecaster.pipeline.audit import AuditReport as AuditReport
    from forecaster.pipeline.audit import audit as audit
    from forecaster.pipeline.data import load_bars as load_bars
    from forecaster.pipeline.data_import import import_files as import_files
    from forecaster.pipeline.evaluate import evaluate as evaluate
    from forecaster.pipeline.fetch import FetchReport as FetchReport
    from forecaster.pipeline.fetch import fetch as fetch
    from forecaster.pipeline.memory import memory as memory
    from forecaster.pipeline.predict import predict as predict
    from forecaster.pipeline.train import TrainReport as TrainReport
    from forecaster.pipeline.train import train as train
    from forecaster.settings import FetchSettings as FetchSettings
    from forecaster.settings import PredictSettings as PredictSettings
    from forecaster.settings import TrainSettings as TrainSettings

__version__ = "0.1.0"

_HOMES = {
    "ForecasterError": "forecaster.errors",
    "Forecasts": "forecaster.estimators.forecasts",
    "PanelTimeSeriesSplit": "forecaster.estimators.panel_split",
    "PriceForecaster": "forecaster.estimators.price_forecaster",
    "RecurrentRegressor": "forecaster.estimators.recurrent_regressor",
    "Evaluation": "forecaster.evaluation.evaluation",
    "Walk": "forecaster.evaluation.splits",
    "MemoryReport": "forecaster.forecasting.memory",
    "Prediction": "forecaster.forecasting.next_session",
    "AuditReport": "forecaster.pipeline.audit",
    "audit": "forecaster.pipeline.audit",
    "load_bars": "forecaster.pipeline.data",
    "import_files": "forecaster.pipeline.data_import",
    "evaluate": "forecaster.pipeline.evaluate",
    "FetchReport": "forecaster.pipeline.fetch",
    "fetch": "forecaster.pipeline.fetch",
    "memory": "forecaster.pipeline.memory",
    "predict": "forecaster.pipeline.predict",
    "TrainReport": "forecaster.pipeline.train",
    "train": "forecaster.pipeline.train",
    "FetchSettings": "forecaster.settings",
    "PredictSettings": "forecaster.settings",
    "TrainSettings": "forecaster.settings",
}

__all__ = ["__version__", *_HOMES]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name where it lives (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'forecaster' has no attribute {name!r}")
        globals()[name] = getattr(import_module(_HOMES[name]), name)
        return globals()[name]


class _Package(ModuleType):
    """This module; a room of a public function's name, once imported, does not hide it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
