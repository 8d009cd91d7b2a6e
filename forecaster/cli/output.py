"""How commands speak: the result to stdout, progress and notices to stderr, errors in one line."""

import functools
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import date, datetime
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from forecaster.database import to_json
from forecaster.errors import CannotWriteError, ForecasterError, StorageError

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Workspace with data/ and models/ [FORECASTER_HOME or here].",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
_DAY = {"formats": ["%Y-%m-%d"], "metavar": "DATE"}
DateOption = Annotated[datetime | None, typer.Option(**_DAY)]
AsOfOption = Annotated[
    datetime | None, typer.Option(help="As if this were the last day known; YYYY-MM-DD.", **_DAY)
]

_debug = False
_home: Path | None = None
_json = False


def set_defaults(*, debug: bool, home: Path | None, json: bool) -> None:
    """Keep what was said before the command's name; the same options after it win."""
    global _debug, _home, _json
    _debug, _home, _json = debug, home, json


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn our errors into one line on stderr and their exit code; a closed pipe ends well.

    The function takes `home` and `json`; `quiet` if it has progress to tell.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        _listen(quiet=bool(kwargs.get("quiet")))
        said: dict[str, Any] = {"home": kwargs.get("home") or _home}
        said["json"] = kwargs.get("json") or _json
        try:
            function(*args, **{**kwargs, **said})
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more at exit; give it somewhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except ForecasterError as error:
            _fail(error)
        except PermissionError as error:
            _fail(CannotWriteError(f"{error.filename}: {error.strerror}; check its permissions."))
        except OSError as error:
            _fail(StorageError(f"{error.filename or 'storage'}: {error.strerror or error}."))

    return wrapped


def _fail(error: ForecasterError) -> None:
    if _debug:
        traceback.print_exc(file=sys.stderr)
    print_error(str(error))
    raise typer.Exit(error.exit_code) from None


def print_error(text: str) -> None:
    """Print why a command does not end with 0, in one line on stderr."""
    print(f"forecaster: {text}", file=sys.stderr)


class _Stderr(logging.Handler):
    """Print to whatever stderr is now: a progress bar takes its place while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line; a warning says that it is one."""
        loud = record.levelno >= logging.WARNING
        print(f"{'WARNING ' if loud else ''}{record.getMessage()}", file=sys.stderr)


def _listen(*, quiet: bool) -> None:
    """Send the package's notices to stderr: warnings always, progress unless quiet."""
    logger = logging.getLogger("forecaster")
    logger.handlers = [_Stderr()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False


def day(moment: datetime | None) -> date | None:
    """Keep the date of a parsed option."""
    return moment.date() if moment else None


def print_next(words: str, home: Path | None, as_of: datetime | None = None) -> None:
    """Print what to type next, ready to be pasted: for the same home and evening."""
    evening = f" --as-of {as_of:%Y-%m-%d}" if as_of else ""
    where = f" --home {shlex.quote(str(home))}" if home else ""
    print(f"next    forecaster {words}{evening}{where}")


def shown(path: Path) -> Path:
    """Shorten a path below the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def print_json(schema: str, content: Mapping[str, Any]) -> None:
    """Print one JSON object: `schema` (name and number) first, missing numbers as null."""
    print(to_json({"schema": f"forecaster.{schema}/1", **content}, indent=2))


def print_table(table: "pd.DataFrame", formats: Mapping[str, str] | None = None) -> None:
    """Print aligned columns under their names; a missing value stays empty."""
    formats = formats or {}
    cells = [[_cell(v, formats.get(str(name), "")) for v in table[name]] for name in table.columns]
    names = [str(name) for name in table.columns]
    widths = [max(map(len, [name, *column])) for name, column in zip(names, cells, strict=True)]
    # By value: a column of objects may hold counts beside gaps.
    numeric = [all(isinstance(value, Number) for value in table[name]) for name in table.columns]
    for row in [names, *map(list, zip(*cells, strict=True))]:
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def _cell(value: Any, form: str) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}"
    return format(value, form) if form else str(value)
