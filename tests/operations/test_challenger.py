"""A challenger's training: its blocks, stopped and resumed, failed without harm."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from forecaster import clock
from forecaster.errors import DataError, DivergedError, OutOfMemoryError, StorageError
from forecaster.forecasting import fitting
from forecaster.operations import challenger as train_night
from forecaster.operations.challenger import RollingSplit, train_challenger
from forecaster.operations.checkpoint_file import CheckpointFile
from forecaster.pipeline.data_import import import_files
from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.promotion import promote
from forecaster.registry.run_history import trainings
from forecaster.registry.versions import list_versions, load_weights, read_manifest
from forecaster.settings import TrainSettings
from forecaster.training.checkpoint import Checkpoint
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 420, "BBB": 330})
LAST = BARS["session"].max().date()
BLOCKS = RollingSplit(gate=60, select=90)
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


def trained(home: Path, settings: TrainSettings = SETTINGS, **options: object) -> str:
    told = {"as_of": LAST, "blocks": BLOCKS, "checkpoint_every": 7, **options}
    return train_challenger(home, "return", settings, **told)  # type: ignore[arg-type]


def weights(home: Path, version: str) -> list[dict[str, np.ndarray]]:
    return load_weights(home, read_manifest(home, version))


@pytest.fixture(scope="module")
def whole(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same training without a stop."""
    home = tmp_path_factory.mktemp("whole")
    import_files([prices], home=home, basis="split-adjusted", calendar="XNYS")
    return home, trained(home)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Send a signal to this process after so many updates of all members together."""
    seen = 0
    boundary = CheckpointFile.boundary

    def arrange(updates: int, number: int) -> None:
        def watched(self: CheckpointFile, checkpoint: Callable[[], Checkpoint]) -> None:
            nonlocal seen
            seen += 1
            if seen == updates:
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


def test_the_blocks_are_counted_back_from_the_evening(whole: tuple[Path, str]) -> None:
    home, version = whole
    blocks, days = read_manifest(home, version).data.blocks, np.unique(BARS["session"])
    assert blocks.last == LAST
    assert (days > np.datetime64(blocks.validation_until)).sum() == 60
    assert (days > np.datetime64(blocks.train_until)).sum() == 150


def test_the_night_decides_the_blocks_not_the_settings(home: Path) -> None:
    fixed = SETTINGS.model_copy(update={"train_until": date(2010, 6, 1), "max_steps": 1})
    version = trained(home, fixed)
    assert read_manifest(home, version).data.blocks.train_until != date(2010, 6, 1)


def test_it_becomes_the_challenger_and_leaves_nothing_unfinished(whole: tuple[Path, str]) -> None:
    home, version = whole
    assert champion_status(home, "return").challenger == version
    assert [(run.state, run.version, run.updates) for run in trainings(home)] == [
        ("done", version, 30)
    ]
    assert not list((home / "models" / ".unfinished").iterdir())
    assert read_manifest(home, version).training["start"] == "cold"


DRAWN = sorted(np.random.default_rng(6).choice(np.arange(1, 58), 4, replace=False).tolist())


@pytest.mark.parametrize("updates", DRAWN)
def test_stopped_at_a_random_update_it_ends_with_the_same_bits(
    updates: int, home: Path, whole: tuple[Path, str], stop_after: Callable[[int, int], None]
) -> None:
    """Weights, looks, belief and calibration, the version's name but for its second too."""
    number = (signal.SIGTERM, signal.SIGINT)[updates % 2]
    stop_after(updates, number)
    with pytest.raises(SystemExit) as left:
        trained(home)
    assert left.value.code == 128 + number
    assert checkpoint_of(home).exists() and not list_versions(home)
    assert [run.state for run in trainings(home)] == ["stopped"]
    version = trained(home)
    first, again = read_manifest(*whole), read_manifest(home, version)
    for one, same in zip(weights(*whole), weights(home, version), strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(same[name], value)
    drop = {"created_at", "version"}
    assert again.model_dump(exclude=drop) == first.model_dump(exclude=drop)
    assert not checkpoint_of(home).exists() and list_versions(home) == [version]


def test_the_members_that_were_done_are_not_trained_again(
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
    """End as kill -9 does: without a word, some updates after the last checkpoint."""
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


def test_killed_between_two_checkpoints_it_goes_on_from_the_first(
    home: Path,
    whole: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed_after(17, home, monkeypatch)
    with caplog.at_level("INFO"):
        version = trained(home)
    assert "stopped after update 14" in caplog.text
    for one, same in zip(weights(*whole), weights(home, version), strict=True):
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
        patched.setattr(train_night, "register", killed)
        trained(home)
    (before,) = list_versions(home)
    assert trained(home) == before and list_versions(home) == [before]
    assert champion_status(home, "return").challenger == before


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"settings": SETTINGS.model_copy(update={"seed": 8})}, "settings"),
        ({"tickers": ["AAA"]}, "prices"),
        ({"as_of": date(2011, 8, 26)}, "prices and settings"),
    ],
)
def test_what_was_left_of_another_training_is_put_aside_aloud(
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
def test_a_damaged_checkpoint_is_put_aside_aloud(
    content: bytes | None, home: Path, monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]
) -> None:
    killed_after(10, home, monkeypatch)
    file = checkpoint_of(home)
    file.write_bytes(file.read_bytes()[:-9] if content is None else content)
    short = SETTINGS.model_copy(update={"max_steps": 2, "members": 1})
    assert trained(home, short) in list_versions(home)
    assert any("is damaged" in text for text in logged_warnings)


