"""Walk-forward: trained before its test days, resumed where it stopped, in any process."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import fold, walk_forward
from forecaster.backtesting import version_evaluation as evaluating
from forecaster.backtesting.fold import FoldForecasts, FoldTask
from forecaster.backtesting.walk_forward import WorkFolder, fan_out
from forecaster.errors import UsageError
from forecaster.evaluation.distributions import Point
from forecaster.evaluation.splits import Fold, Split
from forecaster.pipeline.evaluate import Evaluation, Walk, evaluate
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 420, "BBB": 300, "CCC": 50})  # CCC begins on a test day
SETTINGS = TrainSettings(hidden=4, max_steps=20, target="return,range")
WALK = Walk(refit_every=25, same_inputs=False)
KEYS = ["ticker", "as_of", "target", "forecaster"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    train(BARS, settings=SETTINGS, home=made)
    return made


def walked(home: Path, walk: Walk = WALK, bars: pd.DataFrame = BARS) -> Evaluation:
    return evaluate(bars=bars, home=home, walk=walk, benchmarks="quick")


@pytest.fixture(scope="module")
def result(home: Path) -> Evaluation:
    return walked(home)


def forecasts(result: Evaluation, name: str = "lstm") -> pd.Series:
    table = result.forecasts[result.forecasts["forecaster"] == name]
    return table.set_index(["target", "ticker", "session"])["forecast"]


def test_each_fold_ends_its_blocks_before_its_test_days(result: Evaluation) -> None:
    folds = result.folds
    assert len(folds) == 3 and (folds["train_until"] < folds["validation_until"]).all()
    assert (folds["validation_until"] < folds["first"]).all()
    assert folds["train_until"].is_monotonic_increasing and folds["train_until"].is_unique
    assert (folds["first"].iloc[1:].to_numpy() > folds["last"].iloc[:-1].to_numpy()).all()


def test_the_first_fold_is_the_version_itself_and_later_ones_are_not(
    home: Path, result: Evaluation
) -> None:
    never = forecasts(walked(home, Walk(same_inputs=False)))
    again = forecasts(result).reindex(never.index)
    first = never.index.get_level_values("session") <= pd.Timestamp(result.folds["last"].iloc[0])
    np.testing.assert_array_equal(again[first], never[first])
    assert (again[~first] != never[~first]).mean() > 0.9


def test_a_ticker_that_begins_on_a_test_day_joins(result: Evaluation) -> None:
    table = result.table("scores_by_ticker")
    days = table[(table["target"] == "range") & (table["metric"] == "mse")]
    assert set(days["ticker"]) == {"AAA", "BBB", "CCC"}
    assert result.forecasts["session"].min() < BARS[BARS["ticker"] == "CCC"]["session"].min()


@pytest.mark.parametrize(
    "walk",
    [
        pytest.param(WALK, marks=pytest.mark.slow),
        Walk(refit_every=25, train_days=150, same_inputs=False),
    ],
)
def test_no_fold_sees_beyond_its_days(home: Path, walk: Walk) -> None:
    """Nonsense after a date in the second fold changes no forecast made until then."""
    full = walked(home, walk)
    cut = pd.Timestamp(full.folds["first"].iloc[1]) + pd.Timedelta(days=9)
    wild = BARS.copy()
    later = wild["session"] > cut
    wild.loc[later, ["open", "high", "low", "close"]] *= 3.0
    wild.loc[later, "volume"] = 1.0
    expected = full.forecasts[full.forecasts["session"] <= cut].set_index(KEYS)
    found = walked(home, walk, wild).forecasts.set_index(KEYS).reindex(expected.index)
    assert len(expected) > 300
    np.testing.assert_array_equal(found["forecast"], expected["forecast"])
    np.testing.assert_allclose(found["q10"], expected["q10"], rtol=1e-12)


@pytest.mark.parametrize("train_days", [None, 150])
def test_the_fit_is_given_no_day_outside_its_blocks(
    home: Path, train_days: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = []
    real = fold.fit_panel

    def spied(panel, split, settings, *, start=None, base=None):  # type: ignore[no-untyped-def]
        handed.append((panel.days.min(), panel.days.max(), split))
        return real(panel, split, settings, start=start, base=base)

    monkeypatch.setattr(fold, "fit_panel", spied)
    found = walked(home, Walk(refit_every=25, train_days=train_days, same_inputs=False))
    assert len(handed) == (3 if train_days else 2)  # an expanding first fold is the version's own
    for (first, last, split), row in zip(
        handed, found.folds[-len(handed) :].itertuples(), strict=True
    ):
        assert first == np.datetime64(row.train_from)
        assert last == split.validation_until == np.datetime64(row.validation_until)


@pytest.mark.slow
def test_a_warm_start_begins_where_the_fold_before_ended(home: Path) -> None:
    cold, warm = (
        forecasts(walked(home, Walk(refit_every=25, weights=weights, same_inputs=False)))
        for weights in ("cold", "warm")
    )
    assert (cold != warm).any() and (cold == warm).any()


def test_seeds_give_a_spread_and_an_ensemble(home: Path) -> None:
    found = walked(home, Walk(seeds=2, same_inputs=False))
    part = found.by_target["return"]
    seeds = part.scores_by_seed.set_index("metric").loc["log_score"]
    assert seeds["seeds"] == 2 and seeds["min"] < seeds["mean"] < seeds["max"]
    assert seeds["mean"] == pytest.approx((seeds["min"] + seeds["max"]) / 2)
    own = part.scorecard().set_index("forecaster")["log_score"]
    assert own["lstm"] in (pytest.approx(seeds["min"]), pytest.approx(seeds["max"]))
    assert own["lstm-x2"] >= seeds["mean"]  # a mixture is better than its members on average
    assert any(one.forecaster == "lstm-x2" for one in part.comparisons.all)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.backtesting.test_walk_forward import ended_after_a_fold
ended_after_a_fold(Path(sys.argv[1]), lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def ended_after_a_fold(home: Path, end: Callable[[], None]) -> None:
    """Walk forward until the first fold is stored."""

    class Dies(WorkFolder):
        def save(self, task: FoldTask, found: FoldForecasts) -> None:
            super().save(task, found)
            end()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "WorkFolder", Dies)
        walked(home)


def interrupted(home: Path) -> None:
    """Stop as Ctrl-C does."""

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended_after_a_fold(home, end)


def killed(home: Path) -> None:
    """Stop as `kill -9` does."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", KILLED, home], env=environment)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("stopped", [interrupted, pytest.param(killed, marks=pytest.mark.slow)])
