"""A calendar that was kept is the one that would be built; anything else is built again."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from forecaster.data import calendar_cache, trading_calendar
from forecaster.data.trading_calendar import TradingCalendar


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is read from and written to, in a process that has built no calendar."""
    monkeypatch.setattr(calendar_cache, "_used", {})
    (tmp_path / "data").mkdir()
    calendar_cache.use(tmp_path, writing=True)
    return tmp_path


def looked_up(name: str) -> TradingCalendar:
    return trading_calendar._cached_exchange(name)


def same(one: TradingCalendar, other: TradingCalendar) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(
        np.array_equal(a, b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
        for a, b in pairs
    )


def week(name: str) -> TradingCalendar:
    """Stand in for a calendar that takes half a second to build."""
    return trading_calendar.every_week("24/5")


def refuse(name: str) -> TradingCalendar:
    raise AssertionError(f"{name} is built")


def test_a_kept_calendar_is_the_built_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = looked_up("XNYS")
    monkeypatch.setattr(trading_calendar, "_exchange", refuse)
    assert same(looked_up("XNYS"), built)
    with pytest.raises(AssertionError, match="XLON is built"):
        looked_up("XLON")


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_a_damaged_file_is_built_again(
    home: Path, damage: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trading_calendar, "_exchange", week)
    looked_up("XNYS")
    path = home / calendar_cache.FOLDER / "XNYS.npz"
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    monkeypatch.setattr(trading_calendar, "_exchange", refuse)
    with pytest.raises(AssertionError, match="is built"):
        looked_up("XNYS")


def test_another_version_of_a_package_builds_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trading_calendar, "_exchange", week)
    looked_up("XNYS")
    monkeypatch.setattr(calendar_cache, "version", lambda name: "99.0")
    monkeypatch.setattr(trading_calendar, "_exchange", refuse)
    with pytest.raises(AssertionError, match="is built"):
        looked_up("XNYS")


def test_a_reader_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar_cache, "_used", {})
    calendar_cache.use(home)
    monkeypatch.setattr(trading_calendar, "_exchange", week)
    looked_up("XNYS")
    assert not (home / calendar_cache.FOLDER).exists()


def test_a_name_is_no_path(home: Path) -> None:
    """A name comes from a file or an option."""
    calendar_cache.write("XNYS", {"timezone": "UTC"})
    assert calendar_cache.read("XNYS") == {"timezone": "UTC"}
    assert calendar_cache.read(f"../{calendar_cache.FOLDER.name}/XNYS") is None
