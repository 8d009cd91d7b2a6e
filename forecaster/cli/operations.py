"""`forecaster status`, `schedule` and `doctor`: the operation of scheduled runs."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.output import HomeOption, JsonOption, command, print_json, print_next

if TYPE_CHECKING:
    from forecaster.pipeline.status import NameStatus, Status


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
        _print_json(found)
    else:
        for one in found.names:
            _print_name(one)
        _print_home(found)
        if not found.names:
            print_next("retrain", home)
    if most is not None:
        found.refuse_older(most)


def _print_json(found: "Status") -> None:
    print_json(
        "status",
        {
            "last_good_run": found.heartbeat.isoformat() if found.heartbeat else None,
            "hours": found.hours,
            "writer": found.writer,
            "quarantined": found.quarantined,
            "names": [_content(one) for one in found.names],
        },
    )


def _content(one: "NameStatus") -> dict[str, object]:
    return {
        "name": one.name,
        "champion": one.champion,
        "since": one.since.isoformat() if one.since else None,
        "challenger": one.challenger,
        "model_age": one.model_age,
        "session": one.last.session if one.last else None,
        "outcome": one.last.outcome if one.last else None,
        "exit_code": one.last.exit_code if one.last else None,
        "summary": one.last.summary if one.last else {},
        "unfinished": one.unfinished.session if one.unfinished else None,
        "overdue_hours": one.overdue_hours,
        "drift": one.drift,
        "without_forecast": one.without_forecast,
        "failed": [
            {"session": run.session, "state": run.state, "reason": run.reason} for run in one.failed
        ],
    }


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
        for text in one.last.summary.get("troubles", []):
            print(f"        {text}")
    if one.unfinished is not None:
        print(f"session {one.unfinished.session}: started and not finished")
    if one.overdue_hours:
        print(f"overdue the next session has been final for {one.overdue_hours:.1f} hours")
    for text in one.drift:
        print(f"drift   {text}")
    for kind, tickers in one.without_forecast.items():
        print(f"{kind:<7} {', '.join(tickers)}")
    for run in one.failed:
        print(f"{run.state:<7} training of {run.session or 'no session'}: {run.reason}")


def _print_home(found: "Status") -> None:
    last = f"{found.hours:.1f} hours ago" if found.heartbeat else "never"
    print(f"run     the last good one ended {last}")
    if found.quarantined:
        print(f"prices  in quarantine: {', '.join(found.quarantined[:10])}")
    if found.writer:
        print(f"writer  {found.writer}")


@command
def schedule_command(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
    ] = None,
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
    from forecaster.errors import UsageError
    from forecaster.pipeline import schedule
    from forecaster.settings import resolve_home

    if cron and systemd:
        raise UsageError("--cron and --systemd exclude each other. Drop one of them.")
    where, when = resolve_home(home), schedule.hour_and_minute(at) if at else None
    make = schedule.systemd_text if systemd else schedule.cron_text
    text = make(where, tickers or (), when)
    if json:
        words = schedule.schedule_command(where, tickers or ())
        print_json(
            "schedule", {"kind": "systemd" if systemd else "cron", "text": text, "command": words}
        )
    else:
        print(text, end="")
        print(
            "save each part under its name, then: systemctl --user daemon-reload; "
            "systemctl --user enable --now forecaster.timer; loginctl enable-linger"
            if systemd
            else "add the line with: crontab -e",
            file=sys.stderr,
        )
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
    from forecaster.settings import resolve_home

    found = examine(home=resolve_home(home), offline=offline)
    if json:
        rows = [
            {"subject": f.subject, "state": f.state, "seen": f.seen, "remedy": f.remedy}
            for f in found
        ]
        print_json("doctor", {"good": exit_code(found) == 0, "findings": rows})
    else:
        for one in found:
            print(f"{one.state:<4}  {one.subject:<9} {one.seen}")
            if one.remedy:
                print(f"      {'do':<9} {one.remedy}")
    if exit_code(found):
        raise typer.Exit(exit_code(found))
