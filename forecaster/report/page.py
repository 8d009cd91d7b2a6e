"""One static page from figures and sentences; the drawing library lies inside it.

Knows no prices, no network and no file: text out, for whoever asked to write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

INK, BLUE, RED, GREY = "#222222", "#1f5f99", "#b3401f", "#8a8a8a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A figure under its heading, with a sentence on how to read it."""

    heading: str
    words: str
    figure: go.Figure


def render_page(
    title: str,
    lead: str,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    sections: Sequence[Section],
) -> str:
    """Lay a page out; every text is escaped.

    Args:
        title: heading of the page.
        lead: the sentence that matters most.
        facts: label and value, in order.
        warnings: sentences, shown above the figures.
        sections: the figures.

    Returns:
        A whole HTML document that asks no other machine for anything.
    """
    drawn = [
        {
            "heading": section.heading,
            "words": section.words,
            "figure": section.figure.to_html(
                full_html=False,
                include_plotlyjs=False,
                div_id=f"figure-{number}",
                config={"displaylogo": False, "responsive": True},
            ),
        }
        for number, section in enumerate(sections, start=1)
    ]
    return _template().render(
        title=title,
        lead=lead,
        facts=facts,
        warnings=warnings,
        sections=drawn,
        plotly=get_plotlyjs(),
    )


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("forecaster.report", ".")
    return jinja2.Environment(loader=loader, autoescape=True).get_template("page.html.jinja")


def blank_figure(x: str, y: str) -> go.Figure:
    """Make a figure in the page's style, its axes named."""
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin={"l": 80, "r": 30, "t": 30, "b": 60},
        font={"color": INK, "size": 13},
        legend={"orientation": "h", "y": 1.08, "x": 0.0},
    )
    figure.update_xaxes(title={"text": x})
    figure.update_yaxes(title={"text": y})
    return figure
