"""`forecaster config`: every setting with its value, and where that came from."""

from typing import Any

import typer

from forecaster.cli.output import HomeOption, JsonOption, command, print_json, print_table

app = typer.Typer(help="Settings: what they are, and where from.", no_args_is_help=True)


@app.command("show")
@command
def show_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every setting: its value, and what set it.

    Sources, the higher first: FORECASTER_* variables, forecaster.toml, defaults. Options of a
    command stand above them all. Unknown names are refused with the nearest valid one.

    Reads: forecaster.toml, the environment. Creates: nothing.

    Example: forecaster config show
    """
    import pandas as pd

    from forecaster.settings import resolve_home
    from forecaster.settings.settings_sources import FILE, sourced_settings

    where = resolve_home(home)
    rows = [
        {
            "setting": f"{one.section}.{one.name}",
            "value": one.value if json else _text(one.value),
            "source": one.source,
        }
        for one in sourced_settings(where)
    ]
    if json:
        file = where / FILE
        known = {"home": str(where), "file": str(file) if file.is_file() else None}
        print_json("config.show", {**known, "settings": rows})
    else:
        print(f"home    {where}")
        print_table(pd.DataFrame(rows))


def _text(value: Any) -> str:
    """Write a value as forecaster.toml would."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value) or '""'
