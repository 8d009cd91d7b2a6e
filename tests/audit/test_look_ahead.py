"""Which tickers an audit reads; that planted leaks are found is in `tests/cli/test_audit.py`."""

from forecaster.audit.look_ahead import select_histories
from tests.data.histories import drawn


def test_of_many_tickers_the_longest_and_the_shortest_are_read() -> None:
    histories = [drawn(f"T{number}", 30 + number, number) for number in range(9)]
    assert [h.listing.ticker for h in select_histories(histories, 3)] == ["T0", "T4", "T8"]
    assert len(select_histories(histories, 20)) == 9
    assert [h.listing.ticker for h in select_histories(histories, 1)] == ["T8"]
