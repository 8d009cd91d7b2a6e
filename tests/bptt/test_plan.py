import dataclasses

import pytest

from forecaster.bptt.plan import BPTTPlan
from forecaster.errors import UsageError


def test_full_reaches_through_the_whole_block():
    """Full is the case in which the reach is the length."""
    assert BPTTPlan.full().horizon(5000) == 5000


@pytest.mark.parametrize(("steps", "days", "reach"), [(8, 50, 8), (50, 50, 50), (80, 50, 50)])
def test_truncated_reaches_at_most_its_steps(steps, days, horizon):
    """Never further than the block, never further than the steps."""
    assert BPTTPlan.truncated(steps=steps).horizon(days) == horizon


def test_steps_with_full_is_an_error_not_ignored():
    """An option that would have no effect is refused."""
    with pytest.raises(UsageError) as caught:
        BPTTPlan(kind="full", steps=20)
    assert str(caught.value) == (
        "--bptt-k2 applies only to --bptt truncated; full BPTT reaches back to each "
        "series' first day. Drop one of them."
    )


@pytest.mark.parametrize("steps", [0, -1, None])
def test_truncated_needs_at_least_one_day(steps):
    """Zero days would train nothing."""
    with pytest.raises(UsageError, match=rf"--bptt-k2 is {steps}; .* at least 1 day"):
        BPTTPlan(kind="truncated", steps=steps)


def test_unknown_kind_is_a_usage_error():
    """The message lists what there is."""
    with pytest.raises(UsageError, match="choose full or truncated"):
        BPTTPlan(kind="random")


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (BPTTPlan.full(), "full: errors reach back to each series' first day"),
        (BPTTPlan.truncated(steps=63), "truncated: errors reach back up to 63 days (mean 32)"),
        (BPTTPlan.truncated(steps=1), "truncated: errors reach back up to 1 day"),
    ],
)
def test_description_says_how_far(plan, line):
    """One line for the run header."""
    assert plan.describe() == line


def test_plan_is_a_value():
    """Equal by content, hashable, not changeable."""
    assert BPTTPlan.truncated(steps=8) == BPTTPlan(kind="truncated", steps=8)
    assert len({BPTTPlan.full(), BPTTPlan.full()}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        BPTTPlan.full().steps = 3


def test_shorter_steps_than_stride_are_refused():
    """The oldest days of each block would have errors that nobody learns from."""
    with pytest.raises(UsageError) as caught:
        BPTTPlan.truncated(steps=20, stride=63)
    assert str(caught.value) == (
        "--bptt-k2 20 is shorter than --bptt-k1 63: the errors of the 43 oldest days in "
        "every block would never be learned from. Use --bptt-k2 63 or more."
    )


def test_steps_are_a_multiple_of_the_stride():
    """The next one is suggested."""
    with pytest.raises(UsageError) as caught:
        BPTTPlan.truncated(steps=100, stride=63)
    assert str(caught.value) == "--bptt-k2 must be a multiple of --bptt-k1 (63): try 126."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "full", "stride": 5}, "--bptt-k1 applies only to --bptt truncated"),
        ({"kind": "truncated", "steps": 5, "stride": 0}, "--bptt-k1 is 0"),
        ({"kind": "full", "update": "epoch"}, "--step-per epoch is not known"),
        ({"kind": "full", "memory": "disk"}, "--bptt-memory disk is not known"),
    ],
)
def test_other_nonsense_is_refused(options, words):
    """Each message names its option."""
    with pytest.raises(UsageError, match=words):
        BPTTPlan(**options)


@pytest.mark.parametrize(("steps", "stride", "grid"), [(8, None, 8), (8, 4, 4), (8, 2, 2)])
def test_the_grid_is_the_stride(steps, stride, grid):
    """Unless the block is shorter."""
    plan = BPTTPlan.truncated(steps=steps, stride=stride)
    assert (plan.grid(50), plan.grid(1)) == (grid, 1)
    assert BPTTPlan.full().grid(50) == 50


def test_overlapping_blocks_say_their_mean_reach():
    """Between steps - stride + 1 and steps days, on average half way."""
    line = BPTTPlan.truncated(steps=126, stride=63).describe()
    assert line == "truncated: errors reach back up to 126 days (mean 95)"
