"""`forecaster data quarantine`: bars that await a person, and the person's decision."""

from datetime import datetime
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

app = typer.Typer(
    help="Bars that a rule speaks against: list, release, drop.", no_args_is_help=True
)

Ticker = Annotated[str, typer.Argument(metavar="TICKER", help="Whose bars.")]
_DAYS = {"metavar": "DATE", "formats": ["%Y-%m-%d"]}


@app.command("list")
@command
def list_command(
    tickers: Annotated[list[str] | None, typer.Argument(metavar="TICKER")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List bars in quarantine: held, released or dropped, with rule and reason.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data quarantine list AAPL
    """
    from forecaster.pipeline.data_check import quarantine_table
    from forecaster.settings import resolve_home

    table = quarantine_table(tickers or (), home=resolve_home(home))
    if json:
        print_json("data.quarantine.list", {"entries": table})
    else:
        prices = dict.fromkeys(("open", "high", "low", "close"), ".6g")
        print_table(table, prices)


@app.command("release")
@command
def release_command(
    ticker: Ticker,
    sessions: Annotated[
        list[datetime] | None, typer.Argument(help="Which days; none: all of the ticker.", **_DAYS)
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take bars for right; the next fetch or import stores them.

    Reads: data/prices.db. Creates: the decision, in data/prices.db.

    Example: forecaster data quarantine release AAPL 2024-01-05
    """
    from forecaster.pipeline.data_check import release
    from forecaster.settings import resolve_home

    days = [moment.date() for moment in sessions or ()]
    count = release(ticker, days, home=resolve_home(home))
    _tell("released", ticker, count, json=json)
    if not json:
        print_next(f"fetch {ticker.upper()}", home)


@app.command("drop")
@command
def drop_command(
    ticker: Ticker,
    sessions: Annotated[list[datetime], typer.Argument(help="Which days.", **_DAYS)],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take bars for wrong; they leave the store, and are left out as long as they come alike.

    Reads: data/prices.db. Creates: the decision, in data/prices.db.

    Example: forecaster data quarantine drop AAPL 2024-01-05 2024-01-08
    """
    from forecaster.pipeline.data_check import drop
    from forecaster.settings import resolve_home

    days = [moment.date() for moment in sessions]
    count = drop(ticker, days, home=resolve_home(home))
    _tell("dropped", ticker, count, json=json)
    if not json:
        print_next(f"data check {ticker.upper()}", home)


def _tell(done: str, ticker: str, count: int, *, json: bool) -> None:
    if json:
        print_json(f"data.quarantine.{done}", {"ticker": ticker.upper(), "findings": count})
    else:
        print(f"{done:<9} {count:,} findings of {ticker.upper()}")
