"""The one clock, and how a test or the audit freezes it."""

from datetime import UTC, datetime

import pytest

from forecaster import clock


def test_the_clock_is_frozen_inside_the_block_only() -> None:
    then = datetime(2020, 5, 4, 12, tzinfo=UTC)
    with pytest.raises(KeyError), clock.as_if(then):
        assert clock.now() == then
        raise KeyError
    assert clock.now().year > 2020
    with (
        pytest.raises(ValueError, match="needs a timezone"),
        clock.as_if(then.replace(tzinfo=None)),
    ):
        pass
