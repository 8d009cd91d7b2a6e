from datetime import date

import numpy as np
import pytest

from forecaster.data.history import validate_bars
from forecaster.data.sessions import sessions_between
from forecaster.data.sources import Source
from forecaster.data.sources.sample import SampleSource
from forecaster.errors import DataError, UnknownNameError


@pytest.mark.parametrize(
    ("ticker", "name", "first_close"),
    [("SP500", "S&P 500", 1228.099976), ("NASDAQ", "NASDAQ Composite", 2208.050049)],
)
def test_the_whole_history_is_served(ticker, name, first_close):
    history = SampleSource().history(ticker, None, None)
    bars = validate_bars(ticker, history.bars)
    assert len(bars) == 5031
    assert bars["close"].iloc[0] == first_close
    assert (bars["dividend"] == 0).all()
    assert (bars["split"] == 1).all()
    assert (history.listing.name, history.listing.currency) == (name, "USD")
    assert (history.listing.basis, history.listing.source) == ("split-adjusted", "sample")


def test_every_session_of_new_york_is_there_and_no_other():
    bars = SampleSource().history("SP500", None, None).bars
    expected = sessions_between("XNYS", date(1999, 1, 4), date(2018, 12, 31))
    np.testing.assert_array_equal(bars["session"].to_numpy().astype("datetime64[D]"), expected)


def test_days_without_volume_stay():
    volume = SampleSource().history("NASDAQ", None, None).bars["volume"]
    assert (volume == 0).sum() == 2


def test_a_span_includes_both_ends():
    bars = SampleSource().history("SP500", date(2001, 9, 10), date(2001, 9, 17)).bars
    assert bars["session"].dt.strftime("%m-%d").tolist() == ["09-10", "09-17"]
    assert bars.index.tolist() == [0, 1]


def test_a_span_without_sessions_is_refused():
    with pytest.raises(DataError, match=r"SP500: .* from 2001-09-11 to 2001-09-14; it has 1999"):
        SampleSource().history("SP500", date(2001, 9, 11), date(2001, 9, 14))
    with pytest.raises(DataError, match="from 2024-01-01 to 2018-12-31"):
        SampleSource().history("SP500", date(2024, 1, 1), None)


def test_an_unknown_ticker_is_refused_naming_what_there_is():
    with pytest.raises(UnknownNameError, match=r"AAPL: is not in the sample.* NASDAQ and SP500"):
        SampleSource().history("AAPL", None, None)


def test_it_is_a_source():
    source: Source = SampleSource()
    assert source.name == "sample"
    assert source.tickers() == ("NASDAQ", "SP500")
