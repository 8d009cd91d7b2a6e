"""The version that forecasts: the champion, or its replacement with a warning."""

from datetime import date

import pytest

from forecaster.errors import ArtifactError, UnknownNameError, UsageError
from forecaster.registry.champion import (
    champion_of,
    find_champion,
    find_champions,
    find_version,
    named_version,
)
from forecaster.registry.manifest import BlocksPart, Manifest
from forecaster.registry.promotion import promote, register, rollback
from forecaster.registry.registry_file import registry_path
from forecaster.registry.versions import list_versions
from tests.registry.samples import MADE_AT, fail, keep, manifest, saved


def versions_of(home, count, **changes):
    return [saved(home, created=MADE_AT.replace(year=2024 + i), **changes) for i in range(count)]


def served(home, target="return", **options):
    choice = find_champion(home, target, **options)
    return choice.manifest.version if choice.manifest else "baseline"


def test_the_champion_goes_before_the_newest(tmp_path, warnings):
    a, b = versions_of(tmp_path, 2)
    for version in (a, b):
        register(tmp_path, version.version, "return")
    assert served(tmp_path) == b.version, "without any decision, the newest"
    promote(tmp_path, "return", a.version, reason="better")
    assert served(tmp_path) == a.version
    assert champion_of(tmp_path, "return").manifest == a
    assert find_champion(tmp_path, "return").trouble is None and not warnings.messages


def test_where_nothing_has_won_the_baseline_forecasts(tmp_path):
    """After a rejection the newest is no champion by age."""
    a, b = versions_of(tmp_path, 2)
    keep(tmp_path, "return", a.version, reason="worse")
    register(tmp_path, b.version, "return")
    choice = find_champion(tmp_path, "return")
    assert (choice.manifest, choice.name, choice.trouble) == (None, "return", None)
    assert champion_of(tmp_path, "return").manifest is None
    promote(tmp_path, "return", b.version, reason="better")
    rollback(tmp_path, "return", "broke")
    assert served(tmp_path) == "baseline"


def test_a_name_without_any_decision_is_the_baselines(tmp_path):
    choice = champion_of(tmp_path, "return")
    assert (choice.manifest, choice.name, choice.trouble) == (None, "return", None)
    with pytest.raises(UnknownNameError, match="forecaster train"):
        find_champion(tmp_path, "return")


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
def test_a_corrupt_champion_is_replaced_by_its_predecessor_with_a_warning(tmp_path, warnings, file):
    a, b, newest = versions_of(tmp_path, 3)
    for version in (a, b):
        promote(tmp_path, "return", version.version, reason="better")
    register(tmp_path, newest.version, "return")
    corrupt(tmp_path, b, file)
    for choice in (find_champion(tmp_path, "return"), champion_of(tmp_path, "return")):
        assert choice.manifest == a
        assert choice.trouble == (
            f"the champion of return is corrupt; {a.version} forecasts in its place"
        )
    warning = warnings.messages[0]
    assert b.version in warning and "forecaster models rollback --name return" in warning
    corrupt(tmp_path, a, file)
    choice = champion_of(tmp_path, "return")
    assert choice.manifest is None and "the baseline forecasts" in (choice.trouble or "")
    assert served(tmp_path) == "baseline"


def test_the_targets_own_name_goes_first_then_the_newest_champion(tmp_path):
    a, b, c = versions_of(tmp_path, 3, targets=("return", "range"))
    promote(tmp_path, "b", b.version, reason="better")
    promote(tmp_path, "a", a.version, reason="better")
    assert served(tmp_path) == a.version
    assert served(tmp_path, "range", name="b") == b.version
    promote(tmp_path, "return", c.version, reason="better")
    assert served(tmp_path) == c.version
    keep(tmp_path, "range", "unknown", reason="worse")
    assert served(tmp_path, "range") == c.version, "a version before a baseline"


def test_a_champion_of_other_targets_does_not_serve(tmp_path):
    a, b = versions_of(tmp_path, 1, targets=("range",)) + versions_of(tmp_path, 1)
    promote(tmp_path, "mine", a.version, reason="better")
    assert served(tmp_path, "range") == a.version and served(tmp_path) == b.version
    with pytest.raises(UnknownNameError, match="--target volume"):
        find_champion(tmp_path, "volume")
    with pytest.raises(UnknownNameError, match=r"--name other: .* there is mine"):
        find_champion(tmp_path, "range", name="other")


