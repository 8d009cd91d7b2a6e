"""Colours and the empty figure that every drawing of a page begins with.

A figure names colours of the light scheme; the page swaps them for `NIGHT`'s on a dark screen.
"""

import plotly.graph_objects as go

INK, BLUE, RED, GREY = "#222222", "#1f5f99", "#b3401f", "#8a8a8a"
GREEN, PURPLE, OCHRE, PALE = "#2e7d4f", "#7a4fa3", "#a87400", "#c9d6e3"
GRID, PAPER = "#e6e6e6", "#ffffff"
RIVALS = (RED, GREEN, PURPLE, OCHRE, GREY)
NIGHT = {
    INK: "#e4e4e4",
    BLUE: "#6cb2f0",
    RED: "#f2896a",
    GREY: "#8c8c8c",
    GREEN: "#6cc08b",
    PURPLE: "#bb97e0",
    OCHRE: "#dfb04e",
    PALE: "#37506a",
    GRID: "#3a3a3a",
    PAPER: "#161616",
}
HEIGHT = 400
_AXIS = {
    "gridcolor": GRID,
    "linecolor": GREY,
    "zeroline": False,
    "automargin": True,
    "title": {"standoff": 8, "font": {"size": 13}},
}


def blank_figure(x: str, y: str, height: int = HEIGHT) -> go.Figure:
    """Make a figure in the page's style, its axes named.

    Args:
        x: what the horizontal axis shows, with its unit.
        y: what the vertical axis shows, with its unit.
        height: in pixels; the width is that of the page.
    """
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 15, "t": 10, "b": 10},
        font={"color": INK, "size": 13, "family": "system-ui, sans-serif"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"bgcolor": PAPER, "bordercolor": GREY, "font": {"color": INK}},
        colorway=[BLUE, *RIVALS],
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0.0, "xanchor": "left"},
    )
    figure.update_xaxes(**_AXIS, title_text=x)
    figure.update_yaxes(**_AXIS, title_text=y)
    return figure
