"""The pages in a real browser: drawn, readable on a desk and on a phone, light and dark."""

import json
import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from forecaster.errors import CannotWriteError
from forecaster.report.evaluation import Details, evaluation_page
from forecaster.report.page import write_page
from tests.report.chromium import BINARY, Tab, chromium
from tests.report.drawn import figures
from tests.report.samples import (
    DETAILS,
    LEARNING,
    forecast_rows,
    page_of,
    part_sample,
    sample,
    scored,
)
from tests.report.test_memory import page as memory_page_of_samples

WIDTHS, SCHEMES = (1280, 390), (False, True)

# Of each figure: how many traces it was given, how many left a mark that can be seen, and the
# texts that stick out of it.
LOOK = """[...document.querySelectorAll(".figure:not(.series)")].map((figure) => {
  const seen = (mark) => {
    const { width, height } = mark.getBoundingClientRect();
    const { opacity, visibility } = getComputedStyle(mark);
    return Math.max(width, height) > 1 && opacity > 0 && visibility === "visible";
  };
  const marks = "path.js-line, path.point, .point path, .text, image";
  const traces = [...figure.querySelectorAll(".cartesianlayer .trace, .cartesianlayer .hm")];
  const frame = figure.getBoundingClientRect();
  const outside = (text) => {
    const box = text.getBoundingClientRect();
    return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1
      || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
  };
  const texts = [...figure.querySelectorAll("svg text")];
  return {
    given: (figure.data ?? []).length,
    drawn: traces.filter((trace) => [...trace.querySelectorAll(marks)].some(seen)).length,
    clipped: texts.filter(outside).map((text) => text.textContent),
    smallest: Math.min(...texts.map((text) => parseFloat(getComputedStyle(text).fontSize))),
  };
})"""
POINTS = 'document.querySelector(".figure.series").data.at(-1).y.length'
PAGE_WIDTH = "document.documentElement.scrollWidth"
COLOURS = """(() => {
  const text = document.querySelector(".figure svg text");
  const body = getComputedStyle(document.body);
  return [body.backgroundColor, body.color, getComputedStyle(text).fill];
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser for this file's tests; where there is none they are skipped, and fail in CI."""
    if BINARY is None:
        reason = "no chromium on this machine: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page, with the longest names that it must bear."""
    folder = tmp_path_factory.mktemp("pages")
    rows = forecast_rows(days=60, tickers=45)
    rows["ticker"] += ".VERYLONGNAME"
    long = sample(part_sample(rows=scored(rows)), version="20200101-120000-lstm-abcdef01" * 4)
    settings = {"fingerprint": "0123456789abcdef" * 8, "tickers": "T000, " * 200}
    texts = {
        "evaluation": page_of(),
        "long": page_of(long, Details(learning=LEARNING, settings=settings)),
        "memory": memory_page_of_samples(),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in texts}


