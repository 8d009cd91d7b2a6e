"""Arguments of commands, checked before anything that takes long to import."""

from pathlib import Path

from forecaster.data.export import check_folder, check_format
from forecaster.errors import UsageError
from forecaster.evaluation.splits import Walk
from forecaster.operations.run_log import check_command, on_failure, run_on_forecast

__all__ = [
    "Walk",
    "check_command",
    "check_folder",
    "on_failure",
    "run_on_forecast",
]  # and what is defined here


def check_files(file: Path | None, forecasts: Path | None, *, no_report: bool) -> None:
    """Refuse, before any work, a page with --no-report and files whose folder does not exist."""
    if file is not None and no_report:
        raise UsageError(f"--report {file} and --no-report: give one of them.")
    check_folder("--report", file)
    check_folder("--forecasts", forecasts)


def check_forecast_file(file: Path | None) -> None:
    """Refuse, before any work, a file of forecasts that cannot be written."""
    check_folder("--out", file)
    if file is not None:
        check_format(file, endings=(".csv", ".parquet", ".json"))


def check_model(version: str | None, name: str | None, target: str | None) -> None:
    """Refuse a version together with the name of a champion, and several targets."""
    if target is not None and "," in target:
        raise UsageError(
            f"--target {target}: give one target, or leave it out for all that the model has."
        )
    if version is not None and name is not None:
        raise UsageError(f"--version {version} and --name {name}: give one of the two.")


def check_audit(dates: int, tickers: int, max_steps: int) -> None:
    """Refuse numbers that leave nothing to audit."""
    options = (("--dates", dates, 3), ("--tickers", tickers, 1), ("--max-steps", max_steps, 1))
    for option, value, least in options:
        if value < least:
            raise UsageError(f"{option} {value}: give at least {least}.")
