"""The examples of the public functions run and print what they show."""

import doctest
import importlib
import pkgutil

import pytest

from forecaster import bptt

SHOWN = {"engine", "horizon", "lags", "plan"}


@pytest.mark.parametrize("name", [info.name for info in pkgutil.iter_modules(bptt.__path__)])
def test_the_examples_of_a_module_run(name):
    found = doctest.testmod(importlib.import_module(f"forecaster.bptt.{name}"))
    assert found.failed == 0
    assert (found.attempted > 0) == (name in SHOWN)
