"""The one function that reads the clock; the audit replaces its time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Union

from forecaster.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

# A pandas Timestamp is a datetime, and that a date.
Day = Union[date, str, "np.datetime64"]

_frozen: ContextVar[datetime | None] = ContextVar("frozen", default=None)


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return _frozen.get() or datetime.now(UTC)


@contextmanager
def as_if(instant: datetime) -> Iterator[None]:
    """Freeze the clock at a given time inside a `with` block.

    Raises:
        ValueError: `instant` carries no timezone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {instant.isoformat()}")
    token = _frozen.set(instant.astimezone(UTC))
    try:
        yield
    finally:
        _frozen.reset(token)


def as_day(day: Day | None, name: str = "as_of") -> date | None:
    """Convert a day as people write it to a date: text, a date, or a midnight.

    Raises:
        UsageError: it is no day, or has a time of day.
    """
    found: object = day
    if hasattr(day, "astype"):  # numpy's, in whatever unit
        found = day.astype("datetime64[s]").item()  # type: ignore[union-attr]
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            found = None
    if isinstance(found, datetime) and found == found and found.time() == time():
        found = found.date()
    if found is None and day is None:
        return None
    if isinstance(found, date) and not isinstance(found, datetime):
        return found
    raise UsageError(
        f"{name} = {str(day)!r}: a day is needed, without a time of day; for example "
        "'2024-12-31' or datetime.date(2024, 12, 31)."
    )


def check_as_of(as_of: date | None) -> None:
    """Refuse a last known day in the future.

    Raises:
        UsageError: it is after today.
    """
    if as_of is None:
        return
    today = now().date()
    if as_of > today:
        raise UsageError(f"--as-of {as_of} is after today, {today}; its prices are not known yet.")
