"""Where settings come from: command line > FORECASTER_* > forecaster.toml > defaults.

What may be set, and what contradicts what, stands in `settings/`. Here the sources are laid
over each other; what is wrong is told by option, variable or key.
"""

import logging
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forecaster.errors import ForecasterError, SettingsError, UsageError
from forecaster.settings import Contradiction, Settings

log = logging.getLogger(__name__)

PREFIX, HOME_VARIABLE = "FORECASTER_", "FORECASTER_HOME"
# What the night tells the command of --on-failure, which may call forecaster in turn.
TOLD = ("FORECASTER_EXIT", "FORECASTER_REASON")
FILE = "forecaster.toml"
_NAMES: dict[str, Iterable[str]] = {
    section: field.annotation.model_fields  # type: ignore[union-attr]
    for section, field in Settings.model_fields.items()
}

Values = dict[tuple[str, str], Any]  # by section and name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """One setting: its place, its value, and what set it."""

    section: str
    name: str
    value: Any
    source: str


def load_settings(
    home: Path,
    section: str,
    given: Mapping[str, Any],
    also: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Merge the sources, the command line's values on top.

    A setting that has no meaning beside one of a higher source gives way to it; beside one of
    its own or of a lower source it is a contradiction.

    Args:
        home: where `forecaster.toml` is read from, if it is there.
        section: `train`, `fetch`, `predict` or `retrain`.
        given: options by name; None means not given.
        also: options of other sections, by section.

    Raises:
        UsageError: an option of the command line is not valid.
        SettingsError: a value of the file or the environment is not valid or not known.
    """
    line = {
        (part, name): value
        for part, values in {**(also or {}), section: given}.items()
        for name, value in values.items()
        if value is not None
    }
    return _settled([line, _environment(), _file(home / FILE)])


def sourced_settings(home: Path) -> list[Sourced]:
    """Tell every setting of a home as a command without options would take it.

    Raises:
        SettingsError: a value of the file or the environment is not valid or not known.
    """
    layers = [{}, _environment(), _file(home / FILE)]
    settings = _settled(layers)
    found = []
    for section, names in _NAMES.items():
        for name in names:
            rank = _rank(layers, (section, name))
            source = "default" if rank == len(layers) else _source((section, name), rank)
            value = getattr(getattr(settings, section), name)
            found.append(Sourced(section=section, name=name, value=value, source=source))
    return found


def _settled(layers: list[Values]) -> Settings:
    """Make the settings of these sources, taking out of them what has to give way."""
    while True:
        try:
            return Settings(**_merged(layers))
        except ValidationError as error:
            if not _gives_way(layers, error):
                raise _explained(error, layers) from error


def _environment() -> Values:
    found: Values = {}
    known = {
        f"{PREFIX}{section}__{name}".upper(): (section, name)
        for section, names in _NAMES.items()
        for name in names
    }
    for variable, text in os.environ.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or name in (HOME_VARIABLE, *TOLD):
            continue
        if name not in known:
            near = _nearest(name, [*known, HOME_VARIABLE], cutoff=0.9)  # they begin alike
            raise SettingsError(f"{variable}={text}: no such setting; {near}")
        found[known[name]] = text
    return found


def _file(path: Path) -> Values:
    """Read the file of a home, if there is one."""
    try:
        content = tomllib.loads(path.read_bytes().decode()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}; correct the file.") from error
    found: Values = {}
    for section, values in content.items():
        if section not in _NAMES:
            near = _nearest(section, _NAMES)
            raise SettingsError(f"{path}: no such section [{section}]; {near}")
        if not isinstance(values, dict):
            raise SettingsError(
                f"{path}: {section} = {values!r}; a section is needed. Write [{section}] and a "
                "line for each setting."
            )
        for name, value in values.items():
            if name not in _NAMES[section]:
                near = _nearest(name, _NAMES[section])
                raise SettingsError(
                    f"{path}: {section}.{name} = {value!r}: no such setting; {near}"
                )
            found[section, name] = value
    return found


def _nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    found = get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f"did you mean {found[0]}?" if found else "docs/commands.md lists them."


def _merged(layers: list[Values]) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for layer in reversed(layers):
        for (section, name), value in layer.items():
            merged.setdefault(section, {})[name] = value
    return merged


def _rank(layers: list[Values], place: tuple[str, str]) -> int:
    """Number of the highest source, from 0, that sets a value; the default's is the last."""
    return next((rank for rank, layer in enumerate(layers) if place in layer), len(layers))


def _gives_way(layers: list[Values], error: ValidationError) -> bool:
    """Drop a setting that contradicts one of a higher source; say whether there was any."""
    found = _contradiction(error)
    if found is None:
        return False
    section, contradiction = found
    place = (section, contradiction.needless)
    rank = _rank(layers, place)
    if rank == len(layers):
        return False
    beside = min(contradiction.beside, key=lambda name: _rank(layers, (section, name)))
    above = _rank(layers, (section, beside))
    if rank <= above:
        return False
    log.info(
        "config  %s = %s of %s not used: it has no meaning beside %s = %s",
        *(".".join(place), layers[rank].pop(place), _source(place, rank)),
        *(beside, layers[above][section, beside]),
    )
    return True


def _contradiction(error: ValidationError) -> tuple[str, Contradiction] | None:
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Contradiction):
            return str(detail["loc"][0]), cause
    return None


def _explained(error: ValidationError, layers: list[Values]) -> ForecasterError:
    """Name the option, variable or key, what was found and what is needed, in one line."""
    found = _contradiction(error)
    if found is not None:
        section, contradiction = found
        names = (contradiction.needless, *contradiction.beside)
        ours = any((section, name) in layers[0] for name in names)
        return (
            UsageError(f"{contradiction}.")
            if ours
            else SettingsError(f"{section}: {contradiction}.")
        )
    first = error.errors()[0]
    place = (str(first["loc"][0]), str(first["loc"][1]))
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    rank = _rank(layers, place)
    if rank == 0:
        return UsageError(f"--{place[1].replace('_', '-')} {_shown(first['input'])}: {text}.")
    return SettingsError(
        f"{'.'.join(place)} = {first['input']!r} of {_source(place, rank)}: {text}."
    )


def _source(place: tuple[str, str], rank: int) -> str:
    return FILE if rank == 2 else f"{PREFIX}{'__'.join(place)}".upper()


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
