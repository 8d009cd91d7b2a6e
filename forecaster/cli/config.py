"""`forecaster config`: every setting with its value and source; a file with the defaults."""

from typing import Annotated, Any

import typer

from forecaster.cli.options import is_interactive
from forecaster.cli.output import HomeOption, JsonOption, command, print_json, print_table, shown

app = typer.Typer(help="Settings: their values and sources; a file to edit.", no_args_is_help=True)


@app.command("show")
@command
def show_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every setting: its value, and what set it.

    Sources, the highest first: FORECASTER_* variables, forecaster.toml, defaults. Options of a
    command override them all. Unknown names are refused with the nearest valid one.

    Reads: forecaster.toml, the environment. Creates: nothing.

    Example: forecaster config show
    """
    import pandas as pd

    from forecaster.settings import resolve_home
    from forecaster.settings.settings_file import FILE
    from forecaster.settings.settings_sources import sourced_settings

    where = resolve_home(home)
    rows = [
        {
            "setting": f"{one.section}.{one.name}",
            "value": one.value if json else _text(one.value),
            "source": one.source,
        }
        for one in sourced_settings(where, interactive=is_interactive(quiet=False))
    ]
    if json:
        file = where / FILE
        known = {"home": str(where), "file": str(file) if file.is_file() else None}
        print_json("config.show", {**known, "settings": rows})
    else:
        print(f"home    {where}")
        print_table(pd.DataFrame(rows))


@app.command("init")
@command
def init_command(
    migrate: Annotated[
        bool,
        typer.Option("--migrate", help="Rename the settings of 0.1.0 in the file that is there."),
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a forecaster.toml with every setting and its default as a comment.

    A file that exists is not overwritten. --migrate rewrites it line by line: old names become
    the present ones, everything else stays, and a backup is kept beside it.

    Reads: forecaster.toml. Creates: forecaster.toml, with --migrate forecaster.toml.bak.

    Example: forecaster config init
    """
    from forecaster.settings import resolve_home
    from forecaster.settings.settings_file import FILE, migrate_file, write_default_file

    where = resolve_home(home)
    path = where / FILE
    changed, backup = migrate_file(where) if migrate else ([], None)
    if not migrate:
        write_default_file(where)
    if json:
        content = {"file": str(path), "changed": changed, "backup": backup and str(backup)}
        print_json("config.init", content)
        return
    for line in changed:
        print(f"changed {line}")
    if backup:
        print(f"backup  {shown(backup)}")
    print(f"file    {shown(path)}" if backup or not migrate else f"file    {path}: no old settings")


def _text(value: Any) -> str:
    """Return a value as forecaster.toml spells it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value) or '""'
