"""`forecaster retrain`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    day,
    print_error,
    print_json,
    print_next,
)

if TYPE_CHECKING:
    from forecaster.pipeline.retrain import Plan, RetrainReport, SessionReport


@command
def retrain_command(
    context: typer.Context,
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Model name that the champion is of [its targets].")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch/--no-fetch", help="Ask the source for what is missing.")
    ] = True,
    as_of: AsOfOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the daily job: fetch prices, check them, forecast, score, and retrain when due.

    A session is due once it is final; the first run does the newest alone, later ones all since.
    A finished session is never repeated, so it may run at any hour, any number of times. --as-of
    replays up to a day, on the stored prices. Training settings without an option here are read
    from forecaster.toml.

    Reads: the source, data/prices.db, forecaster.toml. Creates: bars, models/<version>/, rows in
    models/registry.db, a line in logs/forecaster.log.

    Example: forecaster retrain --as-of 2018-12-31
    """
    from forecaster.pipeline.retrain import on_failure, retrain
    from forecaster.settings import resolve_home

    where = resolve_home(home)
    with on_failure(context.obj["retrain"]["on_failure"] or "") as failure:
        settings = read_settings(context, where)
        failure.command = settings.retrain.on_failure
        report = retrain(
            tickers or (),
            settings=settings,
            name=name,
            home=where,
            as_of=day(as_of),
            no_fetch=not fetch,
            dry_run=dry_run,
        )
        _show(report, json=json, quiet=quiet)
        if report.exit_code:
            print_error(report.reason)
            failure.run(report.exit_code, report.reason)
    if report.exit_code:
        raise typer.Exit(report.exit_code)
    if not (json or quiet or dry_run):
        print_next("status", home)


def _show(report: "RetrainReport", *, json: bool, quiet: bool) -> None:
    if json:
        print_json("retrain", _content(report))
    elif quiet:
        return
    elif report.plan is not None:
        _print_plan(report.plan)
    else:
        for session in report.sessions:
            _print_session(session)
        if report.late:
            print(f"late    bars of the last session, now forecast: {', '.join(report.late)}")
        elif not report.sessions:
            print("session nothing to do")
        if report.waiting_for:
            print(f"waiting {report.waiting_for}: no bar of it has come yet")


def _content(report: "RetrainReport") -> dict[str, Any]:
    sessions = [
        {
            "session": one.session,
            "exit_code": one.exit_code,
            "reason": one.reason,
            **one.summary(),
            "forecasts": [] if one.forecasts is None else one.forecasts,
        }
        for one in report.sessions
    ]
    return {
        "name": report.name,
        "sessions": sessions,
        "late": report.late,
        "plan": asdict(report.plan) if report.plan else None,
        "waiting_for": report.waiting_for,
        "exit_code": report.exit_code,
        "reason": report.reason,
    }


def _print_plan(plan: "Plan") -> None:
    if plan.fetch:
        print(f"fetch   {len(plan.fetch):,} tickers: {', '.join(plan.fetch[:5])}")
    for session in plan.sessions:
        print(f"session {session}: due")
    for session in plan.expected:
        print(f"session {session}: due if its bars come")
    if not plan.sessions and not plan.expected:
        print("session nothing to do")
        return
    print(f"predict by {plan.champion}")
    if plan.challenger:
        print(f"test    {plan.challenger}")
    print(f"train   {plan.train or 'not due'}")


def _print_session(session: "SessionReport") -> None:
    count = 0 if session.forecasts is None else len(session.forecasts)
    by = f" by {session.version}" if session.version else ""
    print(f"session {session.session}  {count:,} forecasts{by}")
    for target, scores in session.scores.items():
        print(
            f"score   {target}: {scores['forecasts']:,.0f} forecasts, skill {scores['skill']:.2%}, "
            f"coverage 80 %: {scores['coverage_80']:.1%}, 95 %: {scores['coverage_95']:.1%}"
        )
    for reason in session.drift:
        print(f"drift   {reason}")
    for one in session.decided:
        print(f"{one.outcome:<7} {one.version or 'training'}: {one.reason}")
    if session.pruned:
        print(f"pruned  {len(session.pruned):,} versions")
