"""`forecaster retrain`, `status`, `schedule` and `doctor`: the daily run and its operation."""

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    TickersArgument,
    command,
    last_day,
    print_error,
    print_json,
    print_lines,
    print_next,
)
from forecaster.errors import NAMED_AT_MOST, UsageError, name_some

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from forecaster.pipeline.retrain import Plan, RetrainReport, SessionReport
    from forecaster.pipeline.status import NameStatus

_INSTALL_UNITS = (
    "save each part under its name, then: systemctl --user daemon-reload; "
    "systemctl --user enable --now forecaster.timer; loginctl enable-linger"
)


@command
def retrain_command(
    context: typer.Context,
    tickers: TickersArgument = None,
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
    from forecaster.pipeline.arguments import check_command, on_failure, run_on_forecast

    with on_failure(context.obj["retrain"]["on_failure"] or "") as failure:
        settings = read_settings(context, home)
        failure.command = settings.retrain.on_failure
        check_command("--on-forecast", settings.retrain.on_forecast)
        last = last_day(as_of)
        from forecaster.pipeline.retrain import retrain
        from forecaster.settings import resolve_home

        report = retrain(
            tickers or (),
            settings=settings,
            name=name,
            home=home,
            as_of=last,
            no_fetch=not fetch,
            dry_run=dry_run,
        )
        _show(report, json=json, quiet=quiet)
        if settings.retrain.on_forecast and (made := _forecasts(report)):
            run_on_forecast(settings.retrain.on_forecast, resolve_home(home), made)
        if report.exit_code:
            print_error(report.reason)
            failure.run(report.exit_code, report.reason)
    if report.exit_code:
        raise typer.Exit(report.exit_code)
    if not (json or quiet or dry_run):
        print_next("status", home)


def _forecasts(report: "RetrainReport") -> list[dict[str, object]]:
    """Return the sessions of a run that made forecasts, with them."""
    return [
        {"name": report.name, **_attributes(one, "session", "version", "forecasts")}
        for one in report.sessions
        if one.forecasts is not None and len(one.forecasts)
    ]


def _show(report: "RetrainReport", *, json: bool, quiet: bool) -> None:
    if json:
        sessions = []
        for one in report.sessions:
            result = _attributes(one, "session", "exit_code", "reason")
            result |= one.summary()
            sessions.append(result | {"forecasts": [] if one.forecasts is None else one.forecasts})
        print_json("retrain", {**asdict(report), "sessions": sessions})
    elif report.plan is not None and not quiet:
        _print_plan(report.plan)
    elif not quiet:
        for session in report.sessions:
            _print_session(session)
        if report.late:
            print(f"late    bars of the last session, now forecast: {', '.join(report.late)}")
        elif not report.sessions:
            print("session nothing to do")
        if report.waiting_for:
            print(f"waiting {report.waiting_for}: no bar of it has come yet")


def _print_plan(plan: "Plan") -> None:
    if plan.fetch:
        print(f"fetch   {len(plan.fetch):,} tickers: {', '.join(plan.fetch[:5])}")
    _print_days(plan.sessions, "due")
    _print_days(plan.expected, "due if its bars come")
    if not plan.sessions and not plan.expected:
        print("session nothing to do")
        return
    print(f"predict by {plan.champion}")
    if plan.challenger:
        print(f"test    {plan.challenger}")
    print(f"train   {plan.train or 'not due'}")


def _print_days(days: "Sequence[date]", what: str) -> None:
    """Print a line per day, or of many the first, the last and their number."""
    if len(days) <= NAMED_AT_MOST:
        print_lines("session {}: " + what, days)
    else:
        print(f"session {days[0]} to {days[-1]}: {len(days):,} {what}")


def _print_session(session: "SessionReport") -> None:
    count = 0 if session.forecasts is None else len(session.forecasts)
    by = f" by {session.version}" if session.version else ""
    print(f"session {session.session}  {count:,} forecasts{by}")
    for target, scores in session.scores.items():
        print(
            f"score   {target}: {scores['forecasts']:,.0f} forecasts, skill {scores['skill']:.2%}, "
            f"coverage 80 %: {scores['coverage_80']:.1%}, 95 %: {scores['coverage_95']:.1%}"
        )
    print_lines("drift   {}", session.drift)
    for one in session.decided:
        print(f"{one.outcome:<7} {one.version or 'training'}: {one.reason}")
    if session.pruned:
        print(f"pruned  {len(session.pruned):,} versions")


@command
def status_command(
    max_age: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Exit 5 if the last good run is older: 26h, 90m, 2d."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of one model name [all].")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print whether the daily runs are up to date, by which model, and what needs attention.

    With --max-age it checks the schedule, for another cron than that of the runs: exit 5 if no run
    has ended well for so long, or a session has been final for longer without its run.

    Reads: models/registry.db, data/prices.db, logs/heartbeat. Creates: nothing.

    Example: forecaster status --max-age 26h
    """
    from forecaster.pipeline.status import hours_of, status

    most = hours_of(max_age) if max_age else None
    found = status(home=home, name=name)
    if json:
        names = [_content(one) for one in found.names]
        facts = _attributes(
            found, "hours", "writer", "rows_left_out", "calendars", "on_forecast_failure"
        )
        held = [
            _attributes(one, "ticker", "session", "rule", "since", "reason", "remedy")
            for one in found.quarantined
        ]
        facts["quarantined"] = held
        print_json("status", {"last_good_run": found.heartbeat, **facts, "names": names})
    else:
        for one in found.names:
            _print_name(one)
        last = f"{found.hours:.1f} hours ago" if found.heartbeat else "never"
        print(f"run     the last good one ended {last}")
        print_lines("prices  {0.ticker}: {0}", found.quarantined[:NAMED_AT_MOST])
        if more := len(found.quarantined[NAMED_AT_MOST:]):
            print(f"prices  {more:,} more in quarantine: forecaster data quarantine list")
        if found.rows_left_out:
            print(f"rows    left out of {name_some(found.rows_left_out)}")
        print_lines("calendar {}", found.calendars)
        print_lines("failed  --on-forecast {}", [one for one in [found.on_forecast_failure] if one])
        if found.writer:
            print(f"writer  {found.writer}")
        if not found.names:
            print_next("retrain", home)
    if most is not None:
        found.refuse_older(most)


def _content(one: "NameStatus") -> dict[str, object]:
    return {
        **_attributes(one, "name", "champion", "since", "challenger", "model_age"),
        **_attributes(one.last, "session", "outcome", "exit_code"),
        "summary": one.last.summary if one.last else {},
        "unfinished": one.unfinished and one.unfinished.session,
        **_attributes(one, "overdue_hours", "drift", "without_forecast"),
        "failed": [_attributes(run, "session", "state", "reason") for run in one.failed],
    }


def _attributes(thing: object, *names: str) -> dict[str, object]:
    """Return attributes by name, None where there are none."""
    return {name: getattr(thing, name, None) for name in names}


def _print_name(one: "NameStatus") -> None:
    age = "" if one.model_age is None else f", trained {one.model_age} sessions ago"
    since = f" since {one.since:%Y-%m-%d}" if one.since else ""
    print(f"name    {one.name}: champion {one.champion}{since}{age}")
    if one.challenger:
        print(f"        challenger {one.challenger}")
    if one.last is not None:
        count = one.last.summary.get("forecasts", 0)
        print(
            f"session {one.last.session}: {one.last.outcome}, {count:,} forecasts, "
            f"exit {one.last.exit_code}"
        )
        print_lines("        {}", one.last.summary.get("troubles", []))
    if one.unfinished is not None:
        print(f"session {one.unfinished.session}: started and not finished")
    if one.overdue_hours:
        hours = one.overdue_hours
        since_final = f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:,.0f} days"
        print(f"overdue the next session has been final for {since_final}")
    print_lines("drift   {}", one.drift)
    for kind, tickers in one.without_forecast.items():
        print(f"{kind:<7} {', '.join(tickers)}")
    for run in one.failed:
        print(f"{run.state:<7} training of {run.session or 'no session'}: {run.reason}")


@command
def schedule_command(
    tickers: TickersArgument = None,
    cron: Annotated[bool, typer.Option("--cron", help="A line of a crontab [this].")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="A service and its timer.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="HH:MM", help="Once a day, in the machine's time zone [every hour]."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print the cron line or systemd units of the daily run; nothing is installed.

    Every hour is right in any time zone: the calendar of each exchange decides whether a session
    is due, and a run without one ends at once.

    Reads: nothing. Creates: nothing.

    Example: forecaster schedule --cron
    """
    from forecaster.pipeline import schedule
    from forecaster.settings import resolve_home

    if cron and systemd:
        raise UsageError("--cron and --systemd exclude each other. Drop one of them.")
    where, when = resolve_home(home), schedule.hour_and_minute(at) if at else None
    make = schedule.systemd_text if systemd else schedule.cron_text
    text = make(where, tickers or (), when)
    if json:
        words = schedule.schedule_command(where, tickers or ())
        kind = "systemd" if systemd else "cron"
        print_json("schedule", {"kind": kind, "text": text, "command": words})
    else:
        print(text, end="")
        print(_INSTALL_UNITS if systemd else "add the line with: crontab -e", file=sys.stderr)
    unseen = schedule.unseen_variables(os.environ)
    if unseen:
        print(
            f"WARNING {', '.join(unseen)}: set here, but not where the line will run; write "
            "settings into forecaster.toml, and the others before the command",
            file=sys.stderr,
        )


@command
def doctor_command(
    offline: Annotated[
        bool, typer.Option("--offline", help="Skip the check of the source.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Check everything that a daily run needs, and print what to do about what is wrong.

    Packages, home, disk, settings, clock, calendars, the integrity of store and registry, the
    hashes of every version, the lock, the source of prices. The exit code is that of the first
    bad finding.

    Reads: everything in the home, the source. Creates: nothing.

    Example: forecaster doctor --offline
    """
    from forecaster.pipeline.doctor import examine, exit_code

    found = examine(home=home, offline=offline)
    if json:
        rows = [_attributes(one, "subject", "state", "seen", "remedy") for one in found]
        print_json("doctor", {"good": exit_code(found) == 0, "findings": rows})
    else:
        for one in found:
            print(f"{one.state:<4}  {one.subject:<9} {one.seen}")
            if one.remedy:
                print(f"      {'do':<9} {one.remedy}")
    if exit_code(found):
        raise typer.Exit(exit_code(found))
