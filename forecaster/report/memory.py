"""The page about a network's gradient horizon.

Arrays and a table in, a page out; knows no network, no ticker and no file.

Shape letters: T days, A anchors, R lags, W days since a cold start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.report.page import BLUE, GREY, INK, PALE, RED, Section, blank_figure, render_page

SMOOTHED = 21  # days that the local growth is averaged over
SPANS = {"week": 5, "month": 21, "quarter": 63, "year": 252}
DEEPEST = 1e-6  # relative to lag 0; smaller gradients are not visible


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryFigures:
    """The numbers behind the figures.

    Args:
        days: (T,) calendar days measured.
        anchors: (A,) places in `days` of the errors that were traced back.
        by_lag: (A, R + 1) gradient of day t's error by the state k days before.
        curve: (R + 1,) its mean.
        decay: factor per day fitted to the curve's older half.
        bias: columns `horizon`, `bias`.
        noise: standard error of the gradient over its norm; NaN if not known.
        tolerance: relative bias asked for.
        k1: of the plan, None for full BPTT.
        k2: of the plan, None for full BPTT.
        growth: (T,) log growth of an error carried back through each day.
        stretched_days: (A,) places in `days` of the Jacobians measured.
        stretch: (A,) their largest singular values.
        norms: (T,) norm of the state.
        cold: (W,) mean loss so many days after a start from the initial state.
        warm: (W,) that of the same days with the state carried on.
        validations: validation loss by optimizer step of each training, by its name; the first
            is this one.
    """

    days: np.ndarray
    anchors: np.ndarray
    by_lag: np.ndarray
    curve: np.ndarray
    decay: float
    bias: pd.DataFrame
    noise: float
    tolerance: float
    k1: int | None
    k2: int | None
    growth: np.ndarray
    stretched_days: np.ndarray
    stretch: np.ndarray
    norms: np.ndarray
    cold: np.ndarray
    warm: np.ndarray
    validations: Mapping[str, Sequence[tuple[int, float]]]

    @property
    def lags_drawn(self) -> int:
        """Lags up to where the curve is no longer visible, and a little beyond k2."""
        seen = np.flatnonzero(self.curve >= DEEPEST * self.curve[0]).max(initial=0)
        return min(len(self.curve), int(1.2 * max(seen, self.k2 or 0, SPANS["month"])) + 1)


def memory_page(
    title: str,
    advice: str,
    facts: Mapping[str, str],
    alarms: Sequence[str],
    figures: MemoryFigures,
) -> str:
    """Render everything on one page."""
    sections = [
        _by_date_and_lag(figures),
        _curve(figures),
        _bias(figures),
        _growth(figures),
        _states(figures),
        _cold_start(figures),
        *([_validations(figures)] if figures.validations else []),
    ]
    return render_page(title, advice, facts, alarms, sections)


def _by_date_and_lag(figures: MemoryFigures) -> Section:
    """Colour each anchor's lags and outline those that the plan keeps."""
    lags = figures.lags_drawn
    relative = figures.by_lag[:, :lags] / figures.by_lag[:, :1]
    names = _names(figures.days[figures.anchors])
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
    words = "Each row traces the errors of one day back in time, on the mean of all series."
    kept = "Full BPTT keeps all of it."
    if figures.k2 is not None and figures.k1 is not None:
        _outline(figure, np.minimum(_kept(figures.anchors, figures.k1, figures.k2), lags))
        kept = (
            f"The red line encloses what --bptt-k1 {figures.k1} --bptt-k2 {figures.k2} keeps when "
            "a chunk starts with the first day; the gradient horizon of an error depends on its "
            "place in the chunk."
        )
    return Section(heading="Gradient norm by date and lag", words=f"{words} {kept}", figure=figure)


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


