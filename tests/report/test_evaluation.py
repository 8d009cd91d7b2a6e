"""The page of an evaluation: conclusions first, every figure from the numbers given."""

import re

import numpy as np
import pytest

from forecaster.report.evaluation import SURVIVORS, evaluation_page
from tests.report.drawn import cells, decoded, figures
from tests.report.samples import LEARNING, OWN, forecast_rows, page_of, part_sample, sample, scored


@pytest.fixture(scope="module")
def page() -> str:
    return page_of()


def place(page: str, text: str) -> int:
    found = page.find(text, page.index("</style>"))
    assert found > 0, text
    return found


def test_alarms_come_first_and_conclusions_before_every_number(page: str) -> None:
    texts = [
        '<p class="warning">LSTM: R² over the naive forecast of 1.23 %',
        '<p class="lead">LSTM vs zero return: significantly better',
        "<small>LSTM vs mean: no significant difference",
        SURVIVORS[:60],
        "2 of these test days, 2 different questions",
        "The next day&#39;s return</h2>",
        "Gain over time</h3>",
        "Forecast against outcome</h3>",
        "Calibration</h3>",
        "Probability integral transform</h3>",
        "Coverage over time</h3>",
        "Gain by ticker</h3>",
        "Learning curve</h2>",
        "Data and settings</h2>",
    ]
    places = [place(page, text) for text in texts]
    assert places == sorted(places)


def test_no_price_is_ever_drawn(page: str) -> None:
    """A lagging line looks like skill; forecasts stand against outcomes, never both over time."""
    rows = forecast_rows().assign(last_close=100.0, price_forecast=101.0, price_actual=99.0)
    assert page_of(sample(part_sample(rows=scored(rows)))) == page
    own = rows[rows["forecaster"] == OWN]
    for name, traces in figures(page).items():
        for trace in traces:
            drawn = decoded(trace["y"])
            assert not np.array_equal(drawn, own["actual"].to_numpy()) or "against" in name.lower()


def test_the_page_is_complete_and_requests_nothing(page: str) -> None:
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert page.count("plotly.js v") == 1
    assert not re.search(r'<(script|link|img|iframe)[^>]*(src|href)=(?!"data:)', page)
    assert "@import" not in page.split("</style>")[0] and "url(" not in page.split("</style>")[0]


def test_the_scorecard_has_a_row_per_forecaster_and_no_nan(page: str) -> None:
    rows = cells(page, "The next day&#39;s return")
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
    first, second = figures(page)["Gain over time"]
    assert (first["name"], second["name"]) == ("zero-return", "mean")
    assert decoded(first["y"])[-1] == pytest.approx(1 - error[OWN] / error["zero-return"])
    assert len(first["x"]) == 300 and first["x"][0] == "2020-01-01"


def test_the_distributions_gain_is_drawn_where_there_are_any(page: str) -> None:
    """Three nats a day against 2.9, over 300 days."""
    (trace,) = figures(page)["Gain of the distribution over time"]
    assert decoded(trace["y"])[-1] == pytest.approx(30.0)
    bare = forecast_rows().drop(columns="log_score")
    assert "Gain of the distribution" not in page_of(sample(part_sample(rows=scored(bare))))


def test_every_forecast_is_a_point_against_its_outcome(page: str) -> None:
    points, line = figures(page)["Forecast against outcome"]
    own = forecast_rows().query("forecaster == @OWN")
    np.testing.assert_array_equal(decoded(points["x"]), own["forecast"])
    np.testing.assert_array_equal(decoded(points["y"]), own["actual"])
    assert line["x"] == line["y"]


def test_many_forecasts_are_thinned_and_said_to_be() -> None:
    page = page_of(sample(part_sample(rows=scored(forecast_rows(days=1_100, tickers=4)))))
    points = figures(page)["Forecast against outcome"][0]
    assert len(decoded(points["x"])) == 1_467
    assert "One in 3 of 4,400 forecasts" in page


def test_the_pit_is_drawn_as_shares(page: str) -> None:
    (bars,) = figures(page)["Probability integral transform"]
    assert decoded(bars["y"]).tolist() == [0.25, 0.5, 0.25, 0.0]
    assert decoded(bars["x"]).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_point_forecasts_have_no_calibration_and_the_page_says_so() -> None:
    bare = forecast_rows().drop(columns=["q025", "q10", "q90", "q975"])
    page = page_of(sample(part_sample(rows=scored(bare), pit={})))
    assert "have no intervals" in page
    assert not {"Calibration", "Coverage over time", "Coverage by ticker"} & set(figures(page))


def test_coverage_is_drawn_for_both_intervals_by_time_and_ticker(page: str) -> None:
    drawn = figures(page)
    for name in ("Coverage over time", "Coverage by ticker"):
        assert [t["name"] for t in drawn[name]] == ["80 % interval", "95 % interval"]
    assert sorted(drawn["Coverage by ticker"][0]["y"]) == ["T000", "T001"]


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
    curve, kept = figures(page)["Learning curve"]
    assert curve["x"] == [step for step, _ in LEARNING["seed 0"]] and (kept["x"], kept["y"]) == (
        [50],
        [0.7],
    )
    bare = evaluation_page(sample(), {}, {})
    assert "stored without its validation losses" in bare and "Learning curve" not in figures(bare)


def test_several_targets_have_a_part_and_a_conclusion_each() -> None:
    page = page_of(sample(part_sample(), part_sample("range")))
    assert '<p class="lead">Range: LSTM vs zero return' in page
    assert page.count("Gain over time</h3>") == 2
    assert place(page, "The next day&#39;s return") < place(page, "The next day&#39;s range")


def test_tables_follow_the_figures_of_their_target(page: str) -> None:
    rows = cells(page, "Comparisons")
    assert rows[1] == ["lstm vs zero-return", "MSE", "-1.23%", "0.001", "0.002", "better"]
    assert place(page, "Gain by ticker") < place(page, "Comparisons</h3>")


def test_no_name_can_break_out_of_the_page() -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    rows = forecast_rows(tickers=1).assign(ticker=evil)
    result = sample(part_sample(rows=scored(rows)), missing=(evil,), notes=(evil,))
    page = evaluation_page(result, {}, {evil: evil})
    own = page[page.index("</style>") :].replace(
        page.split("<script>")[1].split("</script>")[0], ""
    )
    assert "<script>alert" not in own and "<img" not in own


@pytest.mark.parametrize("days", [1, 2])
def test_a_single_test_day_makes_a_page(days: int) -> None:
    page = page_of(sample(part_sample(rows=scored(forecast_rows(days=days, tickers=1)))))
    assert "Gain over time" in figures(page)


def test_forecasters_without_errors_or_variety_make_a_page() -> None:
    """A constant price, forecast exactly by all."""
    rows = forecast_rows().assign(forecast=0.0, actual=0.0)
    page = page_of(sample(part_sample(rows=scored(rows))))
    assert "nothing to gain" in page and "All forecasts are 0;" in page
    undrawn = {"Gain over time", "Forecast against outcome", "Gain by ticker"}
    assert not undrawn & set(figures(page))