def test_a_run_stopped_after_a_fold_continues_with_the_next(
    tmp_path: Path,
    home: Path,
    result: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
    stopped: Callable[[Path], None],
) -> None:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    stopped(tmp_path)
    unfinished = tmp_path / "models" / ".unfinished"
    assert len(list(unfinished.glob("evaluate-*/model-fold001-*"))) == 1
    fitted: list[str] = []
    real = walk_forward.run_fold

    def counted(panel, task, recipe, start=None):  # type: ignore[no-untyped-def]
        fitted.append(task.name)
        return real(panel, task, recipe, start)

    monkeypatch.setattr(walk_forward, "run_fold", counted)
    again = walked(tmp_path)
    assert fitted == ["model-fold002-seed0"]
    pd.testing.assert_series_equal(forecasts(again), forecasts(result))
    assert not list(unfinished.glob("evaluate-*"))


def test_a_corrupt_result_is_fitted_again(home: Path) -> None:
    """A transposed weight, and none for a task that was never stored."""
    split = Split(train_until=np.datetime64("2020-01-01"), validation_until=np.datetime64("2021"))
    only = Fold(number=0, split=split, train_from=None, until=np.datetime64("2022-01-01"))
    one, two = (FoldTask(kind="model", fold=only, seed=seed) for seed in (1, 2))
    weight = np.arange(6).reshape(2, 3).T
    found = FoldForecasts(
        rows=np.arange(3), forecasts=(Point(np.arange(3.0)),), linear=None, weights={"w": weight}
    )
    work = WorkFolder(home, {"some": "thing"})
    work.save(one, found)
    read = work.load(one)
    np.testing.assert_array_equal(read.weights["w"], weight)
    np.testing.assert_array_equal(read.forecasts[0].mean(), np.arange(3.0))
    file = next(work.folder.glob("model-fold000-seed1.*"))
    file.write_bytes(file.read_bytes()[:-9])
    assert work.load(one) is None and work.load(two) is None
    work.remove()
    assert not work.folder.exists()


@pytest.mark.slow
def test_processes_forecast_what_one_process_does(home: Path, result: Evaluation) -> None:
    walk = Walk(refit_every=25, same_inputs=False, jobs=2)
    pd.testing.assert_series_equal(forecasts(walked(home, walk)), forecasts(result))


@pytest.mark.parametrize(
    "numbers",
    [
        {"refit_every": 0},
        {"seeds": 0},
        {"jobs": 0},
        {"train_days": 100},
        {"weights": "warm"},
        {"refit_every": 25, "train_days": 0},
    ],
)
def test_numbers_that_mean_nothing_are_refused(numbers: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--"):
        Walk(**numbers)  # type: ignore[arg-type]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two workers of a Ray cluster started here."""
    ray = pytest.importorskip("ray", reason="the extra is not installed: pip install '.[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
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
        list(fan_out(len, [("one",)], 2, "ray"))


SPREAD = """
import os
from forecaster.backtesting.walk_forward import fan_out
assert list(fan_out(os.path.abspath, [("a",), ("b",)], jobs=2)) == ["/a", "/b"]
assert "PYTHONSAFEPATH" not in os.environ
"""


@pytest.mark.slow
def test_workers_import_nothing_from_the_working_directory(tmp_path: Path) -> None:
    """A worker would write the file, whatever becomes of it later."""
    for module in ("joblib", "numpy", "cloudpickle", "threading"):
        (tmp_path / f"{module}.py").write_text("open('executed', 'w').close()")
    run = [sys.executable, "-P", "-c", SPREAD]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run(run, cwd=tmp_path, env=environment, timeout=120, check=True)
    assert not (tmp_path / "executed").exists()
