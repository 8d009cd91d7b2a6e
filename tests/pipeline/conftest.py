"""What the steps of the pipeline say aloud."""

import logging
from collections.abc import Iterator

import pytest


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Every warning of the package while the test runs."""
    ear, logger = _Ear(), logging.getLogger("forecaster")
    logger.addHandler(ear)
    yield ear.heard
    logger.removeHandler(ear)
