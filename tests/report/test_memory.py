"""The page of the memory report: complete, offline, and drawn from the numbers given."""

import json
import re

import numpy as np
import pytest

from forecaster.bptt.horizon import Horizon, PlanBias
from forecaster.bptt.memory_profile import MemoryProfile
from forecaster.bptt.plan import Plan
from forecaster.bptt.states import ColdStart, StateFacts
from forecaster.forecasting.memory import MemoryReport
from forecaster.report.memory import _contributions, _kept, memory_page
from forecaster.report.page import Page, render_page
from tests.report.drawn import decoded

CURVE = 0.9 ** np.arange(41.0)


def report(*, noise: float = 0.2, plan: Plan | None = None, **changes: object) -> MemoryReport:
    profile = MemoryProfile(
        contributions={
            "core.weight_hh_l0": np.array([4.0, 2.0, 1.0]),
            "head.weight": np.array([1.0, 0.0, 0.0]),
        },
        anchors=np.array([50, 100, 199]),
        by_lag=np.vstack([CURVE, 2 * CURVE, np.full(41, np.nan)]),
        curve=CURVE,
        growth=np.full(200, np.log(0.9)),
        lyapunov=-0.1,
        states=StateFacts(
            norms=np.linspace(1.0, 2.0, 200),
            stretched_days=np.array([0, 99, 199]),
            stretch=np.array([1.1, 1.2, 1.3]),
            cold_start=ColdStart(cold=np.array([1.5, 1.0, 2.0]), warm=np.array([1.0, 1.0, 2.0])),
        ),
        biases=tuple(
            PlanBias(k1=k, k2=2 * k, bias=bias, cosine=1.0, noise_ratio=0.1)
            for k, bias in ((1, 0.5), (5, 0.1), (40, 0.0))
        ),
        own=None,
        relative_noise=noise,
        advice=Horizon(days=10, bound=0.1, declined=None),
        advised=PlanBias(k1=10, k2=20, bias=0.05, cosine=1.0, noise_ratio=0.1),
        alarms=("truncation is biting: raise --bptt-k2",),
    )
    given = {
        "version": "v1",
        "tickers": ("AAA",),
        "days": np.arange("2020-01-01", "2020-07-19", dtype="datetime64[D]"),
        "plan": plan or Plan.truncated(k1=10, k2=20),
        "tolerance": 0.1,
        "profile": profile,
        "validations": {"v1, truncated": [(25, 0.9), (50, 0.8)], "v2, full": [(25, 0.95)]},
    }
    return MemoryReport(**{**given, **changes})  # type: ignore[arg-type]


def page(**changes: object) -> str:
    return render_page(memory_page(report(**changes)))  # type: ignore[arg-type]


def drawn(html: str, number: int) -> list[dict]:
    """The traces of one figure as the page hands them to the drawing library."""
    found = re.search(rf'id="figure-{number}-data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])["data"]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    html = page()
    own = html.split("</script>", 1)[1]  # behind the drawing library itself
    assert html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")
    assert not re.search(r'<(script|link|img)[^>]*(src|href)=(?!"data:)', html)
    assert "http" not in re.sub(r"https://plot\.ly", "", own)


def test_the_page_shows_its_numbers() -> None:
    html = page()
    for text in (
        "Gradient horizon of v1",
        "is biting",
        "--bptt-k1",
        "decay</th><td>0.9000 a day",
    ):
        assert text in html
    assert html.count("<h2 id=") == 8


def test_texts_are_escaped() -> None:
    page = Page(title="<b>title</b>", lead=["a & b"], facts={"<i>": "<u>"}, warnings=["<script>"])
    html = render_page(page)
    assert "<b>title" not in html and "&lt;b&gt;title" in html
    assert "&lt;i&gt;" in html and '<p class="warning"><script>' not in html


def test_the_curve_is_drawn_with_its_fit_and_the_spans_inside_it() -> None:
    names = [trace.get("name") or trace["text"][0].strip() for trace in drawn(page(), 2)]
    assert names[0] == "measured"
    assert names[1] == "falls by a factor of 0.9000 a day"
    assert [name.split(":")[0] for name in names[2:]] == ["1 week", "1 month"]


@pytest.mark.parametrize("noise", [0.2, float("nan")])
def test_the_noise_is_drawn_where_it_is_known(noise: float) -> None:
    names = [trace["name"] for trace in drawn(page(noise=noise), 3)]
    assert names == ["bias", "tolerance 10%", *(["noise 20%"] if noise == noise else [])]


def test_the_terms_of_each_parameter_are_drawn_but_those_of_the_head() -> None:
    """Which come from the day itself alone."""
    figure = _contributions(report()).figure
    assert [line.name for line in figure.data] == ["weight_hh_l0"]
    np.testing.assert_allclose(figure.data[0].y, [1.0, 0.5, 0.25])


def test_full_bptt_has_no_outline() -> None:
    assert len(drawn(page(), 1)) == 2
    html = page(plan=Plan.full())
    assert len(drawn(html, 1)) == 1
    assert "Full BPTT keeps all of it" in html


def test_the_outline_counts_the_days_that_an_error_goes_back() -> None:
    """Chunks of 3 days with a horizon of 6: day 3 starts the second chunk, day 5 ends it."""
    np.testing.assert_array_equal(_kept(np.arange(9), 3, 6), [1, 2, 3, 4, 5, 6, 4, 5, 6])
    np.testing.assert_array_equal(_kept(np.arange(5), 3, 3), [1, 2, 3, 1, 2])


def test_growth_stands_beside_the_most_that_a_day_can_stretch() -> None:
    """Over the calendar days on which each was measured."""
    each, mean, largest = drawn(page(), 4)
    assert len(each["x"]) == len(mean["x"]) == 200
    assert largest["x"] == ["2020-01-01", "2020-04-09", "2020-07-18"]
    assert largest["name"] == "largest singular value"


def test_the_error_since_a_reset_is_relative_to_the_warm_one() -> None:
    (trace,) = drawn(page(), 6)
    values = np.array([1.5, 1.0, 1.0])
    assert trace["name"] == "cold over warm"
    assert decoded(trace["y"]).tolist() == values.tolist()


def test_validations_of_several_plans_share_one_axis_of_steps() -> None:
    """This version's first; a version stored without validations has no such figure."""
    own, other = drawn(page(), 7)
    assert (own["name"], own["x"], own["y"]) == ("v1, truncated", [25, 50], [0.9, 0.8])
    assert other["name"] == "v2, full"
    assert page(validations={}).count("<h2 id=") == 7
