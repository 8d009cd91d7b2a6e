"""A challenger's training: its split, stopped and resumed, failed without harm."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from forecaster import clock
from forecaster.errors import DataError, DivergedError, OutOfMemoryError, StorageError
from forecaster.forecasting import fitting
from forecaster.operations import challenger as challenger_training
from forecaster.operations.challenger import RollingSplit, train_challenger
from forecaster.operations.checkpoint_file import CheckpointFile
from forecaster.pipeline.data_import import import_files
from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.promotion import promote
from forecaster.registry.run_history import trainings
from forecaster.registry.versions import list_versions, load_weights, read_manifest
from forecaster.settings import RetrainSettings, Settings, TrainSettings
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.trainer import Validation
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 420, "BBB": 330})
LAST = BARS["session"].max().date()
SPLIT = RollingSplit(test=60, validation=90)
SETTINGS = TrainSettings(hidden=4, max_steps=30, evaluate_every=6, members=2, seed=3, dropout=0.3)


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of bars, to be imported by every home."""
    file = tmp_path_factory.mktemp("prices") / "bars.csv"
    BARS.to_csv(file, index=False)
    return file


@pytest.fixture
def home(prices: Path, tmp_path: Path) -> Path:
    import_files([prices], home=tmp_path, basis="split-adjusted", calendar="XNYS")
    return tmp_path


def trained(
    home: Path,
    train: TrainSettings = SETTINGS,
    start: Literal["cold", "warm"] = "cold",
    **options: object,
) -> str:
    retrain = RetrainSettings(start=start, checkpoint_every=7)
    chosen = {"as_of": LAST, "split": SPLIT, **options}
    settings = Settings(train=train, retrain=retrain)
    return train_challenger(home, "return", settings, **chosen)  # type: ignore[arg-type]


def weights(home: Path, version: str) -> list[dict[str, np.ndarray]]:
    return load_weights(home, read_manifest(home, version))


