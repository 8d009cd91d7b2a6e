"""`forecaster schedule`."""

import os
import sys
from typing import Annotated

import typer

from forecaster.cli.output import HomeOption, JsonOption, command, print_json


@command
def schedule_command(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
    ] = None,
    cron: Annotated[bool, typer.Option("--cron", help="A line of a crontab [this].")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="A service and its timer.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="HH:MM", help="Once a day, in the machine's zone [every hour]."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print what makes cron or systemd do every night: nothing is installed.

    Every hour is right, whatever the zone: the calendar of each exchange decides whether there
    is a night to do, and a run that finds none ends at once.

    Reads: nothing. Creates: nothing.

    Example: forecaster schedule --cron
    """
    from forecaster.errors import UsageError
    from forecaster.pipeline import schedule
    from forecaster.settings import resolve_home

    if cron and systemd:
        raise UsageError("--cron and --systemd are two ways of one thing. Drop one of them.")
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
