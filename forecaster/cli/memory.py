"""`forecaster memory`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    last_day,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from forecaster.pipeline.memory import MemoryReport

COLD_SHOWN = (0, 5, 21)
FORMATS = {"bias": ".3%", "cosine": ".6f", "bias_over_noise": ".3g"}


@command
def memory_command(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="None: the newest.")
    ] = None,
    bptt_tolerance: Annotated[
        float, typer.Option(help="Relative bias that the advised gradient horizon may have.")
    ] = 0.1,
    lags: Annotated[int, typer.Option(help="Days back that are measured.")] = 252,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with figures.")
    ] = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="The plotting library inside the page.")
    ] = False,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure how many days back a version's gradient reaches, and what truncation costs.

    Measured on the last training days (at most 1,500 of 16 series). The advised gradient
    horizon k is guaranteed to every error: --bptt-k1 k --bptt-k2 2k. Of a version with
    several members the first is measured.

    Reads: models/<version>/, data/prices.db. Creates: FILE.html if asked for.

    Example: forecaster memory --bptt-tolerance 0.05 --html memory.html
    """
    from forecaster.pipeline.arguments import check_folder

    last = last_day(as_of)
    check_folder("--html", html)
    from forecaster.pipeline.memory import memory, write_memory_page

    result = memory(version, home=home, tolerance=bptt_tolerance, lags=lags, as_of=last)
    if html is not None:
        write_memory_page(result, html, standalone=standalone)
    if json:
        _print_json(result)
    else:
        _print(result, html)


def _print_json(result: "MemoryReport") -> None:
    from dataclasses import asdict

    profile, states = result.profile, result.profile.states
    advised = profile.advised
    print_json(
        "memory",
        {
            "version": result.version,
            "tickers": result.tickers,
            "first": str(result.days[0]),
            "last": str(result.days[-1]),
            "days": len(result.days),
            "lags": profile.lags,
            "effective_memory": {f"{s:g}": k for s, k in result.effective_memory.items()},
            "decay": profile.decay,
            "half_life": profile.half_life,
            "lyapunov": profile.lyapunov,
            "gradient_by_lag": profile.curve.tolist(),
            "contributions": {
                name: norms.tolist() for name, norms in profile.contributions.items()
            },
            "largest_stretch": {"mean": states.stretch.mean(), "max": states.stretch.max()},
            "cold_start": asdict(states.cold_start),
            "validations": result.validations,
            "relative_noise": profile.relative_noise,
            "bias": result.bias,
            "own": None if profile.own is None else asdict(profile.own),
            "tolerance": result.tolerance,
            "advised": advised and {"k1": advised.k1, "k2": 2 * advised.k1, "bias": advised.bias},
            "declined": profile.advice.declined,
            "advice": result.advice,
            "alarms": profile.alarms,
        },
    )


def _print(result: "MemoryReport", file: Path | None) -> None:
    profile = result.profile
    print(f"version {result.version}")
    print(f"data    {', '.join(result.tickers)}")
    print(f"        {len(result.days):,} days {result.days[0]}..{result.days[-1]}, training days")
    print(f"bptt    {result.plan.describe()}")
    for share, lag in result.effective_memory.items():
        more = " or more" if lag == profile.lags else ""
        print(f"memory  {share:.0%} of the gradient is left {lag} trading days back{more}")
    print(f"decay   {profile.decay:.4f} a day, half-life {profile.half_life:.1f} days")
    print(f"growth  Lyapunov exponent {profile.lyapunov:+.4f} a day")
    cold = profile.states.cold_start
    for since in COLD_SHOWN:
        if since < len(cold.cold):
            excess = cold.cold[since] / cold.warm[since] - 1.0
            print(f"cold    {excess:+.1%} squared error {since} days after a cold start")
    if profile.own is not None:
        print(f"bias    {profile.own.bias:.2%} with the plan of this version")
    share = profile.relative_noise
    known = f"{share:.0%} standard error of the gradient over series"
    print(f"noise   {known if share == share else 'unknown: one series alone'}")
    print("\nbias by guaranteed gradient horizon k (--bptt-k1 k --bptt-k2 2k)")
    print_table(result.bias, FORMATS)
    print()
    for alarm in profile.alarms:
        print(f"WARNING {alarm}")
    print(f"advice  {result.advice}")
    if file is not None:
        print(f"saved   {file}")
