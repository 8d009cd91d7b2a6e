"""`bptt_k2="auto"`: measured, logged, trained afresh; declined with a remedy."""

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from forecaster.bptt.horizon import Horizon
from forecaster.errors import UsageError
from forecaster.forecasting import memory
from forecaster.forecasting.memory import measure
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

QUICK = {"hidden": 6, "max_steps": 20, "target": "range"}


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return ragged_bars({"AAA": 420, "BBB": 300})


def weights(home: Path, version: str) -> bytes:
    return (home / "models" / version / "weights.safetensors").read_bytes()


def test_auto_trains_as_if_its_numbers_had_been_given(
    bars: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first stage leaves no trace: same seed, same weights, bit for bit."""
    caplog.set_level(logging.INFO, logger="forecaster")
    logging.getLogger("forecaster").propagate = True
    auto = train(bars, settings=TrainSettings(**QUICK, bptt_k2="auto"), home=tmp_path)
    (line,) = (r.getMessage() for r in caplog.records if "auto:" in r.getMessage())
    k1, k2 = (auto.manifest.training[f"bptt_{name}"] for name in ("k1", "k2"))
    assert isinstance(k1, int) and k2 == 2 * k1 >= 2 * memory.LEAST_K1
    assert line.endswith(f"--bptt-k1 {k1} --bptt-k2 {k2}")
    given = TrainSettings(**QUICK, bptt_k2=k2, bptt_k1=k1)
    by_hand = train(bars, settings=given, home=tmp_path)
    assert weights(tmp_path, auto.version) == weights(tmp_path, by_hand.version)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("growth", "remedy"),
    [(-0.1, "Use --bptt full, or --bptt-k1"), (0.1, "use --bptt-k2 21 and a lower --lr")],
)
def test_auto_declines_with_a_remedy(
    bars: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    growth: float,
    remedy: str,
) -> None:
    def endless(*given: object, **options: object) -> object:
        report = measure(*given, **options)  # type: ignore[arg-type]
        none = Horizon(days=None, bound=None, declined="memory exceeds 9 days: it does not fall")
        return replace(
            report, profile=replace(report.profile, advice=none, advised=None, lyapunov=growth)
        )

    monkeypatch.setattr(memory, "measure", endless)
    with pytest.raises(UsageError, match="auto declines: memory exceeds 9 days") as refused:
        train(bars, settings=TrainSettings(**QUICK, bptt_k2="auto"), home=tmp_path)
    assert remedy in str(refused.value)
    assert list_versions(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bptt_k2": "auto", "lookback": 60}, "measures memory over whole histories"),
        ({"bptt_k2": "auto", "bptt_k1": 5}, "sets --bptt-k1 too"),
        ({"bptt_k2": "auto", "bptt": "full"}, "applies only to --bptt truncated"),
        ({"bptt_k2": 63, "bptt_tolerance": 0.1}, "applies only to --bptt-k2 auto"),
        ({"bptt_k2": "auto", "bptt_tolerance": 1.0}, "less than 1"),
        ({"bptt_k2": "much"}, "valid integer"),
    ],
)
def test_contradictions_are_refused_when_settings_are_made(
    wrong: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        TrainSettings(**wrong)  # type: ignore[arg-type]
