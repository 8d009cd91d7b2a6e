"""Where settings come from: command line > FORECASTER_* > forecaster.toml > defaults."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forecaster.errors import ForecasterError, SettingsError, UsageError
from forecaster.settings import SECTIONS, Contradiction, Settings
from forecaster.settings.settings_file import FILE, RENAMED_KEYS, read_toml, renamed

log = logging.getLogger(__name__)

PREFIX, HOME_VARIABLE = "FORECASTER_", "FORECASTER_HOME"
# Set for the command of --on-failure, which may call forecaster in turn.
REPORTED = ("FORECASTER_EXIT", "FORECASTER_REASON")
_PLACES = [
    (section, name) for section, settings in SECTIONS.items() for name in settings.model_fields
]
_LINE, _ENVIRONMENT, _FILE, _DEFAULT = range(4)  # ranks of the sources, the highest first

Values = dict[tuple[str, str], Any]  # by section and name


def load_settings(
    home: Path, given: Mapping[str, Mapping[str, Any]] | None = None, *, interactive: bool = False
) -> Settings:
    """Merge the sources, with the command line's options (`given`, by section and name) on top.

    A setting that has no meaning beside one of a higher source gives way to it; beside one of
    its own or of a lower source it is a contradiction. Names of 0.1.0 are refused if
    `interactive`, else read with a warning.

    Raises:
        UsageError: an option of the command line is not valid.
        SettingsError: a value of the file or the environment is not valid or not known.
    """
    return _merge(home, given or {}, interactive)[0]


def sourced_settings(
    home: Path, *, interactive: bool = False
) -> Iterator[tuple[str, str, Any, str]]:
    """Yield section, name, value and source of each setting, for a command without options."""
    settings, layers = _merge(home, {}, interactive)
    for section, name in _PLACES:
        value = getattr(getattr(settings, section), name)
        yield section, name, value, _source((section, name), _rank(layers, (section, name)))


def _merge(
    home: Path, given: Mapping[str, Mapping[str, Any]], interactive: bool
) -> tuple[Settings, list[Values]]:
    """Return the settings and the values of each source, without those that have to give way."""
    line = {
        (section, name): value
        for section, values in given.items()
        for name, value in values.items()
        if value is not None
    }
    environment = _present(_read_environment(), _ENVIRONMENT, interactive)
    file = _present(_read_file(home / FILE), _FILE, interactive)
    layers = [line, environment, file]
    while True:
        merged: dict[str, dict[str, Any]] = {}
        for layer in reversed(layers):
            for (section, name), value in layer.items():
                merged.setdefault(section, {})[name] = value
        try:
            return Settings(**merged), layers
        except ValidationError as error:
            if not _drop_needless(layers, error):
                raise _explained(error, layers) from error


def _read_environment() -> Values:
    known = {_source(place, _ENVIRONMENT): place for place in [*_PLACES, *RENAMED_KEYS]}
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
    return found


def _read_file(path: Path) -> Values:
    found: Values = {}
    for section, values in read_toml(path).items() if path.is_file() else ():
        if section not in SECTIONS:
            near = _nearest(section, SECTIONS)
            raise SettingsError(f"{path}: no such section [{section}]; {near}")
        if not isinstance(values, dict):
            raise SettingsError(
                f"{path}: {section} = {values!r}; a section is needed. Write [{section}] and a "
                "line for each setting."
            )
        names = SECTIONS[section].model_fields
        for name, value in values.items():
            if name not in names and (section, name) not in RENAMED_KEYS:
                near = _nearest(name, names)
                raise SettingsError(
                    f"{path}: {section}.{name} = {value!r}: no such setting; {near}"
                )
            found[section, name] = value
    return found


def _present(found: Values, rank: int, interactive: bool) -> Values:
    """Replace names and values of 0.1.0; a present name beside an old one counts."""
    present: Values = {}
    for place, value in found.items():
        name, new = renamed(*place, value)
        now = (place[0], name)
        if (now, new) != (place, value):
            old = f"{'.'.join(place)} = {value!r} of {_source(place, rank)}"
            text = f"{old} is now {'.'.join(now)} = {new!r}"
            if interactive:
                remedy = "Rewrite the file with: forecaster config init --migrate"
                if rank == _ENVIRONMENT:
                    remedy = f"Set {_source(now, rank)} instead."
                raise SettingsError(f"{text}. {remedy}")
            log.warning("config  %s; it is read as that", text)
        if now == place or now not in found:
            present[now] = new
    return present


def _nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    found = get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f"did you mean {found[0]}?" if found else "docs/commands.md lists them."


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
    place, value = (str(first["loc"][0]), str(first["loc"][1])), first["input"]
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    rank = _rank(layers, place)
    if rank == _LINE:
        shown = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
        return UsageError(f"--{place[1].replace('_', '-')} {shown}: {text}.")
    return SettingsError(f"{'.'.join(place)} = {value!r} of {_source(place, rank)}: {text}.")


def _source(place: tuple[str, str], rank: int) -> str:
    """Return the variable, the file or "default"."""
    return {_DEFAULT: "default", _FILE: FILE}.get(rank, f"{PREFIX}{'__'.join(place)}".upper())
