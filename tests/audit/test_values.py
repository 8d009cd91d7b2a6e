"""Which rows are compared: all up to a date, none after it."""

import numpy as np

from forecaster.audit.values import row_values
from forecaster.data.panel import build_panel
from tests.data.histories import drawn

CUT = np.datetime64("2024-03-01")


def test_nothing_after_the_date_is_compared() -> None:
    """Else every clean audit would fail; and the date itself is, or a leak of one day passes."""
    histories = [drawn("AAA", 400, 1, first="2023-01-03"), drawn("BBB", 300, 2, first="2023-01-03")]
    panel = build_panel(histories, ("return",), universe=("AAA", "BBB"))
    found = row_values(panel, CUT)
    assert {str(part.days.max()) for part in found.values()} == {"2024-02-29", str(CUT)}
    assert found["targets"].days.max() < CUT <= found["features"].days.max()
