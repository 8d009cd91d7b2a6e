"""`forecaster train`: progress on stderr, the result, the next step."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    TickersArgument,
    TickersFileOption,
    command,
    last_day,
    print_json,
    print_next,
    read_tickers,
    shown,
)
from forecaster.errors import PartialFailure

if TYPE_CHECKING:
    from forecaster.pipeline.train import TrainReport, Validation
    from forecaster.settings import TrainSettings

OnStep = Callable[[int, "Validation | None"], None]
LINES_EVERY = 100  # optimizer steps between two lines where there is no terminal


@command
def train_command(
    context: typer.Context,
    tickers: TickersArgument = None,
    tickers_file: TickersFileOption = None,
    as_of: AsOfOption = None,
    name: Annotated[
        str | None, typer.Option(help="Model name whose champion it may become [its targets].")
    ] = None,
    tracker: Annotated[
        str | None, typer.Option(help="Send losses and scores to tensorboard or mlflow.")
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
    last, settings = last_day(as_of), read_settings(context, home).train
    names = [*(tickers or ()), *read_tickers(tickers_file)]
    from forecaster.pipeline.train import train
    from forecaster.settings import resolve_home

    with _show_progress(settings, quiet) as show:
        report = train(
            settings=settings,
            tickers=names,
            home=home,
            as_of=last,
            name=name,
            tracker=tracker,
            on_step=show,
        )
    path = resolve_home(home) / "models" / report.version
    if json:
        _print_json(report, path)
    else:
        _print(report, path)
        print_next(f"evaluate {report.version}", home, as_of)
    if report.skipped:
        raise PartialFailure(f"Left out: {', '.join(report.skipped)}.")


@contextmanager
def _show_progress(settings: "TrainSettings", quiet: bool) -> Iterator[OnStep]:
    """Yield what training calls after each optimizer step: a bar on a terminal, lines elsewhere."""
    if quiet:
        yield lambda step, validation: None
    elif not sys.stderr.isatty():
        yield _line_printer(settings.members)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = [TextColumn("{task.fields[member]}"), TextColumn("step"), BarColumn()]
        columns += [MofNCompleteColumn(), TextColumn("{task.description}")]
        label = _member_labels(settings.members)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=settings.max_steps, member="")

            def show(step: int, validation: "Validation | None") -> None:
                bar.update(task, completed=step, member=label(step))
                if validation is not None:
                    losses = (validation.train_loss, validation.validation_loss)
                    bar.update(task, description="train {:.4f}  validation {:.4f}".format(*losses))

            yield show


def _line_printer(members: int) -> OnStep:
    label = _member_labels(members)

    def show(step: int, validation: "Validation | None") -> None:
        member = label(step)
        if validation is None or step % LINES_EVERY:
            return
        if step == LINES_EVERY:
            print("epoch    step  train loss  validation loss    time", file=sys.stderr)
        best = "  best" if validation.best else ""
        line = (
            f"{validation.epoch:>5}  {step:>6}  {validation.train_loss:>10.4f}  "
            f"{validation.validation_loss:>15.4f}  {validation.seconds:>4.1f} s{best}"
        )
        print("  ".join(filter(None, (line, member))), file=sys.stderr)

    return show


def _member_labels(members: int) -> Callable[[int], str]:
    """Return the label of the member that made a step; the next member's steps start again."""
    member, last = 1, 0

    def label(step: int) -> str:
        nonlocal member, last
        member, last = member + (step <= last), step
        return f"member {member}/{members}" if members > 1 else ""

    return label


def _print_json(report: "TrainReport", path: Path) -> None:
    manifest = report.manifest
    print_json(
        "train",
        {
            "version": report.version,
            "targets": manifest.targets,
            "members": [member.weights for member in manifest.members],
            "tickers": manifest.data.tickers,
            "skipped": report.skipped,
            "split": manifest.data.blocks.model_dump(mode="json"),
            "training": manifest.training,
            "metrics": manifest.metrics,
            "validations": report.validations,
            "path": path,
        },
    )


def _print(report: "TrainReport", path: Path) -> None:
    manifest = report.manifest
    for member, mine in report.validations.groupby("member"):
        of = f"member {member}, " if len(manifest.members) > 1 else ""
        best = mine.loc[mine["best"], "step"].max()
        print(f"best    {of}step {best} of {mine['step'].max()}")
    for name, value in manifest.metrics.items():
        print(f"score   {name} {value:.6g}")
    print(f"saved   {shown(path)}")