def _kept(days: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """Count the days that the error of each day goes back, its own included."""
    chunk_end = (days // k1 + 1) * k1
    return np.asarray(days - np.maximum(chunk_end - k2, 0) + 1)


def _curve(figures: MemoryFigures) -> Section:
    """Plot the mean gradient by lag with its fit, the plan's k2 and the calendar's spans."""
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
    if figures.k2 is not None and figures.k2 < len(lags):
        figure.add_vline(
            x=figures.k2, line={"color": RED, "dash": "dash"},
            annotation={"text": f"--bptt-k2 {figures.k2}", "font": {"color": RED}},
            annotation_position="top left",
        )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="power", nticks=8)
    return Section(
        heading="Gradient norm by lag",
        words="The gradient of today's error by the state of k days ago, on the mean. "
        "A straight line is a memory that fades by the same share every day.",
        figure=figure,
    )


def _bias(figures: MemoryFigures) -> Section:
    """Plot the bias of the gradient by horizon, with the tolerance and the sampling noise."""
    table = figures.bias[figures.bias["bias"] > DEEPEST**2]
    figure = blank_figure("guaranteed gradient horizon k, days", "bias")
    figure.add_scatter(
        x=table["horizon"], y=table["bias"], mode="lines+markers", line={"color": BLUE}, name="bias"
    )
    lines = [(figures.tolerance, INK, "tolerance", "dot"), (figures.noise, RED, "noise", "dash")]
    for level, colour, name, dash in lines:
        if np.isfinite(level) and len(table):
            ends = [table["horizon"].min(), table["horizon"].max()]
            figure.add_scatter(
                x=ends, y=[level, level], mode="lines", line={"color": colour, "dash": dash},
                name=f"{name} {level:.0%}",
            )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=list(table["horizon"]))
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return Section(
        heading="Truncation bias by gradient horizon",
        words="The exact distance of the truncated gradient from the full one, relative to the "
        "full one, when trained with --bptt-k1 k --bptt-k2 2k. Below the noise line the two cannot "
        "be distinguished on these days: a longer horizon is wasted there.",
        figure=figure,
    )


def _growth(figures: MemoryFigures) -> Section:
    """Plot the factor by which errors grow on their way through each day, and its maximum."""
    smooth = pd.Series(figures.growth).rolling(SMOOTHED, center=True, min_periods=1).mean()
    figure, days = blank_figure("", "factor per day"), _names(figures.days)
    figure.add_scatter(
        x=days, y=np.exp(figures.growth), mode="lines", name="each day",
        line={"color": PALE, "width": 1},
    )  # fmt: skip
    figure.add_scatter(
        x=days, y=np.exp(smooth), mode="lines", line={"color": BLUE}, name=f"{SMOOTHED}-day mean"
    )
    figure.add_scatter(
        x=_names(figures.days[figures.stretched_days]), y=figures.stretch, mode="lines",
        line={"color": RED, "width": 1}, name="largest singular value",
    )  # fmt: skip
    figure.add_hline(y=1.0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(type="date")
    return Section(
        heading="Growth of an error from day to day",
        words="The factor by which an error carried back grows on its way through each day, and "
        "the largest factor of any error: the largest singular value of the day's Jacobian. If the "
        "blue line stays above 1, gradients explode. Days on which it falls erase the memory.",
        figure=figure,
    )


def _states(figures: MemoryFigures) -> Section:
    """Plot the norm of the state on each day."""
    figure = blank_figure("", "norm of the state")
    figure.add_scatter(
        x=_names(figures.days), y=figures.norms, mode="lines", line={"color": BLUE}, name="state"
    )
    figure.update_xaxes(type="date")
    figure.update_yaxes(rangemode="tozero")
    return Section(
        heading="State norm over time",
        words="The distance of the network's state from zero, on the mean of all series. Crises "
        "stand out where the network retains them.",
        figure=figure,
    )


def _cold_start(figures: MemoryFigures) -> Section:
    """Plot how much larger errors are after a start from the initial state."""
    figure = blank_figure("days since the start", "mean squared error, cold over warm")
    figure.add_scatter(
        x=np.arange(len(figures.cold)), y=figures.cold / figures.warm, mode="lines+markers",
        line={"color": BLUE}, marker={"size": 4}, name="cold over warm",
    )  # fmt: skip
    figure.add_hline(y=1.0, line={"color": GREY, "dash": "dot"})
    return Section(
        heading="Error after a cold start",
        words="The error with a state started from the initial one, over that with the state "
        "carried on, on the same days. Where the line has come down to 1, nothing older is used: "
        "from then on a newly listed share is forecast as well as an old one, and a window need "
        "not be longer.",
        figure=figure,
    )


def _validations(figures: MemoryFigures) -> Section:
    """Plot validation losses by optimizer step, of this training and of others on the same data."""
    figure = blank_figure("optimizer steps", "validation loss, scaled units")
    for number, (name, losses) in enumerate(figures.validations.items()):
        line = {"color": BLUE, "width": 3} if number == 0 else {"width": 1.5}
        steps, values = zip(*losses, strict=True)
        figure.add_scatter(
            x=steps, y=values, mode="lines+markers", line=line, marker={"size": 4}, name=name
        )
    figure.update_layout(legend={"orientation": "v", "y": 1.0, "x": 1.0, "xanchor": "right"})
    figure.update_layout(font={"color": INK})
    return Section(
        heading="Validation loss by optimizer step",
        words="By optimizer steps and not by epochs: a shorter gradient horizon takes more steps "
        "in an epoch, and would win that comparison by steps alone. The other lines are versions "
        "of the same network, targets and data that were trained by another BPTT plan.",
        figure=figure,
    )


def _names(days: np.ndarray) -> list[str]:
    return [str(day) for day in days]
