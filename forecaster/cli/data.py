"""`forecaster data`: other people's files in, what is there, out again."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from forecaster.cli import quarantine
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
    import pandas as pd

app = typer.Typer(
    help="Prices in the store: import, list, show, check, export.", no_args_is_help=True
)
app.add_typer(quarantine.app, name="quarantine")

PRICES = ["open", "high", "low", "close"]


@app.command("import")
@command
def import_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV or parquet.")],
    ticker: Annotated[
        str | None, typer.Option(help="Name of the one ticker that the files hold.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Name a column; may be repeated."),
    ] = None,
    basis: Annotated[
        Literal["split-adjusted", "as-traded"] | None,
        typer.Option(help="How the closes are expressed [as a column basis says, or as-traded]."),
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose sessions the bars follow: XNYS, XLON, 24/7, weekdays [by the ticker].",
        ),
    ] = None,
    dates: Annotated[
        Literal["mdy", "dmy"] | None,
        typer.Option(help="Order in dates such as 3/4/2024 [told by a day above 12]."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read files of daily prices, refuse what cannot be, store the rest.

    Reads: the files. Creates: bars in data/prices.db.

    Example: forecaster data import prices.csv --ticker ACME --map close=Last
    """
    from forecaster.pipeline.data_import import import_files
    from forecaster.settings import resolve_home

    report = import_files(
        files,
        ticker=ticker,
        mapping=_pairs(mapping),
        basis=basis,
        calendar=calendar,
        dates=dates,
        home=resolve_home(home),
    )
    if json:
        print_json("data.import", {"tickers": report.table})
    else:
        print_table(report.table.drop(columns="error"), {"rows_changed": ",", "days": ","})
        if not report.failures:
            print_next("train", home)
    report.raise_failures()


def _pairs(mapping: list[str] | None) -> dict[str, str]:
    from forecaster.errors import UsageError

    pairs = {}
    for text in mapping or []:
        field, equals, column = text.partition("=")
        if not (field and equals and column):
            raise UsageError(f"--map {text}: write FIELD=COLUMN, such as --map close=Last.")
        pairs[field.strip()] = column.strip()
    return pairs


@app.command("list")
@command
def list_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the tickers in the store.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data list --json
    """
    from forecaster.pipeline.data_show import stored_tickers
    from forecaster.settings import resolve_home

    table = stored_tickers(resolve_home(home))
    if json:
        print_json("data.list", {"tickers": table})
    else:
        print_table(table, {"days": ","})


@app.command("show")
@command
def show_command(
    ticker: Annotated[str, typer.Argument(help="A ticker in the store.")],
    rows: Annotated[int, typer.Option(min=1, help="How many of the last bars to print.")] = 10,
    until: DateOption = None,
    fingerprint: Annotated[
        bool, typer.Option("--fingerprint", help="Print the content hash of the bars, too.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a ticker is, the revision of its past, and its last bars as served.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data show SP500 --rows 5
    """
    from dataclasses import asdict

    from forecaster.pipeline.data_show import stored_ticker
    from forecaster.settings import resolve_home

    stored = stored_ticker(resolve_home(home), ticker, day(until))
    history, revision = stored.history, asdict(stored.revision)
    revision["raised_at"] = stored.revision.raised_at.isoformat()
    told = {**asdict(history.listing), "revision": revision}
    if fingerprint:
        told["fingerprint"] = stored.fingerprint
    if json:
        print_json(
            "data.show", {**told, "days": len(history.bars), "bars": history.bars.tail(rows)}
        )
        return
    told["revision"] = "{number} of {raised_at}: {reason}".format(**revision)
    for label, value in told.items():
        print(f"{label.replace('_', ' '):<11} {'' if value is None else value}".rstrip())
    print(f"{'days':<11} {len(history.bars):,}")
    bars = history.bars.tail(rows)
    print_table(bars, dict.fromkeys(PRICES, _price_format(bars)) | {"volume": ",.0f"})


def _price_format(bars: "pd.DataFrame") -> str:
    """Show six digits of the lowest price, two at least after the point: 1.08453, 4126.00."""
    lowest = bars[PRICES].to_numpy().min()
    return f".{max(2, 5 - math.floor(math.log10(lowest)))}f"


@app.command("check")
@command
def check_command(
    tickers: Annotated[list[str] | None, typer.Argument(metavar="TICKER")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Hold stored prices against every rule; exit 65 where a person is needed.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data check AAPL
    """
    from forecaster.pipeline.data_check import check_prices
    from forecaster.settings import resolve_home

    report = check_prices(tickers or (), home=resolve_home(home))
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
    tickers: Annotated[list[str] | None, typer.Argument(metavar="TICKER")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write bars to a CSV or parquet file, in long form.

    Reads: data/prices.db. Creates: the file, replaced whole.

    Example: forecaster data export prices.csv AAPL MSFT
    """
    from forecaster.pipeline.data_show import export_file
    from forecaster.settings import resolve_home

    count = export_file(file, tickers or (), home=resolve_home(home))
    if json:
        print_json("data.export", {"file": str(file), "rows": count})
    else:
        print(f"saved   {file}  {count:,} rows")
