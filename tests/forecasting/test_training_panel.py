"""The panel that is kept for the next training: the same numbers as one made anew, or none."""

import dataclasses
import logging
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

import forecaster.forecasting.training_panel as panels
from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.data.panel import Panel
from forecaster.data.panel_file import PanelWriter
from forecaster.data.quarantine import Entry, values_of
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from forecaster.forecasting.training_panel import TrainingPanel, training_panel
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of, ragged_bars

FETCHED = datetime(2026, 3, 6, 22, tzinfo=UTC)
SETTINGS = TrainSettings(target=("range", "return", "volume"))
LENGTHS = {"AAA": 300, "BBB": 260, "CCC": 180, "DDD": 15}


def stored(home: Path, lengths: dict[str, int] = LENGTHS, since: int = 0) -> None:
    """Store tickers, one of them too short, one with a hole, one on another exchange."""
    bars = ragged_bars(lengths)
    with PriceStore.open_for_writing(home) as store:
        for ticker in lengths:
            own = bars[bars["ticker"] == ticker][list(BAR_COLUMNS)].reset_index(drop=True)
            own = own.drop(index=range(100, 110)) if ticker == "BBB" else own
            calendar = "XLON" if ticker == "CCC" else "XNYS"
            listing = Listing(
                ticker=ticker, source="invented", basis="split-adjusted", calendar=calendar
            )
            store.upsert(History(listing=listing, bars=own.iloc[since:]), FETCHED)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with prices, where every panel is worth keeping."""
    monkeypatch.setattr(panels, "WORTH_ROWS", 0)
    stored(tmp_path)
    return tmp_path


def fresh(
    home: Path, settings: TrainSettings = SETTINGS, as_of: date | None = None
) -> TrainingPanel:
    """Make it as if nothing could be kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "_large", lambda *_: None)
        return training_panel(None, home, (), as_of, settings)


def assert_same(found: TrainingPanel, expected: TrainingPanel) -> None:
    """Bit for bit, with types and shapes."""
    assert (found.fingerprint, found.skipped) == (expected.fingerprint, expected.skipped)
    for field in dataclasses.fields(Panel):
        mine, other = getattr(found.panel, field.name), getattr(expected.panel, field.name)
        if isinstance(other, np.ndarray):
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape), field.name
            assert mine.tobytes() == other.tobytes(), field.name
        else:
            assert mine == other, field.name


def kept(home: Path) -> list[Path]:
    """The panels that are kept."""
    return sorted((home / "data" / "cache").glob("panel-*"))


def is_made(home: Path, settings: TrainSettings = SETTINGS, as_of: date | None = None) -> bool:
    """Tell whether a panel is made, not read; either way it is the right one."""
    made: list[str] = []
    series_rows = panels.series_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "series_rows", lambda *a: made.append("") or series_rows(*a))
        found = training_panel(None, home, (), as_of, settings)
    assert_same(found, fresh(home, settings, as_of))
    return bool(made)


@pytest.mark.parametrize("targets", [("return",), ("volume", "range"), SETTINGS.target])
def test_a_kept_panel_equals_a_fresh_one_bit_for_bit(home: Path, targets: tuple[str, ...]) -> None:
    settings = TrainSettings(target=targets)
    assert is_made(home, settings)
    assert not is_made(home, settings)
    assert len(kept(home)) == 1


def test_one_ticker_has_no_cross_section_when_kept(home: Path) -> None:
    for _ in range(2):
        found = training_panel(None, home, ["AAA"], None, SETTINGS)
        assert found.panel.inputs.shape == (300, 20)
        assert found.panel.input_names[-1] == "holiday_before"


def test_other_targets_are_read_from_the_same_panel(home: Path) -> None:
    assert is_made(home)
    assert not is_made(home, TrainSettings(target="return"))


def test_a_new_bar_makes_a_new_panel(home: Path) -> None:
    assert is_made(home)
    longer = bars_of("AAA", 301)[list(BAR_COLUMNS)].tail(1).reset_index(drop=True)
    with PriceStore.open_for_writing(home) as store:
        store.upsert(History(listing=store.listing("AAA"), bars=longer), FETCHED)
    assert is_made(home) and not is_made(home)


def test_a_changed_past_makes_a_new_panel(home: Path) -> None:
    assert is_made(home)
    with PriceStore.open_for_writing(home) as store:
        history = store.history("AAA")
        history.bars.loc[5, "volume"] *= 2
        store.upsert(history, FETCHED)
    assert is_made(home) and not is_made(home)


