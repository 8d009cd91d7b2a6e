"""Whether the clock of this machine can be right: behind the stored prices nothing is written.

With a clock set back, old bars would pass for new ones, and forecasts with hindsight for live ones.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.store import PriceStore
from forecaster.errors import ForecasterError, TryLaterError

_STEP: Final = timedelta(minutes=1)  # a running clock may be corrected by so much
_LATEST_CLOSE: Final = timedelta(days=2)  # after the beginning of the session's date, in UTC
_LONGEST_HOLIDAY: Final = timedelta(days=30)


def refuse_clock_behind(home: Path) -> None:
    """Check that the newest stored session has closed and the last fetch is past.

    A store that cannot be read is not refused here.

    Raises:
        TryLaterError: the clock is behind one of them.
    """
    past = _past_instants(home)
    if past and clock.now() < max(past)[0]:
        instant, what = max(past)
        raise TryLaterError(
            f"The clock says {clock.now():%Y-%m-%d %H:%M} UTC, but {what} at "
            f"{instant:%Y-%m-%d %H:%M} UTC. Nothing was written; set it (timedatectl set-ntp true) "
            "and run this again."
        )


def _past_instants(home: Path) -> list[tuple[datetime, str]]:
    """List instants that the store shows to be past, each in words."""
    try:
        with PriceStore.open_for_reading(home) as store:
            newest = store.newest()
    except ForecasterError:
        return []
    found = []
    for calendar, last, fetched_at in newest:
        found.append((fetched_at - _STEP, "prices were fetched"))
        if last is None or clock.now().date() > last + _LATEST_CLOSE:
            continue
        # A bar on a day without a session says nothing of the next session.
        known = sessions.sessions_between(calendar, last - _LONGEST_HOLIDAY, last)
        if len(known):
            session = sessions.as_date(known[-1])
            what = f"the newest stored session, {session} of {calendar}, closed"
            found.append((sessions.close_of(calendar, session), what))
    return found
