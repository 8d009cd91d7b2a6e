"""`forecaster models`: the trained versions."""

from typing import Annotated

import typer

from forecaster.cli.output import (
    HomeOption,
    JsonOption,
    command,
    print_json,
    print_next,
    print_table,
)

app = typer.Typer(help="Trained versions: list, show.", no_args_is_help=True)


@app.command("list")
@command
def list_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the trained versions, oldest first.

    Reads: models/. Creates: nothing.

    Example: forecaster models list --json
    """
    from forecaster.pipeline.versions import version_table
    from forecaster.settings import resolve_home

    table = version_table(resolve_home(home))
    if json:
        print_json("models.list", {"versions": table})
    else:
        print_table(table, {"tickers": ","})
        if table.empty:
            print_next("train", home)


@app.command("show")
@command
def show_command(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="None: the newest.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show a version's manifest, after verifying its files.

    Reads: models/<version>/. Creates: nothing.

    Example: forecaster models show
    """
    from forecaster.pipeline.versions import verified_manifest
    from forecaster.settings import resolve_home

    manifest = verified_manifest(resolve_home(home), version)
    if json:
        print_json("models.show", {"manifest": manifest.model_dump(mode="json", by_alias=True)})
    else:
        print(manifest.document(), end="")
