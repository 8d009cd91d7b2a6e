"""Figures of a network's memory over calendar days, days since a start, and updates.

Arrays in, sections of a page out; knows no network, no ticker and no file.

Shape letters: T days, A days whose Jacobian was looked at, W days since a start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.report.page import Section
from forecaster.report.style import BLUE, GREY, INK, PALE, RED, blank_figure

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
