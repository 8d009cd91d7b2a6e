"""`forecaster train`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    shown,
)

if TYPE_CHECKING:
    from forecaster.pipeline.train import TrainReport


@command
def train_command(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
    ] = None,
    tickers_file: Annotated[
        Path | None, typer.Option(help="File with a ticker per line; # starts a comment.")
    ] = None,
    model: Annotated[
        Literal["elman", "gru", "lstm", "mlp"] | None,
        typer.Option(help="mlp has no memory: a rival [lstm]."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="return, range, volume; several, comma-separated, share one network [return]."
        ),
    ] = None,
    hidden: Annotated[int | None, typer.Option(help="Hidden units per layer [64].")] = None,
    layers: Annotated[int | None, typer.Option(help="Recurrent layers [1].")] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Share of outputs dropped while training [0.2].")
    ] = None,
    input_dropout: Annotated[
        float | None, typer.Option(help="Share of inputs dropped while training [0.1].")
    ] = None,
    base: Annotated[
        Literal["auto", "none", "har", "linear"] | None,
        typer.Option(
            help="What the network starts from; auto: linear from 5 years on, else har [auto]."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD[,...]",
            help="point, student-t, quantiles; one for all targets, or one for each "
            "[student-t for return, point for the others].",
        ),
    ] = None,
    point_loss: Annotated[
        Literal["mse", "huber"] | None, typer.Option(help="Of point heads [mse].")
    ] = None,
    bptt: Annotated[
        Literal["full", "truncated"] | None, typer.Option(help="How far errors travel [truncated].")
    ] = None,
    bptt_k2: Annotated[
        str | None,
        typer.Option(
            metavar="DAYS|auto",
            help="Days that an error reaches back, truncated only; auto measures [21, windows 63].",
        ),
    ] = None,
    bptt_tolerance: Annotated[
        float | None, typer.Option(help="Relative bias that --bptt-k2 auto allows [0.1].")
    ] = None,
    bptt_k1: Annotated[
        int | None, typer.Option(help="Days between two updates; divides the steps [= steps].")
    ] = None,
    step_per: Annotated[
        Literal["chunk", "epoch"] | None,
        typer.Option(help="Move the weights every stride, or once per pass [chunk]."),
    ] = None,
    bptt_memory: Annotated[
        Literal["auto", "store", "recompute"] | None,
        typer.Option(help="Keep activations, or recompute them: same gradient [auto]."),
    ] = None,
    lookback: Annotated[
        str | None,
        typer.Option(
            help="Days of a stateless window, or all: whole histories, state carried [all]."
        ),
    ] = None,
    loss: Annotated[
        Literal["each-day", "last-day"] | None,
        typer.Option(help="Days of a window that are scored, --lookback W only [last-day]."),
    ] = None,
    burn_in: Annotated[
        int | None, typer.Option(help="Unscored first days of windows, each-day only [20].")
    ] = None,
    initial_state: Annotated[
        Literal["zeros", "learned"] | None, typer.Option(help="What a series starts from [zeros].")
    ] = None,
    batch_rows: Annotated[
        int | None, typer.Option(help="Whole histories trained side by side, at most [64].")
    ] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional", help="Read windows from both ends, last-day loss only."),
    ] = None,
    train_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Last day of the fit block."),
    ] = None,
    validation_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Last day of the select block."),
    ] = None,
    as_of: AsOfOption = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps at most [1500].")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate [0.002].")] = None,
    clip_grad: Annotated[float | None, typer.Option(help="Largest gradient norm [1].")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same weights on CPU [0].")] = None,
    members: Annotated[
        int | None,
        typer.Option(help="Networks of an ensemble, with the seeds from --seed on [1]."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or mps; auto takes a GPU if any [auto].")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Whose champion it may become [its targets].")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one version on the stored prices.

    The days are cut in three blocks by time: fit (70 %), select (15 %, stops the training),
    report (15 %, for evaluate). --train-until and --validation-until name their last days.

    Reads: data/prices.db, forecaster.toml. Creates: models/<version>/, its row in
    models/registry.db.

    Example: forecaster train AAPL MSFT --target range --bptt-k2 63
    """
    from forecaster.cli.progress import progress
    from forecaster.pipeline.train import train
    from forecaster.settings import resolve_home
    from forecaster.settings.settings_sources import load_settings

    where = resolve_home(home)
    given: dict[str, Any] = {
        **{"model": model, "target": target, "hidden": hidden, "layers": layers},
        **{"dropout": dropout, "bptt": bptt, "bptt_k2": bptt_k2, "lookback": lookback},
        **{"input_dropout": input_dropout, "base": base, "head": head, "point_loss": point_loss},
        **{"bptt_tolerance": bptt_tolerance},
        **{"bptt_k1": bptt_k1, "step_per": step_per, "bptt_memory": bptt_memory},
        **{"loss": loss, "burn_in": burn_in, "initial_state": initial_state},
        **{"batch_rows": batch_rows, "bidirectional": bidirectional},
        **{
            "train_until": day(train_until),
            "validation_until": day(validation_until),
            "seed": seed,
        },
        **{"max_steps": max_steps, "lr": lr, "clip_grad": clip_grad, "device": device},
        "members": members,
    }
    settings = load_settings(where, "train", given).train
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
    """Read a ticker per line; what follows # is a comment."""
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
        raise UsageError(f"--tickers-file {file}: holds no ticker; write one per line.")
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
            "looks": report.looks,
            "path": str(home / "models" / report.version),
        },
    )


def _print(report: "TrainReport", home: Path) -> None:
    manifest, looks = report.manifest, report.looks
    for member, mine in looks.groupby("member"):
        of = f"member {member}, " if len(manifest.members) > 1 else ""
        best = mine.loc[mine["best"], "step"].max()
        print(f"best    {of}step {best} of {mine['step'].max()}")
    for name, value in manifest.metrics.items():
        print(f"score   {name} {value:.6g}")
    print(f"saved   {shown(home / 'models' / report.version)}")
