"""The one function that reads the clock; the audit replaces its time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime

from forecaster.errors import UsageError

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


def check_as_of(as_of: date | None) -> None:
    """Refuse a last known day that is not a plain date, or is in the future.

    Raises:
        UsageError: not a plain `date`, or after today.
    """
    if as_of is None:
        return
    if isinstance(as_of, datetime) or not isinstance(as_of, date):
        raise UsageError(
            f"as_of = {as_of!r}: a datetime.date is needed, without a time of day; for example "
            "date(2024, 12, 31)."
        )
    today = now().date()
    if as_of > today:
        raise UsageError(f"--as-of {as_of} is after today, {today}; its prices are not known yet.")
