"""The command line: parse, call the pipeline, print. Nothing else in the package prints or exits.

Heavy packages are imported inside the commands, so that `--help` answers at once.
"""

import gc
import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from forecaster import __version__
from forecaster.cli import (
    audit,
    data,
    evaluate,
    memory,
    models,
    operations,
    options,
    output,
    predict,
    train,
    tune,
)
from forecaster.cli.options import ALL, with_settings
from forecaster.errors import ExitCode

_STOPPED = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}

app = typer.Typer(
    name="forecaster",
    help="Next-day stock forecasts with recurrent networks, compared with 'tomorrow = today'.",
    epilog="Start with: forecaster fetch --source sample, then: forecaster train, forecaster "
    "evaluate, forecaster predict --as-of 2018-12-31.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"forecaster {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    home: output.HomeOption = None,
    json: output.JsonOption = False,
) -> None:
    output.set_defaults(debug=debug, home=home, json=json)


app.command("fetch", cls=with_settings(fetch=("source",)))(data.fetch_command)
app.add_typer(data.app, name="data")
app.command("train", cls=with_settings(train=ALL))(train.train_command)
app.command("tune", cls=with_settings(train=ALL))(tune.tune_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("audit")(audit.audit_command)
app.command("memory")(memory.memory_command)
app.command("predict", cls=with_settings(predict=("max_model_age",)))(predict.predict_command)
app.add_typer(models.app, name="models")
app.command(
    "retrain",
    cls=with_settings(
        train=("target", "target_column", "max_steps", "hidden", "members", "seed", "device"),
        fetch=("source",),
        predict=("max_model_age",),
        retrain=("every", "start", "keep", "on_failure", "on_forecast"),
    ),
)(operations.retrain_command)
app.command("score")(predict.score_command)
app.command("status")(operations.status_command)
app.command("doctor")(operations.doctor_command)
app.command("schedule")(operations.schedule_command)
app.add_typer(options.app, name="config")


def main() -> None:
    """Run the command line; SIGINT and SIGTERM unwind before the exit."""
    for number in _STOPPED:
        signal.signal(number, _stop)
    for stream in range(3):  # else a file would take the number of a closed standard stream
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for text in (sys.stdout, sys.stderr):
        if isinstance(text, TextIOWrapper):
            text.reconfigure(errors="backslashreplace")  # a name that it cannot encode is escaped
    # A quarter of the time of the imports was a search for garbage, in them and at the exit.
    gc.set_threshold(100_000)
    try:
        app()
    finally:
        gc.freeze()


def _stop(number: int, frame: object) -> None:
    sys.exit(_STOPPED[signal.Signals(number)])
