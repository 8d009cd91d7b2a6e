"""The shape of a chart in Yahoo's JSON: what must hold before yfinance's reading of it is believed.

Only what prices and listings are made of is checked; unknown keys are allowed anywhere. Single
prices that no bar can have (missing, negative, not finite) are left to the rules of bars.

Shape letters: D bars of a chart.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from forecaster.errors import DataError

_EPOCH: Final = date(1970, 1, 1)
_DAY: Final = 86_400  # seconds
# The days of all calendars; stamps in milliseconds are far beyond.
_OLDEST: Final = (date(1900, 1, 1) - _EPOCH).days * _DAY
_NEWEST: Final = (date(2101, 1, 1) - _EPOCH).days * _DAY
_SHOWN: Final = 120  # characters of what is wrong


def _known_zone(name: str) -> str:
    """Return the name of a time zone; a folder or a path out of the database is none."""
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError("a time zone is needed") from error
    return name


Stamp = Annotated[FiniteFloat, Field(ge=_OLDEST, lt=_NEWEST)]
Prices = Annotated[list[float | None], FailFast()]
Volumes = Annotated[list[FiniteFloat | None], FailFast()]
Zone = Annotated[str, AfterValidator(_known_zone)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Meta(_Part):
    exchangeTimezoneName: Zone
    currency: str | None
    instrumentType: str | None


class _Quote(_Part):
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Volumes


class _Adjusted(_Part):
    adjclose: Prices


class _Indicators(_Part):
    quote: Annotated[list[_Quote], Field(min_length=1)]
    adjclose: Annotated[list[_Adjusted], Field(min_length=1)] | None = None


class _Payment(_Part):
    date: Stamp
    amount: FiniteFloat


class _Split(_Part):
    date: Stamp
    numerator: Positive
    denominator: Positive


def _none_as_empty(events: Any) -> Any:
    """Return an empty list as what it stands for."""
    return {} if events == [] else events


Payments = Annotated[dict[str, _Payment], BeforeValidator(_none_as_empty)]
Splits = Annotated[dict[str, _Split], BeforeValidator(_none_as_empty)]


class _Events(_Part):
    dividends: Payments = {}
    capitalGains: Payments = {}
    splits: Splits = {}


class _Titled(_Part):
    meta: _Meta


class _Chart(_Titled):
    timestamp: Annotated[list[Stamp], FailFast()]
    indicators: _Indicators
    events: Annotated[_Events, BeforeValidator(_none_as_empty)] = _Events()

    @model_validator(mode="after")
    def _has_a_row_per_stamp(self) -> "_Chart":
        adjusted = self.indicators.adjclose or []
        columns = [*dict(self.indicators.quote[0]).values(), *(one.adjclose for one in adjusted)]
        if any(len(column) != len(self.timestamp) for column in columns):
            raise ValueError("every column needs a value for each timestamp")
        return self


def check_chart(ticker: str, chart: Mapping[str, Any], *, has_bars: bool) -> None:
    """Raise DataError for a chart, or without bars its header, that is not shaped like one."""
    try:
        (_Chart if has_bars else _Titled).model_validate(chart)
    except (ValidationError, RecursionError) as error:
        raise DataError(
            f"{ticker}: Yahoo's chart cannot be used ({_describe(error)}); nothing was stored. "
            "Fetch again tomorrow."
        ) from error


def _describe(error: ValidationError | RecursionError) -> str:
    """Return where the first fault is and what it is, on one short line of plain ASCII."""
    if not isinstance(error, ValidationError):
        return "nested too deep"
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(map(str, first["loc"])) or "chart"
    text = ascii(f"{where}: {first['msg']}")[1:-1][:_SHOWN]
    return f"{text}; {len(more)} more" if more else text


def day_of(stamp: object, zone: str) -> date | None:
    """Convert a time stamp to its date in a time zone; None if it is none."""
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        return None
    if not _OLDEST + _DAY <= stamp < _NEWEST - _DAY:
        return None
    utc = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(seconds=stamp)
    return utc.astimezone(ZoneInfo(zone)).date()
