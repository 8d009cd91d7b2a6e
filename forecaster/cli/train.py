"""`forecaster train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    day,
    print_json,
    print_next,
    shown,
)

if TYPE_CHECKING:
    from forecaster.pipeline.train import TrainReport


@command
def train_command(
    context: typer.Context,
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
    ] = None,
    tickers_file: Annotated[
        Path | None, typer.Option(help="File with a ticker per line; # starts a comment.")
    ] = None,
    as_of: AsOfOption = None,
    name: Annotated[
        str | None, typer.Option(help="Model name whose champion it may become [its targets].")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one model version on the stored prices.

    Rows are split by time: training (70 %), validation (15 %, stops the training) and test (15 %,
    for evaluate). --train-until and --validation-until set their last days.

    Reads: data/prices.db, forecaster.toml. Creates: models/<version>/, its row in
    models/registry.db.

    Example: forecaster train AAPL MSFT --target range --bptt-k2 63
    """
    from forecaster.cli.progress import progress
    from forecaster.pipeline.train import train
    from forecaster.settings import resolve_home

    where = resolve_home(home)
    settings = read_settings(context, where).train
    names = [*(tickers or ()), *_read_tickers(tickers_file)]
    with progress(settings, quiet) as show:
        report = train(
            settings=settings,
            tickers=names,
            home=where,
            as_of=day(as_of),
            name=name,
            on_step=show,
        )
    if json:
        _print_json(report, where)
    else:
        _print(report, where)
        print_next(f"evaluate {report.version}", home, as_of)
    if report.skipped:
        from forecaster.errors import PartialFailure

        raise PartialFailure(f"Left out, history too short: {', '.join(report.skipped)}.")


def _read_tickers(file: Path | None) -> list[str]:
    """Read one ticker per line; # starts a comment."""
    if file is None:
        return []
    from forecaster.errors import UsageError

    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--tickers-file {file}: cannot be read ({error}).") from error
    names = [line.partition("#")[0].strip() for line in lines]
    found = [name for name in names if name]
    if not found:
        raise UsageError(f"--tickers-file {file}: contains no ticker; write one per line.")
    return found


def _print_json(report: "TrainReport", home: Path) -> None:
    manifest = report.manifest
    print_json(
        "train",
        {
            "version": report.version,
            "targets": manifest.targets,
            "members": [member.weights for member in manifest.members],
            "tickers": manifest.data.tickers,
            "skipped": list(report.skipped),
            "blocks": manifest.data.blocks.model_dump(mode="json"),
            "training": manifest.training,
            "metrics": manifest.metrics,
            "validations": report.validations,
            "path": str(home / "models" / report.version),
        },
    )


def _print(report: "TrainReport", home: Path) -> None:
    manifest, validations = report.manifest, report.validations
    for member, mine in validations.groupby("member"):
        of = f"member {member}, " if len(manifest.members) > 1 else ""
        best = mine.loc[mine["best"], "step"].max()
        print(f"best    {of}step {best} of {mine['step'].max()}")
    for name, value in manifest.metrics.items():
        print(f"score   {name} {value:.6g}")
    print(f"saved   {shown(home / 'models' / report.version)}")
