"""What the figures of one ticker draw: which tickers are embedded, in which units."""

import json

import numpy as np
import pandas as pd
import pytest

from forecaster.report.ticker_series import TickerSeries, choose_tickers, script_name
from tests.report.samples import OWN, forecast_rows, scored


def series(tickers: int = 2, days: int = 300, wanted: tuple[str, ...] = ()) -> TickerSeries:
    rows = scored(forecast_rows(days=days, tickers=tickers))
    return TickerSeries(rows={"return": rows}, forecaster={"return": OWN}, wanted=wanted)


def test_columns_are_the_own_forecasts_in_per_cent() -> None:
    rows = forecast_rows(tickers=1)
    own = rows[rows["forecaster"] == OWN]
    found = series(tickers=1).columns("T000")["return"]
    for name in ("actual", "forecast", "q025", "q975"):
        np.testing.assert_allclose(found[name], 100 * np.expm1(own[name]), rtol=1e-3)
    assert found["days"][0] == "2020-01-01" and len(found["days"]) == 300


def test_what_is_undefined_is_left_out_or_null() -> None:
    rows = forecast_rows(tickers=1).drop(columns=["q10", "q90"])
    rows.loc[rows.index[3], "q025"] = np.nan
    some = TickerSeries(
        rows={"return": scored(rows)}, forecaster={"return": OWN}, wanted=()
    ).columns("T000")["return"]
    assert "q10" not in some and some["q025"][3] is None


def test_a_page_embeds_the_newest_days_of_the_tickers_wanted() -> None:
    found = series(tickers=3, wanted=("T002", "none such", "T001"))
    held = json.loads(found.embedded_json("page/data/"))
    assert list(held["tickers"]) == ["T002", "T001"]
    assert held["scripts"]["T000"] == "page/data/T000.js"
    newest = held["tickers"]["T002"]["return"]["days"]
    assert newest == found.columns("T002")["return"]["days"][-250:]
    alone = json.loads(found.embedded_json(""))
    assert alone["scripts"] == {} and len(alone["tickers"]["T002"]["return"]["days"]) == 300


def test_the_scripts_hold_every_day_of_every_ticker() -> None:
    found = series(tickers=2)
    scripts = dict(found.scripts())
    assert list(scripts) == ["T000.js", "T001.js"]
    assert json.loads(scripts["T001.js"].removeprefix('forecasterTicker("T001",')[:-3]) == (
        found.columns("T001")
    )


def test_tickers_asked_for_come_first_then_the_ends_then_the_middle() -> None:
    gains = pd.DataFrame(
        {"benchmark": "har", "ticker": [f"T{n:02}" for n in range(30)], "gain": range(30)}
    )
    found = choose_tickers(gains, ["T07"])
    assert found[:3] == ["T07", "T29", "T00"]
    assert "T15" in found or "T14" in found or "T16" in found
    assert len(found) <= 13 and len(set(found)) == len(found)
    assert choose_tickers(gains.iloc[:0], ["X"]) == ["X"]


@pytest.mark.parametrize(("ticker", "name"), [("^GSPC", "_GSPC.js"), ("BRK.B", "BRK.B.js")])
def test_a_script_has_a_name_that_every_file_system_holds(ticker: str, name: str) -> None:
    assert script_name(ticker) == name
