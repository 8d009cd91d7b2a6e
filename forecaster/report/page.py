"""One static page from figures, tables and sentences, with the plotting library inside."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

INK, BLUE, RED, GREY = "#222222", "#1f5f99", "#b3401f", "#8a8a8a"
GREEN, PURPLE, OCHRE, PALE = "#2e7d4f", "#7a4fa3", "#a87400", "#c9d6e3"
GRID, PAPER = "#e6e6e6", "#ffffff"
BENCHMARKS = (RED, GREEN, PURPLE, OCHRE, GREY)
DARK = {
    **{INK: "#e4e4e4", BLUE: "#6cb2f0", RED: "#f2896a", GREY: "#8c8c8c", GREEN: "#6cc08b"},
    **{PURPLE: "#bb97e0", OCHRE: "#dfb04e", PALE: "#37506a", GRID: "#3a3a3a", PAPER: "#161616"},
}
HEIGHT = 400
_AXIS = {"gridcolor": GRID, "linecolor": GREY, "zeroline": False, "automargin": True}
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
        "xaxis": _AXIS | {"title": _TITLE | {"text": x}},
        "yaxis": _AXIS | {"title": _TITLE | {"text": y}},
    }
    return go.Figure(layout=layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text: the first of each row is its label, the others are numbers, or `prose`.

    A column without a name holds sentences. `stressed` emphasises the first row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: bool = False
    stressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A figure or a table under its heading, with a sentence on how to read it.

    Without either it is a heading for those that follow at a deeper `level`.
    """

    heading: str
    words: str = ""
    figure: go.Figure | None = None
    table: Table | None = None
    level: int = 2


def render_page(
    title: str,
    lead: str | Sequence[Sequence[str]],
    facts: Mapping[str, str],
    warnings: Sequence[str],
    sections: Sequence[Section],
    *,
    notes: Sequence[str] = (),
) -> str:
    """Render a page; every text is escaped.

    Args:
        title: heading of the page.
        lead: the most important sentence; or groups of sentences, the first of each stressed.
        facts: label and value, in order.
        warnings: sentences shown above everything else.
        sections: what is shown, in order.
        notes: sentences shown below the lead.
    """
    loader = jinja2.PackageLoader("forecaster.report", ".")
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("page.html.jinja")
    return template.render(
        title=title,
        lead=[[lead]] if isinstance(lead, str) else lead,
        facts=facts,
        warnings=warnings,
        notes=notes,
        sections=[
            # plotly writes `<` as \u003c: no text in a figure can end its script element.
            {"section": section, "figure": section.figure and Markup(section.figure.to_json())}
            for section in sections
        ],
        dark=Markup(json.dumps(DARK)),
        plotly=Markup(get_plotlyjs()),
    )