def test_a_champion_that_has_seen_the_day_leaves_it_to_one_that_has_not(tmp_path):
    """But never to one that failed, lost, or was rolled back."""
    old, lost, failed, rolled_back, new = (
        trained_until(tmp_path, date(year, 6, 30)) for year in range(2010, 2015)
    )
    keep(tmp_path, "return", lost.version, reason="worse")
    fail(tmp_path, "return", version=failed.version, reason="NaN")
    promote(tmp_path, "return", old.version, reason="better")
    promote(tmp_path, "return", rolled_back.version, reason="better")
    rollback(tmp_path, "return", "broke")
    promote(tmp_path, "return", new.version, reason="better")
    assert served(tmp_path, as_of=date(2014, 6, 30)) == new.version
    assert served(tmp_path, as_of=date(2014, 6, 29)) == old.version
    with pytest.raises(UnknownNameError):
        find_champion(tmp_path, "return", date(2010, 6, 29))


def test_with_a_corrupt_registry_the_newest_forecasts_with_a_warning(tmp_path, warnings):
    """A forecast with a warning is better than none."""
    a, b = versions_of(tmp_path, 2)
    promote(tmp_path, "return", a.version, reason="better")
    registry_path(tmp_path).write_bytes(b"junk" * 999)
    choice = find_champion(tmp_path, "return")
    assert choice.manifest == b and "champion is unknown" in (choice.trouble or "")
    assert "registry.db: corrupt" in warnings.messages[0]
    assert named_version(tmp_path, a.version)[0].name == "return"


def test_a_named_version_is_taken_under_its_own_name(tmp_path):
    a, b = versions_of(tmp_path, 2, targets=("return", "range"))
    register(tmp_path, a.version, "mine")
    assert named_version(tmp_path, a.version)[0].name == "mine"
    assert named_version(tmp_path, b.version)[0].name == "return,range"
    corrupt(tmp_path, a, "manifest.json")
    with pytest.raises(ArtifactError):
        named_version(tmp_path, a.version)


def all_served(home, **options):
    return {
        target: choice.manifest.version if choice.manifest else "baseline"
        for choice, targets in find_champions(home, **options)
        for target in targets
    }


def test_without_any_decision_the_newest_forecasts_all_of_its_targets(tmp_path):
    versions_of(tmp_path, 1)
    newest = saved(tmp_path, created=MADE_AT.replace(year=2026), targets=("volume", "range"))
    assert list(all_served(tmp_path).items()) == [
        ("volume", newest.version),
        ("range", newest.version),
    ]
    with pytest.raises(UnknownNameError):
        find_champions(tmp_path, date(2010, 1, 1))


def test_several_champions_forecast_their_targets_each(tmp_path, warnings):
    a, b = versions_of(tmp_path, 1) + versions_of(tmp_path, 1, targets=("range", "volume"))
    promote(tmp_path, "return", a.version, reason="better")
    promote(tmp_path, "others", b.version, reason="better")
    keep(tmp_path, "volume", "unknown", reason="worse")
    assert all_served(tmp_path) == {
        **{"return": a.version, "range": b.version},
        "volume": b.version,  # a version before a baseline
    }
    assert all_served(tmp_path, name="return") == {"return": a.version}
    corrupt(tmp_path, b, "manifest.json")
    assert all_served(tmp_path, name="others") == {"others": "baseline"}
    assert len(warnings.messages) == 1


def test_two_champions_for_one_target_need_a_name(tmp_path):
    a, b = versions_of(tmp_path, 2, targets=("return", "range"))
    promote(tmp_path, "first", a.version, reason="better")
    promote(tmp_path, "second", b.version, reason="better")
    with pytest.raises(UsageError, match=r"forecast return: first, second\. .* --name"):
        find_champions(tmp_path)
    assert all_served(tmp_path, name="second") == {"return": b.version, "range": b.version}


def test_each_target_of_a_champion_that_has_seen_the_day_falls_to_an_older_version(tmp_path):
    old, new = (
        trained_until(tmp_path, date(year, 6, 30), targets=("return", "range"))
        for year in (2010, 2014)
    )
    promote(tmp_path, "both", new.version, reason="better")
    assert all_served(tmp_path, as_of=date(2014, 6, 30)) == dict.fromkeys(
        ("return", "range"), new.version
    )
    assert all_served(tmp_path, as_of=date(2014, 6, 29)) == dict.fromkeys(
        ("return", "range"), old.version
    )


def test_a_named_version_forecasts_what_it_has(tmp_path):
    (a,) = versions_of(tmp_path, 1, targets=("range",))
    assert named_version(tmp_path, a.version)[1] == ("range",)
    with pytest.raises(UsageError, match="not return; train one with --target return"):
        named_version(tmp_path, a.version, "return")


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
