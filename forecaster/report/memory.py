"""The page about a network's gradient horizon. Shape letters: A anchors."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.report.page import BLUE, GREY, INK, PALE, RED, Page, Section, blank_figure

if TYPE_CHECKING:
    from forecaster.forecasting.memory import MemoryReport

SMOOTHED = 21  # days that the local growth is averaged over
SPANS = {"week": 5, "month": 21, "quarter": 63, "year": 252}
DEEPEST = 1e-6  # relative to lag 0; smaller gradients are not visible


def memory_page(report: "MemoryReport") -> Page:
    """Return the page of a memory report."""
    sections = [
        _by_date_and_lag(report),
        _curve(report),
        _bias(report),
        _growth(report),
        _states(report),
        _cold_start(report),
        *([_validations(report)] if report.validations else []),
        _contributions(report),
    ]
    title = f"Gradient horizon of {report.version}"
    return Page(
        title=title,
        lead=[report.advice],
        facts=_facts(report),
        warnings=report.profile.alarms,
        sections=sections,
    )


def _facts(report: "MemoryReport") -> dict[str, str]:
    profile, own = report.profile, report.profile.own
    left = [
        f"{share:.0%}: {lag} days{' or more' if lag == profile.lags else ''}"
        for share, lag in report.effective_memory.items()
    ]
    return {
        "plan of this version": report.plan.describe(),
        "its bias": "none" if own is None else f"{own.bias:.2%}",
        "gradient left": ", ".join(left),
        "decay": f"{profile.decay:.4f} a day, half-life {profile.half_life:.1f} days",
        "Lyapunov exponent": f"{profile.lyapunov:+.4f} a day",
        "noise": f"standard error {profile.relative_noise:.0%} of the gradient's norm",
        "measured on": f"{len(report.tickers)} series ({', '.join(report.tickers)}), "
        f"{len(report.days):,} training days {report.days[0]}..{report.days[-1]}",
    }


def _lags_drawn(report: "MemoryReport") -> int:
    """Count the lags up to where the curve is no longer visible, and a little beyond k2."""
    curve = report.profile.curve
    seen = np.flatnonzero(curve >= DEEPEST * curve[0]).max(initial=0)
    return min(len(curve), int(1.2 * max(seen, report.plan.k2 or 0, SPANS["month"])) + 1)


def _by_date_and_lag(report: "MemoryReport") -> Section:
    """Plot each anchor's gradient by lag and mark the lags that the plan keeps."""
    lags = _lags_drawn(report)
    relative = report.profile.by_lag[:, :lags] / report.profile.by_lag[:, :1]
    names = _names(report.days[report.profile.anchors])
    figure = blank_figure("days back", "")
    figure.add_heatmap(
        z=np.log10(np.maximum(relative, DEEPEST)), x=np.arange(lags), y=np.arange(len(names)),
        customdata=np.repeat(np.array(names)[:, None], lags, axis=1),
        colorscale="Viridis", zmax=0.0, zmin=float(np.log10(DEEPEST)),
        colorbar={"title": {"text": "of lag 0", "side": "right"}, "thickness": 14,
                  "tickvals": [0, -2, -4, -6], "ticktext": ["1", "1 %", "10⁻⁴", "10⁻⁶"]},
        hovertemplate="error of %{customdata}<br>%{x} days back: 10^%{z:.2f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(tickvals=np.arange(len(names)), ticktext=names, showgrid=False)
    words = "Each row traces the errors of one day back in time, on the mean of all series."
    kept = "Full BPTT keeps all of it."
    k1, k2 = report.plan.k1 or report.plan.k2, report.plan.k2
    if k1 is not None and k2 is not None:
        _outline(figure, np.minimum(_kept(report.profile.anchors, k1, k2), lags))
        kept = (
            f"A red mark ends what --bptt-k1 {k1} --bptt-k2 {k2} keeps when "
            "a chunk starts with the first day; the gradient horizon of an error depends on its "
            "place in the chunk."
        )
    return Section(heading="Gradient norm by date and lag", words=f"{words} {kept}", figure=figure)


def _outline(figure: go.Figure, depth: np.ndarray) -> None:
    """Mark the end of the first (A,) cells of each row; rows are months apart and not joined."""
    rows = np.arange(len(depth))
    gaps = np.full(len(depth), np.nan)
    figure.add_scatter(
        x=np.column_stack([depth - 0.5, depth - 0.5, gaps]).ravel(),
        y=np.column_stack([rows - 0.5, rows + 0.5, gaps]).ravel(),
        mode="lines", line={"color": RED, "width": 3}, name="kept",
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _kept(days: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """Count the days that the error of each day goes back, its own included."""
    chunk_end = (days // k1 + 1) * k1
    return np.asarray(days - np.maximum(chunk_end - k2, 0) + 1)


def _curve(report: "MemoryReport") -> Section:
    """Plot the mean gradient by lag with its fit, the plan's k2 and the calendar's spans."""
    curve, decay, k2 = report.profile.curve, report.profile.decay, report.plan.k2
    relative = (curve / curve[0])[: _lags_drawn(report)]
    lags = np.arange(len(relative))
    figure = blank_figure("days back", "gradient, relative to the day itself")
    _add_line(figure, lags, relative, "measured", color=BLUE)
    if 0.0 < decay < 1.0:
        tail = lags[len(lags) // 2 :]
        middle = tail[len(tail) // 2]
        fit, name = relative[middle] * decay ** (tail - middle), f"falls by a factor of {decay:.4f}"
        _add_line(figure, tail, fit, f"{name} a day", color=INK, dash="dot")
    for name, span in SPANS.items():
        if span < len(lags):
            figure.add_scatter(
                x=[span], y=[relative[span]], mode="markers+text",
                text=[f" 1 {name}: {relative[span]:.2g} "],
                textposition="top right" if span < len(lags) / 2 else "bottom left",
                marker={"color": BLUE, "size": 8}, showlegend=False, cliponaxis=False,
            )  # fmt: skip
    if k2 is not None and k2 < len(lags):
        figure.add_vline(
            x=k2, line={"color": RED, "dash": "dash"},
            annotation={"text": f"--bptt-k2 {k2}", "font": {"color": RED}},
            annotation_position="top left",
        )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="power", nticks=8)
    return Section(
        heading="Gradient norm by lag",
        words="The gradient of today's error by the state of k days ago, on the mean. "
        "A straight line is a memory that fades by the same share every day.",
        figure=figure,
    )


def _contributions(report: "MemoryReport") -> Section:
    """Plot what each day back adds to the gradient of each parameter of the network's core."""
    lags = np.arange(_lags_drawn(report))
    figure = blank_figure("days back", "norm of the terms, over the largest")
    for name, norms in report.profile.contributions.items():
        if norms[1:].any():  # the head's gradient comes from the day itself alone
            _add_line(figure, lags, norms[: len(lags)] / norms.max(), name.split(".")[-1])
    figure.update_yaxes(type="log", exponentformat="power")
    return Section(
        heading="Contributions to the gradient of each parameter",
        words="The gradient of a weight is a sum over days back, as the same weight is used on "
        "each of them. Each line has the norm of its terms, over the largest one.",
        figure=figure,
    )


def _bias(report: "MemoryReport") -> Section:
    """Plot the bias of the gradient by horizon, with the tolerance and the sampling noise."""
    table = report.bias[report.bias["bias"] > DEEPEST**2]
    figure = blank_figure("guaranteed gradient horizon k, days", "bias")
    _add_line(figure, table["horizon"], table["bias"], "bias", marked=True, color=BLUE)
    noise = report.profile.relative_noise
    lines = [(report.tolerance, INK, "tolerance", "dot"), (noise, RED, "noise", "dash")]
    for level, colour, name, dash in lines:
        if np.isfinite(level) and len(table):
            ends = [table["horizon"].min(), table["horizon"].max()]
            _add_line(figure, ends, [level] * 2, f"{name} {level:.0%}", color=colour, dash=dash)
    figure.update_xaxes(type="log", tickvals=list(table["horizon"]))
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return Section(
        heading="Truncation bias by gradient horizon",
        words="The exact distance of the truncated gradient from the full one, relative to the "
        "full one, when trained with --bptt-k1 k --bptt-k2 2k. Below the noise line the two cannot "
        "be distinguished on these days: a longer horizon is wasted there.",
        figure=figure,
    )


def _growth(report: "MemoryReport") -> Section:
    """Plot the factor by which errors grow on their way through each day, and its maximum."""
    states, growth = report.profile.states, report.profile.growth
    smooth = pd.Series(growth).rolling(SMOOTHED, center=True, min_periods=1).mean()
    figure, days = blank_figure("", "factor per day"), _names(report.days)
    stretched = _names(report.days[states.stretched_days])
    _add_line(figure, days, np.exp(growth), "each day", color=PALE, width=1)
    _add_line(figure, days, np.exp(smooth), f"{SMOOTHED}-day mean", color=BLUE)
    _add_line(figure, stretched, states.stretch, "largest singular value", color=RED, width=1)
    figure.add_hline(y=1.0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(type="date")
    return Section(
        heading="Growth of an error from day to day",
        words="The factor by which an error carried back grows on its way through each day, and "
        "the largest factor of any error: the largest singular value of the day's Jacobian. If the "
        "blue line stays above 1, gradients explode. Days on which it falls erase the memory.",
        figure=figure,
    )


def _states(report: "MemoryReport") -> Section:
    """Plot the norm of the state on each day."""
    figure = blank_figure("", "norm of the state")
    _add_line(figure, _names(report.days), report.profile.states.norms, "state", color=BLUE)
    figure.update_xaxes(type="date")
    figure.update_yaxes(rangemode="tozero")
    return Section(
        heading="State norm over time",
        words="The distance of the network's state from zero, on the mean of all series. Crises "
        "stand out where the network retains them.",
        figure=figure,
    )


def _cold_start(report: "MemoryReport") -> Section:
    """Plot how much larger errors are after a start from the initial state."""
    start = report.profile.states.cold_start
    figure = blank_figure("days since the start", "mean squared error, cold over warm")
    days, ratio = np.arange(len(start.cold)), start.cold / start.warm
    _add_line(figure, days, ratio, "cold over warm", marked=True, color=BLUE)
    figure.update_traces(marker={"size": 4})
    figure.add_hline(y=1.0, line={"color": GREY, "dash": "dot"})
    return Section(
        heading="Error after a cold start",
        words="The error with a state started from the initial one, over that with the state "
        "carried on, on the same days. Where the line has come down to 1, nothing older is used: "
        "from then on a newly listed share is forecast as well as an old one, and a window need "
        "not be longer.",
        figure=figure,
    )


def _validations(report: "MemoryReport") -> Section:
    """Plot validation losses by optimizer step, of this training and of others on the same data."""
    figure = blank_figure("optimizer steps", "validation loss, scaled units")
    for number, (name, losses) in enumerate(report.validations.items()):
        line = {"color": BLUE, "width": 3} if number == 0 else {"width": 1.5}
        steps, values = zip(*losses, strict=True)
        _add_line(figure, steps, values, name, marked=True, **line)
    figure.update_traces(marker={"size": 4})
    legend = {"orientation": "v", "y": 1.0, "x": 1.0, "xanchor": "right"}
    figure.update_layout(legend=legend, font={"color": INK})
    return Section(
        heading="Validation loss by optimizer step",
        words="By optimizer steps and not by epochs: a shorter gradient horizon takes more steps "
        "in an epoch, and would win that comparison by steps alone. The other lines are versions "
        "of the same network, targets and data that were trained by another BPTT plan.",
        figure=figure,
    )


def _add_line(
    figure: go.Figure, x: Any, y: Any, name: str, *, marked: bool = False, **line: Any
) -> None:
    figure.add_scatter(x=x, y=y, mode="lines+markers" if marked else "lines", name=name, line=line)


def _names(days: np.ndarray) -> list[str]:
    return [str(day) for day in days]
