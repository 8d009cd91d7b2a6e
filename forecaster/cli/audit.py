"""`forecaster audit`."""

from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.output import (
    AsOfOption,
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
    from forecaster.pipeline.audit import AuditReport


@command
def audit_command(
    version: Annotated[
        str | None,
        typer.Argument(metavar="VERSION", help="None: the newest, or the default settings."),
    ] = None,
    dates: Annotated[
        int, typer.Option(help="After how many dates the bars are changed, at least 3.")
    ] = 6,
    tickers: Annotated[int, typer.Option(help="How many are read at most.")] = 20,
    updates: Annotated[int, typer.Option(help="Of each short training.")] = 32,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Prove that no future touches a forecast: change what came later, demand the same bits.

    All bars after a date are cut off, blanked and corrupted, at several dates of each block of
    time; bars, inputs, scales, the base, a short training, its calibration, the baselines and
    the forecasts are computed again. Exit code 5 where anything known on the date differs, or
    where nothing of a stage could be compared.

    Reads: models/<version>/, data/prices.db. Creates: nothing.

    Example: forecaster audit --dates 9
    """
    from forecaster.pipeline.audit import audit
    from forecaster.settings import resolve_home

    report = audit(
        version,
        home=resolve_home(home),
        dates=dates,
        tickers=tickers,
        updates=updates,
        as_of=day(as_of),
    )
    if json:
        _print_json(report)
    else:
        _print(report)
    report.refuse()
    if not json and report.version is not None:
        print_next(f"evaluate {report.version}", home, as_of)


def _print_json(report: "AuditReport") -> None:
    print_json(
        "audit",
        {
            "version": report.version,
            "tickers": report.tickers,
            "of_tickers": report.of_tickers,
            "first": report.first,
            "last": report.last,
            "dates": report.dates,
            "updates": report.updates,
            "values": report.values,
            "stages": report.table(),
            "leaks": [
                {
                    "stage": leak.stage,
                    "column": leak.column,
                    "ticker": leak.ticker or None,
                    "day": None if leak.day != leak.day else str(leak.day),
                    "cut": str(leak.alteration.cut),
                    "kind": leak.alteration.kind,
                    "before": leak.before,
                    "after": leak.after,
                }
                for leak in report.leaks
            ],
        },
    )


def _print(report: "AuditReport") -> None:
    days = ", ".join(str(cut) for cut in report.dates)
    print(f"version {report.version or 'none yet: the default settings'}")
    read = f"{len(report.tickers)} of {report.of_tickers} tickers"
    print(f"data    {read} {report.first}..{report.last}")
    print(f"changed every bar after {days}; and after the fit and the select block")
    print(f"trained {report.updates} updates each time\n")
    print_table(report.table(), {"values": ","})
    print(f"\n{report.values:,} values compared\n")
    for leak in report.leaks:
        print(f"LEAK    {leak.describe()}")
    if not report.leaks and not report.empty:
        print("verdict no future touches what was compared: the same bits each time")
