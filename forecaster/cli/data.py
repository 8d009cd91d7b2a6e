"""`forecaster fetch` and `forecaster data`: prices in, shown, checked."""

import sys
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli import quarantine
from forecaster.cli.data_import import import_command
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
    print_rows,
    print_table,
)

if TYPE_CHECKING:
    from forecaster.pipeline.fetch import FetchReport

app = typer.Typer(
    help="Prices in the store: import, list, show, check, export.", no_args_is_help=True
)
app.add_typer(quarantine.app, name="quarantine")
TickersArgument = Annotated[list[str] | None, typer.Argument(metavar="TICKER")]
PRICES = ["open", "high", "low", "close"]


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

    def announce(ticker: str, number: int, of: int) -> None:
        if not quiet:
            print(f"fetch   {number}/{of} {ticker}", file=sys.stderr)

    report = fetch(
        tickers or (),
        settings=read_settings(context, home).fetch,
        start=day(start),
        end=day(end),
        accept_identity=accept_identity,
        home=home,
        on_ticker=announce,
    )
    _print_report(report, home, json=json)


def _print_report(report: "FetchReport", home: Path | None, *, json: bool) -> None:
    """Print the result of a fetch, and raise its failures."""
    if json:
        print_json("fetch", {"tickers": report.table})
    else:
        print_table(report.table.drop(columns="error"), {"rows_changed": ",", "days": ","})
        if not report.failures:
            print_next("train", home)
    report.raise_failures()


app.command("import")(import_command)


@app.command("list")
@command
def list_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the tickers in the store.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data list --json
    """
    from forecaster.pipeline.lists import SUMMARY_COLUMNS, stored_tickers

    tickers = stored_tickers(home)
    if json:
        print_json("data.list", {"tickers": tickers})
    else:
        print_rows(tickers, SUMMARY_COLUMNS, {"days": ","})


@app.command("show")
@command
def show_command(
    ticker: Annotated[str, typer.Argument(help="A ticker in the store.")],
    rows: Annotated[int, typer.Option(min=1, help="How many of the last bars to print.")] = 10,
    until: DateOption = None,
    fingerprint: Annotated[
        bool, typer.Option("--fingerprint", help="Print the content hash of the bars as well.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show a ticker's metadata, the revision of its past, and its last bars as served.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data show SP500 --rows 5
    """
    from dataclasses import asdict

    from forecaster.pipeline.data import stored_ticker

    stored = stored_ticker(ticker, home=home, until=day(until))
    history, revision = stored.history, asdict(stored.revision)
    revision["raised_at"] = stored.revision.raised_at.isoformat()
    facts = {**asdict(history.listing), "revision": revision, "answers": stored.answers}
    if fingerprint:
        facts["fingerprint"] = stored.fingerprint
    if json:
        print_json(
            "data.show", {**facts, "days": len(history.bars), "bars": history.bars.tail(rows)}
        )
        return
    facts["revision"] = "{number} of {raised_at}: {reason}".format(**revision)
    for label, value in facts.items():
        print(f"{label.replace('_', ' '):<11} {'' if value is None else value}".rstrip())
    print(f"{'days':<11} {len(history.bars):,}")
    bars = history.bars.tail(rows)
    # Six digits of the lowest price, at least two decimals: 1.08453.
    decimals = max(2, 5 - floor(log10(bars[PRICES].to_numpy().min())))
    formats = dict.fromkeys(PRICES, f".{decimals}f") | {"volume": ",.0f"}
    columns = [str(name) for name in bars.columns]
    own = columns[columns.index("split") + 1 :]
    print_table(bars, formats | dict.fromkeys(own, ".6g"))


@app.command("check")
@command
def check_command(
    tickers: TickersArgument = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Check stored prices by every rule; exit 65 if manual review is needed.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data check AAPL
    """
    from forecaster.pipeline.data import check_prices

    report = check_prices(tickers or (), home=home)
    counts = {
        "tickers": report.tickers,
        "bars": report.bars,
        "errors": report.count("error"),
        "warnings": report.count("warning"),
    }
    if json:
        print_json("data.check", {**counts, "findings": report.table})
    else:
        if len(report.table):
            print_table(report.table)
        print("checked ", ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    report.raise_errors()


@app.command("export")
@command
def export_command(
    file: Annotated[Path, typer.Argument(help="Where to write; .csv or .parquet.")],
    tickers: TickersArgument = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write bars to a CSV or parquet file, in long form.

    Reads: data/prices.db. Creates: the file, replaced as one.

    Example: forecaster data export prices.csv AAPL MSFT
    """
    from forecaster.pipeline.data import export_file

    count = export_file(file, tickers or (), home=home)
    if json:
        print_json("data.export", {"file": str(file), "rows": count})
    else:
        print(f"saved   {file}  {count:,} rows")


@app.command("remove")
@command
def remove_command(
    tickers: Annotated[list[str], typer.Argument(metavar="TICKER", help="Whose prices.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Remove tickers from the store: bars, quarantine and answers; versions and forecasts stay.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data remove ACME
    """
    from forecaster.pipeline.data import remove

    removed = remove(tickers, home=home)
    if json:
        print_json("data.remove", {"tickers": removed})
        return
    for ticker, days in removed.items():
        print(f"removed {ticker}  {days:,} days")
