"""A champion that is intact and forecasts nonsense: its predecessor serves, then the baseline."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from forecaster import clock
from forecaster.pipeline.predict import predict
from forecaster.registry.champion_history import champion_status
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.promotion import promote, register
from forecaster.registry.versions import Weights, load_weights, read_manifest, save_version
from tests.faults import daily_run
from tests.faults.daily_run import SOURCE, TODAY, YESTERDAY, do
from tests.operations.sessions import end_of

BEFORE = SOURCE.sessions[-3]
WORSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NaN": lambda value: np.full_like(value, np.nan),
    "infinite": lambda value: np.full_like(value, np.inf),
    "huge": lambda value: value * 1e6 + 1e4,
    "negative": lambda value: value * -1e6 - 1e4,
    "largest": lambda value: np.full_like(value, np.finfo(value.dtype).max),
}
SLOW = ((), pytest.mark.slow)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion and its predecessor, in which a session is due."""
    home = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        daily_run.arrange(patch)
        for day in (BEFORE, YESTERDAY):
            do(day, home)
    assert champion_status(home, "return").predecessor
    return home


def spoil(home: Path, how: Callable[[np.ndarray], np.ndarray], day: date = YESTERDAY) -> str:
    """Promote a copy of the champion with other numbers in the last layer of its network."""
    champion = champion_status(home, "return").champion
    assert champion is not None
    manifest = read_manifest(home, champion)
    members = [spoilt(weights, how) for weights in load_weights(home, manifest)]
    with clock.as_if(end_of(day)):
        saved = save_version(home, manifest, members, clock.now())
        register(home, saved.version, "return")
        promote(home, "return", saved.version, reason="by hand", session=day, evidence={})
    return saved.version


def spoilt(weights: Weights, how: Callable[[np.ndarray], np.ndarray]) -> Weights:
    """Change what the head adds to every forecast."""
    return {name: how(one) if name == "head.linear.bias" else one for name, one in weights.items()}


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, id=name, marks=SLOW[name != "NaN"]) for name, how in WORSE.items()],
)
def test_a_champion_of_absurd_forecasts_is_replaced(
    how: Callable[[np.ndarray], np.ndarray],
    before: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit 3 and the reason; the session's forecasts are those of the version before."""
    home = Path(shutil.copytree(before, tmp_path / "home"))
    good, bad = champion_status(home, "return").champion, spoil(home, how)
    made = predict(home=home, as_of=YESTERDAY, record=False)
    assert made.version == good and len(made.troubles) == 1
    daily_run.arrange(monkeypatch)
    report = do(TODAY, home)
    assert report.exit_code == 3
    assert f"the champion of return is corrupt; {good} forecasts in its place" in report.reason
    rows = read_forecasts(home, since=TODAY)
    assert list(rows["version"]) == [good] * 2 and np.isfinite(rows["forecast"]).all()
    log = (home / "logs" / "forecaster.log").read_text()
    assert f"Version {bad} is corrupt: 2 of 2 forecasts are absurd" in log


@pytest.mark.slow
def test_two_absurd_champions_are_replaced_by_the_baseline(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(before, tmp_path / "home"))
    spoil(home, WORSE["huge"])
    spoil(home, WORSE["NaN"])
    daily_run.arrange(monkeypatch)
    report = do(TODAY, home)
    assert report.exit_code == 3 and "the baseline forecasts in its place" in report.reason
    assert list(read_forecasts(home, since=TODAY)["version"]) == ["baseline"] * 2
