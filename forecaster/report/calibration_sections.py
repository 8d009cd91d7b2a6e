"""Figures of how far intervals and distributions can be trusted.

Small tables of `curves.py` in, sections of a page out.
"""

import pandas as pd

from forecaster.report.evaluation_sections import NAMED_TICKERS, ROW_HEIGHT
from forecaster.report.page import Section
from forecaster.report.style import BLUE, GREY, INK, RED, blank_figure

COLOURS = {"80 %": BLUE, "95 %": RED}
SYMBOLS = {"80 %": "circle", "95 %": "diamond"}


def calibration_sections(found: dict[str, pd.DataFrame]) -> list[Section]:
    """Draw everything about intervals, or say that there are none."""
    ends, pit = found["below_ends"], found["pit"]
    if ends.empty and pit.empty:
        words = "The forecasts state no intervals, so there is nothing to hold against outcomes."
        return [Section(heading="Calibration", words=words, level=3)]
    return [
        *([] if ends.empty else [_ends(ends)]),
        *([] if pit.empty else [_pit(pit)]),
        *([] if ends.empty else [_over_time(found["coverage_over_time"])]),
        *([] if ends.empty else [_by_ticker(found["coverage_by_ticker"])]),
    ]


def _ends(ends: pd.DataFrame) -> Section:
    """Draw by how much the share of outcomes below each end of the intervals is off."""
    below = ends["observed"].to_numpy()
    figure = blank_figure("share that should lie below", "too many below (+), too few (-)", 320)
    figure.add_bar(
        x=[f"{share:.1%}" for share in ends["stated"]], y=ends["observed"] - ends["stated"],
        text=[f"{share:.1%}" for share in below], textposition="outside", cliponaxis=False,
        name="came", width=0.4, constraintext="none", marker={"color": BLUE}, showlegend=False,
        hovertemplate="%{x} stated, %{text} came<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    reach = 1.4 * max(float((ends["observed"] - ends["stated"]).abs().max()), 0.01)
    figure.update_xaxes(type="category")
    figure.update_yaxes(tickformat="+.1~%", range=[-reach, reach])
    return Section(
        heading="Calibration",
        words="How many outcomes fell below each end of the intervals, and how far that is from "
        f"what the end promised. The 80 % interval held {below[2] - below[1]:.1%} of them, the "
        f"95 % interval {below[3] - below[0]:.1%}.",
        figure=figure,
        level=3,
    )


def _pit(pit: pd.DataFrame) -> Section:
    """Draw where outcomes fell in the distributions forecast for them."""
    figure = blank_figure("place of the outcome in its distribution", "share of outcomes")
    figure.add_bar(
        x=(pit["low"] + pit["high"]) / 2, y=pit["share"], width=pit["high"] - pit["low"],
        marker={"color": BLUE, "opacity": 0.75}, name="outcomes", showlegend=False,
        hovertemplate="%{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=1.0 / len(pit), line={"color": INK, "dash": "dot", "width": 1.5})
    figure.update_yaxes(tickformat=".0~%", rangemode="tozero")
    figure.update_layout(bargap=0.05)
    return Section(
        heading="Probability integral transform",
        words="The share of each distribution that lay below what came. Level at the dotted line: "
        "calibrated. A hill in the middle: too wide; high ends: too narrow; a slope: too high or "
        "too low.",
        figure=figure,
        level=3,
    )


def _over_time(coverage: pd.DataFrame) -> Section:
    """Draw the share of outcomes inside the intervals by quarter or month."""
    figure = blank_figure("", "share inside")
    for name, rows in coverage.groupby("interval", sort=False):
        figure.add_scatter(
            x=rows["first"].dt.strftime("%Y-%m-%d").tolist(), y=rows["coverage"],
            mode="lines+markers", name=f"{name} interval", customdata=rows["forecasts"],
            line={"color": COLOURS[str(name)]}, marker={"symbol": SYMBOLS[str(name)], "size": 7},
            hovertemplate="%{y:.1%} of %{customdata:,}<extra></extra>",
        )  # fmt: skip
        figure.add_hline(
            y=rows["nominal"].iloc[0],
            line={"color": COLOURS[str(name)], "dash": "dot", "width": 1.5},
        )
    figure.update_xaxes(type="date")
    figure.update_yaxes(tickformat=".0%")
    return Section(
        heading="Coverage over time",
        words="How many outcomes fell inside, in stretches of equal length that begin on the day "
        "shown. A dip is a time that the intervals did not foresee.",
        figure=figure,
        level=3,
    )


def _by_ticker(coverage: pd.DataFrame) -> Section:
    """Draw the share of outcomes inside the intervals ticker by ticker."""
    order = sorted(set(coverage["ticker"]), reverse=True)
    named = len(order) <= NAMED_TICKERS
    height = ROW_HEIGHT * len(order) + 120 if named else 400
    figure = blank_figure("share inside", "" if named else "tickers in order", height)
    for name, rows in coverage.groupby("interval", sort=False):
        rows = rows.sort_values("ticker" if named else "coverage", ascending=not named)
        figure.add_scatter(
            x=rows["coverage"], y=rows["ticker"] if named else list(range(len(rows))),
            mode="markers", name=f"{name} interval", customdata=rows["ticker"],
            marker={"color": COLOURS[str(name)], "symbol": SYMBOLS[str(name)],
                    "size": 8 if named else 5},
            hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
        figure.add_vline(
            x=rows["nominal"].iloc[0],
            line={"color": COLOURS[str(name)], "dash": "dot", "width": 1.5},
        )
    figure.update_xaxes(tickformat=".0~%")
    if named:
        figure.update_yaxes(
            type="category",
            categoryorder="array",
            categoryarray=order,
            range=[-0.6, len(order) - 0.4],
        )
    worst = [_farthest(rows) for _, rows in coverage.groupby("interval", sort=False)]
    return Section(
        heading="Coverage by ticker",
        words=f"Farthest from what is stated: {', '.join(worst)}.",
        figure=figure,
        level=3,
    )


def _farthest(rows: pd.DataFrame) -> str:
    """Name the ticker whose share inside is farthest from the interval's, with the share."""
    far = (rows["coverage"] - rows["nominal"]).abs().to_numpy().argmax()
    row = rows.iloc[int(far)]
    return f"{row['ticker']} with {row['coverage']:.1%} in the {row['interval']} interval"
