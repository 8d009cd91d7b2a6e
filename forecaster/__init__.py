"""Next-day stock forecasts with recurrent networks; the public names, imported when first used."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "fetch": "forecaster.pipeline.fetch",
    "import_files": "forecaster.pipeline.data_import",
    "FetchReport": "forecaster.pipeline.fetch",
    "load_bars": "forecaster.pipeline.data",
    "train": "forecaster.pipeline.train",
    "TrainReport": "forecaster.pipeline.train",
    "evaluate": "forecaster.pipeline.evaluate",
    "Evaluation": "forecaster.pipeline.evaluate",
    "audit": "forecaster.pipeline.audit",
    "AuditReport": "forecaster.pipeline.audit",
    "memory": "forecaster.pipeline.memory",
    "MemoryReport": "forecaster.forecasting.memory",
    "predict": "forecaster.pipeline.predict",
    "Prediction": "forecaster.forecasting.next_session",
    "TrainSettings": "forecaster.settings",
    "FetchSettings": "forecaster.settings",
    "PredictSettings": "forecaster.settings",
    "ForecasterError": "forecaster.errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forecaster' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
