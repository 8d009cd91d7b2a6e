"""The one function that reads the clock; `--as-of` replaces it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime

from forecaster.errors import UsageError

_pretended: ContextVar[datetime | None] = ContextVar("pretended", default=None)


def now() -> datetime:
    """Return the current instant, aware, in UTC."""
    return _pretended.get() or datetime.now(UTC)


@contextmanager
def as_if(instant: datetime) -> Iterator[None]:
    """Let it be another instant for all that is called inside; for the audit, which replays.

    Raises:
        ValueError: `instant` carries no timezone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {instant.isoformat()}")
    token = _pretended.set(instant.astimezone(UTC))
    try:
        yield
    finally:
        _pretended.reset(token)


def check_as_of(as_of: date | None) -> None:
    """Refuse a last known day that is no day, or that has not come yet.

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
        raise UsageError(f"--as-of {as_of} is after today, {today}; nobody knows those prices yet.")
