"""The version that forecasts: the champion, or its replacement with a warning."""

from datetime import date

import pytest

from forecaster.errors import ArtifactError, UnknownNameError, UsageError
from forecaster.registry.champion import (
    champion_of,
    find_champion,
    find_champions,
    named_version,
)
from forecaster.registry.promotion import fail, keep, promote, register, rollback
from forecaster.registry.registry_file import registry_path
from tests.registry.samples import MADE_AT, saved
from tests.registry.test_choice import corrupt, trained_until, warnings

__all__ = ["warnings"]


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
