"""Figures of how far back a gradient reaches.

Arrays and a table in, a page out; knows no network, no ticker and no file.

Shape letters: T days, A anchors, R lags.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.report.page import BLUE, GREY, INK, PALE, RED, Section, blank_figure, render_page

SMOOTHED = 21  # days that the local growth is averaged over


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverTime:
    """What is drawn.

    Args:
        days: (T,) calendar days of the block.
        growth: (T,) log growth of an error carried back through each day.
        stretched_days: (A,) places in `days` of the Jacobians looked at.
        stretch: (A,) their largest singular values.
        norms: (T,) norm of the state.
        cold: (W,) mean loss so many days after a start from the initial state.
        warm: (W,) that of the same days with the state carried on.
        looks: select loss by update of each training, by its name; the first is this one.
    """

    days: np.ndarray
    growth: np.ndarray
    stretched_days: np.ndarray
    stretch: np.ndarray
    norms: np.ndarray
    cold: np.ndarray
    warm: np.ndarray
    looks: Mapping[str, Sequence[tuple[int, float]]]


def growth_section(drawn: OverTime) -> Section:
    """Draw by what factor errors grow on their way through each day, and could at most."""
    smooth = pd.Series(drawn.growth).rolling(SMOOTHED, center=True, min_periods=1).mean()
    figure = blank_figure("", "factor per day")
    days = _names(drawn.days)
    figure.add_scatter(
        x=days, y=np.exp(drawn.growth), mode="lines", name="each day",
        line={"color": PALE, "width": 1},
    )  # fmt: skip
    figure.add_scatter(
        x=days, y=np.exp(smooth), mode="lines", line={"color": BLUE}, name=f"{SMOOTHED}-day mean"
    )
    figure.add_scatter(
        x=_names(drawn.days[drawn.stretched_days]), y=drawn.stretch, mode="lines",
        line={"color": RED, "width": 1}, name="largest singular value",
    )  # fmt: skip
    figure.add_hline(y=1.0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(type="date")
    return Section(
        heading="Growth of an error from day to day",
        words="The factor by which an error carried back grows on its way through each day, and "
        "the largest that any error could have: the largest singular value of the day's "
        "Jacobian. The blue line above 1 for long, and gradients explode. Days on which it falls "
        "wipe the memory.",
        figure=figure,
    )


def states_section(drawn: OverTime) -> Section:
    """Draw how large the state is on each day."""
    figure = blank_figure("", "norm of the state")
    figure.add_scatter(
        x=_names(drawn.days), y=drawn.norms, mode="lines", line={"color": BLUE}, name="state"
    )
    figure.update_xaxes(type="date")
    figure.update_yaxes(rangemode="tozero")
    return Section(
        heading="The state over time",
        words="How far the network's state lies from zero, on the mean of all series. Crises "
        "stand out where the network remembers them.",
        figure=figure,
    )


def cold_section(drawn: OverTime) -> Section:
    """Draw how much larger errors are after a start from the initial state."""
    figure = blank_figure("days since the start", "mean squared error, cold over warm")
    figure.add_scatter(
        x=np.arange(len(drawn.cold)), y=drawn.cold / drawn.warm, mode="lines+markers",
        line={"color": BLUE}, marker={"size": 4}, name="cold over warm",
    )  # fmt: skip
    figure.add_hline(y=1.0, line={"color": GREY, "dash": "dot"})
    return Section(
        heading="The error since a reset",
        words="The error of a state that was begun anew, over that of the state carried on, on "
        "the same days. Where the line has come down to 1, nothing older is used: a share just "
        "listed is forecast as well as an old one from then on, and a window need not be longer.",
        figure=figure,
    )


def looks_section(drawn: OverTime) -> Section:
    """Draw the select loss by updates, of this training and of others on the same data."""
    figure = blank_figure("updates", "select loss, scaled units")
    for number, (name, looks) in enumerate(drawn.looks.items()):
        line = {"color": BLUE, "width": 3} if number == 0 else {"width": 1.5}
        updates, losses = zip(*looks, strict=True)
        figure.add_scatter(
            x=updates, y=losses, mode="lines+markers", line=line, marker={"size": 4}, name=name
        )
    figure.update_layout(legend={"orientation": "v", "y": 1.0, "x": 1.0, "xanchor": "right"})
    figure.update_layout(font={"color": INK})
    return Section(
        heading="What the updates brought",
        words="The select block's loss by updates, not by passes: a shorter reach moves the "
        "weights more often in a pass, and would win that race by steps alone. Beside this version "
        "stand those of the same network, target and days that were trained by another plan.",
        figure=figure,
    )


def _names(days: np.ndarray) -> list[str]:
    return [str(day) for day in days]


SPANS = {"week": 5, "month": 21, "quarter": 63, "year": 252}
DEEPEST = 1e-6  # of lag 0; below it a colour or a line says nothing more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryFigures:
    """What is drawn.

    Args:
        days: (T,) calendar days of the block.
        anchors: (A,) places in `days` of the errors followed.
        by_lag: (A, R + 1) gradient of day t's error by the state k days before.
        curve: (R + 1,) its mean.
        decay: factor per day fitted to the curve's older half.
        bias: columns `reach`, `bias`.
        noise: standard error of the gradient over its norm; NaN if not known.
        tolerance: relative bias asked for.
        steps: k2 of the plan, None for full BPTT.
        stride: k1 of the plan, None for full BPTT.
        over_time: what stands over days and updates.
    """

    days: np.ndarray
    anchors: np.ndarray
    by_lag: np.ndarray
    curve: np.ndarray
    decay: float
    bias: pd.DataFrame
    noise: float
    tolerance: float
    steps: int | None
    stride: int | None
    over_time: OverTime

    @property
    def lags_drawn(self) -> int:
        """Lags up to where the curve has sunk out of sight, and a little beyond the plan's."""
        seen = np.flatnonzero(self.curve >= DEEPEST * self.curve[0]).max(initial=0)
        return min(len(self.curve), int(1.2 * max(seen, self.steps or 0, SPANS["month"])) + 1)


