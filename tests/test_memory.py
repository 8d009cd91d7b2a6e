"""Windows are row numbers, never copies: the peak memory of a training on long ones."""

import subprocess
import sys

import pytest

from benchmarks.memory import LIMIT_MIB


@pytest.mark.slow
def test_windows_of_250_days_over_a_large_panel_stay_below_1_gib() -> None:
    code = "from benchmarks.memory import measure; print(measure())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < LIMIT_MIB
