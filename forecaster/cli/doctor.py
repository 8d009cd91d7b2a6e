"""`forecaster doctor`."""

from typing import Annotated

import typer

from forecaster.cli.output import HomeOption, JsonOption, command, print_json


@command
def doctor_command(
    offline: Annotated[bool, typer.Option("--offline", help="Leave the network alone.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Look at everything that a night needs; say what is well, and what to do about the rest.

    Packages, home, disk, settings, clock, calendars, the integrity of store and registry, the
    hashes of every version, who is writing, the network. The exit code is that of the first bad
    finding.

    Reads: everything in the home, Yahoo. Creates: nothing.

    Example: forecaster doctor --offline
    """
    from forecaster.cli.layers import load_settings
    from forecaster.errors import ForecasterError
    from forecaster.pipeline.doctor import examine, exit_code
    from forecaster.settings import resolve_home

    where = resolve_home(home)
    settings_error = None
    try:
        load_settings(where, "retrain", {})
    except ForecasterError as error:
        settings_error = error
    found = examine(home=where, settings_error=settings_error, offline=offline)
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
