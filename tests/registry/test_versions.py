import builtins
import errno
import hashlib
import json
import os
import pickle
import shutil
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from forecaster.errors import ArtifactError, CannotWriteError, StorageError, UsageError
from forecaster.registry import versions
from forecaster.registry.champion import champion_of, find_version
from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.manifest import Manifest, content_hash
from forecaster.registry.promotion import promote, register, rollback
from forecaster.registry.versions import (
    check_writable,
    list_versions,
    load_weights,
    prune,
    read_manifest,
    save_version,
    verify,
)
from tests.registry.samples import MADE_AT, WEIGHTS, keep, manifest, saved


def folder_of(home, version):
    return home / "models" / version.version


def rewritten(home, version, change):
    """Change a manifest, its hash and its folder's name: a careful forgery."""
    content = json.loads((folder_of(home, version) / "manifest.json").read_text())
    change(content)
    forged = Manifest.model_validate(content)
    name = f"{version.version[:-8]}{forged.content_hash()[:8]}"
    forged = forged.model_copy(update={"version": name})
    folder_of(home, version).rename(home / "models" / name)
    (home / "models" / name / "manifest.json").write_text(forged.document())
    return forged


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    """Manifest and weights, dtype, shape and the sign of zero included."""
    written = saved(tmp_path)
    read = find_version(tmp_path, written.version)
    assert read == written
    assert read.data.blocks.train_until == date(2023, 9, 1)
    assert read.scaler.mean == [0.1 + 0.2]
    (loaded,) = load_weights(tmp_path, read)
    assert loaded.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].tobytes() == value.tobytes()
        assert loaded[name].shape == value.shape


def test_a_version_has_one_folder_with_two_files(tmp_path):
    """Its name is the time, the network and a piece of the manifest's hash; nothing else stays."""
    written = saved(tmp_path)
    assert written.version == f"20240301-221502-lstm-{written.content_hash()[:8]}"
    assert sorted(path.name for path in folder_of(tmp_path, written).iterdir()) == [
        "manifest.json",
        "weights.safetensors",
    ]
    assert list((tmp_path / "models" / ".unfinished").iterdir()) == []
    content = (folder_of(tmp_path, written) / "weights.safetensors").read_bytes()
    assert written.files == {"weights.safetensors": hashlib.sha256(content).hexdigest()}


def test_every_member_of_an_ensemble_comes_back_in_order(tmp_path):
    """Two members, two files, each with its own weights."""
    described = manifest(members=("a.safetensors", "b.safetensors"))
    other = {"w": np.ones(1, dtype=np.float32)}
    written = save_version(tmp_path, described, [WEIGHTS, other], MADE_AT)
    first, second = load_weights(tmp_path, written)
    assert set(first) == set(WEIGHTS)
    assert set(second) == {"w"}


@pytest.mark.parametrize("place", ["header", "last number"])
def test_one_flipped_bit_of_the_weights_is_corrupt(tmp_path, place):
    """Anywhere in the file; the message has the file and a remedy, the exit code is 65."""
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[20 if place == "header" else -1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors has another SHA-256") as caught:
        load_weights(tmp_path, written)
    assert caught.value.exit_code == 65
    assert "Train again" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, -1])
def test_truncated_weights_are_corrupt(tmp_path, keep):
    """An empty file, half a header, one byte short."""
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="another SHA-256"):
        load_weights(tmp_path, written)


def test_missing_weights_are_corrupt(tmp_path):
    """The error has the name of the deleted file."""
    written = saved(tmp_path)
    (folder_of(tmp_path, written) / "weights.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: No such file"):
        load_weights(tmp_path, written)


def test_a_manifest_of_the_first_release_is_read_by_its_new_names_and_not_rewritten(tmp_path):
    """Schema 2: verified against the hash of its own document, which stays as it is."""
    content = json.loads(saved(tmp_path).document())
    blocks = content["data"]["blocks"]
    blocks["fit_until"] = blocks.pop("train_until")
    blocks["select_until"] = blocks.pop("validation_until")
    content |= {"schema": "forecaster.version/2", "metrics": {"select_mse_return": 1.25}}
    content["training"] = {"bptt_update": "pass", "lanes": 64, "looks": [[50, 0.5]], "updates": 50}
    content["version"] = f"20240301-221502-lstm-{content_hash(content)[:8]}"
    folder = tmp_path / "models" / content["version"]
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(content))
    before = (folder / "manifest.json").read_bytes()
    found = read_manifest(tmp_path, content["version"])
    assert found.data.blocks.train_until == date(2023, 9, 1)
    assert found.metrics == {"validation_mse_return": 1.25}
    training = {"step_per": "epoch", "batch_rows": 64, "validations": [(50, 0.5)], "steps": 50}
    assert found.training == training
    assert (folder / "manifest.json").read_bytes() == before
    (folder / "manifest.json").write_text(json.dumps({**content, "levels": [0.5]}))
    with pytest.raises(ArtifactError, match="was changed"):
        read_manifest(tmp_path, content["version"])