def memory_page(
    title: str,
    advice: str,
    facts: Mapping[str, str],
    alarms: Sequence[str],
    figures: MemoryFigures,
) -> str:
    """Draw everything on one page."""
    over_time = figures.over_time
    sections = [
        _triangle(figures),
        _curve(figures),
        _bias(figures),
        growth_section(over_time),
        states_section(over_time),
        cold_section(over_time),
        *([looks_section(over_time)] if over_time.looks else []),
    ]
    return render_page(title, advice, facts, alarms, sections)


def _triangle(figures: MemoryFigures) -> Section:
    """Colour each anchor's lags and outline those that the plan keeps."""
    lags = figures.lags_drawn
    relative = figures.by_lag[:, :lags] / figures.by_lag[:, :1]
    names = [str(day) for day in figures.days[figures.anchors]]
    figure = blank_figure("days back", "")
    figure.add_heatmap(
        z=np.log10(np.maximum(relative, DEEPEST)),
        x=np.arange(lags),
        y=np.arange(len(names)),
        customdata=np.repeat(np.array(names)[:, None], lags, axis=1),
        colorscale="Viridis",
        zmax=0.0,
        zmin=float(np.log10(DEEPEST)),
        colorbar={"title": {"text": "of lag 0", "side": "right"}, "thickness": 14,
                  "tickvals": [0, -2, -4, -6], "ticktext": ["1", "1 %", "10⁻⁴", "10⁻⁶"]},
        hovertemplate="error of %{customdata}<br>%{x} days back: 10^%{z:.2f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(tickvals=np.arange(len(names)), ticktext=names, showgrid=False)
    words = "Each row follows the errors of one day back in time, on the mean of all series."
    if figures.steps is None or figures.stride is None:
        return Section(
            heading="The triangle: what full BPTT keeps",
            words=f"{words} Full BPTT keeps all of it.",
            figure=figure,
        )
    depth = _kept(figures.anchors, figures.steps, figures.stride)
    _outline(figure, np.minimum(depth, lags))
    return Section(
        heading="The triangle: what the truncation keeps",
        words=f"{words} Inside the red line lies what --bptt-k1 {figures.stride} --bptt-k2 "
        f"{figures.steps} keeps when a block begins with the first day; how far an error reaches "
        "depends on its place in the block.",
        figure=figure,
    )


def _outline(figure: go.Figure, depth: np.ndarray) -> None:
    """Draw a line around the first (A,) cells of each row."""
    edge_x = np.repeat(depth - 0.5, 2)
    edge_y = np.column_stack([np.arange(len(depth)) - 0.5, np.arange(len(depth)) + 0.5]).ravel()
    figure.add_scatter(
        x=np.concatenate([[-0.5], edge_x, [-0.5, -0.5]]),
        y=np.concatenate([[-0.5], edge_y, [len(depth) - 0.5, -0.5]]),
        mode="lines",
        line={"color": "#ff5a36", "width": 2.5},
        name="kept",
        hoverinfo="skip",
        showlegend=False,
    )


def _kept(days: np.ndarray, steps: int, stride: int) -> np.ndarray:
    """Count the days that the error of each day travels through, its own included."""
    block = (days // stride + 1) * stride
    return np.asarray(days - np.maximum(block - steps, 0) + 1)


def _curve(figures: MemoryFigures) -> Section:
    """Draw the mean gradient by lag with its fit, the plan's reach and the calendar's spans."""
    relative = (figures.curve / figures.curve[0])[: figures.lags_drawn]
    lags = np.arange(len(relative))
    figure = blank_figure("days back", "gradient, relative to the day itself")
    figure.add_scatter(x=lags, y=relative, mode="lines", line={"color": BLUE}, name="measured")
    if 0.0 < figures.decay < 1.0:
        tail = lags[len(lags) // 2 :]
        middle = tail[len(tail) // 2]
        figure.add_scatter(
            x=tail,
            y=relative[middle] * figures.decay ** (tail - middle),
            mode="lines",
            line={"color": INK, "dash": "dot"},
            name=f"falls by a factor of {figures.decay:.4f} a day",
        )
    for name, span in SPANS.items():
        if span < len(lags):
            figure.add_scatter(
                x=[span], y=[relative[span]], mode="markers+text",
                text=[f" 1 {name}: {relative[span]:.2g} "],
                textposition="top right" if span < len(lags) / 2 else "bottom left",
                marker={"color": BLUE, "size": 8}, showlegend=False, cliponaxis=False,
            )  # fmt: skip
    if figures.steps is not None and figures.steps < len(lags):
        figure.add_vline(
            x=figures.steps, line={"color": RED, "dash": "dash"},
            annotation={"text": f"--bptt-k2 {figures.steps}", "font": {"color": RED}},
            annotation_position="top left",
        )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="power", nticks=8)
    return Section(
        heading="The gradient by lag",
        words="How strongly the state of k days ago moves the error of today, on the mean. "
        "A straight line is a memory that fades by the same share every day.",
        figure=figure,
    )


def _bias(figures: MemoryFigures) -> Section:
    """Draw the bias of the gradient by reach above the floor of its sampling noise."""
    table = figures.bias[figures.bias["bias"] > DEEPEST**2]
    figure = blank_figure("guaranteed reach k, days", "bias")
    figure.add_scatter(
        x=table["reach"], y=table["bias"], mode="lines+markers", line={"color": BLUE}, name="bias"
    )
    lines = [(figures.tolerance, INK, "tolerance", "dot"), (figures.noise, RED, "noise", "dash")]
    for level, colour, name, dash in lines:
        if np.isfinite(level) and len(table):
            ends = [table["reach"].min(), table["reach"].max()]
            figure.add_scatter(
                x=ends, y=[level, level], mode="lines", line={"color": colour, "dash": dash},
                name=f"{name} {level:.0%}",
            )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=list(table["reach"]))
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return Section(
        heading="What a shorter reach costs",
        words="The exact distance of the truncated gradient from the full one, relative to the "
        "full one, when trained with --bptt-k1 k --bptt-k2 2k. Under the noise line the "
        "days at hand tell the two apart no more: a longer reach is wasted there.",
        figure=figure,
    )
