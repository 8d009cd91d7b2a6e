"""What commands print: results on stdout, progress and notices on stderr, errors in one line."""

import functools
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from forecaster.clock import check_as_of
from forecaster.errors import (
    CannotWriteError,
    ForecasterError,
    StorageError,
    UsageError,
    name_some,
)
from forecaster.files import to_json

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")

# One more whenever the keys of a JSON object change; 1 where they never did.
_SCHEMA_NUMBERS = dict.fromkeys(
    "audit data.quarantine.dropped data.quarantine.released evaluate memory models.list "
    "models.show predict retrain score status train".split(),
    2,
)

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
    datetime | None, typer.Option(help="Use only what was known on this day; YYYY-MM-DD.", **_DAY)
]

TickersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
]

TickersFileOption = Annotated[
    Path | None, typer.Option(help="File with a ticker per line; # starts a comment.")
]

# The options before the command's name; the same options after it override them.
_before: dict[str, Any] = {}


def set_defaults(**options: Any) -> None:
    """Store `debug`, `home` and `json` as given before the command's name."""
    _before.update(options)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Convert our errors to one line on stderr and their exit code; a closed pipe is no error."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        _show_notices(quiet=bool(kwargs.get("quiet")))
        for name in ("home", "json"):
            kwargs[name] = kwargs.get(name) or _before.get(name)
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more at exit: it needs somewhere to write.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except ForecasterError as error:
            _fail(error)
        except PermissionError as error:
            _fail(CannotWriteError(f"{error.filename}: {error.strerror}; check its permissions."))
        except OSError as error:
            _fail(StorageError(f"{error.filename or 'storage'}: {error.strerror or error}."))

    return wrapped


def _fail(error: ForecasterError) -> None:
    if _before.get("debug"):
        traceback.print_exc(file=sys.stderr)
    print_error(str(error))
    raise typer.Exit(error.exit_code) from None


def print_error(text: str) -> None:
    """Print why a command does not end with 0, in one line on stderr."""
    print(f"forecaster: {text}", file=sys.stderr)


class _Stderr(logging.Handler):
    """A handler that prints to the present stderr, which a progress bar replaces as it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, a warning with a label; a traceback is for the log file alone."""
        if record.exc_info:
            return
        label = "WARNING " if record.levelno >= logging.WARNING else ""
        print(f"{label}{record.getMessage()}", file=sys.stderr)


def _show_notices(*, quiet: bool) -> None:
    """Print the package's notices on stderr: warnings always, progress unless quiet."""
    logger = logging.getLogger("forecaster")
    logger.handlers = [_Stderr()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False


@contextmanager
def grouped_notices() -> Iterator[None]:
    """Collect notices inside a `with` block, and print equal ones of many tickers as one line."""
    logger = logging.getLogger("forecaster")
    handlers, collected = logger.handlers, _Collected()
    logger.handlers = [collected]
    try:
        yield
    finally:
        logger.handlers = handlers
        collected.print_lines()


# Files and tickers before what is said of them.
_SUBJECT = re.compile(r"((?:[^\s:]*[/\\.][^:]*: )?(?:[A-Z0-9^][A-Z0-9.&=^-]{0,19}: )?)(.*)", re.S)
_NUMBER = re.compile(r"\d[\d.,:-]*")


class _Collected(logging.Handler):
    """A handler that keeps notices, by what they say of their subject apart from numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one notice."""
        label = "WARNING " if record.levelno >= logging.WARNING else ""
        found = _SUBJECT.fullmatch(record.getMessage())
        subject, text = found.groups() if found else ("", record.getMessage())
        ticker = subject.removesuffix(": ").rpartition(": ")[2]
        kind = re.sub(rf"(?<![\w.]){re.escape(ticker)}(?![\w.])", "#", text) if ticker else text
        self.groups.setdefault((label, _NUMBER.sub("#", kind)), []).append((subject, text))

    def print_lines(self) -> None:
        """Print a line for each group, with the first text."""
        for (label, _), notices in self.groups.items():
            subject, text = notices[0]
            if len(notices) > 1:
                subjects = list(dict.fromkeys(one.removesuffix(": ") for one, _ in notices))
                subject = f"{name_some(subjects)}: " if subjects != [""] else ""
                if len({text for _, text in notices}) > 1:
                    text = f"such as {text}"
            print(f"{label}{subject}{text}", file=sys.stderr)


def day(moment: datetime | None) -> date | None:
    """Return the date of a parsed option."""
    return moment.date() if moment else None


def last_day(as_of: datetime | None) -> date | None:
    """Return the date of --as-of, or raise `UsageError` for one in the future."""
    check_as_of(day(as_of))
    return day(as_of)


def print_next(words: str, home: Path | None, as_of: datetime | None = None) -> None:
    """Print the next command to type, for the same home and last day."""
    until = f" --as-of {as_of:%Y-%m-%d}" if as_of else ""
    where = f" --home {shlex.quote(str(home))}" if home else ""
    print(f"next    forecaster {words}{until}{where}")


def shown(path: Path) -> Path:
    """Shorten a path below the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def print_lines(form: str, values: Iterable[object]) -> None:
    """Print a line for each value."""
    for value in values:
        print(form.format(value))


def print_json(schema: str, content: Mapping[str, Any]) -> None:
    """Print one JSON object: `schema` (name and number) first, missing numbers as null."""
    number = _SCHEMA_NUMBERS.get(schema, 1)
    print(to_json({"schema": f"forecaster.{schema}/{number}", **content}, indent=2))


def read_tickers(file: Path | None) -> list[str]:
    """Read one ticker per line; # starts a comment."""
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--tickers-file {file}: cannot be read ({error}).") from error
    found = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not found:
        raise UsageError(f"--tickers-file {file}: contains no ticker; write one per line.")
    return found


def print_table(table: "pd.DataFrame", formats: Mapping[str, str] | None = None) -> None:
    """Print aligned columns under their names; a missing value is empty."""
    _print_columns({str(name): list(column) for name, column in table.items()}, formats or {})


def print_rows(
    rows: Sequence[Mapping[str, object]],
    names: Sequence[str],
    formats: Mapping[str, str] | None = None,
) -> None:
    """Print rows by `names` as `print_table` does, without pandas."""
    _print_columns({name: [row[name] for row in rows] for name in names}, formats or {})


def _print_columns(columns: Mapping[str, list[Any]], formats: Mapping[str, str]) -> None:
    cells = [[_cell(v, formats.get(name, "")) for v in column] for name, column in columns.items()]
    names = list(columns)
    widths = [max(map(len, [name, *column])) for name, column in zip(names, cells, strict=True)]
    # By value: a column of objects may have counts and gaps.
    numeric = [all(isinstance(v, Number) for v in column) for column in columns.values()]
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
