"""Training as a function: repeatable, blind to the future, on any table of bars."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data import panel
from forecaster.data.history import History
from forecaster.errors import (
    BugError,
    CannotWriteError,
    DataError,
    DivergedError,
    UnknownNameError,
    UsageError,
)
from forecaster.pipeline.evaluate import evaluate
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of, ragged_bars

QUICK = {"hidden": 8, "max_steps": 40, "target": "range"}
PANEL = {"AAA": 600, "BBB": 420, "CCC": 300}


def weights(home: Path, version: str) -> bytes:
    return (home / "models" / version / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("lookback", ["all", 20])
def test_same_seed_same_weights_bit_for_bit(tmp_path: Path, lookback: int | str) -> None:
    settings = TrainSettings(**QUICK, lookback=lookback, layers=2, dropout=0.3)
    homes = [tmp_path / name for name in "ab"]
    made = []
    for home in homes:
        home.mkdir()
        made.append(train(ragged_bars(PANEL), settings=settings, home=home).version)
    first, second = (weights(home, version) for home, version in zip(homes, made, strict=True))
    assert first == second
    other = train(
        ragged_bars(PANEL), settings=settings.model_copy(update={"seed": 1}), home=homes[0]
    )
    assert weights(homes[0], other.version) != first


def test_a_training_counts_the_gradients_that_it_clips(tmp_path: Path) -> None:
    settings = TrainSettings(**{**QUICK, "max_steps": 20}, clip_grad=1e-9)
    report = train(bars_of("AAA", 300), settings=settings, home=tmp_path)
    clipped = report.manifest.training["clipped"]
    assert clipped > 10, "all but steps without a scored day, whose gradient is zero"
    assert report.validations["clipped"].max() == clipped
    wide = settings.model_copy(update={"clip_grad": 1e9})
    report = train(bars_of("AAA", 300), settings=wide, home=tmp_path)
    assert report.manifest.training["clipped"] == report.manifest.training["gradient_spikes"] == 0


def test_nothing_after_the_validation_days_touches_the_training(tmp_path: Path) -> None:
    """The strongest leak test: blow up every bar of the test days and compare weights."""
    settings = TrainSettings(
        **QUICK, train_until=date(2011, 6, 30), validation_until=date(2012, 1, 31)
    )
    clean = ragged_bars(PANEL)
    wild = clean.copy()
    later = wild["session"] > pd.Timestamp("2012-01-31")
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.3, later.sum()))
    for column in ("open", "high", "low", "close"):
        wild.loc[later, column] *= noise
    wild.loc[later, "volume"] *= 7.0
    cut = clean[~later]
    cut = pd.concat([cut, clean[later].groupby("ticker").head(1)])  # the test set needs a day
    made = [train(bars, settings=settings, home=tmp_path) for bars in (clean, wild, cut)]
    first, *others = (weights(tmp_path, report.version) for report in made)
    assert all(other == first for other in others)
    assert made[0].manifest.calibration == made[1].manifest.calibration
    assert made[0].manifest.shrinkage == made[1].manifest.shrinkage
    assert made[0].manifest.scaler == made[1].manifest.scaler == made[2].manifest.scaler
    assert made[0].manifest.base == made[1].manifest.base == made[2].manifest.base is not None


def test_the_validation_days_stop_but_never_train(tmp_path: Path) -> None:
    """Without early stopping, other validation days must give the same weights."""
    settings = TrainSettings(
        **{**QUICK, "max_steps": 20},
        evaluate_every=20,
        train_until=date(2011, 6, 30),
        validation_until=date(2012, 1, 31),
    )
    clean = ragged_bars(PANEL)
    wild = clean.copy()
    later = wild["session"] > pd.Timestamp("2011-06-30")
    wild.loc[later, ["high"]] *= 1.1
    made = [train(bars, settings=settings, home=tmp_path) for bars in (clean, wild)]
    first, second = (weights(tmp_path, report.version) for report in made)
    assert first == second
    assert made[0].manifest.metrics != made[1].manifest.metrics
    validations = [report.validations for report in made]
    assert validations[0]["train_loss"].tolist() == validations[1]["train_loss"].tolist()
    assert validations[0]["validation_loss"].tolist() != validations[1]["validation_loss"].tolist()


def test_as_of_hides_every_later_bar(tmp_path: Path) -> None:
    bars, until = ragged_bars(PANEL), date(2012, 1, 31)
    seen = train(bars, settings=TrainSettings(**QUICK), home=tmp_path, as_of=until)
    cut = bars[bars["session"] <= pd.Timestamp(until)]
    alone = train(cut, settings=TrainSettings(**QUICK), home=tmp_path)
    assert seen.manifest.data == alone.manifest.data
    assert weights(tmp_path, seen.version) == weights(tmp_path, alone.version)


def test_blocks_are_70_15_15_of_the_days(tmp_path: Path) -> None:
    report = train(bars_of("AAA", 600), settings=TrainSettings(**QUICK), home=tmp_path)
    days, blocks = bars_of("AAA", 600)["session"], report.manifest.data.blocks
    assert blocks.train_until == days[419].date()
    assert blocks.validation_until == days[509].date()
    assert (blocks.first, blocks.last) == (days[0].date(), days[599].date())


def test_truncation_at_the_whole_history_is_full_bptt(tmp_path: Path) -> None:
    bars = bars_of("AAA", 300)
    made = [
        train(bars, settings=TrainSettings(**QUICK, **horizon), home=tmp_path)
        for horizon in ({"bptt": "full"}, {"bptt_k2": 300}, {"bptt_k2": 20})
    ]
    full, long, short = (weights(tmp_path, report.version) for report in made)
    assert full == long != short


def test_inside_a_window_truncation_changes_the_training_too(tmp_path: Path) -> None:
    bars = bars_of("AAA", 300)
    made = [
        train(bars, settings=TrainSettings(**QUICK, lookback=30, **horizon), home=tmp_path)
        for horizon in ({"bptt": "full"}, {"bptt_k2": 30}, {"bptt_k2": 3})
    ]
    full, long, short = (weights(tmp_path, report.version) for report in made)
    assert full == long != short


def test_one_ticker_has_no_cross_section_and_several_have(tmp_path: Path) -> None:
    one = train(bars_of("AAA", 300), settings=TrainSettings(**QUICK), home=tmp_path).manifest
    several = train(ragged_bars(PANEL), settings=TrainSettings(**QUICK), home=tmp_path).manifest
    assert not any(name.startswith("panel_") for name in one.inputs)
    assert sum(name.startswith("panel_") for name in several.inputs) == 6


def test_wrong_requests_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    bars = bars_of("AAA", 300)
    with pytest.raises(CannotWriteError):
        train(bars, home=tmp_path / "none")
    with pytest.raises(UnknownNameError):
        train(bars, home=tmp_path, tickers=["ZZZ"])
    with pytest.raises(UsageError, match="no column for close"):
        train(bars.drop(columns="close"), home=tmp_path)
    with pytest.raises(DataError, match="20 trading days"):
        train(bars.head(20), home=tmp_path)
    with pytest.raises(DataError, match="training days"):
        train(bars, settings=TrainSettings(train_until=date(2010, 1, 20)), home=tmp_path)
    with pytest.raises(UsageError, match="No test day"):
        train(bars, settings=TrainSettings(validation_until=date(2020, 1, 20)), home=tmp_path)
    assert list_versions(tmp_path) == []


def test_a_constant_price_is_refused(tmp_path: Path) -> None:
    flat = bars_of("AAA", 300)
    flat[["open", "high", "low", "close"]] = 10.0
    with pytest.raises(DataError, match="0 days with a return that moves"):
        train(flat, settings=TrainSettings(**{**QUICK, "target": "return"}), home=tmp_path)
    with pytest.raises(DataError, match="range needs a high above the low; AAA: none on any day"):
        train(flat, settings=TrainSettings(**QUICK), home=tmp_path)


def test_a_target_without_its_quantity_is_reported_by_ticker(
    tmp_path: Path, logged_warnings: list[str]
) -> None:
    """A file without volumes stores zeros; one such ticker is warned of, all are refused."""
    bars = ragged_bars({"AAA": 300, "BBB": 300})
    bars.loc[bars["ticker"] == "AAA", "volume"] = 0.0
    settings = TrainSettings(**{**QUICK, "target": "range,volume"})
    train(bars, settings=settings, home=tmp_path)
    assert logged_warnings == [
        "volume needs a volume above 0; AAA: none on any day; not trained on there"
    ]
    without = "AAA, BBB: none on any day. Import such prices, or leave volume out of --target"
    with pytest.raises(DataError, match=without):
        train(bars.assign(volume=0.0), settings=settings, home=tmp_path)


def test_targets_need_not_be_known_on_the_same_days(tmp_path: Path) -> None:
    """One ticker has a range and no volume, the other a volume and no range."""
    bars = ragged_bars({"AAA": 300, "BBB": 300})
    first = bars["ticker"] == "AAA"
    bars.loc[first, "volume"] = 0.0
    for name in ("open", "high", "low"):
        bars.loc[~first, name] = bars.loc[~first, "close"]
    settings = TrainSettings(**{**QUICK, "target": "range,volume"})
    metrics = train(bars, settings=settings, home=tmp_path).manifest.metrics
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_target_without_days_in_one_part_is_reported_by_part(tmp_path: Path) -> None:
    bars = bars_of("AAA", 300)
    bars.loc[:209, "volume"] = 0.0
    settings = TrainSettings(**{**QUICK, "target": "range,volume"})
    with pytest.raises(DataError, match=r"The training days .* have 0 days with a volume"):
        train(bars, settings=settings, home=tmp_path)


def test_a_diverged_training_names_tickers_and_days_and_writes_nothing(tmp_path: Path) -> None:
    """Clipped gradients never explode by themselves, so the learning rate is made absurd."""
    settings = TrainSettings(hidden=4, max_steps=200, target="range", lr=1e30, clip_grad=1e30)
    words = r"(AAA|BBB|CCC).*, 20\d\d-\d\d-\d\d\.\.20\d\d-\d\d-\d\d: Optimizer step"
    with pytest.raises(DivergedError, match=words) as caught:
        train(ragged_bars(PANEL), settings=settings, home=tmp_path)
    assert "last finite gradient" in str(caught.value)
    assert list_versions(tmp_path) == []


@pytest.mark.slow
def test_an_lstm_beats_har_on_the_range_of_real_prices_and_claims_nothing_on_returns(
    tmp_path: Path,
) -> None:
    from forecaster.pipeline.evaluate import evaluate
    from forecaster.pipeline.fetch import fetch
    from forecaster.settings import FetchSettings

    fetch(home=tmp_path, settings=FetchSettings(source="sample"))
    train(settings=TrainSettings(target="return,range"), home=tmp_path)
    result = evaluate(home=tmp_path)
    scores = result.scores[result.scores["metric"] == "mse"]
    mse = scores[scores["target"] == "range"].set_index("forecaster")["value"]
    assert mse["lstm"] < 0.95 * mse["har"] < 0.95 * mse["persistence"]
    against_zero = next(
        c for c in result.by_target["return"].comparisons.all if c.benchmark == "zero-return"
    )
    assert against_zero.conclusion == "no significant difference"


def _failing_columns(monkeypatch: pytest.MonkeyPatch, *tickers: str) -> None:
    """Plant a bug that the bars of some tickers run into."""
    real = panel.own_columns

    def own_columns(history: History, targets: tuple[str, ...]) -> dict[str, np.ndarray]:
        if history.listing.ticker in tickers:
            raise ZeroDivisionError("planted")
        return real(history, targets)

    monkeypatch.setattr(panel, "own_columns", own_columns)


def test_a_bug_with_one_tickers_bars_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bars = ragged_bars({"AAA": 300, "BBB": 280, "CCC": 290})
    two = bars[bars["ticker"] != "BBB"]
    wanted = train(two, settings=TrainSettings(**QUICK), home=tmp_path).manifest
    _failing_columns(monkeypatch, "BBB")
    report = train(bars, settings=TrainSettings(**QUICK), home=tmp_path)
    assert report.skipped == ("BBB",) and "ZeroDivisionError" in caplog.text
    assert report.manifest.data == wanted.data and report.manifest.metrics == wanted.metrics
    monkeypatch.undo()
    version = train(bars, settings=TrainSettings(**QUICK), home=tmp_path).version
    _failing_columns(monkeypatch, "BBB")
    found = evaluate(version, bars=bars, home=tmp_path, benchmarks="quick")
    assert found.missing == ("BBB",) and set(found.forecasts["ticker"]) == {"AAA", "CCC"}
    _failing_columns(monkeypatch, "AAA", "CCC")
    with pytest.raises(BugError, match="for each of 3 tickers"):
        train(bars, settings=TrainSettings(**QUICK), home=tmp_path)
