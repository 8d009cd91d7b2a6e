"""The one clock, and how a test or the audit freezes it."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from forecaster import clock
from forecaster.errors import UsageError


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


DAY = date(2024, 12, 31)
DAYS = [
    *(DAY, "2024-12-31", datetime(2024, 12, 31), pd.Timestamp("2024-12-31")),
    *(pd.Timestamp("2024-12-31", tz="America/New_York"), np.datetime64("2024-12-31", "ns")),
]


@pytest.mark.parametrize("day", DAYS, ids=repr)
def test_a_day_is_read_as_people_write_it(day: clock.Day) -> None:
    found = clock.as_day(day)
    assert found == DAY and type(found) is date
    assert clock.as_day(None) is None


@pytest.mark.parametrize("day", ["soon", "31.12.2024", "", pd.NaT, 7, "2024-12-31 16:00"])
def test_what_is_no_day_is_refused(day: clock.Day) -> None:
    with pytest.raises(UsageError, match=r"until = .* a day is needed"):
        clock.as_day(day, "until")
