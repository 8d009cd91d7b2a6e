"""One static page from figures, tables and sentences; the drawing library lies inside it.

Knows no prices, no network and no file: text out, for whoever asked to write.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from forecaster.report.style import NIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells in words: the first of each row names it, the others are numbers, or `prose`.

    A column without a name holds sentences.
    The first row is `stressed` where it is what the others are held against.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: bool = False
    stressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Something to look at under its heading, with a sentence on how to read it.

    Without a figure or a table it is a heading for those that follow at a deeper `level`.
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
    """Lay a page out; every text is escaped.

    Args:
        title: heading of the page.
        lead: the sentence that matters most; or groups of such, the first of each stressed.
        facts: label and value, in order.
        warnings: sentences that shout, shown above everything else.
        sections: what is shown, in order.
        notes: sentences that a reader must have in mind, without shouting.

    Returns:
        A whole HTML document that asks no other machine for anything.
    """
    return _template().render(
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
        night=Markup(json.dumps(NIGHT)),
        plotly=Markup(get_plotlyjs()),
    )


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("forecaster.report", ".")
    return jinja2.Environment(loader=loader, autoescape=True).get_template("page.html.jinja")