# In the fast tests two pages, with each width and each scheme among them.
SOON = {("evaluation", 1280, True), ("memory", 390, False)}


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        pytest.param(*shown, marks=[] if shown in SOON else pytest.mark.slow)
        for shown in product(("evaluation", "long", "memory"), WIDTHS, SCHEMES)
    ],
)
def test_every_figure_is_drawn_and_nothing_complains(
    tab: Tab, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    """At both widths and in both schemes, asking for nothing but the file itself."""
    tab.open(pages[name], width=width, dark=dark)
    assert tab.complaints == []
    asked = [url for url in tab.requests if not url.startswith("data:")]
    assert asked == [pages[name].resolve().as_uri()]
    found = tab.ask(LOOK)
    assert [f["drawn"] for f in found] == [f["given"] for f in found]
    assert len(found) >= 7 and all(f["given"] for f in found)
    assert [f["clipped"] for f in found] == [[]] * len(found)
    assert min(f["smallest"] for f in found) > 9
    assert tab.ask(PAGE_WIDTH) <= width


def broken(page: Path, name: str, text: str, replacement: str) -> Path:
    """Write a copy of a page with one text replaced."""
    content = page.read_text()
    assert content.count(text) >= 1
    copy = page.with_name(f"{name}.html")
    copy.write_text(content.replace(text, replacement, 1))
    return copy


@pytest.mark.slow
def test_without_its_data_a_figure_is_empty(tab: Tab, pages: dict[str, Path]) -> None:
    """So that a figure seen is a figure drawn from the numbers given."""
    content = pages["evaluation"].read_text()
    first = re.search(r'-data">(.*?)</script>', content, re.S)
    assert first
    traces = json.loads(first[1])
    for trace in traces["data"]:
        trace["y"] = []
    copy = broken(pages["evaluation"], "no-data", first[1], json.dumps(traces))
    tab.open(copy)
    without, *others = tab.ask(LOOK)
    assert (without["given"], without["drawn"]) == (2, 0)
    assert all(figure["drawn"] == figure["given"] for figure in others)


@pytest.mark.slow
def test_a_script_that_fails_and_a_foreign_request_would_be_found(
    tab: Tab, pages: dict[str, Path]
) -> None:
    data = broken(pages["evaluation"], "no-json", '-data">{"', '-data">{{"')
    tab.open(data)
    assert "SyntaxError" in str(tab.complaints)
    image = '<h1><img src="http://127.0.0.1:9/x.png">'
    tab.open(broken(pages["evaluation"], "image", "<h1>", image))
    tab.settle()
    assert "http://127.0.0.1:9/x.png" in tab.requests


@pytest.mark.slow
def test_a_wide_table_would_be_seen_to_overflow(tab: Tab, pages: dict[str, Path]) -> None:
    """Were it not for the frame in which it scrolls."""
    copy = broken(pages["evaluation"], "wide", ".wide { overflow-x: auto;", ".wide {")
    tab.open(copy, width=390)
    assert tab.ask(PAGE_WIDTH) > 390


@pytest.mark.slow
def test_figures_follow_the_screen_from_light_to_dark(tab: Tab, pages: dict[str, Path]) -> None:
    """Light paper with dark ink, then the reverse, without loading again."""
    tab.open(pages["evaluation"], dark=False)
    day = tab.ask(COLOURS)
    assert day == ["rgb(255, 255, 255)", "rgb(34, 34, 34)", "rgb(34, 34, 34)"]
    tab.scheme(dark=True)
    tab.settle()
    assert tab.ask(COLOURS) == ["rgb(22, 22, 22)", "rgb(228, 228, 228)", "rgb(228, 228, 228)"]
    assert all(figure["drawn"] == figure["given"] for figure in tab.ask(LOOK))


def test_the_browser_sees_the_figures_that_the_page_holds(tab: Tab, pages: dict[str, Path]) -> None:
    """None is left out for want of an element to be drawn into."""
    tab.open(pages["evaluation"])
    held = figures(pages["evaluation"].read_text())
    assert [figure["given"] for figure in tab.ask(LOOK)] == [len(t) for t in held.values()]


def test_a_ticker_that_the_page_does_not_embed_is_loaded_when_chosen(
    tab: Tab, tmp_path: Path
) -> None:
    """Of 14 tickers 12 are embedded with 250 days; the others, and all days, come as scripts."""
    result = sample(part_sample(rows=scored(forecast_rows(days=260, tickers=14))))
    page, file = evaluation_page(result, DETAILS), tmp_path / "page.html"
    size = write_page(page, file)
    assert {path.name for path in tmp_path.iterdir()} == {"page", "page.html", "plotly.min.js"}
    assert size == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    tab.open(file)
    assert tab.complaints == [] and tab.ask(POINTS) == 120
    choose = """((kind, value) => {
      const select = document.querySelector("select." + kind);
      select.value = value;
      select.dispatchEvent(new Event("change"));
    })"""
    left = next(t for t in page.series.tickers if t not in page.series.embedded)
    tab.ask(f"{choose}('ticker', '{left}')")
    tab.ask(f"{choose}('span', '0')")
    tab.ask("new Promise((done) => setTimeout(done, 500))")
    assert tab.ask(POINTS) == 260 and tab.complaints == []
    assert tab.requests[-1].endswith(f"/page/data/{left}.js")
    held = tab.ask('document.querySelector(".figure.series").data.at(-1).y')
    np.testing.assert_allclose(held, page.series.columns(left)["return"]["actual"])


def test_a_page_whose_data_has_no_place_is_not_written(tmp_path: Path) -> None:
    """A file lies where its folder should be: the older page stays, and the remedy is named."""
    page, file = evaluation_page(sample(), DETAILS), tmp_path / "page.html"
    file.write_text("older")
    (tmp_path / "page").write_text("in the way")
    with pytest.raises(CannotWriteError, match="--standalone"):
        write_page(page, file)
    assert file.read_text() == "older"
    assert write_page(page, file, standalone=True) == file.stat().st_size
