"""Create this folder with forecaster 0.1.0: see README.md.

Usage, in a checkout of commit 8a2a8dc: python make.py FOLDER
"""

import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.cli import main
from forecaster.data.sessions import sessions_between

SEED = 20180102
TICKERS = ("AAA", "BBB", "CCC")
DAYS = 720  # sessions in the store, a daily run on each of the last three
FIRST = date(2015, 1, 2)
SETTINGS = """\
[train]
target = ["return", "range"]
model = "elman"
hidden = 4
dropout = 0.0
input_dropout = 0.0
bptt_steps = 10
bptt_stride = 5
bptt_update = "chunk"
lanes = 8
max_updates = 20
evaluate_every = 5
patience = 3
fit_until = 2016-08-31
select_until = 2017-02-28
threads = 1
workers = 1

[fetch]
source = "sample"

[predict]
max_stale = 3
max_model_age = 300

[retrain]
every = 3
start = "cold"
keep = 10
drift = false
"""


def prices() -> pd.DataFrame:
    """Return invented bars: volatility in clusters, returns that nothing predicts."""
    generator = np.random.default_rng(SEED)
    sessions = sessions_between("XNYS", FIRST, date(2019, 1, 1))[: DAYS + 1]
    tables = []
    for ticker in TICKERS:
        noise = generator.standard_normal((4, len(sessions)))
        level = np.zeros(len(sessions))
        for day in range(1, len(sessions)):
            level[day] = 0.95 * level[day - 1] + 0.2 * noise[0, day]
        volatility = 0.01 * np.exp(level)
        close = 50.0 * np.exp(np.cumsum(volatility * noise[1]))
        opening = np.r_[50.0, close[:-1]] * np.exp(0.2 * volatility * noise[2])
        reach = (0.3 + 0.5 * np.abs(noise[3])) * volatility
        bars = {
            "ticker": ticker,
            "date": sessions,
            "open": opening.round(2),
            "high": (np.maximum(opening, close) * np.exp(reach)).round(2),
            "low": (np.minimum(opening, close) * np.exp(-reach)).round(2),
            "close": close.round(2),
            "volume": (1e6 * np.exp(0.5 * noise[0])).round().astype(int),
        }
        tables.append(pd.DataFrame(bars))
    return pd.concat(tables, ignore_index=True)


def at_close_of(session: date) -> datetime:
    """Return an instant after a session's close and before the next one's open."""
    return datetime(session.year, session.month, session.day, 22, 30, tzinfo=UTC)


def run(home: Path, session: date, *words: object) -> str:
    """Run a command with the clock after the close of a session; return its JSON."""
    out = home.parent / "out.json"
    sys.argv = ["forecaster", *map(str, words), "--home", str(home), "--json"]
    keep = sys.stdout
    with out.open("w") as sys.stdout, clock.as_if(at_close_of(session)):
        try:
            main()
        except SystemExit as ended:
            if ended.code not in (0, None):
                raise
        finally:
            sys.stdout, printed = keep, sys.stdout
            printed.flush()
    print(" ".join(map(str, words)))
    text = out.read_text()
    out.unlink()
    return text


def make(home: Path) -> None:
    """Create the home in a folder that does not exist yet."""
    home.mkdir(parents=True)
    (home / "forecaster.toml").write_text(SETTINGS)
    bars = prices()
    sessions = [day.date() for day in sorted(bars["date"].unique())]
    last, after = sessions[-2], sessions[-1]
    daily = sessions[-4:-1]
    day_before = sessions[-5]
    next_bars = bars[bars["date"] == pd.Timestamp(after)]
    import_bars(home, day_before, bars[bars["date"] <= pd.Timestamp(day_before)])
    as_of = ("--as-of", day_before)
    windows = ("--model", "lstm", "--hidden", 3, "--lookback", 30, "--max-updates", 10)
    older = json.loads(run(home, day_before, "train", *windows, *as_of))["version"]
    run(home, day_before, "models", "promote", older, "--reason", "the first one")
    newer = json.loads(run(home, day_before, "train", *as_of))["version"]
    run(home, day_before, "evaluate", older, "--baselines", "quick", "--no-twins", *as_of)
    run(home, day_before, "evaluate", newer, "--baselines", "quick", *as_of)
    run(home, day_before, "models", "promote", newer, "--reason", "lower loss")
    for session in daily:
        import_bars(home, session, bars[bars["date"] == pd.Timestamp(session)])
        run(home, session, "retrain", "--no-fetch", "--as-of", session)
    expected = {}
    for target in ("return", "range"):
        words = ("--target", target, "--no-ledger", "--as-of", last)
        expected[target] = json.loads(run(home, last, "predict", *words))
    tidy(home)
    with tempfile.TemporaryDirectory() as place:
        copied = shutil.copytree(home, Path(place) / "home")
        import_bars(copied, after, next_bars)
        ran = run(copied, after, "retrain", "--no-fetch", "--as-of", after)
        expected["next"] = json.loads(ran)
    (home / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    next_bars.to_csv(home / "bars.csv", index=False)


def import_bars(home: Path, session: date, bars: pd.DataFrame) -> None:
    """Import bars with the clock after the close of a session."""
    file = home.parent / "imported.csv"
    bars.to_csv(file, index=False)
    run(home, session, "data", "import", file)
    file.unlink()


def tidy(home: Path) -> None:
    """Vacuum the databases; remove reports, locks and empty folders."""
    for database in (home / "data" / "prices.db", home / "models" / "registry.db"):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.rmtree(home / "reports", ignore_errors=True)
    for path in sorted(home.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.name.startswith(".") or path.name.endswith(("-wal", "-shm")):
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
