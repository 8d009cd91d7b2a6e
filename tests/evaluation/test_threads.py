"""One thread outside torch, so that sums do not depend on how many a machine would take."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from forecaster.evaluation.threads import one_thread

assert scipy.special and torch  # they load the pools


def numbers() -> tuple[set[int], set[int]]:
    """Return the threads of pools outside torch, and of torch's."""
    found = [("torch/" in one["filepath"], one["num_threads"]) for one in threadpool_info()]
    return {n for is_torch, n in found if not is_torch}, {n for is_torch, n in found if is_torch}


def test_pools_have_one_thread_inside_and_theirs_after() -> None:
    with threadpool_limits(2):
        before = numbers()
        with one_thread():
            assert numbers() == ({1}, before[1])
        assert numbers() == before
    assert np.ones(3) @ np.ones(3) == 3.0


def results(home: Path, threads: int) -> str:
    """Train, predict and evaluate the sample prices; return all forecasts as text."""
    home.mkdir()
    given = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "forecaster", "--home", str(home), *words]
        return subprocess.run(command, env=given, check=True, capture_output=True, text=True).stdout

    run("fetch", "--source", "sample")
    run("train", "--max-steps", "10", "--as-of", "2018-12-31")
    shown = run("predict", "--as-of", "2018-12-31").partition("model")[0]
    file = home / "forecasts.csv"
    run("evaluate", "--benchmarks", "quick", "--no-report", "--forecasts", str(file))
    return shown + file.read_text()


@pytest.mark.slow
def test_forecasts_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    """Those of the version, and of an MLP with the same inputs on a base fitted by BLAS."""
    one = results(tmp_path / "one", 1)
    assert ",mlp," in one
    assert results(tmp_path / "two", 2) == one
