"""`forecaster tune`: trials on stderr, the best settings as TOML."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    TickersArgument,
    command,
    day,
    print_json,
    print_next,
    shown,
)
from forecaster.files import to_json

if TYPE_CHECKING:
    from forecaster.pipeline.tune import TuneResult


@command
def tune_command(
    context: typer.Context,
    tickers: TickersArgument = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials that the study has in the end.")] = 30,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="What to search [sizes and rates].")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study [its targets].")] = None,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search for better settings by their validation loss; the test days are not read.

    The same command continues a study that was stopped or killed; started several times, the
    processes share it. Needs the extra `tune`.

    Reads: data/prices.db, forecaster.toml, FILE.toml. Creates: models/tuning/<study>.journal.

    Example: forecaster tune --target range --trials 50
    """
    from forecaster.pipeline.tune import tune

    settings = read_settings(context, home).train
    result = tune(
        settings=settings,
        trials=trials,
        space=space,
        study=study,
        tickers=tickers or (),
        home=home,
        as_of=day(as_of),
    )
    if json:
        print_json("tune", _content(result))
        return
    _print(result)
    options = " ".join(f"--{key.replace('_', '-')} {v}" for key, v in result.best.items())
    own = f"--target-column {settings.target_column}" if settings.target_column else ""
    named = f"--target {','.join(settings.target)}" if settings.target else ""
    print_next(" ".join(filter(None, ("train", named, own, options))), home, as_of)


def _content(result: "TuneResult") -> dict[str, Any]:
    return {
        "study": result.study,
        "trials": {"finished": result.finished, "pruned": result.pruned, "failed": result.failed},
        "best_trial": result.best_trial,
        "best": result.best,
        "best_loss": result.best_loss,
        "importance": result.importance,
        "refits": result.refits,
        "gain": result.gain if result.refits else None,
        "seed_noise": result.seed_noise if result.refits else None,
    }


def _print(result: "TuneResult") -> None:
    counts = f"{result.finished} finished, {result.pruned} pruned, {result.failed} failed"
    print(f"study   {shown(result.study)}: {counts}")
    print(f"best    trial {result.best_trial}, validation loss {result.best_loss:.6g}")
    if result.importance:
        shares = (f"{name} {share:.0%}" for name, share in result.importance.items())
        print(f"importance  {', '.join(shares)}")
    if result.refits:
        means = {label: sum(losses) / len(losses) for label, losses in result.refits.items()}
        print(
            f"refits  mean of {len(result.refits['best'])} other seeds: best "
            f"{means['best']:.6g}, default {means['default']:.6g}; gain {result.gain:.2g}, "
            f"standard error over seeds {result.seed_noise:.2g}"
        )
        if result.gain < 2 * result.seed_noise:
            print("note    the gain is within the noise of seeds: keep the default settings")
    print()
    print("[train]")
    for name, value in result.best.items():
        print(f"{name} = {to_json(value)}")
