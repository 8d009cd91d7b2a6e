import dataclasses

import pytest

from forecaster.bptt.plan import Plan


def test_full_reaches_through_the_whole_block():
    """Full is the case in which the reach is the length."""
    assert Plan.full().horizon(5000) == 5000


@pytest.mark.parametrize(("k2", "days", "horizon"), [(8, 50, 8), (50, 50, 50), (80, 50, 50)])
def test_truncated_reaches_at_most_its_steps(k2, days, horizon):
    """Never further than the block, never further than the k2."""
    assert Plan.truncated(k2=k2).horizon(days) == horizon


def test_steps_with_full_is_an_error_not_ignored():
    """An option that would have no effect is refused."""
    with pytest.raises(ValueError) as caught:
        Plan(kind="full", k2=20)
    assert str(caught.value) == (
        "k2 is 20, yet full BPTT reaches back to each series' first day; drop it, or give "
        "Plan.truncated."
    )


@pytest.mark.parametrize("k2", [0, -1, None])
def test_truncated_needs_at_least_one_day(k2):
    """Zero days would train nothing."""
    with pytest.raises(ValueError, match=rf"k2 is {k2}; give at least 1 day"):
        Plan(kind="truncated", k2=k2)


def test_unknown_kind_is_a_usage_error():
    """The message lists what there is."""
    with pytest.raises(ValueError, match="give full or truncated"):
        Plan(kind="random")


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (Plan.full(), "full: gradients flow back to each series' first day"),
        (Plan.truncated(k2=63), "truncated, k1 = k2 = 63 days (mean horizon 32)"),
        (Plan.truncated(k2=1), "truncated, k1 = k2 = 1 day"),
    ],
)
def test_description_says_how_far(plan, line):
    """One line for the run header."""
    assert plan.describe() == line


def test_plan_is_a_value():
    """Equal by content, hashable, not changeable."""
    assert Plan.truncated(k2=8) == Plan(kind="truncated", k2=8)
    assert len({Plan.full(), Plan.full()}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        Plan.full().k2 = 3


def test_k2_below_k1_is_refused():
    """The oldest days of each chunk would have errors that are never trained on."""
    with pytest.raises(ValueError) as caught:
        Plan.truncated(k2=20, k1=63)
    assert str(caught.value) == (
        "k2 20 is shorter than k1 63: the errors of the 43 oldest days of every chunk would "
        "never be trained on. Give a k2 of 63 or more."
    )


def test_k2_must_be_a_multiple_of_k1():
    """The next one is suggested."""
    with pytest.raises(ValueError) as caught:
        Plan.truncated(k2=100, k1=63)
    assert str(caught.value) == "k2 100 is no multiple of k1 63; try 126."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "full", "k1": 5}, "k1 is 5, yet full BPTT"),
        ({"kind": "truncated", "k2": 5, "k1": 0}, "k1 is 0"),
        ({"kind": "full", "step_per": "pass"}, "step_per 'pass' is not known"),
        ({"kind": "full", "memory": "disk"}, "memory 'disk' is not known"),
    ],
)
def test_other_nonsense_is_refused(options, words):
    """Each message names its option."""
    with pytest.raises(ValueError, match=words):
        Plan(**options)


@pytest.mark.parametrize(("k2", "k1", "chunk"), [(8, None, 8), (8, 4, 4), (8, 2, 2)])
def test_chunks_have_k1_days(k2, k1, chunk):
    """Unless the block is shorter."""
    plan = Plan.truncated(k2=k2, k1=k1)
    assert (plan.chunk_days(50), plan.chunk_days(1)) == (chunk, 1)
    assert Plan.full().chunk_days(50) == 50


def test_overlapping_chunks_show_their_mean_horizon():
    """Between k2 - k1 + 1 and k2 days, on average half way."""
    line = Plan.truncated(k2=126, k1=63).describe()
    assert line == "truncated, k1 = 63, k2 = 126 days (mean horizon 95)"
