"""`forecaster schedule`: the cron line or systemd units of the scheduled daily run.

Every path is absolute and every word quoted: cron starts with hardly any environment.
"""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from forecaster.data.history import normalise_tickers
from forecaster.errors import ExitCode, UnknownNameError, UsageError, no_home

TIMEOUT: Final = "6h"  # of one run; a training that is stopped resumes in the next
MINUTES: Final = 60
# The session's forecasts are there, or the next run makes up for it.
_SUCCESS: Final = f"{ExitCode.PARTIAL} {ExitCode.NO_DECISION} {ExitCode.TRY_LATER}"


def schedule_command(home: Path, tickers: Sequence[str] = ()) -> list[str]:
    """Return the command of the daily run, word by word; `make daily` runs the same."""
    if not home.is_dir():
        raise UnknownNameError(no_home(home))
    script = Path(sys.executable).with_name("forecaster")
    # Not resolved: the python of a virtual environment is a link out of it.
    program = [str(script)] if script.exists() else [sys.executable, "-m", "forecaster"]
    return [*program, "retrain", *normalise_tickers(tickers), "--home", str(home), "--quiet"]


def cron_text(home: Path, tickers: Sequence[str] = (), at: tuple[int, int] | None = None) -> str:
    """Return a crontab line: every hour, or at an hour and minute of the machine's time zone.

    Percent signs are escaped: cron would turn them into new lines.
    """
    # By the home's path, so that not all homes ask the source at once.
    own = int.from_bytes(hashlib.sha256(os.fsencode(home)).digest()[:4], "big") % MINUTES
    minute, hour = (at[1], str(at[0])) if at else (own, "*")
    nice, timeout = shutil.which("nice"), shutil.which("timeout")
    words = [*([nice, "-n", "10"] if nice else []), *([timeout, TIMEOUT] if timeout else [])]
    words += schedule_command(home, tickers)
    command = " ".join(map(shlex.quote, words)).replace("%", r"\%")
    return f"{minute} {hour} * * * {command}\n"


def systemd_text(home: Path, tickers: Sequence[str] = (), at: tuple[int, int] | None = None) -> str:
    """Return a user's service and timer, one after the other, each under its file name."""
    command = " ".join(map(_unit_word, schedule_command(home, tickers)))
    when = f"*-*-* {at[0]:02}:{at[1]:02}:00" if at else "hourly"
    return f"""\
# ~/.config/systemd/user/forecaster.service
[Unit]
Description=Next-session forecasts
After=network-online.target

[Service]
Type=oneshot
ExecStart={command}
SuccessExitStatus={_SUCCESS}
Nice=10
TimeoutStartSec={TIMEOUT}
ProtectSystem=strict
ReadWritePaths={_unit_word(str(home))}
PrivateTmp=yes
NoNewPrivileges=yes
MemoryMax=75%
UMask=0077

# ~/.config/systemd/user/forecaster.timer
[Unit]
Description=Next-session forecasts once a session is final

[Timer]
OnCalendar={when}
RandomizedDelaySec=15m
Persistent=true

[Install]
WantedBy=timers.target
"""


def hour_and_minute(text: str) -> tuple[int, int]:
    """Parse HH:MM; raise UsageError if it is malformed."""
    hour, _, minute = text.partition(":")
    if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < MINUTES):
        raise UsageError(f"--at {text}: a time of day is needed, such as 22:30.")
    return int(hour), int(minute)


def unseen_variables(environment: Mapping[str, str]) -> list[str]:
    """List the variables set here that matter to a run and that cron does not pass on."""
    relevant = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE")
    names = {name for name, value in environment.items() if value} - {"FORECASTER_HOME"}
    return sorted(
        name for name in names if name.startswith("FORECASTER_") or name.upper() in relevant
    )


def _unit_word(word: str) -> str:
    """Quote a word for a unit file, in which % and $ are special."""
    plain = word.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"' if set(plain) & set(" \t\"'\\;") else plain
