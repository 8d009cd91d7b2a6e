import hashlib
import struct

import numpy as np
import pytest

from forecaster.data.history import BAR_COLUMNS, fingerprint
from tests.data.histories import drawn, with_bars

AAPL, MSFT = drawn("AAPL", 5, seed=1), drawn("MSFT", 4, seed=2)


def changed(history, column, row, value):
    bars = history.bars.copy()
    bars.loc[row, column] = value
    return with_bars(history, bars)


def test_the_order_of_fetching_changes_nothing():
    """Tickers are hashed in alphabetical order."""
    assert fingerprint([AAPL, MSFT]) == fingerprint([MSFT, AAPL])
    assert len(fingerprint([AAPL])) == 64


@pytest.mark.parametrize("column", BAR_COLUMNS[1:])
@pytest.mark.parametrize("row", [0, 4])
def test_one_changed_bit_changes_the_hash(column, row):
    """The last bit of any number of any column."""
    value = np.nextafter(AAPL.bars.loc[row, column], np.inf)
    assert fingerprint([changed(AAPL, column, row, value)]) != fingerprint([AAPL])


def test_a_moved_day_changes_the_hash():
    """The same prices a day later are other prices."""
    later = AAPL.bars.loc[4, "session"] + np.timedelta64(1, "D")
    assert fingerprint([changed(AAPL, "session", 4, later)]) != fingerprint([AAPL])


def test_ticker_basis_and_membership_change_the_hash():
    """Another name, another meaning of the close, one ticker less, one day less."""
    bars = AAPL.bars
    hashes = {
        fingerprint(histories)
        for histories in (
            [AAPL],
            [drawn("AAPK", 5, seed=1)],
            [drawn("AAPL", 5, seed=1, basis="as-traded")],
            [AAPL, MSFT],
            [with_bars(AAPL, bars[:4])],
        )
    }
    assert len(hashes) == 5


def test_the_sign_of_zero_and_the_type_of_columns_change_nothing():
    """Equal bars have equal hashes, however they were stored."""
    bars = AAPL.bars.assign(dividend=0.0)
    minus = bars.assign(dividend=-0.0)
    typed = bars.assign(session=bars["session"].astype("datetime64[ns]"), split=1)
    expected = fingerprint([with_bars(AAPL, bars.assign(split=1.0))])
    assert fingerprint([with_bars(AAPL, minus.assign(split=1.0))]) == expected
    assert fingerprint([with_bars(AAPL, typed)]) == expected


def test_swapped_histories_change_the_hash():
    """The bars of one ticker under the name of the other."""
    swapped = [with_bars(AAPL, MSFT.bars), with_bars(MSFT, AAPL.bars)]
    assert fingerprint(swapped) != fingerprint([AAPL, MSFT])


def test_the_hash_by_hand():
    """Name, basis and length, days since 1970, then the bars; another recipe disowns versions."""
    bars = AAPL.bars[:2].assign(
        open=1.0, high=2.0, low=0.5, close=1.5, volume=[10.0, 20.0], dividend=0.0, split=1.0
    )
    days, numbers = (19724, 19725), (1, 2, 0.5, 1.5, 10, 0, 1, 1, 2, 0.5, 1.5, 20, 0, 1)
    content = struct.pack("<2q14d", *days, *numbers)
    expected = hashlib.sha256(b"AAPL split-adjusted 2\n" + content).hexdigest()
    assert fingerprint([with_bars(AAPL, bars)]) == expected