def test_a_dropped_bar_makes_a_new_panel(home: Path) -> None:
    """It is the newest, so that the newest session goes back, too."""
    assert is_made(home)

    with PriceStore.open_for_writing(home) as store:
        bars = store.bars("AAA")
        row = len(bars) - 1
        entry = Entry(
            ticker="AAA",
            session=bars["session"].iloc[row].date(),
            rule="spike",
            reason="odd",
            values=values_of(bars, row),
        )
        store.quarantine.decide([entry], "dropped", FETCHED)
    assert is_made(home)


@pytest.mark.parametrize(
    ("settings", "as_of"),
    [(SETTINGS, date(2010, 12, 31)), (TrainSettings(lookback=200, target=SETTINGS.target), None)],
)
def test_another_day_or_another_selection_is_another_panel(
    home: Path, settings: TrainSettings, as_of: date | None
) -> None:
    assert is_made(home)
    assert is_made(home, settings, as_of) and not is_made(home, settings, as_of)
    assert not is_made(home)


def test_other_code_makes_a_new_panel(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_made(home)
    monkeypatch.setattr(panels, "_code", lambda: "other")
    assert is_made(home)


def flipped(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped": flipped,
    "short": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "long": lambda path: path.write_bytes(path.read_bytes() + bytes(8)),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("name", ["inputs", "y_range", "days", "index.json"])
def test_damage_is_told_and_the_panel_made_anew(
    home: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert is_made(home)
    (place,) = kept(home)
    DAMAGES[damage](place / name)
    assert is_made(home)
    assert "damaged and made anew" in caplog.text
    assert not is_made(home)


def test_a_panel_in_the_place_of_another_is_not_believed(home: Path) -> None:
    assert is_made(home)
    (first,) = kept(home)
    with PriceStore.open_for_writing(home) as store:
        history = store.history("AAA")
        history.bars.loc[5, "volume"] *= 2
        store.upsert(history, FETCHED)
    assert is_made(home)
    (second,) = set(kept(home)) - {first}
    for path in second.iterdir():
        path.unlink()
    second.rmdir()
    first.rename(second)
    assert is_made(home)


def test_where_nothing_can_be_kept_training_goes_on(home: Path) -> None:
    (home / "data" / "cache").write_text("a file where the folder should be")
    assert_same(training_panel(None, home, (), None, SETTINGS), fresh(home))


@pytest.mark.parametrize("failing", ["add", "finish"])
def test_a_full_disk_costs_nothing_but_the_next_load(
    home: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PanelWriter, failing, full)
    assert_same(training_panel(None, home, (), None, SETTINGS), fresh(home))
    assert list((home / "data" / "cache").iterdir()) == []


def test_the_oldest_panels_go_and_so_does_what_a_kill_left(home: Path) -> None:
    left = home / "data" / "cache" / ".unfinished-dead"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    days = [date(2010, 9, 30), date(2010, 10, 29), date(2010, 11, 30)]
    for number, day in enumerate(days):
        assert is_made(home, as_of=day)
        newest = max(kept(home), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (1000 + number, 1000 + number))
    assert len(kept(home)) == panels.KEPT and not left.exists()
    assert not is_made(home, as_of=days[2]) and is_made(home, as_of=days[0])


def test_nobody_can_write_into_a_kept_panel(home: Path) -> None:
    for _ in range(2):
        panel = training_panel(None, home, (), None, TrainSettings()).panel
        for array in (panel.inputs, panel.y, panel.days):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[1]


def test_short_tickers_are_named_each_time(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            caplog.clear()
            found = training_panel(None, home, (), None, SETTINGS)
            assert found.skipped == ("DDD",)
            assert "DDD: 15 trading days, too few for 23; left out." in caplog.text


@pytest.mark.parametrize(
    ("tickers", "as_of"), [(["DDD"], None), (["AAA", "CCC"], date(2010, 3, 3))]
)
def test_what_cannot_be_trained_is_told_as_ever(
    home: Path, tickers: list[str], as_of: date | None
) -> None:
    with pytest.raises(DataError, match=r"needs at least 23|no bar on or before"):
        training_panel(None, home, tickers, as_of, SETTINGS)
    assert kept(home) == []


def test_small_panels_and_tables_leave_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_panel(ragged_bars(LENGTHS), home, (), None, SETTINGS)
    monkeypatch.setattr(panels, "WORTH_ROWS", 1000)
    training_panel(None, home, (), None, SETTINGS)
    assert not (home / "data" / "cache").exists()
