"""Where settings come from: command line > FORECASTER_* > forecaster.toml > defaults.

`settings/` defines what may be set and what contradicts what. Here the sources are merged; an
error names the option, variable or key that is wrong.
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
from forecaster.settings import SECTIONS, Contradiction, Settings
from forecaster.settings.renamed_keys import RENAMED_KEYS, renamed

log = logging.getLogger(__name__)

PREFIX, HOME_VARIABLE = "FORECASTER_", "FORECASTER_HOME"
# Set for the command of --on-failure, which may call forecaster in turn.
REPORTED = ("FORECASTER_EXIT", "FORECASTER_REASON")
FILE = "forecaster.toml"
_NAMES: dict[str, Iterable[str]] = {
    section: settings.model_fields for section, settings in SECTIONS.items()
}
_LINE, _ENVIRONMENT, _FILE, _DEFAULT = range(4)  # ranks of the sources, the highest first

Values = dict[tuple[str, str], Any]  # by section and name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """One setting: its section and name, its value, and what set it."""

    section: str
    name: str
    value: Any
    source: str


def load_settings(
    home: Path,
    given: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    interactive: bool = False,
) -> Settings:
    """Merge the sources, the command line's values on top.

    A setting that has no meaning beside one of a higher source gives way to it; beside one of
    its own or of a lower source it is a contradiction.

    Args:
        home: where `forecaster.toml` is read from, if it is there.
        given: options by section and name; None means not given.
        interactive: refuse names of 0.1.0; otherwise read them with a warning.

    Raises:
        UsageError: an option of the command line is not valid.
        SettingsError: a value of the file or the environment is not valid or not known.
    """
    line = {
        (section, name): value
        for section, values in (given or {}).items()
        for name, value in values.items()
        if value is not None
    }
    return _settle([line, _environment(interactive), _file(home / FILE, interactive)])


def sourced_settings(home: Path, *, interactive: bool = False) -> list[Sourced]:
    """Return every setting of a home as a command without options would take it.

    Raises:
        SettingsError: a value of the file or the environment is not valid or not known.
    """
    layers = [{}, _environment(interactive), _file(home / FILE, interactive)]
    settings = _settle(layers)
    return [
        Sourced(
            section=section,
            name=name,
            value=getattr(getattr(settings, section), name),
            source=_source((section, name), _rank(layers, (section, name))),
        )
        for section, names in _NAMES.items()
        for name in names
    ]


def _settle(layers: list[Values]) -> Settings:
    """Make the settings of these sources, without those that have to give way."""
    while True:
        try:
            return Settings(**_merged(layers))
        except ValidationError as error:
            if not _drop_needless(layers, error):
                raise _explained(error, layers) from error


def _environment(interactive: bool) -> Values:
    known = {_variable(section, name): (section, name) for section, name in _places()}
    found: Values = {}
    for variable, text in os.environ.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or name in (HOME_VARIABLE, *REPORTED):
            continue
        if name not in known:
            present = [key for key, place in known.items() if place not in RENAMED_KEYS]
            near = _nearest(name, [*present, HOME_VARIABLE], cutoff=0.9)  # they begin alike
            raise SettingsError(f"{variable}={text}: no such setting; {near}")
        found[known[name]] = text
    return _present(found, _ENVIRONMENT, interactive)


def _places() -> list[tuple[str, str]]:
    present = [(section, name) for section, names in _NAMES.items() for name in names]
    return [*present, *RENAMED_KEYS]


def _file(path: Path, interactive: bool) -> Values:
    """Read the file of a home, if there is one."""
    found: Values = {}
    for section, values in read_toml(path).items() if path.is_file() else ():
        if section not in _NAMES:
            near = _nearest(section, _NAMES)
            raise SettingsError(f"{path}: no such section [{section}]; {near}")
        if not isinstance(values, dict):
            raise SettingsError(
                f"{path}: {section} = {values!r}; a section is needed. Write [{section}] and a "
                "line for each setting."
            )
        for name, value in values.items():
            if name not in _NAMES[section] and (section, name) not in RENAMED_KEYS:
                near = _nearest(name, _NAMES[section])
                raise SettingsError(
                    f"{path}: {section}.{name} = {value!r}: no such setting; {near}"
                )
            found[section, name] = value
    return _present(found, _FILE, interactive)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: it cannot be opened, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}; correct the file.") from error


def _present(found: Values, rank: int, interactive: bool) -> Values:
    """Replace names and values of 0.1.0; a present name beside an old one counts."""
    present: Values = {}
    for (section, name), value in found.items():
        place, new = (section, (named := renamed(section, name, value))[0]), named[1]
        if (place[1], new) == (name, value):
            present[place] = value
            continue
        old = f"{section}.{name} = {value!r} of {_source((section, name), rank)}"
        text = f"{old} is now {'.'.join(place)} = {new!r}"
        if interactive:
            raise SettingsError(f"{text}. {_remedy(place, rank)}")
        log.warning("config  %s; it is read as that", text)
        if place == (section, name) or place not in found:
            present[place] = new
    return present


def _remedy(place: tuple[str, str], rank: int) -> str:
    if rank == _FILE:
        return "Rewrite the file with: forecaster config init --migrate"
    return f"Set {_variable(*place)} instead."


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
    """Return the rank of the highest source that sets a value."""
    return next((rank for rank, layer in enumerate(layers) if place in layer), _DEFAULT)


def _drop_needless(layers: list[Values], error: ValidationError) -> bool:
    """Whether a setting contradicted one of a higher source, and was dropped."""
    found = _contradiction(error)
    if found is None:
        return False
    section, contradiction = found
    place = (section, contradiction.needless)
    rank = _rank(layers, place)
    beside = min(contradiction.beside, key=lambda name: _rank(layers, (section, name)))
    above = _rank(layers, (section, beside))
    if rank == _DEFAULT or rank <= above:
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
    """Return an error with the option, variable or key, and what it should be, in one line."""
    found = _contradiction(error)
    if found is not None:
        section, contradiction = found
        names = (contradiction.needless, *contradiction.beside)
        if any((section, name) in layers[_LINE] for name in names):
            return UsageError(f"{contradiction}.")
        return SettingsError(f"{section}: {contradiction}.")
    first = error.errors()[0]
    place = (str(first["loc"][0]), str(first["loc"][1]))
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    rank = _rank(layers, place)
    if rank == _LINE:
        return UsageError(f"--{place[1].replace('_', '-')} {_shown(first['input'])}: {text}.")
    return SettingsError(
        f"{'.'.join(place)} = {first['input']!r} of {_source(place, rank)}: {text}."
    )


def _source(place: tuple[str, str], rank: int) -> str:
    return {_DEFAULT: "default", _FILE: FILE}.get(rank, _variable(*place))


def _variable(section: str, name: str) -> str:
    return f"{PREFIX}{section}__{name}".upper()


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