@pytest.mark.parametrize(
    "change",
    [
        {"coverage": 0.9},
        {"coverage": float("nan")},
        {"targets": ["volume"]},
        {"metrics": {"validation_mse_return": 0.5}},
        {"files": {}},
        {"version": "20240301-221502-lstm-00000000"},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_manifest_is_corrupt(tmp_path, change):
    """A number, a name, a hash, NaN, a key too many."""
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError):
        find_version(tmp_path, written.version)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": "é"}'])
def test_a_manifest_that_is_none_is_corrupt(tmp_path, text):
    """Empty, cut off, not an object, nested without end, not UTF-8."""
    written = saved(tmp_path)
    (folder_of(tmp_path, written) / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match="is corrupt"):
        find_version(tmp_path, None)


def test_another_schema_is_named(tmp_path):
    """A version of another forecaster names both schemas, and is not called corrupt."""
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / "manifest.json"
    path.write_text(path.read_text().replace("forecaster.version/3", "forecaster.version/1"))
    with pytest.raises(
        ArtifactError, match=r"forecaster\.version/1.*forecaster\.version/3"
    ) as caught:
        read_manifest(tmp_path, written.version)
    assert "corrupt" not in str(caught.value) and "Train again" in str(caught.value)


def test_a_folder_renamed_to_another_version_is_corrupt(tmp_path):
    """The manifest knows its own name."""
    written = saved(tmp_path)
    other = "20990101-000000-lstm-" + written.version[-8:]
    folder_of(tmp_path, written).rename(tmp_path / "models" / other)
    with pytest.raises(ArtifactError, match="was changed"):
        find_version(tmp_path, other)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, crater):
        self.crater = str(crater)

    def __reduce__(self):
        return builtins.open, (self.crater, "w")