@pytest.fixture(scope="module")
def uninterrupted(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same training without a stop."""
    home = tmp_path_factory.mktemp("uninterrupted")
    import_files([prices], home=home, basis="split-adjusted", calendar="XNYS")
    return home, trained(home)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Send a signal to this process after so many steps of all members together."""
    seen = 0
    boundary = CheckpointFile.boundary

    def arrange(steps: int, number: int) -> None:
        def watched(self: CheckpointFile, checkpoint: Callable[[], Checkpoint]) -> None:
            nonlocal seen
            seen += 1
            if seen == steps:
                os.kill(os.getpid(), number)
            boundary(self, checkpoint)

        monkeypatch.setattr(CheckpointFile, "boundary", watched)

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    yield arrange
    for number, handler in before.items():
        signal.signal(number, handler)


def checkpoint_of(home: Path) -> Path:
    return home / "models" / ".unfinished" / "return.checkpoint"


def test_the_split_is_counted_back_from_the_last_day(uninterrupted: tuple[Path, str]) -> None:
    home, version = uninterrupted
    blocks, days = read_manifest(home, version).data.blocks, np.unique(BARS["session"])
    assert blocks.last == LAST
    assert (days > np.datetime64(blocks.validation_until)).sum() == 60
    assert (days > np.datetime64(blocks.train_until)).sum() == 150


def test_the_last_day_decides_the_split_not_the_settings(home: Path) -> None:
    fixed = SETTINGS.model_copy(update={"train_until": date(2010, 6, 1), "max_steps": 1})
    version = trained(home, fixed)
    assert read_manifest(home, version).data.blocks.train_until != date(2010, 6, 1)


def test_it_becomes_the_challenger_and_leaves_nothing_unfinished(
    uninterrupted: tuple[Path, str],
) -> None:
    home, version = uninterrupted
    assert champion_status(home, "return").challenger == version
    assert [(run.state, run.version, run.steps) for run in trainings(home)] == [
        ("done", version, 30)
    ]
    assert not list((home / "models" / ".unfinished").iterdir())
    assert read_manifest(home, version).training["start"] == "cold"


DRAWN = sorted(np.random.default_rng(6).choice(np.arange(1, 58), 4, replace=False).tolist())


@pytest.mark.parametrize("steps", DRAWN)
def test_stopped_at_a_random_step_it_ends_with_the_same_bits(
    steps: int, home: Path, uninterrupted: tuple[Path, str], stop_after: Callable[[int, int], None]
) -> None:
    """Weights, validations, shrinkage, calibration and, except for its second, the version's id."""
    number = (signal.SIGTERM, signal.SIGINT)[steps % 2]
    stop_after(steps, number)
    with pytest.raises(SystemExit) as left:
        trained(home)
    assert left.value.code == 128 + number
    assert checkpoint_of(home).exists() and not list_versions(home)
    assert [run.state for run in trainings(home)] == ["stopped"]
    version = trained(home)
    first, again = read_manifest(*uninterrupted), read_manifest(home, version)
    for one, same in zip(weights(*uninterrupted), weights(home, version), strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(same[name], value)
    drop = {"created_at", "version"}
    assert again.model_dump(exclude=drop) == first.model_dump(exclude=drop)
    assert not checkpoint_of(home).exists() and list_versions(home) == [version]


def test_finished_members_are_not_trained_again(
    home: Path, stop_after: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(40, signal.SIGTERM)
    with pytest.raises(SystemExit):
        trained(home)
    seeds: list[int] = []
    run = fitting._fit_member

    def counted(dataset, settings, *rest):  # type: ignore[no-untyped-def]
        seeds.append(settings.seed)
        return run(dataset, settings, *rest)

    monkeypatch.setattr(fitting, "_fit_member", counted)
    trained(home)
    assert seeds == [4]


def killed_after(count: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End as kill -9 does, some steps after the last checkpoint."""
    boundary, seen = CheckpointFile.boundary, 0

    class Killed(BaseException):
        pass

    def watched(self: CheckpointFile, checkpoint: Callable[[], Checkpoint]) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            raise Killed
        boundary(self, checkpoint)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(CheckpointFile, "boundary", watched)
        trained(home)


def test_killed_between_two_checkpoints_it_resumes_from_the_first(
    home: Path,
    uninterrupted: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed_after(17, home, monkeypatch)
    with caplog.at_level("INFO"):
        version = trained(home)
    assert "stopped after step 14" in caplog.text
    for one, same in zip(weights(*uninterrupted), weights(home, version), strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(same[name], value)


def test_killed_between_writing_and_registering_nothing_is_doubled(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run writes the version that is there already, and registers it."""

    class Killed(BaseException):
        pass

    def killed(*arguments: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(challenger_training, "register", killed)
        trained(home)
    (before,) = list_versions(home)
    assert trained(home) == before and list_versions(home) == [before]
    assert champion_status(home, "return").challenger == before


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"train": SETTINGS.model_copy(update={"seed": 8})}, "settings"),
        ({"tickers": ["AAA"]}, "prices"),
        ({"as_of": date(2011, 8, 26)}, "prices and settings"),
    ],
)
def test_the_checkpoint_of_another_training_is_set_aside_with_a_warning(
    change: dict[str, object],
    subject: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged_warnings: list[str],
) -> None:
    killed_after(10, home, monkeypatch)
    trained(home, **change)  # type: ignore[arg-type]
    assert any(f"was made with other {subject}" in text for text in logged_warnings)
    assert checkpoint_of(home).with_name("return.checkpoint.old").exists()


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_corrupt_checkpoint_is_set_aside_with_a_warning(
    content: bytes | None, home: Path, monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]
) -> None:
    killed_after(10, home, monkeypatch)
    file = checkpoint_of(home)
    file.write_bytes(file.read_bytes()[:-9] if content is None else content)
    short = SETTINGS.model_copy(update={"max_steps": 2, "members": 1})
    assert trained(home, short) in list_versions(home)
    assert any("is corrupt" in text for text in logged_warnings)


