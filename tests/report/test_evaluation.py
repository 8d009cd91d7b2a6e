"""The page of an evaluation: conclusions first, every figure from the numbers given."""

import re
from dataclasses import replace

import numpy as np
import pytest

from forecaster.evaluation.direction import Backtest
from forecaster.report.evaluation import SURVIVORS, Details, evaluation_page
from forecaster.report.page import Tile
from tests.report.drawn import cells, decoded, figures
from tests.report.samples import (
    DETAILS,
    LEARNING,
    OWN,
    comparison,
    forecast_rows,
    page_of,
    part_sample,
    sample,
    scored,
)


@pytest.fixture(scope="module")
def page() -> str:
    return page_of()


def place(page: str, text: str) -> int:
    found = page.find(text, page.index("</style>"))
    assert found > 0, text
    return found


def test_results_come_first_and_what_they_rest_on_last(page: str) -> None:
    texts = [
        "Version 20200101-120000-lstm-abcdef01, trained on",
        '<div class="tile better"><h2>Next day&#39;s return</h2>',
        "Error reduction against each benchmark</h2>",
        '<p class="warning">LSTM: R² over the naive forecast of 1.23 %',
        "LSTM vs zero return: significantly better",
        "LSTM vs mean: no significant difference",
        '<a href="#the-next-day&#39;s-return">',
        "The next day&#39;s return</h2>",
        "Forecasts and outcomes</h3>",
        "Cumulative error reduction</h3>",
        "Probability integral transform</h3>",
        "Calibration</h3>",
        "Coverage over time</h3>",
        "Forecast against outcome</h3>",
        "Scores</h3>",
        "Comparisons</h3>",
        "Training and validation loss</h2>",
        "Data and settings</h2>",
        SURVIVORS[:60],
        "2 of these test days, 2 different questions",
        "forecaster evaluate <code>--seeds</code> 2",
    ]
    places = [place(page, text) for text in texts]
    assert places == sorted(places)


def tile_of(**conclusions: float) -> Tile:
    """The tile of a target by the adjusted p-value of each comparison, all with smaller errors."""
    found = [comparison(name, adjusted_p_value=p) for name, p in conclusions.items()]
    part = part_sample()
    comparisons = replace(part.comparisons, main=tuple(found), all=tuple(found))
    (tile,) = evaluation_page(sample(replace(part, comparisons=comparisons)), DETAILS).tiles
    return tile


def test_a_tile_claims_what_the_tests_bear() -> None:
    both = tile_of(persistence=0.01, har=0.01)
    assert (both.value, both.result) == ("1.2 % lower error than HAR", "better")
    one = tile_of(persistence=0.01, har=0.2)
    assert one.value == "Better than persistence, not significantly than HAR"
    none = tile_of(persistence=0.2, har=0.2)
    assert none.value == "Not significantly better than persistence"
    assert none.result == "undecided"
    worse = comparison("har", difference=0.1)
    part = part_sample()
    comparisons = replace(part.comparisons, main=(comparison(), worse), all=(comparison(), worse))
    (tile,) = evaluation_page(sample(replace(part, comparisons=comparisons)), DETAILS).tiles
    assert (tile.value, tile.result) == ("Worse than HAR", "worse")


def test_a_tile_names_its_interval_and_the_best_of_all_benchmarks() -> None:
    """The MLP is not among the main comparisons, and is the hardest to beat."""
    main = comparison(low=-0.02, high=-0.005)
    hardest = comparison("mlp", difference=-0.001, adjusted_p_value=0.9)
    part = part_sample()
    comparisons = replace(part.comparisons, main=(main,), all=(main, hardest))
    (tile,) = evaluation_page(sample(replace(part, comparisons=comparisons)), DETAILS).tiles
    assert tile.value == "Better than zero return, not significantly than MLP"
    assert "0.5 % to 2.0 %" in tile.lines[1] and "significant (p = 0.002" in tile.lines[1]


def test_the_headline_has_every_benchmark_by_the_error_saved(page: str) -> None:
    traces = figures(page)["Error reduction against each benchmark"]
    assert {trace["name"]: trace["y"] for trace in traces} == {
        "better": ["zero return"],
        "no significant difference": ["mean"],
    }
    assert traces[0]["x"] == [0.0123]