def planted(home, version, content):
    """Put other bytes in the place of the weights and fit manifest, hash and name to them."""
    (folder_of(home, version) / "weights.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    forged = rewritten(home, version, lambda m: m["files"].update({"weights.safetensors": digest}))
    return find_version(home, forged.version)


@pytest.mark.parametrize("rehashed", [False, True])
def test_a_planted_pickle_is_never_unpickled(tmp_path, rehashed):
    """Not even where manifest, hash and name were fitted to it: weights are safetensors."""
    crater = tmp_path / "crater"
    content = pickle.dumps(Bomb(crater))
    written = saved(tmp_path)
    if rehashed:
        written = planted(tmp_path, written, content)
    else:
        (folder_of(tmp_path, written) / "weights.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="not safetensors" if rehashed else "another SHA-256"):
        load_weights(tmp_path, written)
    assert not crater.exists()
    pickle.loads(content).close()
    assert crater.exists(), "the bomb must be live for this test to mean anything"


def test_weights_of_a_type_that_numpy_has_not_are_corrupt(tmp_path):
    """Proper safetensors of bfloat16: never written here, so never read."""
    header = b'{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    content = len(header).to_bytes(8, "little") + header + b"\0\0"
    forged = planted(tmp_path, saved(tmp_path), content)
    with pytest.raises(ArtifactError, match="BF16"):
        load_weights(tmp_path, forged)


def test_symlinked_weights_are_refused(tmp_path):
    """Even to the very same bytes, inside the folder or outside."""
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / "weights.safetensors"
    for target in (tmp_path / "elsewhere", path.parent / "beside"):
        path.rename(target)
        path.symlink_to(target)
        with pytest.raises(ArtifactError, match="lies outside its folder"):
            load_weights(tmp_path, written)
        path.unlink()
        target.rename(path)
    assert load_weights(tmp_path, written)


def test_a_symlinked_version_is_refused(tmp_path):
    """A folder that leads elsewhere is no version of this home, whatever lies there."""
    written = saved(tmp_path)
    folder_of(tmp_path, written).rename(tmp_path / "elsewhere")
    folder_of(tmp_path, written).symlink_to(tmp_path / "elsewhere")
    for read in (read_manifest, verify):
        with pytest.raises(ArtifactError, match="corrupt"):
            read(tmp_path, written.version)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: "):
        load_weights(tmp_path, written)


@pytest.mark.parametrize("place", ["manifest.json", "weights.safetensors"])
def test_a_pipe_or_folder_in_a_files_place_neither_hangs_nor_is_read(tmp_path, place):
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / place
    for make in (os.mkfifo, os.mkdir):
        path.unlink()
        make(path)
        with pytest.raises(ArtifactError, match="corrupt"):
            verify(tmp_path, written.version)
        if path.is_dir():
            path.rmdir()
            path.touch()


def test_a_link_in_the_place_of_unfinished_work_is_refused(tmp_path):
    """Nothing is written through it."""
    (tmp_path / "models").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "models" / ".unfinished").symlink_to(elsewhere)
    with pytest.raises(CannotWriteError, match="is a link"):
        saved(tmp_path)
    assert list(elsewhere.iterdir()) == []


def test_a_header_of_huge_dimensions_is_refused_before_memory_is_asked_for(tmp_path):
    """A header that promises terabytes over a few bytes of file."""
    header = b'{"w":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    content = len(header).to_bytes(8, "little") + header + b"\0" * 8
    forged = planted(tmp_path, saved(tmp_path), content)
    with pytest.raises(ArtifactError, match="not safetensors"):
        load_weights(tmp_path, forged)
    endless = planted(tmp_path, saved(tmp_path), b"\xff" * 7 + b"\x7f" + header)
    with pytest.raises(ArtifactError, match="header is too long"):
        load_weights(tmp_path, endless)


@pytest.mark.parametrize("place", ["manifest.json", "weights.safetensors"])
def test_a_file_of_terabytes_is_refused_before_it_is_read(tmp_path, place):
    """A sparse one, which takes no room on the disk."""
    written = saved(tmp_path)
    os.truncate(folder_of(tmp_path, written) / place, 2**43)
    with pytest.raises(ArtifactError, match="is corrupt"):
        verify(tmp_path, written.version)


@pytest.mark.parametrize(
    "change", [{"dropout": 1e9}, {"hidden": 10**9}, {"layers": -1}, {"lookback": 10**12}]
)
def test_a_network_that_no_training_makes_is_corrupt(tmp_path, change):
    written = saved(tmp_path)
    path = folder_of(tmp_path, written) / "manifest.json"
    content = json.loads(path.read_text())
    content["network"] |= change
    content["version"] = f"{written.version[:-8]}{content_hash(content)[:8]}"
    path.write_text(json.dumps(content))
    path.parent.rename(tmp_path / "models" / content["version"])
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_manifest(tmp_path, content["version"])


def test_a_weights_file_named_outside_the_folder_is_refused(tmp_path):
    """A forged manifest cannot make the loader read another version's file."""
    written = saved(tmp_path)
    other = saved(tmp_path, torch_version="2.14.0")
    name = f"../{other.version}/weights.safetensors"
    digest = other.files["weights.safetensors"]

    def change(content):
        content["files"][name] = digest
        content["members"][0]["weights"] = name

    forged = rewritten(tmp_path, written, change)
    with pytest.raises(ArtifactError, match="lies outside its folder"):
        load_weights(tmp_path, find_version(tmp_path, forged.version))


def test_strangers_in_the_folder_are_no_versions(tmp_path):
    """Unfinished work, a README and a backup are not listed."""
    written = saved(tmp_path)
    for name in ("README.md", "backup", f"{written.version}.bak"):
        (tmp_path / "models" / name).mkdir()
    assert list_versions(tmp_path) == [written.version]
    assert list_versions(tmp_path / "nowhere") == []


def test_a_missing_home_is_refused_before_any_work(tmp_path):
    """With the command that creates it, and without creating it; exit code 73."""
    home = tmp_path / "nowhere"
    for attempt in (lambda: check_writable(home), lambda: saved(home)):
        with pytest.raises(CannotWriteError, match=f"mkdir -p {home}") as caught:
            attempt()
        assert caught.value.exit_code == 73
        assert not home.exists()


def test_a_home_that_takes_no_folder_is_refused(tmp_path):
    """A file stands where the folder of versions should."""
    (tmp_path / "models").touch()
    with pytest.raises(CannotWriteError, match="choose another --home"):
        check_writable(tmp_path)


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    """The folders are there, but nothing can be created in them."""
    check_writable(tmp_path)

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(versions.Path, "touch", refuse)
    with pytest.raises(CannotWriteError, match="Read-only file system"):
        check_writable(tmp_path)


def test_the_probe_leaves_nothing_behind(tmp_path):
    """Asking whether one could write writes nothing that stays."""
    assert check_writable(tmp_path) == tmp_path / "models"
    assert [path.name for path in (tmp_path / "models").rglob("*")] == [".unfinished"]


@pytest.mark.parametrize("failing", ["weights.safetensors", "manifest.json"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, failing):
    """Neither half a version nor an unfinished folder; earlier versions stay; exit code 74."""
    before = saved(tmp_path)
    atomic_file = versions.atomic_file

    @contextmanager
    def full(path):
        with atomic_file(path) as file:
            yield file
            if path.name == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(versions, "atomic_file", full)
    with pytest.raises(StorageError, match="No space left on device; free some") as caught:
        saved(tmp_path, created=MADE_AT.replace(year=2025))
    assert caught.value.exit_code == 74
    assert list_versions(tmp_path) == [before.version]
    assert list((tmp_path / "models" / ".unfinished").iterdir()) == []
    assert load_weights(tmp_path, find_version(tmp_path, None))


def test_the_manifest_is_json_with_sorted_keys_and_refuses_nan(tmp_path):
    """Any JSON reader can read it; a NaN is a bug of the writer and not written."""
    described = manifest()
    content = json.loads(described.document())
    assert list(content) == sorted(content)
    assert content["schema"] == "forecaster.version/3"
    assert content["data"]["blocks"]["last"] == "2024-02-29"
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest(levels=[float("nan")]).document()


def test_the_hash_covers_everything_but_the_name():
    """Another version id is the same content; any other change is not."""
    described = manifest()
    assert manifest(version="other").content_hash() == described.content_hash()
    assert manifest(levels=[0.1, 0.5, 0.95]).content_hash() != described.content_hash()
    assert manifest(inputs=["overnight"]).content_hash() != described.content_hash()


def test_versions_of_one_second_are_listed_in_the_order_they_were_made(tmp_path):
    """Their names end in a hash, by which the newest would be the oldest half of the time."""
    moments = [f"2024-03-01T22:15:02.{number:06}+00:00" for number in range(8)]
    made = [saved(tmp_path, created_at=moment).version for moment in moments]
    assert list_versions(tmp_path) == made != sorted(made)
    (tmp_path / "models" / made[3] / "manifest.json").write_text("{")
    assert list_versions(tmp_path) == [made[3], *made[:3], *made[4:]]


def versions_of(home, count):
    found = [saved(home, created=MADE_AT + timedelta(days=day)).version for day in range(count)]
    for version in found:
        register(home, version, "return")
    return found


def unfinished(home):
    return sorted(path.name for path in (home / "models" / ".unfinished").iterdir())


def test_the_oldest_go_until_so_many_are_left(tmp_path):
    there = versions_of(tmp_path, 5)
    assert prune(tmp_path, 5) == ()
    assert prune(tmp_path, 3, dry_run=True) == tuple(there[:2])
    assert list_versions(tmp_path) == there
    assert prune(tmp_path, 3) == tuple(there[:2])
    assert list_versions(tmp_path) == there[2:] and unfinished(tmp_path) == []
    assert set(registered(tmp_path)) == set(there[2:])
    pruned = [(one.outcome, one.challenger, one.before) for one in decisions(tmp_path)]
    assert pruned == [("pruned", version, None) for version in there[:2]]
    assert "3 versions" in decisions(tmp_path)[0].reason
    assert prune(tmp_path, 3) == () and len(decisions(tmp_path)) == 2


def test_a_pruned_version_takes_its_states_with_it(tmp_path):
    """And those of a version that was removed by hand; SQLite's own files too."""
    gone, pruned, kept = versions_of(tmp_path, 3)
    for version in (gone, pruned, kept):
        versions.state_path(tmp_path, version).parent.mkdir(exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            path = versions.state_path(tmp_path, version)
            path.with_name(path.name + suffix).touch()
    shutil.rmtree(tmp_path / "models" / gone)
    assert prune(tmp_path, 1) == (pruned,)
    left = {path.name for path in (tmp_path / "models" / "state").iterdir()}
    assert left == {f"{kept}.db{suffix}" for suffix in ("", "-wal", "-shm")}
    assert list_versions(tmp_path) == [kept]


def test_champion_predecessor_and_challenger_stay_however_few_may(tmp_path):
    """Of every name; they count among those that stay."""
    a, b, c, d, e = versions_of(tmp_path, 5)
    promote(tmp_path, "return", a, reason="better")
    promote(tmp_path, "return", c, reason="better")
    other = saved(tmp_path, created=MADE_AT - timedelta(days=1)).version
    promote(tmp_path, "range", other, reason="better")
    assert prune(tmp_path, 1) == (b, d)
    assert list_versions(tmp_path) == [other, a, c, e]
    assert champion_status(tmp_path, "return").predecessor == a
    keep(tmp_path, "return", e, reason="worse")
    assert prune(tmp_path, 4) == ()
    assert prune(tmp_path, 3) == (e,)


def test_a_rollback_after_pruning_skips_the_champions_that_are_gone(tmp_path):
    a, b, c = versions_of(tmp_path, 3)
    for version in (a, b, c):
        promote(tmp_path, "return", version, reason="better")
    assert prune(tmp_path, 1) == (a,)
    assert rollback(tmp_path, "return", "broke").champion == b
    assert champion_status(tmp_path, "return").predecessor is None
    assert rollback(tmp_path, "return", "broke").champion is None


def test_two_promotions_of_one_version_count_once_if_nothing_is_left_between_them(tmp_path):
    """Otherwise a rollback would return to the version that it leaves."""
    b, a, c, d = versions_of(tmp_path, 4)
    keep(tmp_path, "return", d, reason="worse")
    for version in (a, b, a, c, d):
        promote(tmp_path, "return", version, reason="better")
    assert prune(tmp_path, 3) == (b,)
    champions = [rollback(tmp_path, "return", "broke").champion for _ in range(3)]
    assert champions == [c, a, None]


def test_a_champion_whose_folder_was_removed_stays_registered(tmp_path):
    """Its row stays, so that its predecessor goes on forecasting in its place."""
    a, b, c = versions_of(tmp_path, 3)
    for version in (a, b):
        promote(tmp_path, "return", version, reason="better")
    for version in (b, c):
        shutil.rmtree(tmp_path / "models" / version)
    keep(tmp_path, "return", c, reason="worse")
    prune(tmp_path, 9)
    assert set(registered(tmp_path)) == {a, b}
    assert champion_status(tmp_path, "return").champion == b
    assert champion_of(tmp_path, "return").manifest.version == a


@pytest.mark.parametrize("after", ["the first rename", "the renames", "the rows"])
def test_a_prune_that_was_killed_is_finished_by_the_next(tmp_path, monkeypatch, after):
    """No version is partial, no decision stored twice."""
    there = versions_of(tmp_path, 4)
    rename, count = os.rename, []

    def killed(*args):
        if args and isinstance(args[0], Path) and args[0].name in there:
            rename(*args)
            count.append(1)
            if len(count) > 1:
                return
        raise KeyboardInterrupt

    where = {"the first rename": "os.rename", "the renames": "_forget", "the rows": "_sweep"}[after]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versions.os if "." in where else versions, where.split(".")[-1], killed)
        prune(tmp_path, 2)
    for version in list_versions(tmp_path):
        assert len(list((tmp_path / "models" / version).iterdir())) == 2
    assert unfinished(tmp_path) != []
    prune(tmp_path, 2)
    assert list_versions(tmp_path) == there[2:] == sorted(registered(tmp_path))
    assert [one.challenger for one in decisions(tmp_path)] == there[:2]
    assert unfinished(tmp_path) == []


def test_what_killed_writers_left_goes_after_a_day_and_checkpoints_stay(tmp_path):
    folder = tmp_path / "models" / ".unfinished"
    there = versions_of(tmp_path, 1)
    for name in ("0" * 32, "1" * 32, "return.checkpoint"):
        (folder / name).mkdir()
        (folder / name / "weights").write_bytes(b"1")
    touched = (
        f".return.checkpoint.{'4' * 32}.part",
        f"probe-{'2' * 32}",
        f"return.checkpoint.{'3' * 32}.part",
    )
    for name in touched:
        (folder / name).touch()
    long_ago = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    for name in ("0" * 32, "return.checkpoint", *touched):
        os.utime(folder / name, (long_ago, long_ago))
    prune(tmp_path, 9)
    assert unfinished(tmp_path) == ["1" * 32, "return.checkpoint"]
    assert list_versions(tmp_path) == there


def test_a_link_among_the_versions_is_removed_and_what_it_leads_to_is_not(tmp_path):
    (version,) = versions_of(tmp_path, 1)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "mine").touch()
    (tmp_path / "models" / f"2020{version[4:]}").symlink_to(precious)
    assert len(prune(tmp_path, 1)) == 1
    assert list_versions(tmp_path) == [version] and (precious / "mine").exists()


def test_nothing_goes_while_the_registry_cannot_be_read(tmp_path):
    there = versions_of(tmp_path, 3)
    (tmp_path / "models" / "registry.db").write_bytes(b"junk" * 999)
    with pytest.raises(StorageError, match="corrupt"):
        prune(tmp_path, 1)
    assert list_versions(tmp_path) == there


def test_keeping_none_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match="--keep 0"):
        prune(tmp_path, 0)
