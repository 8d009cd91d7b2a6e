"""Targets as people read them."""

import numpy as np
import pytest

from forecaster.report.units import axis_title, in_units


def test_returns_and_ranges_are_per_cent_and_other_targets_their_level() -> None:
    assert in_units("return", np.log([1.02, 0.5])) == pytest.approx([2.0, -50.0])
    assert in_units("range", np.log([0.013])) == pytest.approx([1.3])
    assert in_units("volume", np.log([5e6])) == pytest.approx([5e6])
    assert (axis_title("range"), axis_title("rv5")) == ("daily range, %", "rv5")
