"""`forecaster fetch`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    DateOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    day,
    print_json,
    print_next,
    print_table,
)

if TYPE_CHECKING:
    from forecaster.pipeline.fetch import FetchReport


@command
def fetch_command(
    context: typer.Context,
    tickers: Annotated[
        list[str] | None,
        typer.Argument(metavar="TICKER", help="Such as AAPL BRK-B ^GSPC; none: all stored."),
    ] = None,
    start: DateOption = None,
    end: DateOption = None,
    accept_identity: Annotated[
        bool,
        typer.Option(
            "--accept-identity",
            help="Continue with tickers whose name, exchange, currency or first trade has changed.",
        ),
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download missing daily prices, check and store them.

    Reads: the source, data/prices.db. Creates: bars in data/prices.db.

    Example: forecaster fetch AAPL MSFT --start 2010-01-01
    """
    from forecaster.pipeline.fetch import fetch
    from forecaster.settings import resolve_home

    where = resolve_home(home)
    report = fetch(
        tickers or (),
        settings=read_settings(context, where).fetch,
        start=day(start),
        end=day(end),
        accept_identity=accept_identity,
        home=where,
        on_ticker=_silent if quiet else _announce,
    )
    print_report(report, "fetch", home, json=json)


def print_report(report: "FetchReport", schema: str, home: Path | None, *, json: bool) -> None:
    """Print the result of a fetch or import, and raise its failures."""
    if json:
        print_json(schema, {"tickers": report.table})
    else:
        print_table(report.table.drop(columns="error"), {"rows_changed": ",", "days": ","})
        if not report.failures:
            print_next("train", home)
    report.raise_failures()


def _announce(ticker: str, number: int, of: int) -> None:
    print(f"fetch   {number}/{of} {ticker}", file=sys.stderr)


def _silent(ticker: str, number: int, of: int) -> None:
    """Print nothing."""