def test_backtests_are_drawn_as_wealth_and_its_falls() -> None:
    """Gains of a half, a loss of a half: wealth 1.5 and 0.75, half below its peak."""
    days = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    one = Backtest(days=days, daily_returns=np.array([0.5, -0.5]))
    drawn = figures(page_of(sample(part_sample(backtests={OWN: one}))))
    assert drawn["Equity of the backtest"][0]["y"] == [1.5, 0.75]
    assert drawn["Drawdown of the backtest"][0]["y"] == [0.0, -0.5]


def test_no_price_is_ever_drawn(page: str) -> None:
    """A lagging line of prices looks like skill."""
    rows = forecast_rows().assign(last_close=100.0, price_forecast=101.0, price_actual=99.0)
    assert page_of(sample(part_sample(rows=scored(rows)))) == page


def test_the_page_is_complete_and_requests_nothing(page: str) -> None:
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert page.count("plotly.js v") == 1
    assert not re.search(r'<(script|link|img|iframe)[^>]*(src|href)=(?!"data:)', page)
    assert "@import" not in page.split("</style>")[0] and "url(" not in page.split("</style>")[0]


def test_the_scorecard_has_a_row_per_forecaster_and_no_nan(page: str) -> None:
    rows = cells(page, "Scores")
    assert rows[0] == ["forecaster", "skill", "directional accuracy"]
    assert rows[1] == ["lstm", "+1.23 %", "56.1 %"]
    assert rows[2] == ["zero-return", "+0.00 %", "-"]
    assert rows[3] == ["mean", "-0.10 %", "-"]
    assert "nan" not in re.findall(r"<td>(.*?)</td>", page)


def test_own_scores_have_their_interval_or_the_reason_why_not(page: str) -> None:
    rows = cells(page, "Scores with intervals")
    assert rows[1] == ["skill", "+1.23 %", "+1.00 %", "+2.00 %", ""]
    assert rows[2] == ["IC", "-", "-", "-", "one series alone"]


def test_gains_are_plotted_over_every_benchmark_and_end_at_the_skill(page: str) -> None:
    rows = forecast_rows()
    error = ((rows["forecast"] - rows["actual"]) ** 2).groupby(rows["forecaster"]).mean()
    first, second = figures(page)["Cumulative error reduction"]
    assert (first["name"], second["name"]) == ("zero return", "mean")
    assert decoded(first["y"])[-1] == pytest.approx(1 - error[OWN] / error["zero-return"], rel=1e-3)
    assert len(first["x"]) == 300 and first["x"][0] == "2020-01-01"


def test_the_distributions_gain_is_drawn_where_there_are_any(page: str) -> None:
    """Three nats a day against 2.9, over 300 days."""
    (trace,) = figures(page)["Cumulative gain in log score"]
    assert decoded(trace["y"])[-1] == pytest.approx(30.0)
    bare = forecast_rows().drop(columns="log_score")
    assert "Cumulative gain in log score" not in page_of(sample(part_sample(rows=scored(bare))))


def test_every_forecast_is_a_point_against_its_outcome(page: str) -> None:
    points, line = figures(page)["Forecast against outcome"]
    own = forecast_rows().query("forecaster == @OWN")
    np.testing.assert_allclose(decoded(points["x"]), 100 * np.expm1(own["forecast"]), rtol=1e-3)
    np.testing.assert_allclose(decoded(points["y"]), 100 * np.expm1(own["actual"]), rtol=1e-3)
    assert line["x"] == line["y"]


def test_many_forecasts_are_thinned_and_said_to_be() -> None:
    page = page_of(sample(part_sample(rows=scored(forecast_rows(days=1_100, tickers=4)))))
    points = figures(page)["Forecast against outcome"][0]
    assert len(decoded(points["x"])) == 880
    assert "One in 5 of 4,400 forecasts" in page


