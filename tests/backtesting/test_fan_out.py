"""The same folds on a cluster: two local Ray workers, one of which dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from forecaster.backtesting import walk_forward
from forecaster.backtesting.fan_out import fan_out
from forecaster.errors import UsageError
from forecaster.pipeline.evaluate import Walk
from forecaster.pipeline.train import train
from tests.backtesting.test_walk_forward import BARS, SETTINGS, forecasts, walked

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two workers of a Ray cluster started here."""
    ray = pytest.importorskip("ray", reason="the extra is not installed: pip install '.[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_worker_that_dies_is_restarted_and_nothing_changes(
    tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(BARS, settings=SETTINGS, home=tmp_path)
    here = forecasts(walked(tmp_path))
    died, real = tmp_path / "died", walk_forward.run_fold

    def dies_once(panel, task, recipe, start=None):  # type: ignore[no-untyped-def]
        if task.fold.number == 2 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(panel, task, recipe, start)

    monkeypatch.setattr(walk_forward, "run_fold", dies_once)
    walk = Walk(refit_every=25, same_inputs=False, jobs=2, backend="ray")
    there = forecasts(walked(tmp_path, walk))
    assert died.exists()
    pd.testing.assert_series_equal(there, here)


def test_without_ray_the_error_has_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray.util.joblib", None)
    with pytest.raises(UsageError, match=r"pip install 'forecaster\[ray\]'"):
        fan_out(len, [("one",)], 2, "ray")