def diverging(monkeypatch: pytest.MonkeyPatch, at: int, error: Exception, member: int = 0) -> None:
    """Let a member's training fail after so many updates."""
    run, begun = fitting.run_training, 0

    def failing(*arguments: object, **options: object) -> object:
        nonlocal begun
        begun += 1
        told = options["on_update"]

        def on_step(update: int, look: object) -> None:
            told(update, look)  # type: ignore[operator]
            if update == at and begun == member + 1:
                raise error

        return run(*arguments, **{**options, "on_update": on_step})  # type: ignore[arg-type]

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
    whole: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second member fails after its first look: one member and a half are kept, as failed."""
    champion = trained(home, SETTINGS.model_copy(update={"members": 1, "max_steps": 2}))
    promote(home, "return", champion, reason="for the test")
    diverging(monkeypatch, 8, error, member=1)
    with pytest.raises(kind):
        trained(home)
    assert champion_status(home, "return").champion == champion
    assert champion_status(home, "return").challenger is None
    (failed,) = [name for name, one in registered(home).items() if one.status == "failed"]
    kept = weights(home, failed)
    for name, value in weights(*whole)[0].items():
        np.testing.assert_array_equal(kept[0][name], value)
    assert len(kept) == 2 and trainings(home)[-1].state == "failed"
    assert decisions(home)[-1].outcome == "failed" and decisions(home)[-1].session == LAST
    assert not checkpoint_of(home).exists()


def test_failing_before_the_first_look_leaves_the_reason_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, 2, DivergedError("a loss of nan"))
    with pytest.raises(DivergedError):
        trained(home)
    assert not list_versions(home) and "a loss of nan" in trainings(home)[-1].reason


def test_other_failures_are_not_taken_for_want_of_memory(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, 2, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        trained(home)
    assert trainings(home)[-1].state == "failed"


def test_too_short_a_history_says_what_is_needed(home: Path) -> None:
    with pytest.raises(DataError, match=r"420 trading days; a challenger needs 630: 126 for the"):
        trained(home, blocks=RollingSplit())
    assert trainings(home)[-1].state == "failed"


def test_a_warm_start_begins_at_the_champion_and_says_so(home: Path) -> None:
    """So small a rate moves nothing: what comes out is what went in."""
    champion = trained(home)
    promote(home, "return", champion, reason="for the test")
    still = SETTINGS.model_copy(update={"lr": 1e-12, "max_steps": 1, "seed": 90})
    version = trained(home, still, start="warm")
    assert read_manifest(home, version).training["start"] == f"warm from {champion}"
    for one, same in zip(weights(home, champion), weights(home, version), strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(same[name], value, atol=1e-9)


@pytest.mark.parametrize("hidden", [None, 5])
def test_without_weights_that_fit_a_warm_start_is_cold_and_says_so(
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


def test_a_checkpoint_that_cannot_be_written_is_told_of_once_and_leaves_no_piece(
    home: Path, monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]
) -> None:
    """Training goes on; of a disk that is still full at the end, the version's own error tells."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StorageError, match="No space"):

        def from_here(*arguments: object, **options: object) -> object:
            patched.setattr(os, "fsync", full)
            return fitting.fit_ensemble(*arguments, **options)  # type: ignore[arg-type]

        patched.setattr(train_night, "fit_members", from_here)
        trained(home)
    assert sum("if it is stopped now, it begins anew" in text for text in logged_warnings) == 1
    assert not list(checkpoint_of(home).parent.iterdir()) and not list_versions(home)


def test_the_version_is_dated_by_the_evening_it_was_begun(home: Path) -> None:
    with clock.as_if(datetime(2026, 1, 2, 22, 0, tzinfo=UTC)):
        version = trained(home, SETTINGS.model_copy(update={"max_steps": 1}))
    assert version.startswith("20260102-220000-lstm-")
