"""What a user answers about files, by option of `data import`; to rows of the store and back."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from forecaster.data.history import Basis
from forecaster.data.sources.dates import DateOrder
from forecaster.data.sources.numbers import DecimalMark


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One value per option, None or empty where nothing was answered; see `FileOptions`."""

    basis: Basis | None = None
    calendar: str | None = None
    dates: DateOrder | None = None
    decimal: DecimalMark | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @classmethod
    def of_rows(cls, rows: Mapping[str, str]) -> Self:
        """Read the rows that `rows` returns."""
        values = {option: json.loads(text) for option, text in rows.items()}
        for option in values.keys() & {"ignore", "keep"}:
            values[option] = tuple(values[option])
        return cls(**values)

    @property
    def rows(self) -> dict[str, str]:
        """What was answered, as JSON by option."""
        return {option: json.dumps(value) for option, value in self._given().items()}

    def over(self, earlier: Self) -> Self:
        """Return these answers, and the earlier ones where there is none."""
        return type(self)(**(earlier._given() | self._given()))

    def __str__(self) -> str:
        """Return the options as they are typed."""
        words: list[str] = []
        for option, value in self._given().items():
            if isinstance(value, Mapping):
                words += [f"--map {shlex.quote(f'{of}={name}')}" for of, name in value.items()]
            else:
                several = [value] if isinstance(value, str) else value
                words += [f"--{option} {shlex.quote(str(one))}" for one in several]
        return " ".join(words)

    def _given(self) -> dict[str, Any]:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {option: value for option, value in values.items() if value}
