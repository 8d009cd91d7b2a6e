"""Files written atomically and JSON; the databases are tested with the stores that use them."""

import fcntl
import json
import os
import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.store import PriceStore
from forecaster.files import atomic_file, make_private, to_json


def test_a_file_is_replaced_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as stream:
        stream.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    with atomic_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "file").symlink_to(tmp_path / "precious")
    with atomic_file(tmp_path / "file") as stream:
        stream.write(b"new")
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            pd.DataFrame({"a": [1, 2], "b": [np.nan, 0.5]}),
            [{"a": 1, "b": None}, {"a": 2, "b": 0.5}],
        ),
        (pd.Timestamp("2024-01-05"), "2024-01-05"),
        (pd.NaT, None),
        (date(2024, 1, 5), "2024-01-05"),
        (datetime(2024, 1, 5, 12, tzinfo=UTC), "2024-01-05T12:00:00+00:00"),
        (Path("a/b"), "a/b"),
        ((np.float32(0.5), np.int64(3), np.bool_(True)), [0.5, 3, True]),
        (np.array([[1.0, np.inf]]), [[1.0, None]]),
        ({1: float("nan"), "text": "x"}, {"1": None, "text": "x"}),
    ],
)
def test_values_become_what_json_knows(value, expected):
    assert json.loads(to_json(value)) == expected


def test_what_is_created_is_for_the_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
        with atomic_file(tmp_path / "a" / "file") as stream:
            stream.write(b"x")
        with atomic_file(tmp_path / "page", private=False) as stream:
            stream.write(b"x")
        with PriceStore.open_for_writing(tmp_path):
            names = {path.name for path in (tmp_path / "data").iterdir()}
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")
    }
    assert modes.pop("page") == 0o666
    folders = {name: modes.pop(name) for name in ("a", "a/b", "data")}
    assert set(folders.values()) == {0o700}
    assert "prices.db" in names
    assert set(modes.values()) == {0o600}, modes


def test_a_folder_that_exists_keeps_its_mode(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o775)
    make_private(tmp_path / "shared")
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o775


def test_what_a_killed_writer_has_left_is_removed_by_the_next_one(tmp_path):
    """Of the same file alone, not what another process writes now, nor what it has just begun."""
    path, old = tmp_path / "out.csv", time.time() - 60
    names = [f".out.csv.{number:032x}.part" for number in range(4)]
    others = [f".other.csv.{1:032x}.part", ".out.csv.part", ".out.csv.x.part", "out.csv.part"]
    for name in [*names[:3], *others]:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (old, old))
    (tmp_path / names[2]).touch()
    os.mkfifo(tmp_path / names[3])
    os.utime(tmp_path / names[3], (old, old))
    with (tmp_path / names[1]).open("rb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        with atomic_file(path) as stream:
            stream.write(b"new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {names[3]} == {"out.csv", *names[1:3], *others}
