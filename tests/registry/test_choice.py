"""The version found without a name: newest, suitable, trained early enough, intact."""

from datetime import date

import pytest

from forecaster.errors import ArtifactError, UnknownNameError
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import BlocksPart, Manifest
from forecaster.registry.versions import list_versions
from tests.registry.samples import MADE_AT, manifest, saved


@pytest.fixture
def warnings(monkeypatch, caplog):
    """Messages logged by the champion module."""
    monkeypatch.setattr("forecaster.registry.champion.log.parent.propagate", True)
    return caplog


def trained_until(home, validation_until, **changes):
    """A version whose validation days end on this day; the later the day, the newer."""
    blocks = BlocksPart(
        first=date(2000, 1, 3),
        train_until=date(2000, 12, 29),
        validation_until=validation_until,
        last=date(2024, 2, 29),
    )
    data = manifest().data.model_copy(update={"blocks": blocks})
    return saved(home, created=MADE_AT.replace(year=validation_until.year), data=data, **changes)


def corrupt(home, version, file):
    path = home / "models" / version.version / file
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize("name", ["../../x", "..", "", "/etc", ".unfinished", "nope"])
def test_a_name_that_is_no_version_is_unknown(tmp_path, name):
    """Paths are looked up as names, never opened; exit code 66."""
    saved(tmp_path)
    with pytest.raises(UnknownNameError, match="No version") as caught:
        find_version(tmp_path, name)
    assert caught.value.exit_code == 66


def test_without_versions_the_error_says_how_to_train_one(tmp_path):
    """In a fresh home, with and without a target."""
    with pytest.raises(UnknownNameError, match=r"run: forecaster train$"):
        find_version(tmp_path, None)
    saved(tmp_path)
    with pytest.raises(UnknownNameError, match="run: forecaster train --target volume"):
        find_version(tmp_path, None, "volume")


def test_the_newest_version_is_found_by_target(tmp_path):
    """The newest overall, or the newest that forecasts the target, by time and not by name."""
    first = saved(tmp_path, targets=("return", "range"))
    second = saved(tmp_path, created=MADE_AT.replace(hour=23), targets=("return",))
    third = saved(tmp_path, created=MADE_AT.replace(year=2025), targets=("volume",))
    assert list_versions(tmp_path) == [first.version, second.version, third.version]
    assert find_version(tmp_path, None) == third
    assert find_version(tmp_path, None, "return") == second
    assert find_version(tmp_path, None, "range") == first


def test_a_past_day_gets_the_newest_version_that_was_not_trained_after_it(tmp_path):
    """On the last validation day itself the next session is a day that the version never saw."""
    old, new = (trained_until(tmp_path, date(year, 6, 30)) for year in (2010, 2020))
    assert find_version(tmp_path) == new
    assert find_version(tmp_path, as_of=date(2020, 6, 30)) == new
    assert find_version(tmp_path, as_of=date(2020, 6, 29)) == old
    assert find_version(tmp_path, new.version, as_of=date(2011, 1, 1)) == new, "named is named"


def test_a_day_before_every_version_is_refused_with_the_dates(tmp_path):
    trained_until(tmp_path, date(2010, 6, 30), targets=("range",))
    oldest = trained_until(tmp_path, date(2015, 6, 30))
    trained_until(tmp_path, date(2020, 6, 30))
    with pytest.raises(UnknownNameError) as caught:
        find_version(tmp_path, target="return", as_of=date(2014, 1, 2))
    for words in ("--as-of 2014-01-02", oldest.version, "2015-06-30", "train --target return"):
        assert words in str(caught.value)


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
def test_a_corrupt_newest_is_skipped_with_a_warning(tmp_path, warnings, file):
    """Without a name the last good one goes on; named, the corrupt one is refused."""
    good, bad = (trained_until(tmp_path, date(year, 6, 30)) for year in (2010, 2020))
    assert find_version(tmp_path) == bad and not warnings.messages
    corrupt(tmp_path, bad, file)
    assert find_version(tmp_path) == good
    (warning,) = warnings.messages
    assert bad.version in warning and good.version in warning
    corrupt(tmp_path, bad, "manifest.json")
    with pytest.raises(ArtifactError, match=bad.version):
        find_version(tmp_path, bad.version)


def test_if_all_are_corrupt_the_error_is_corruption_and_not_absence(tmp_path):
    newest = [trained_until(tmp_path, date(year, 6, 30)) for year in (2010, 2020)]
    for version in newest:
        corrupt(tmp_path, version, "weights.safetensors")
    with pytest.raises(ArtifactError, match=newest[-1].version):
        find_version(tmp_path)


def test_a_corrupt_older_one_is_not_read(tmp_path, warnings):
    bad, good = (trained_until(tmp_path, date(year, 6, 30)) for year in (2010, 2020))
    corrupt(tmp_path, bad, "manifest.json")
    found = find_version(tmp_path)
    assert isinstance(found, Manifest) and found == good and not warnings.messages
