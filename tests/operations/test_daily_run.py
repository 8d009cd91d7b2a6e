"""The proof of the nights: thirty done one by one, in a replay, and after weeks off, end alike.

Real trainings, real judgements; a small network.
"""

from datetime import timedelta

import pytest

from forecaster import clock
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.retrain import retrain
from tests.operations.sessions import Daily, evening_of, on, settings, told

DAYS = 700
NIGHTS = 30


@pytest.mark.slow
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_thirty_nights_replayed_equal_thirty_nights_one_by_one(tmp_path, start):
    """Forecasts, decisions and champion per night, bit for bit: three trainings and judgements."""
    source, chosen = Daily(DAYS), settings(every=10)
    chosen = chosen.model_copy(
        update={"retrain": chosen.retrain.model_copy(update={"start": start})}
    )
    nightly, replayed, off = (tmp_path / name for name in ("nightly", "replayed", "off"))
    for home in (nightly, replayed, off):
        home.mkdir()
    session_records = source.sessions[-NIGHTS:]
    for day in session_records:
        (done,) = on(day, nightly, source, chosen).session_records
        assert done.exit_code in (0, 4), done.reason
    with clock.as_if(evening_of(session_records[-1]) + timedelta(days=90)):
        fetch(home=replayed, source=source)
        for day in (session_records[0], session_records[11], session_records[-1]):
            retrain(home=replayed, settings=chosen, as_of=day)
    for day in (session_records[0], session_records[9], session_records[19], session_records[-1]):
        on(day, off, source, chosen)
    expected = told(nightly)
    assert len(expected["decisions"]) == 3 and len(expected["forecasts"]) == NIGHTS * 2
    assert told(replayed) == expected
    assert told(off) == expected
