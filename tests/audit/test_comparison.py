"""Values compared bit by bit: what differs, where, and which rounding is allowed."""

import numpy as np
import pytest

from forecaster.audit.alterations import Alteration
from forecaster.audit.comparison import Comparison, Leak, Values, first_difference

CUT = np.datetime64("2024-03-01")


def values(table: list[list[float]], days: list[str], ticker: str = "AAA") -> Values:
    return Values(
        columns=("open", "close")[: len(table[0])],
        values=np.array(table),
        tickers=np.array([ticker] * len(days)),
        days=np.array(days, dtype="datetime64[D]"),
    )


WHOLE = Alteration(kind="corrupted", cut=CUT)
SHORTER = Alteration(kind="cut", cut=CUT)


def test_the_oldest_difference_is_reported_and_missing_equals_missing() -> None:
    reference = values(
        [[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]], ["2024-01-04", "2024-01-03", "2024-01-02"]
    )
    assert first_difference(reference, reference) == (5, None)
    changed = values(
        [[9.0, np.nan], [2.0, 3.5], [4.0, 5.0]], ["2024-01-04", "2024-01-03", "2024-01-02"]
    )
    count, found = first_difference(reference, changed)
    assert count == 5 and found is not None
    assert Leak(stage="bars", alteration=WHOLE, difference=found).describe() == (
        "bars: close of AAA, 2024-01-03 is 3, but 3.5 with every bar after 2024-03-01 corrupted"
    )


def test_a_value_that_appears_or_goes_is_a_difference() -> None:
    reference = values([[1.0, np.nan]], ["2024-01-02"])
    _, found = first_difference(reference, values([[1.0, 2.0]], ["2024-01-02"]))
    assert found is not None and found.column == "close"


def test_a_row_or_a_column_of_one_side_alone_is_a_difference() -> None:
    reference = values([[1.0], [2.0]], ["2024-01-02", "2024-01-03"])
    _, found = first_difference(reference, values([[1.0]], ["2024-01-02"]))
    assert found is not None and str(found.day) == "2024-01-03" and found.before == 1.0
    more = values([[1.0, 1.0], [2.0, 1.0]], ["2024-01-02", "2024-01-03"])
    _, found = first_difference(reference, more)
    assert found is not None and found.column == "the column close"
    other = values([[1.0], [2.0]], ["2024-01-02", "2024-01-03"], "BBB")
    assert first_difference(reference, other)[1] is not None


@pytest.mark.parametrize(
    ("stage_rounds", "alteration", "moved", "leaks"),
    [
        (True, SHORTER, 1e-6, False),
        (True, SHORTER, 1e-3, True),
        (True, WHOLE, 1e-12, True),
        (False, SHORTER, 1e-12, True),
    ],
)
def test_rounding_is_allowed_where_rows_are_cut_and_nowhere_else(
    stage_rounds: bool, alteration: Alteration, moved: float, leaks: bool
) -> None:
    days = ["2024-01-02", "2024-01-03"]
    comparison = Comparison(["forecasts"], rounds=["forecasts"] if stage_rounds else [])
    comparison.compare(
        {"forecasts": values([[1.0], [3.0]], days)},
        {"forecasts": values([[1.0 + moved], [3.0]], days)},
        alteration,
    )
    (result,) = comparison
    assert (result.leak is not None) is leaks
    assert result.values == 2 and result.dates == {CUT}