def diverging(monkeypatch: pytest.MonkeyPatch, at: int, error: Exception, member: int = 0) -> None:
    """Make a member's training fail after so many steps."""
    run, begun = fitting.run_training, 0

    def failing(*arguments: Any) -> object:
        nonlocal begun
        begun += 1
        *others, callbacks, resume = arguments

        def failing_at(step: int, validation: Validation | None) -> None:
            callbacks.on_step(step, validation)
            if step == at and begun == member + 1:
                raise error

        return run(*others, replace(callbacks, on_step=failing_at), resume)

    monkeypatch.setattr(fitting, "run_training", failing)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DivergedError("a loss of nan"), DivergedError),
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), OutOfMemoryError),
    ],
)
def test_a_training_that_fails_keeps_its_best_and_touches_no_champion(
    error: Exception,
    kind: type[Exception],
    home: Path,
    uninterrupted: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second member fails after its first validation: both are kept, as failed."""
    champion = trained(home, SETTINGS.model_copy(update={"members": 1, "max_steps": 2}))
    promote(home, "return", champion, reason="for the test")
    diverging(monkeypatch, 8, error, member=1)
    with pytest.raises(kind):
        trained(home)
    assert champion_status(home, "return").champion == champion
    assert champion_status(home, "return").challenger is None
    (failed,) = [name for name, one in registered(home).items() if one.status == "failed"]
    kept = weights(home, failed)
    for name, value in weights(*uninterrupted)[0].items():
        np.testing.assert_array_equal(kept[0][name], value)
    assert len(kept) == 2 and trainings(home)[-1].state == "failed"
    assert decisions(home)[-1].outcome == "failed" and decisions(home)[-1].session == LAST
    assert not checkpoint_of(home).exists()


def test_failing_before_the_first_validation_leaves_the_reason_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, 2, DivergedError("a loss of nan"))
    with pytest.raises(DivergedError):
        trained(home)
    assert not list_versions(home) and "a loss of nan" in trainings(home)[-1].reason


def test_other_failures_are_not_taken_for_lack_of_memory(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, 2, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        trained(home)
    assert trainings(home)[-1].state == "failed"


def test_the_error_of_a_short_history_says_what_is_needed(home: Path) -> None:
    with pytest.raises(DataError, match=r"420 trading days; a challenger needs 630: 126 for the"):
        trained(home, split=RollingSplit())
    assert trainings(home)[-1].state == "failed"


def test_a_warm_start_begins_at_the_champion_and_is_logged(home: Path) -> None:
    """With so small a learning rate the weights stay."""
    champion = trained(home)
    promote(home, "return", champion, reason="for the test")
    still = SETTINGS.model_copy(update={"lr": 1e-12, "max_steps": 1, "seed": 90})
    version = trained(home, still, start="warm")
    assert read_manifest(home, version).training["start"] == f"warm from {champion}"
    for one, same in zip(weights(home, champion), weights(home, version), strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(same[name], value, atol=1e-9)


@pytest.mark.parametrize("hidden", [None, 5])
def test_without_fitting_weights_a_warm_start_is_cold_and_is_logged(
    hidden: int | None, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quick = SETTINGS.model_copy(update={"max_steps": 1})
    if hidden:
        promote(home, "return", trained(home, quick), reason="for the test")
        quick = quick.model_copy(update={"hidden": hidden})
    with caplog.at_level("INFO"):
        version = trained(home, quick, start="warm")
    assert read_manifest(home, version).training["start"] == "cold"
    assert ("is another network" if hidden else "the baseline is champion") in caplog.text


def test_a_checkpoint_that_cannot_be_written_is_reported_once_and_leaves_no_part(
    home: Path, monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]
) -> None:
    """Training goes on; if the disk is still full at the end, saving the version fails."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StorageError, match="No space"):

        def from_here(*arguments: object, **options: object) -> object:
            patched.setattr(os, "fsync", full)
            return fitting.fit_ensemble(*arguments, **options)  # type: ignore[arg-type]

        patched.setattr(challenger_training, "fit_ensemble", from_here)
        trained(home)
    assert sum("a training stopped now will start again" in text for text in logged_warnings) == 1
    assert not list(checkpoint_of(home).parent.iterdir()) and not list_versions(home)


def test_the_version_is_dated_by_the_start_of_its_training(home: Path) -> None:
    with clock.as_if(datetime(2026, 1, 2, 22, 0, tzinfo=UTC)):
        version = trained(home, SETTINGS.model_copy(update={"max_steps": 1}))
    assert version.startswith("20260102-220000-lstm-")
