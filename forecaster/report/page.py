"""One static page from tiles, figures, tables and sentences; the plotting library is beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from forecaster.errors import CannotWriteError, StorageError
from forecaster.files import output_file
from forecaster.report.ticker_series import TickerSeries

# Apart for colour-blind eyes: Okabe and Ito's palette, darkened to be read on white.
INK, BLUE, RED, GREY = "#222222", "#0069a5", "#bf4b00", "#8a8a8a"
GREEN, PURPLE, PALE = "#00805d", "#a04f7b", "#c9d6e3"
GRID, PAPER = "#e6e6e6", "#ffffff"
BENCHMARKS = (RED, GREEN, PURPLE, GREY)
DARK = {
    **{INK: "#e4e4e4", BLUE: "#56b4e9", RED: "#f28e4b", GREY: "#8c8c8c", GREEN: "#3cc79c"},
    **{PURPLE: "#dd9dc2", PALE: "#37506a", GRID: "#3a3a3a", PAPER: "#161616"},
}
HEIGHT = 400
LIBRARY = "plotly.min.js"
LONG = 12  # rows; a longer table is folded
AXIS = {"gridcolor": GRID, "linecolor": GREY, "zeroline": False, "automargin": True}
_TITLE = {"standoff": 8, "font": {"size": 13}}


def blank_figure(x: str, y: str, height: int = HEIGHT) -> go.Figure:
    """Return an empty figure in the page's style; `x` and `y` label its axes, with their units."""
    # One dict: each update of a finished layout validates all of it again.
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0.0, "xanchor": "left"}
    layout = {
        "template": "none",
        "height": height,
        "margin": {"l": 10, "r": 15, "t": 10, "b": 10},
        "font": {"color": INK, "size": 13, "family": "system-ui, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": GREY, "font": {"color": INK}},
        "colorway": [BLUE, *BENCHMARKS],
        "legend": legend,
        "xaxis": AXIS | {"title": _TITLE | {"text": x}},
        "yaxis": AXIS | {"title": _TITLE | {"text": y}},
    }
    return go.Figure(layout=layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text of a table with a `tip` that explains it."""

    text: str
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text: the first of each row is its label, the others are numbers, or `prose`.

    A column without a name holds sentences. `stressed` emphasises the first row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    prose: bool = False
    stressed: bool = False

    @property
    def folded(self) -> bool:
        """Whether the table is too long to be shown before it is asked for."""
        return len(self.rows) > LONG


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A figure or a table under its heading, with a sentence on how to read it.

    `series` is the target of a figure of one ticker, which the reader chooses. Without any of them
    it is a heading for those that follow at a deeper `level`.
    """

    heading: str
    words: str = ""
    figure: go.Figure | None = None
    table: Table | None = None
    series: str = ""
    level: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A result to be seen first: `value` under its `heading`, then `lines` that explain it."""

    heading: str
    value: str
    result: Literal["better", "worse", "undecided"]
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows, from top to bottom; every text is escaped.

    `lead` are its conclusions, `facts` label and value of what they rest on, `series` what its
    figures of one ticker draw.
    """

    title: str
    summary: str = ""
    tiles: Sequence[Tile] = ()
    headline: Section | None = None
    lead: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    series: TickerSeries | None = None


def render_page(page: Page, *, folder: str = "", standalone: bool = True) -> str:
    """Render a page as HTML.

    Args:
        page: what it shows.
        folder: of the scripts of the tickers that are not embedded, relative to the page; without
            it they cannot be chosen.
        standalone: with the plotting library inside, else it is beside the page.
    """
    loader = jinja2.PackageLoader("forecaster.report", ".")
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("page.html.jinja")
    dates = blank_figure("", "").update_xaxes(type="date")
    sections = [*([page.headline] if page.headline else []), *page.sections]
    return template.render(
        page=page,
        # plotly writes `<` as \u003c: no text in a figure can end its script element.
        drawn=[section.figure and Markup(section.figure.to_json()) for section in sections],
        series=Markup(page.series.embedded_json(folder)) if page.series else "",
        dark=Markup(json.dumps(DARK)),
        layout=Markup(json.dumps(dates.to_dict()["layout"])),
        colours={"line": BLUE, "point": INK, "outside": RED},
        library=LIBRARY,
        plotly=Markup(get_plotlyjs()) if standalone else "",
    )


def write_page(page: Page, file: Path, *, standalone: bool = False) -> int:
    """Write a page; return the bytes that it needs, with its library and data.

    Unless it is `standalone`, the plotting library is written beside it, once for all pages, and
    the series of tickers that the page does not embed as scripts in `<page>/data/`.

    Raises:
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed.
    """
    folder = file.with_suffix("") / "data"
    relative = "" if standalone else f"{folder.parent.name}/{folder.name}/"
    html = render_page(page, folder=relative, standalone=standalone).encode()
    size = len(html)
    if not standalone:  # first, so that a page is never without what it loads
        size += _write_library(file.parent / LIBRARY)
        size += _write_scripts(page.series, folder) if page.series else 0
    with output_file(file) as stream:
        stream.write(html)
    return size


def _write_scripts(series: TickerSeries, folder: Path) -> int:
    """Write the script of each ticker; return their size."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise CannotWriteError(
            f"{folder}: {error.strerror}; a folder is needed. Choose another name for the page, or "
            "give --standalone."
        ) from error
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}. Free or check the disk.") from error
    size = 0
    for name, script in series.scripts():
        with output_file(folder / name) as stream:
            stream.write(script.encode())
        size += len(script)
    return size


def _write_library(file: Path) -> int:
    """Write the plotting library unless it is there; return its size."""
    content = get_plotlyjs().encode()
    if not file.is_file() or file.read_bytes() != content:
        with output_file(file) as stream:
            stream.write(content)
    return len(content)
