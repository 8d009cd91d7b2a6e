"""Settings on the command line: options made from their fields, and `forecaster config`.

The settings are imported only when a command's options are asked for, so that `forecaster --help`
does not wait for pydantic.
"""

import functools
import inspect
import sys
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperOption

from forecaster.cli.output import HomeOption, JsonOption, command, print_json, print_table, shown

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from forecaster.settings import Settings

app = typer.Typer(help="Settings: their values and sources; a file to edit.", no_args_is_help=True)

ALL = ("*",)


def with_settings(**sections: Iterable[str]) -> type[TyperCommand]:
    """Return the class of a command that has an option for each of these settings, by section.

    `ALL` is every setting of a section. The command's function takes a `typer.Context`, for
    `read_settings`.
    """
    return type("SettingsCommand", (_SettingsCommand,), {"sections": sections})


def read_settings(context: typer.Context, home: Path | None) -> "Settings":
    """Merge the options of a command with the environment and the file of a home."""
    from forecaster.settings import resolve_home
    from forecaster.settings.settings_sources import load_settings

    interactive = is_interactive(quiet=bool(context.params.get("quiet")))
    return load_settings(resolve_home(home), context.obj, interactive=interactive)


def is_interactive(*, quiet: bool) -> bool:
    """Whether a person reads the messages: stderr is a terminal, and --quiet is not given."""
    return sys.stderr.isatty() and not quiet


class _SettingsCommand(TyperCommand):
    """A command with options made from settings, listed by group in its help."""

    sections: ClassVar[Mapping[str, Iterable[str]]] = {}
    _made: dict[str, tuple[str, ...]] | None = None  # section: names of its options

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the function and those made from settings."""
        if self._made is None:
            from forecaster.settings import SECTIONS

            self._made = {
                section: tuple(SECTIONS[section].model_fields if names is ALL else names)
                for section, names in self.sections.items()
            }
            fields = {
                name: SECTIONS[section].model_fields[name]
                for section, names in self._made.items()
                for name in names
            }
            self.params = [*self.params, *_options(fields)]
        return super().get_params(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace options of 0.1.0, with a warning; refuse them where a person reads."""
        return super().parse_args(ctx, [self._present(one, args) for one in args])

    def _present(self, word: str, args: list[str]) -> str:
        from forecaster.settings.settings_file import RENAMED_KEYS

        flag, equals, value = word.partition("=")
        for (section, old), new in RENAMED_KEYS.items():
            if flag == _flag(old) and section in self.sections:
                if is_interactive(quiet=not {"-q", "--quiet"}.isdisjoint(args)):
                    raise typer.BadParameter(f"{flag} is now {_flag(new)}.")
                print(f"WARNING {flag} is now {_flag(new)}", file=sys.stderr)
                return f"{_flag(new)}{equals}{value}"
        return word

    def invoke(self, ctx: Any) -> Any:
        """Move the values of settings from the function's parameters to the context."""
        ctx.obj = {}
        for section, names in (self._made or {}).items():
            values = {name: ctx.params.pop(name) for name in names}
            ctx.obj[section] = {
                name: value.date() if isinstance(value, datetime) else value
                for name, value in values.items()
            }
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options without a group, then each group."""
        records: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                kind = "Options" if param.param_type_name == "option" else "Arguments"
                group = getattr(param, "rich_help_panel", None) or kind
                records.setdefault(group, []).append(record)
        for group, found in records.items():
            if found:
                with formatter.section(group):
                    formatter.write_dl(found)


def _options(fields: Mapping[str, "FieldInfo"]) -> list[TyperOption]:
    """Convert fields to options, by the command that typer makes of such a function."""
    from forecaster.settings.settings_file import value_form

    def function(**given: Any) -> None: ...

    annotations: dict[str, Any] = {}
    for name, field in fields.items():
        kind, extra = _kind(field.annotation), field.json_schema_extra
        shown: dict[str, Any] = {"help": _help(field)}
        if isinstance(extra, dict):
            shown["rich_help_panel"] = extra.get("group")
        if kind is datetime:
            shown |= {"metavar": "DATE", "formats": ["%Y-%m-%d"]}
        elif kind is str:
            shown["metavar"] = f"<{value_form(field.annotation)}>"
        flags = [_flag(name) if not field.default else f"{_flag(name)}/{_flag('no_' + name)}"]
        option = typer.Option(*(flags if kind is bool else ()), **shown)
        annotations[name] = Annotated[kind | None, option]
    make = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = [make(name, annotation=of_type) for name, of_type in annotations.items()]
    function.__annotations__ = annotations
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return [one for one in typer.main.get_command(app).params if isinstance(one, TyperOption)]


def _kind(annotation: Any) -> Any:
    """Return the type that typer parses; text where the settings parse it themselves."""
    kinds = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) not in (Literal, tuple) and len(kinds) == 1:
        annotation = kinds[0]  # of an optional one
    if annotation in (int, float, bool):
        return annotation
    return datetime if annotation is date else str


def _help(field: "FieldInfo") -> str:
    """Return the description, with the default where the description does not have it."""
    text = (field.description or "").removesuffix(".")
    default = field.default
    if default is None or default is False or default == "" or "[" in text:
        return f"{text}."
    default = f"{default:g}" if isinstance(default, float) else default
    return f"{text} [{','.join(default) if isinstance(default, tuple) else default}]."


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@app.command("show")
@command
def show_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every setting: its value, and what set it.

    Sources, the highest first: FORECASTER_* variables, forecaster.toml, defaults. Options of a
    command override them all. Unknown names are refused with the nearest valid one.

    Reads: forecaster.toml, the environment. Creates: nothing.

    Example: forecaster config show
    """
    import pandas as pd

    from forecaster.settings import resolve_home
    from forecaster.settings.settings_file import FILE
    from forecaster.settings.settings_sources import sourced_settings

    where = resolve_home(home)
    found = sourced_settings(where, interactive=is_interactive(quiet=False))
    rows = [
        {"setting": f"{section}.{name}", "value": value if json else _text(value), "source": source}
        for section, name, value, source in found
    ]
    if json:
        file = where / FILE
        known = {"home": where, "file": file if file.is_file() else None}
        print_json("config.show", {**known, "settings": rows})
    else:
        print(f"home    {where}")
        print_table(pd.DataFrame(rows))


@app.command("init")
@command
def init_command(
    migrate: Annotated[
        bool,
        typer.Option("--migrate", help="Rename the settings of 0.1.0 in the file that is there."),
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a forecaster.toml with every setting and its default as a comment.

    A file that exists is not overwritten. --migrate rewrites it line by line: old names become
    the present ones, everything else stays, and a backup is kept beside it.

    Reads: forecaster.toml. Creates: forecaster.toml, with --migrate forecaster.toml.bak.

    Example: forecaster config init
    """
    from forecaster.settings import resolve_home
    from forecaster.settings.settings_file import FILE, migrate_file, write_default_file

    where = resolve_home(home)
    path = where / FILE
    changed, backup = migrate_file(where) if migrate else ([], None)
    if not migrate:
        write_default_file(where)
    if json:
        print_json("config.init", {"file": path, "changed": changed, "backup": backup})
        return
    for line in changed:
        print(f"changed {line}")
    if backup:
        print(f"backup  {shown(backup)}")
    print(f"file    {shown(path)}" if backup or not migrate else f"file    {path}: no old settings")


def _text(value: Any) -> str:
    """Return a value as forecaster.toml spells it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value) or '""'
