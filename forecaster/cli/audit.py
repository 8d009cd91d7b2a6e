"""`forecaster audit`."""

from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    last_day,
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
        int, typer.Option(help="Number of dates after which bars are changed, at least 3.")
    ] = 6,
    tickers: Annotated[int, typer.Option(help="Most tickers to read.")] = 20,
    max_steps: Annotated[int, typer.Option(help="Optimizer steps of each short training.")] = 32,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Audit for look-ahead: change all later bars, and require bit-identical results before.

    All bars after a date are cut off, blanked and corrupted, at several dates of train, validation
    and test; bars, inputs, scales, the base, a short training, its calibration, the benchmarks
    and the forecasts are computed again. Exit code 5 where anything known on the date differs, or
    where nothing of a stage could be compared.

    Reads: models/<version>/, data/prices.db. Creates: nothing.

    Example: forecaster audit --dates 9
    """
    from forecaster.pipeline.arguments import check_audit

    last = last_day(as_of)
    check_audit(dates, tickers, max_steps)
    from forecaster.pipeline.audit import audit

    report = audit(
        version, home=home, dates=dates, tickers=tickers, max_steps=max_steps, as_of=last
    )
    if json:
        _print_json(report)
    else:
        _print(report)
    report.raise_leaks()
    if not json and report.version is not None:
        print_next(f"evaluate {report.version}", home, as_of)


def _print_json(report: "AuditReport") -> None:
    fields = ("version", "tickers", "of_tickers", "first", "last", "dates", "max_steps", "values")
    leaks = [
        {
            "stage": leak.stage,
            "column": leak.difference.column,
            "ticker": leak.difference.ticker or None,
            "day": None if leak.difference.day != leak.difference.day else str(leak.difference.day),
            "cut": str(leak.alteration.cut),
            "kind": leak.alteration.kind,
            "before": leak.difference.before,
            "after": leak.difference.after,
        }
        for leak in report.leaks
    ]
    facts = {name: getattr(report, name) for name in fields}
    print_json("audit", facts | {"stages": report.table(), "leaks": leaks})


def _print(report: "AuditReport") -> None:
    days = ", ".join(str(cut) for cut in report.dates)
    print(f"version  {report.version or 'none yet: the default settings'}")
    read = f"{len(report.tickers)} of {report.of_tickers} tickers"
    print(f"data     {read} {report.first}..{report.last}")
    print(f"altered  every bar after {days}; and after the training and the validation days")
    print(f"trained  {report.max_steps} optimizer steps each time\n")
    print_table(report.table(), {"values": ","})
    print(f"\n{report.values:,} values compared\n")
    for leak in report.leaks:
        print(f"LEAK     {leak.describe()}")
    if not report.leaks and not report.empty:
        print("result   no look-ahead in any of the compared values")
