"""`forecaster data import`: a user's files in, with questions where they leave something open."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from forecaster.cli.output import (
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    grouped_notices,
    print_json,
    print_next,
    print_table,
)
from forecaster.errors import Question, UsageError

if TYPE_CHECKING:
    from forecaster.pipeline.import_report import ImportReport, Preview

_SHOWN: Final = 5  # previews of a dry run; --json has all


@command
def import_command(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="CSV or parquet; a folder; - for standard input."),
    ],
    ticker: Annotated[
        str | None,
        typer.Option(help="Name of the one ticker in the files [by a column or the file name]."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Name a column; may be repeated."),
    ] = None,
    basis: Annotated[
        Literal["split-adjusted", "as-traded", "total-return"] | None,
        typer.Option(help="What closes are adjusted for [by a column basis, else as-traded]."),
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose sessions the bars follow: XNYS, XLON, 24/7, weekdays [by the ticker].",
        ),
    ] = None,
    dates: Annotated[
        Literal["mdy", "dmy", "ymd"] | None,
        typer.Option(help="Order in dates such as 3/4/2024 [inferred from days above 12]."),
    ] = None,
    decimal: Annotated[
        Literal["point", "comma"] | None,
        typer.Option(help="Decimal mark of the numbers [inferred from all of them]."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave a column out: volume, dividend; repeatable."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Store a column of positive numbers, too: rv5; repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how the files are read; store nothing.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Store daily prices from files, each ticker as a whole; answers are stored by ticker.

    Reads: the files. Creates: bars in data/prices.db.

    Example: forecaster data import prices.csv --ticker ACME --map close=Last
    """
    from forecaster.pipeline.data_import import import_files

    options: dict[str, Any] = {"basis": basis, "dates": dates, "decimal": decimal}
    while True:
        with grouped_notices():
            report = import_files(
                files,
                ticker=ticker,
                mapping=_columns_by_field(mapping or ()),
                calendar=calendar,
                ignore=ignore or (),
                keep=keep or (),
                home=home,
                dry_run=dry_run,
                **options,
            )
        question = report.question
        if question is None or options.get(question.option, "") is not None or not _can_ask(json):
            break
        options[question.option] = _ask(question)
    _print_report(report, home, json=json, dry_run=dry_run)


def _columns_by_field(mapping: Sequence[str]) -> dict[str, str]:
    named = {}
    for text in mapping:
        field, equals, column = text.partition("=")
        if not (field and equals and column):
            raise UsageError(f"--map {text}: use FIELD=COLUMN, such as --map close=Last.")
        named[field.strip()] = column.strip()
    return named


def _can_ask(json: bool) -> bool:
    return not json and sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: Question) -> str:
    """Ask at the terminal; without an answer, raise the error."""
    print(question, file=sys.stderr)
    prompt, answer = f"--{question.option} ({' or '.join(question.choices)})", ""
    try:
        while answer not in question.choices:
            answer = typer.prompt(prompt, err=True).strip()
    except typer.Abort:
        raise question from None
    return answer


def _print_report(report: "ImportReport", home: Path | None, *, json: bool, dry_run: bool) -> None:
    """Print what was stored, left out, or how it was read; raise the failures."""
    failed = len(report.failures) == len(report.table)
    if failed and not dry_run and (len(report.table) == 1 or report.question):
        report.raise_failures()  # its line is all there is to show
    if json:
        facts: dict[str, Any] = {"tickers": report.table, "left_out": report.left_out}
        if dry_run:
            facts |= {"dry_run": True, "previews": [_facts_of(one) for one in report.previews]}
        print_json("data.import", facts)
    else:
        if dry_run:
            _print_previews(report.previews)
        print_table(report.table.drop(columns="error"), {"rows_changed": ",", "days": ","})
        if len(report.left_out):
            print()
            print_table(report.left_out, {"rows": ",", "tickers": ","})
        if dry_run:
            print("nothing was stored: a dry run")
        elif not report.failures:
            print_next("train", home)
    report.raise_failures()


def _print_previews(previews: Sequence["Preview"]) -> None:
    for one in previews[:_SHOWN]:
        for label, value in _facts_of(one).items():
            if label != "bars":
                shown = value
                if isinstance(value, dict):
                    shown = "  ".join(f"{field}={name}" for field, name in value.items())
                print(f"{label:<9} {shown}")
        print_table(one.bars, {"volume": ",.0f"})
        print()
    if len(previews) > _SHOWN:
        print(f"and {len(previews) - _SHOWN:,} more tickers: --json shows all\n")


def _facts_of(one: "Preview") -> dict[str, Any]:
    return {
        "ticker": one.listing.ticker,
        "file": one.file,
        "columns": one.columns,
        "basis": one.listing.basis,
        "decimal": one.decimal,
        "interval": one.interval,
        "calendar": one.listing.calendar,
        "bars": one.bars,
    }
