"""Figures of an evaluation: small tables of `curves.py` in, sections of a page out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.evaluation.direction import Backtest
from forecaster.evaluation.significance import Comparison, Conclusion
from forecaster.report.page import AXIS, BENCHMARKS, BLUE, GREY, INK, RED, Section, blank_figure
from forecaster.report.sentences import label, p_text, percent
from forecaster.report.units import axis_title, in_units

COLOURS = (BLUE, *BENCHMARKS)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
POINTS_DRAWN, DAYS_DRAWN = 1_000, 400
NAMED_TICKERS = 40  # beyond, a figure shows them in order without their names
ROW_HEIGHT = 26
INTERVAL_STYLES = {"80 %": (BLUE, "circle"), "95 %": (RED, "diamond")}
NOMINAL_LINE = {"dash": "dot", "width": 1.5}
RESULTS: dict[Conclusion, tuple[str, str]] = {
    "better": (BLUE, "circle"),
    "no significant difference": (GREY, "circle-open"),
    "worse": (RED, "diamond"),
}


# Of the gains in squared error and in log score: heading, words, label and ticks of the axis.
GAINS = {
    "gains": (
        "Cumulative error reduction",
        "How much of each benchmark's squared error the forecasts saved, cumulated over the days. "
        "A line that rises steadily is skill; one that jumps owes it to a few days; below zero the "
        "benchmark is better. Each line ends at the skill over that benchmark.",
        *("loss saved", ".2~%"),
    ),
    "log_gains": (
        "Cumulative gain in log score",
        "The log density of the outcomes less that of each benchmark, cumulated over the days, "
        "mean of all series. It rises where the distribution was the better one.",
        *("nats per series", ""),
    ),
}


def gain_sections(found: Mapping[str, pd.DataFrame]) -> list[Section]:
    """Plot the cumulated gains over each benchmark; a sentence if no benchmark made any error."""
    sections = []
    for table, (heading, words, title, ticks) in GAINS.items():
        if found[table].empty:
            continue
        figure = blank_figure("", title)
        for number, (benchmark, rows) in enumerate(found[table].groupby("benchmark", sort=False)):
            rows = _thinned(rows)
            figure.add_scatter(
                x=rows["session"].dt.strftime("%Y-%m-%d").tolist(),
                y=_short(rows["gain"].to_numpy()), mode="lines", name=label(str(benchmark)),
                line={"color": COLOURS[number % len(COLOURS)], "width": 2,
                      "dash": DASHES[number % len(DASHES)]},
            )  # fmt: skip
        figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
        figure.update_xaxes(type="date")
        figure.update_yaxes(tickformat=ticks)
        sections.append(Section(heading=heading, words=words, figure=figure))
    if found["gains"].empty:
        words = "No benchmark made any error: there is nothing to gain."
        sections.insert(0, Section(heading="Cumulative error reduction", words=words))
    return sections


def against_sections(own: pd.DataFrame, bins: pd.DataFrame, target: str) -> list[Section]:
    """Plot outcomes against forecasts, one by one and in groups; a sentence if all are the same."""
    if own["forecast"].nunique() == 1:
        forecast, outcome = in_units(
            target, np.array([own["forecast"].iloc[0], own["actual"].mean()])
        )
        words = (
            f"All forecasts are {forecast:.6g}; the outcomes were {outcome:.6g} on average "
            f"({axis_title(target)}). Every day has the same forecast."
        )
        return [Section(heading="Forecast against outcome", words=words)]
    return [_points(own, target), _means(bins, target)]


def _points(own: pd.DataFrame, target: str) -> Section:
    """Plot each outcome against its forecast, never two lines over time."""
    step = -(-len(own) // POINTS_DRAWN)
    some = own.iloc[::step]
    labels = (some["ticker"] + some["session"].dt.strftime(" %Y-%m-%d")).tolist()
    figure = blank_figure(f"forecast {axis_title(target)}", "outcome")
    figure.add_scatter(
        x=_short(in_units(target, some["forecast"].to_numpy())),
        y=_short(in_units(target, some["actual"].to_numpy())),
        mode="markers", name="a forecast",
        marker={"color": BLUE, "size": 4, "opacity": 0.35}, customdata=labels,
        hovertemplate="%{customdata}<br>forecast %{x:.4g}, outcome %{y:.4g}<extra></extra>",
    )  # fmt: skip
    _diagonal(figure, own["forecast"], target)
    every = "Every forecast" if step == 1 else f"One in {step} of {len(own):,} forecasts"
    words = (
        f"{every} with its outcome. If the forecasts were right on average, the points would lie "
        "around the dotted line; their scatter is the part not forecast."
    )
    return Section(heading="Forecast against outcome", words=words, figure=figure)


def _means(bins: pd.DataFrame, target: str) -> Section:
    """Plot the mean outcome of groups of like forecasts against their mean."""
    figure = blank_figure(f"mean forecast {axis_title(target)}", "mean outcome")
    margin = 1.96 * bins["error"].fillna(0.0)
    forecast, actual, low, high = (
        in_units(target, values.to_numpy())
        for values in (
            bins["forecast"],
            bins["actual"],
            bins["actual"] - margin,
            bins["actual"] + margin,
        )
    )
    figure.add_scatter(
        x=forecast, y=actual, mode="markers", name="like forecasts",
        marker={"color": BLUE, "size": 8}, customdata=bins["forecasts"],
        error_y={"array": high - actual, "arrayminus": actual - low, "symmetric": False,
                 "color": BLUE, "thickness": 1.5, "width": 3},
        hovertemplate="%{customdata:,} forecasts of %{x:.4g}, outcome %{y:.4g}<extra></extra>",
    )  # fmt: skip
    _diagonal(figure, bins["forecast"], target)
    words = (
        f"The forecasts in {len(bins)} groups, lowest to highest, with the mean outcome and its "
        "95 % interval (one observation per day, not per ticker). Informative forecasts follow the "
        "dotted line; a level row means that high and low forecasts had the same outcomes."
    )
    if target != "return":
        words += " Means are geometric."
    return Section(heading="Mean outcome by forecast", words=words, figure=figure)


def _diagonal(figure: go.Figure, forecasts: "pd.Series[float]", target: str) -> None:
    ends = in_units(target, np.array([forecasts.min(), forecasts.max()])).tolist()
    figure.add_scatter(
        x=ends, y=ends, mode="lines", name="outcome = forecast", hoverinfo="skip",
        line={"color": INK, "dash": "dot", "width": 1.5},
    )  # fmt: skip
    if target != "return":  # the errors are those of logarithms
        figure.update_xaxes(type="log", nticks=6)
        figure.update_yaxes(type="log", nticks=6)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most about `DAYS_DRAWN` rows, the last among them."""
    step = -(-len(rows) // DAYS_DRAWN)
    return rows.iloc[::-step].iloc[::-1]


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def skill_section(by_target: Mapping[str, Sequence[Comparison]], own: str) -> Section:
    """Plot the error saved over every benchmark with its confidence interval, largest first.

    Args:
        by_target: the own forecaster's comparisons in squared error.
        own: the own forecaster as written in prose.
    """
    known = {
        target: sorted((one for one in found if np.isfinite(one.difference)), key=_saved)
        for target, found in by_target.items()
    }
    heights = [len(found) + 2 for found in known.values()]
    figure = blank_figure("", "", ROW_HEIGHT * sum(heights) + 90)
    top, shown = 1.0, set[str]()
    for number, ((target, found), height) in enumerate(zip(known.items(), heights, strict=True)):
        share, suffix = height / sum(heights), str(number + 1) if number else ""
        bottom = top - share * len(found) / height
        axis = {"domain": [bottom, top], "type": "category", "range": [-0.6, len(found) - 0.4]}
        ends = {"anchor": f"y{suffix}", "tickformat": ".1~%", "nticks": 7}
        title = {"text": f"{target}: error saved, 95 % interval", "standoff": 8}
        figure.update_layout({
            f"yaxis{suffix}": AXIS | axis | {"anchor": f"x{suffix}"},
            f"xaxis{suffix}": AXIS | ends | {"title": title | {"font": {"size": 13}}},
        })  # fmt: skip
        for kind, (colour, symbol) in RESULTS.items():
            if some := [one for one in found if one.conclusion == kind]:
                trace = _skill_trace(some, colour, symbol)
                axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
                figure.add_trace(
                    trace.update(axes | {"name": kind, "showlegend": kind not in shown})
                )
                shown.add(kind)
        figure.update_layout({f"yaxis{suffix}": {"categoryorder": "array", "categoryarray":
                              [label(one.benchmark) for one in found]}})  # fmt: skip
        top -= share
    words = (
        f"The share of each benchmark's mean squared error that {own} saves. The result of the "
        "test, adjusted for all tests made, decides the colour; the intervals are not adjusted."
    )
    return Section(heading="Error reduction against each benchmark", words=words, figure=figure)


def _skill_trace(some: Sequence[Comparison], colour: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[_saved(one) for one in some], y=[label(one.benchmark) for one in some],
        mode="markers", marker={"color": colour, "size": 9, "symbol": symbol},
        error_x={"array": [_width(one, one.low) for one in some],
                 "arrayminus": [_width(one, one.high) for one in some],
                 "symmetric": False, "color": colour, "thickness": 1.5, "width": 4},
        customdata=[p_text(one.decisive_p_value) for one in some],
        hovertemplate="%{y}: %{x:.2%}, adjusted %{customdata}<extra></extra>",
    )  # fmt: skip


def _saved(one: Comparison) -> float:
    return -one.difference


def _width(one: Comparison, end: float) -> float:
    return abs(end - one.difference) if np.isfinite(end) else 0.0


def backtest_sections(backtests: Mapping[str, Backtest], own: str) -> list[Section]:
    """Plot wealth and drawdown of the backtests, the own one's first."""
    known = {name: one for name, one in backtests.items() if len(one.days)}
    if not known:
        return []
    equity, drawdown = blank_figure("", "wealth, from 1"), blank_figure("", "drawdown", 260)
    for number, (name, one) in enumerate(known.items()):
        wealth = np.cumprod(np.maximum(1.0 + one.daily_returns, 0.0))
        peak = np.maximum(np.maximum.accumulate(wealth), 1.0)
        line = {"color": BLUE if name == own else GREY, "dash": DASHES[min(number, 1)]}
        days = one.days.astype("datetime64[D]").astype(str)
        table = pd.DataFrame({"day": days, "wealth": wealth, "drawdown": wealth / peak - 1.0})
        table = _thinned(table)
        for figure, values in ((equity, table["wealth"]), (drawdown, table["drawdown"])):
            figure.add_scatter(
                x=table["day"].tolist(), y=_short(values.to_numpy()), mode="lines",
                name=label(name), line=line,
            )  # fmt: skip
    for figure in (equity, drawdown):
        figure.update_xaxes(type="date")
    equity.update_yaxes(type="log", nticks=6)
    drawdown.update_yaxes(tickformat=".0%")
    words = (
        "Wealth of the strategy by the sign of the forecast, costs paid, beside that of the mean, "
        "which is mostly buy and hold."
    )
    return [
        Section(heading="Equity of the backtest", words=words, figure=equity),
        Section(heading="Drawdown of the backtest", words="", figure=drawdown),
    ]


def ticker_gains_section(gains: pd.DataFrame) -> Section:
    """Plot the gain in squared error over two benchmarks by ticker."""
    benchmarks = list(dict.fromkeys(gains["benchmark"]))[:2]
    order = gains[gains["benchmark"] == benchmarks[0]].sort_values("gain")["ticker"].tolist()
    figure, named = _ticker_figure("squared error saved", order)
    for number, benchmark in enumerate(benchmarks):
        some = gains[gains["benchmark"] == benchmark].set_index("ticker")["gain"].reindex(order)
        figure.add_scatter(
            x=some, y=order if named else np.arange(len(order)), mode="markers",
            name=str(benchmark), customdata=order,
            marker={"color": COLOURS[number], "size": 8 if named else 5,
                    "symbol": ["circle", "diamond-open"][number]},
            hovertemplate="%{customdata}: %{x:.2%}<extra>over " + benchmark + "</extra>",
        )  # fmt: skip
    figure.add_vline(x=0.0, line={"color": GREY, "width": 1})
    figure.update_xaxes(tickformat=".2~%", nticks=6)
    better = int((gains.loc[gains["benchmark"] == benchmarks[0], "gain"] > 0.0).sum())
    words = (
        f"Right of zero the forecasts have the smaller squared error. Of {len(order):,} tickers "
        f"{better:,} are better than {benchmarks[0]}; about half would be by chance."
    )
    return Section(heading="Gain by ticker", words=words, figure=figure)


def _ticker_figure(x: str, order: Sequence[str]) -> tuple[go.Figure, bool]:
    """Return an empty figure with a row per ticker, and whether tickers are named."""
    if len(order) > NAMED_TICKERS:
        return blank_figure(x, "tickers in order", 400), False
    figure = blank_figure(x, "", ROW_HEIGHT * len(order) + 120)
    figure.update_yaxes(type="category", range=[-0.6, len(order) - 0.4])
    return figure, True


def learning_section(learning: Mapping[str, Sequence[tuple[int, float]]]) -> Section:
    """Plot losses by optimizer step; a sentence where they were not stored.

    Args:
        learning: `validation` and, where it was stored, `training` losses by step.
    """
    if not any(learning.values()):
        words = "This version was stored without its validation losses."
        return Section(heading="Training and validation loss", words=words)
    figure = blank_figure("optimizer step", "loss, scaled units")
    for name, losses in learning.items():
        steps, values = zip(*losses, strict=True)
        line = {"color": BLUE} if name == "validation" else {"color": GREY, "dash": "dash"}
        figure.add_scatter(x=steps, y=values, mode="lines", name=name, line=line)
    steps, values = zip(*learning["validation"], strict=True)
    best = int(np.argmin(values))
    figure.add_scatter(
        x=[steps[best]], y=[values[best]], mode="markers", name="kept", hoverinfo="skip",
        marker={"color": BLUE, "size": 11, "symbol": "circle-open"},
    )  # fmt: skip
    words = (
        "The loss on the validation days, which are neither trained on nor tested, during "
        "training. The weights of its lowest point were kept."
    )
    return Section(heading="Training and validation loss", words=words, figure=figure)


def calibration_sections(found: Mapping[str, pd.DataFrame], *, by_ticker: bool) -> list[Section]:
    """Plot calibration and coverage of intervals; a sentence where there are none."""
    ends, pit = found["below_ends"], found["pit"]
    if ends.empty and pit.empty:
        words = "The forecasts have no intervals to compare with outcomes."
        return [Section(heading="Calibration", words=words)]
    histogram = [] if pit.empty else [_pit(pit)]
    if ends.empty:
        return histogram
    coverage = [_over_time(found["coverage_over_time"])]
    coverage += [_by_ticker(found["coverage_by_ticker"])] if by_ticker else []
    return [*histogram, _ends(ends), *coverage]


def _ends(ends: pd.DataFrame) -> Section:
    """Plot the deviation of the share of outcomes below each end of the intervals."""
    below = ends["observed"].to_numpy()
    figure = blank_figure("nominal share below", "too many below (+), too few (-)", 320)
    figure.add_bar(
        x=[f"{share:.1%}" for share in ends["nominal"]], y=ends["observed"] - ends["nominal"],
        text=[f"{share:.1%}" for share in below], textposition="outside", cliponaxis=False,
        name="observed", width=0.4, constraintext="none", marker={"color": BLUE}, showlegend=False,
        hovertemplate="%{x} nominal, %{text} observed<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    limit = 1.4 * max(float((ends["observed"] - ends["nominal"]).abs().max()), 0.01)
    figure.update_xaxes(type="category")
    figure.update_yaxes(tickformat="+.1~%", range=[-limit, limit])
    words = (
        "The share of outcomes below each end of the intervals, less the nominal share. Coverage "
        f"of the 80 % interval {percent(below[2] - below[1])}, of the 95 % interval "
        f"{percent(below[3] - below[0])}."
    )
    return Section(heading="Calibration", words=words, figure=figure)


def _pit(pit: pd.DataFrame) -> Section:
    """Plot the histogram of probability integral transforms."""
    figure = blank_figure("probability integral transform", "share of outcomes")
    figure.add_bar(
        x=(pit["low"] + pit["high"]) / 2, y=pit["share"], width=pit["high"] - pit["low"],
        marker={"color": BLUE, "opacity": 0.75}, name="outcomes", showlegend=False,
        hovertemplate="%{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=1.0 / len(pit), line={"color": INK, "dash": "dot", "width": 1.5})
    figure.update_yaxes(tickformat=".0~%", rangemode="tozero")
    figure.update_layout(bargap=0.05)
    words = (
        "The share of each distribution below the outcome. Level at the dotted line: calibrated. A "
        "hill in the middle: too wide; high ends: too narrow; a slope: too high or too low."
    )
    return Section(heading="Probability integral transform", words=words, figure=figure)


def _over_time(coverage: pd.DataFrame) -> Section:
    """Plot coverage by quarter or month."""
    figure = blank_figure("", "coverage")
    for name, rows in coverage.groupby("interval", sort=False):
        colour, symbol = INTERVAL_STYLES[str(name)]
        figure.add_scatter(
            x=rows["first"].dt.strftime("%Y-%m-%d").tolist(), y=rows["coverage"],
            mode="lines+markers", name=f"{name} interval", customdata=rows["forecasts"],
            line={"color": colour}, marker={"symbol": symbol, "size": 7},
            hovertemplate="%{y:.1%} of %{customdata:,}<extra></extra>",
        )  # fmt: skip
        figure.add_hline(y=rows["nominal"].iloc[0], line=NOMINAL_LINE | {"color": colour})
    figure.update_xaxes(type="date")
    figure.update_yaxes(tickformat=".0%")
    words = (
        "The share of outcomes inside the intervals, in periods of equal length that start on the "
        "day shown. In a dip the intervals were too narrow."
    )
    return Section(heading="Coverage over time", words=words, figure=figure)


def _by_ticker(coverage: pd.DataFrame) -> Section:
    """Plot coverage by ticker."""
    order = sorted(set(coverage["ticker"]), reverse=True)
    figure, named = _ticker_figure("coverage", order)
    worst = []
    for name, rows in coverage.groupby("interval", sort=False):
        row = rows.iloc[int((rows["coverage"] - rows["nominal"]).abs().to_numpy().argmax())]
        worst.append(f"{row['ticker']} with {percent(row['coverage'])} in the {name} interval")
        rows = rows.sort_values("ticker" if named else "coverage", ascending=not named)
        colour, symbol = INTERVAL_STYLES[str(name)]
        figure.add_scatter(
            x=rows["coverage"], y=rows["ticker"] if named else list(range(len(rows))),
            mode="markers", name=f"{name} interval", customdata=rows["ticker"],
            marker={"color": colour, "symbol": symbol, "size": 8 if named else 5},
            hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
        figure.add_vline(x=rows["nominal"].iloc[0], line=NOMINAL_LINE | {"color": colour})
    figure.update_xaxes(tickformat=".0~%")
    if named:
        figure.update_yaxes(categoryorder="array", categoryarray=order)
    words = f"Farthest from nominal: {', '.join(worst)}."
    return Section(heading="Coverage by ticker", words=words, figure=figure)
