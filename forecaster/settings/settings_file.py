"""The text of forecaster.toml: read, written with commented defaults, or migrated from 0.1.0."""

import json
import re
import shutil
import tomllib
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from forecaster.errors import SettingsError, UsageError
from forecaster.files import atomic_file
from forecaster.settings import SECTIONS

FILE: Final = "forecaster.toml"
# Settings of 0.1.0 and the names and values that replaced them; the only place that knows.
RENAMED_KEYS: Final = {
    ("train", "bptt_steps"): "bptt_k2",
    ("train", "bptt_stride"): "bptt_k1",
    ("train", "bptt_update"): "step_per",
    ("train", "fit_until"): "train_until",
    ("train", "select_until"): "validation_until",
    ("train", "max_updates"): "max_steps",
    ("train", "lanes"): "batch_rows",
}
RENAMED_VALUES: Final = {("train", "step_per"): {"pass": "epoch"}}

_LARGEST: Final = 2**20  # bytes
_HEADER: Final = """\
# Settings of forecaster. Command line > FORECASTER_TRAIN__HIDDEN=32 > this file > default.
# To set a value, remove the first "# " of its line.
"""
_SECTION: Final = re.compile(r"\s*\[\s*(\w+)\s*\]")
_SETTING: Final = re.compile(
    r"(?P<before>\s*(?:#\s*)?(?:(?P<section>\w+)\.)?)(?P<name>\w+)(?P<equals>\s*=\s*)"
    r"(?P<value>\"[^\"]*\"|'[^']*')?"
)


def renamed(section: str, name: str, value: Any) -> tuple[str, Any]:
    """Return the present name and value of a setting; those given if they are present ones."""
    present = RENAMED_KEYS.get((section, name), name)
    values = RENAMED_VALUES.get((section, present), {})
    return present, values.get(value, value) if isinstance(value, str) else value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise SettingsError if it cannot be opened, or is not TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError("is larger than 1 MiB")
        return tomllib.loads(content.decode())
    except RecursionError as error:
        raise SettingsError(f"{path}: is nested too deeply; correct the file.") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}; correct the file.") from error


def value_form(annotation: Any) -> str:
    """Return what a setting takes, such as `full|truncated` or `int|all`."""
    parts = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is Literal:
        return "|".join(map(str, parts))
    if get_origin(annotation) in (Union, UnionType):
        return "|".join(map(value_form, parts))
    if get_origin(annotation) is tuple:
        return f"{value_form(parts[0])}[,...]"
    return value_form(parts[0]) if parts else str(annotation.__name__)


def default_text() -> str:
    """Return a forecaster.toml in which every setting is a comment with its default."""
    lines = [_HEADER]
    for section, settings in SECTIONS.items():
        lines.append(f"[{section}]")
        for name, field in settings.model_fields.items():
            value = "" if field.default is None else json.dumps(field.default)
            form = value_form(field.annotation).replace("|", ", ")
            takes = f"({form}) " if ", " in form else ""
            lines.append(f"# {name} = {value}".ljust(28) + f"  # {takes}{field.description}")
        lines.append("")
    return "\n".join(lines)


def write_default_file(home: Path) -> None:
    """Write a forecaster.toml with commented defaults, unless there is one."""
    path = home / FILE
    if path.exists():
        raise UsageError(
            f"{path}: exists and was not changed; to rename old settings in it, add --migrate."
        )
    with atomic_file(path) as stream:
        stream.write(default_text().encode())


def migrate_file(home: Path) -> tuple[list[str], Path | None]:
    """Rename settings of 0.1.0 in a forecaster.toml, line by line; comments stay.

    Returns:
        The changed lines, and the path of the backup; none and None where nothing is old.
    """
    path = (home / FILE).resolve()
    if not path.is_file():
        raise UsageError(f"{path}: no such file; without --migrate one is written.")
    before = read_toml(path)
    old = path.read_bytes().decode()
    new = _migrated_text(old)
    if not _is_migrated(before, new):
        raise SettingsError(
            f"{path}: its old settings cannot be renamed line by line; rename them by hand, after "
            "the table in docs/commands.md."
        )
    if new == old:
        return [], None
    backup = next(
        one
        for number in count()
        if not (one := path.with_name(f"{path.name}.bak{number or ''}")).exists()
    )
    shutil.copy2(path, backup)
    with atomic_file(path) as stream:
        stream.write(new.encode())
    shutil.copymode(backup, path)
    pairs = zip(old.splitlines(), new.splitlines(), strict=True)
    return [line.strip() for was, line in pairs if was != line], backup


def _migrated_text(text: str) -> str:
    section, lines = "", []
    for line in text.splitlines(keepends=True):
        if header := _SECTION.match(line):
            section = header[1]
        if found := _SETTING.match(line):
            value = found["value"] or ""
            name, new = renamed(found["section"] or section, found["name"], value[1:-1])
            quoted = f"{value[0]}{new}{value[0]}" if value else ""
            line = f"{found['before']}{name}{found['equals']}{quoted}{line[found.end() :]}"
        lines.append(line)
    return "".join(lines)


def _is_migrated(before: dict[str, Any], text: str) -> bool:
    """Whether the text has the values of before, and no setting of 0.1.0."""
    expected = {
        section: dict(renamed(section, name, value) for name, value in values.items())
        if isinstance(values, dict)
        else values
        for section, values in before.items()
    }
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False
