import dataclasses

import pytest

from forecaster.errors import UsageError
from forecaster.training.plan import BPTTPlan


def test_full_reaches_through_the_whole_block():
    """Full is the case in which the reach is the length."""
    assert BPTTPlan.full().reach(5000) == 5000


@pytest.mark.parametrize(("steps", "days", "reach"), [(8, 50, 8), (50, 50, 50), (80, 50, 50)])
def test_truncated_reaches_at_most_its_steps(steps, days, reach):
    """Never further than the block, never further than the steps."""
    assert BPTTPlan.truncated(steps=steps).reach(days) == reach


def test_steps_with_full_is_an_error_not_ignored():
    """An option that would have no effect is refused."""
    with pytest.raises(UsageError) as caught:
        BPTTPlan(kind="full", steps=20)
    assert str(caught.value) == (
        "--bptt-steps applies only to --bptt truncated; full BPTT reaches back to each "
        "series' first day. Drop one of them."
    )


@pytest.mark.parametrize("steps", [0, -1, None])
def test_truncated_needs_at_least_one_day(steps):
    """Zero days would train nothing."""
    with pytest.raises(UsageError, match=rf"--bptt-steps is {steps}; .* at least 1 day"):
        BPTTPlan(kind="truncated", steps=steps)


def test_unknown_kind_is_a_usage_error():
    """The message lists what there is."""
    with pytest.raises(UsageError, match="choose full or truncated"):
        BPTTPlan(kind="random")


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (BPTTPlan.full(), "full: errors reach back to each series' first day"),
        (BPTTPlan.truncated(steps=63), "truncated: errors reach back up to 63 days"),
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
