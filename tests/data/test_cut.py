"""A panel as of an evening is the panel that that evening's bars would have given."""

import dataclasses

import numpy as np
import pandas as pd

from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel, cut
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 200, "BBB": 120, "CCC": 40})
TARGETS = ("return", "range", "volume")


def panel_of(bars: pd.DataFrame) -> Panel:
    histories = load_histories(bars, "unused", (), None)  # type: ignore[arg-type]
    return build_panel(histories, TARGETS, universe=["AAA", "BBB", "CCC"])


WHOLE = panel_of(BARS)


def test_the_evening_before_ccc_is_the_panel_of_the_bars_until_then() -> None:
    last = BARS[BARS["ticker"] == "CCC"]["session"].min() - pd.Timedelta(days=1)
    found, rows = cut(WHOLE, last=np.datetime64(last, "D"))
    expected = panel_of(BARS[BARS["session"] <= last])
    assert found.tickers == ("AAA", "BBB")
    for part in dataclasses.fields(Panel):
        np.testing.assert_array_equal(getattr(found, part.name), getattr(expected, part.name))
    np.testing.assert_array_equal(WHOLE.days[rows], found.days)


def test_a_morning_loses_the_days_before_and_warms_up_where_it_cut() -> None:
    first = WHOLE.days[150]  # AAA is cut, the others begin later
    found, rows = cut(WHOLE, first=first)
    assert (
        found.days.min() == first and (WHOLE.days[np.setdiff1d(np.arange(360), rows)] < first).all()
    )
    np.testing.assert_array_equal(np.diff(found.series_offsets), [50, 50, 40])
    np.testing.assert_array_equal(found.inputs, WHOLE.inputs[rows])
    scored = np.isfinite(found.y[:, 0])
    assert not scored[:21].any() and scored[21:49].all()


def test_what_begins_on_the_morning_itself_is_not_warmed_up_twice() -> None:
    first = WHOLE.days[WHOLE.series_offsets[1]]
    found, rows = cut(WHOLE, first=first)
    bbb = slice(found.series_offsets[1], found.series_offsets[2])
    np.testing.assert_array_equal(found.y[bbb], WHOLE.y[rows][bbb])


def test_nothing_cut_is_nothing_changed() -> None:
    found, rows = cut(WHOLE)
    np.testing.assert_array_equal(found.y, WHOLE.y)
    np.testing.assert_array_equal(rows, np.arange(len(WHOLE.days)))