def test_the_pit_is_drawn_as_shares(page: str) -> None:
    (bars,) = figures(page)["Probability integral transform"]
    assert decoded(bars["y"]).tolist() == [0.25, 0.5, 0.25, 0.0]
    assert decoded(bars["x"]).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_point_forecasts_have_no_calibration_and_the_page_says_so() -> None:
    bare = forecast_rows().drop(columns=["q025", "q10", "q90", "q975"])
    page = page_of(sample(part_sample(rows=scored(bare), pit={})))
    assert "have no intervals" in page
    assert not {"Calibration", "Coverage over time", "Coverage by ticker"} & set(figures(page))


def test_coverage_is_drawn_by_time_and_by_ticker_where_there_are_many(page: str) -> None:
    drawn = figures(page)
    assert "Coverage by ticker" not in drawn and "Gain by ticker" not in drawn
    drawn = figures(page_of(sample(part_sample(rows=scored(forecast_rows(tickers=5))))))
    for name in ("Coverage over time", "Coverage by ticker"):
        assert [t["name"] for t in drawn[name]] == ["80 % interval", "95 % interval"]
    assert len(drawn["Coverage by ticker"][0]["y"]) == 5


@pytest.mark.parametrize(("tickers", "named"), [(40, True), (41, False)])
def test_tickers_are_named_as_long_as_their_names_can_be_read(tickers: int, named: bool) -> None:
    drawn = figures(
        page_of(sample(part_sample(rows=scored(forecast_rows(days=30, tickers=tickers)))))
    )
    for name in ("Gain by ticker", "Coverage by ticker"):
        first = drawn[name][0]
        assert ("T000" in list(decoded(first["y"]))) == named
        assert "T000" in first["customdata"]


def test_the_learning_curve_marks_the_weights_that_were_kept(page: str) -> None:
    curve, trained, kept = figures(page)["Training and validation loss"]
    assert curve["x"] == [step for step, _ in LEARNING["validation"]]
    assert trained["name"] == "training" and trained["y"] == [0.8, 0.6]
    assert (kept["x"], kept["y"]) == ([50], [0.7])
    bare = page_of(details=Details(learning={}, settings={}))
    assert "stored without its validation losses" in bare
    assert "Training and validation loss" not in figures(bare)


def test_several_targets_have_a_part_and_a_conclusion_each() -> None:
    page = page_of(sample(part_sample(), part_sample("range")))
    assert "<p>range: LSTM vs zero return" in page
    assert page.count("Cumulative error reduction</h3>") == 2
    assert place(page, "The next day&#39;s return") < place(page, "The next day&#39;s range")


def test_tables_follow_the_figures_of_their_target(page: str) -> None:
    rows = cells(page, "Comparisons")
    assert rows[1] == ["lstm vs zero-return", "MSE", "-1.23%", "0.001", "0.002", "better"]
    tip = "Diebold–Mariano test that LSTM and zero return have the same mean MSE, 300 days"
    assert f'<abbr title="{tip}; Holm over 2 tests">0.002</abbr>' in page
    assert place(page, "Forecast against outcome") < place(page, "Comparisons</h3>")


def test_no_name_can_break_out_of_the_page() -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    rows = forecast_rows(tickers=1).assign(ticker=evil)
    result = sample(part_sample(rows=scored(rows)), missing=(evil,), notes=(evil,))
    page = page_of(result, Details(learning={}, settings={evil: evil}, show=(evil,), command=evil))
    own = page[page.index("</style>") :].replace(
        page.split("<script>")[1].split("</script>")[0], ""
    )
    assert "<script>alert" not in own and "<img" not in own


@pytest.mark.parametrize("days", [1, 2])
def test_a_single_test_day_makes_a_page(days: int) -> None:
    page = page_of(sample(part_sample(rows=scored(forecast_rows(days=days, tickers=1)))))
    assert "Cumulative error reduction" in figures(page)


def test_forecasters_without_errors_or_variety_make_a_page() -> None:
    """A constant price, forecast exactly by all."""
    rows = forecast_rows().assign(forecast=0.0, actual=0.0)
    page = page_of(sample(part_sample(rows=scored(rows))))
    assert "nothing to gain" in page and "All forecasts are 0;" in page
    undrawn = {"Cumulative error reduction", "Forecast against outcome"}
    assert not undrawn & set(figures(page))
