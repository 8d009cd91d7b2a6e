"""False alarms and power of the rules of data validation.

Usage: python -m benchmarks.data_rules [--prices FILE_OR_FOLDER ...] [--bars 2000000]

Without --prices: alarms on simulated bars (GARCH(1,1) with Student's t of 4 degrees of freedom; a
split on record every 1,000 bars and a dividend every 63), and the share of planted faults that is
found, by volatility.  With --prices: alarms on series that are known to be right, for the half of
the tickers that thresholds were chosen on and for the other half, and planted faults in them.  A
file is what `data import` reads, with columns ticker, basis and calendar.  No alarm on n bars has a
95 % upper bound of 3 / n.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.checks import RULES, Finding, check_history
from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, Basis, History, Listing
from forecaster.data.series import MEMORY, Daily
from forecaster.data.sessions import sessions_between
from forecaster.data.sources.files import FileOptions, read_file

ERRORS: Final = frozenset(rule.name for rule in RULES if rule.severity == "error")
WARNINGS: Final = ("jump", "odd-dividend")
VOLATILITIES: Final = (0.01, 0.02, 0.04, 0.10)
RATIOS: Final = (2.0, 3.0, 1.5, 4.0, 1.25, 5.0, 1.05, 10.0, 0.1, 0.05)
DAYS: Final = 2000
TRIALS: Final = 200
CRISES: Final = {
    "2008-09 .. 2009-03": (date(2008, 9, 1), date(2009, 3, 31)),
    "2010-05": (date(2010, 5, 1), date(2010, 5, 31)),
    "2020-02 .. 2020-04": (date(2020, 2, 1), date(2020, 4, 30)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A simulated series: its daily volatility, tail (degrees of freedom) and price step."""

    volatility: float
    tail: float = 4.0
    tick: float = 0.0
    basis: Basis = "split-adjusted"
    with_events: bool = True


def volatilities(walk: Walk, days: int, draw: np.random.Generator) -> Daily:
    """Draw the volatility of each day (D,): GARCH(1,1) with Student's t."""
    mixing = np.sqrt((walk.tail - 2.0) / draw.chisquare(walk.tail, days))
    shock = np.square(mixing * draw.standard_normal(days))
    variance, each = 1.0, np.empty(days)
    for day in range(days):
        each[day] = variance
        variance = 0.03 + variance * (0.08 * shock[day] + 0.89)
    return walk.volatility * np.sqrt(each) * mixing


def simulate(walk: Walk, seed: int, days: int = DAYS) -> History:
    """Simulate bars: Brownian motion overnight and by day, with high and low of its bridge."""
    draw = np.random.default_rng(seed)
    size = volatilities(walk, days, draw)
    overnight, day = np.sqrt([[0.3], [0.7]]) * size * draw.standard_normal((2, days))
    close = np.cumsum(overnight + day)
    opening, span = close - day, 0.7 * size**2
    reach = np.sqrt(day**2 - 2 * span * np.log(draw.uniform(size=(2, days))))
    prices = 20.0 * np.exp(
        np.column_stack(
            [opening, close - day / 2 + reach[0] / 2, close - day / 2 - reach[1] / 2, close]
        )
    )
    if walk.tick:
        prices = np.maximum(np.round(prices / walk.tick), 1.0) * walk.tick
    return with_events(walk, prices, draw)


def with_events(walk: Walk, prices: np.ndarray, draw: np.random.Generator) -> History:
    """Add a split every 1,000 bars and a dividend every 63 to simulated prices (D, 4)."""
    days = len(prices)
    split, dividend = np.ones(days), np.zeros(days)
    if walk.with_events:
        split[500::1000] = draw.choice(RATIOS, len(split[500::1000]))
        dividend[63::63] = 0.01 * prices[62:-1:63, 3]
    paid = np.cumprod(np.r_[1.0, 1.0 - dividend[1:] / (prices[:-1, 3])])
    scale = paid if walk.basis == "split-adjusted" else paid / np.cumprod(split)
    dividend = dividend * scale
    sessions = sessions_between("XNYS", date(1990, 1, 2), date(2040, 1, 1))
    columns = [*(prices * scale[:, None]).T, np.full(days, 1e6), dividend, split]
    bars = pd.DataFrame(dict(zip(BAR_COLUMNS[1:], columns, strict=True)))
    bars.insert(0, "session", sessions[:days].astype("datetime64[s]"))
    listing = Listing(ticker="SIM", source="simulated", basis=walk.basis, calendar="XNYS")
    return History(listing=listing, bars=bars)


def alarms(histories: Iterable[History]) -> tuple[int, list[Finding]]:
    """Count bars and list what is found in them."""
    bars, found = 0, []
    for history in histories:
        bars += len(history.bars)
        found += check_history(history)
    return bars, found


def describe_alarms(label: str, bars: int, found: Sequence[Finding]) -> str:
    """Describe errors and warnings per rule, and the rate of errors per 20,000 bars."""
    wrong = Counter(one.rule for one in found if one.rule in ERRORS)
    odd = Counter(one.rule for one in found if one.rule in WARNINGS)
    errors = wrong.total()
    rate = f"{20_000 * errors / bars:.2f}" if errors else f"0, at most {60_000 / bars:.2f} (95 %)"
    names = ", ".join(f"{count} {rule}" for rule, count in (wrong + odd).most_common()) or "none"
    return f"{label:34} {bars:>9,} bars  errors per 20,000: {rate}  ({names})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault to plant at a row of a history's bars; it spans `length` rows."""

    name: str
    plant: Callable[[pd.DataFrame, int], None]
    length: int = 1


def scaled(factor: float, length: int, columns: Sequence[str] = PRICE_COLUMNS) -> Fault:
    """Return a block of prices times a factor; of one bar for one column."""

    def plant(bars: pd.DataFrame, row: int) -> None:
        bars.loc[row : row + length - 1, list(columns)] *= factor
        if columns != PRICE_COLUMNS:
            bars["high"] = bars[list(PRICE_COLUMNS)].max(axis=1)
            bars["low"] = bars[list(PRICE_COLUMNS)].min(axis=1)

    what = "" if columns == PRICE_COLUMNS else f"{columns[0]} "
    size = f"x {factor:g}" if factor >= 1 else f"/ {1 / factor:g}"
    return Fault(name=f"{what}{size}, {length} bars", plant=plant, length=length)


def split(ratio: float, power: int = 1, away: int = 0) -> Fault:
    """Return a split on record whose closes are wrong by a power of its ratio, some days away."""

    def plant(bars: pd.DataFrame, row: int) -> None:
        bars.loc[row, "split"] = ratio
        bars.loc[: row + away - 1, list(PRICE_COLUMNS)] *= ratio**power

    how = {1: "missing", -1: "applied twice", 2: "inverted"}[power]
    where = f", {-away} sessions early" if away else ""
    return Fault(name=f"split {ratio:g} {how}{where}", plant=plant, length=1 - away)


def dividend(share: float) -> Fault:
    """Return a dividend of a share of the close that leaves no mark."""

    def plant(bars: pd.DataFrame, row: int) -> None:
        bars.loc[row, "dividend"] = share * bars.loc[row - 1, "close"]

    return Fault(name=f"dividend of {share:.0%} of the price", plant=plant)


FAULTS: Final = (
    *(scaled(10.0, 1), scaled(10.0, 4), scaled(0.1, 40), scaled(12.0, 4), scaled(0.05, 4)),
    *(scaled(100.0, 4), scaled(0.001, 4), scaled(2.5, 1)),
    *(scaled(factor, 1, ("high",)) for factor in (3.0, 5.0, 10.0, 50.0)),
    *(scaled(factor, 1, ("low",)) for factor in (1 / 3, 0.1, 0.001)),
    *(scaled(10.0, 1, ("open",)), scaled(0.2, 1, ("open",))),
    *(split(ratio) for ratio in (2.0, 1.5, 1.25, 1.1, 1.05, 0.1, 0.02)),
    *(split(2.0, -1), split(4.0, 2), split(1.25, 2), split(2.0, away=-3), split(1.5, away=-3)),
    *(dividend(share) for share in (0.15, 0.4, 1.0, 1.3, 100.0)),
)


def split_adjusted(history: History) -> pd.DataFrame:
    """Return bars without events, their prices adjusted for splits."""
    bars = history.bars.assign(dividend=0.0, split=1.0)
    if history.listing.basis == "as-traded":
        split = history.bars["split"].to_numpy()
        later = np.cumprod(split[::-1])[::-1] / split
        bars[list(PRICE_COLUMNS)] /= later[:, None]
    return bars


def is_found(fault: Fault, history: History, draw: np.random.Generator) -> bool:
    """Plant a fault somewhere in a history; whether an error is found where it is."""
    row = int(draw.integers(MEMORY + 20, len(history.bars) - 60))
    bars = split_adjusted(history).iloc[row - MEMORY - 20 : row + 60].reset_index(drop=True)
    row = MEMORY + 20
    fault.plant(bars, row)
    listing = replace(history.listing, basis="split-adjusted")
    found = check_history(History(listing=listing, bars=bars))
    days = bars["session"].dt.date.tolist()
    near = {days[at] for at in (row, row + fault.length, row - fault.length + 1)}
    return any(one.rule in ERRORS and one.session in near for one in found)


def power(histories: Sequence[History], trials: int) -> list[float]:
    """Return the share of each fault that is found, planted in histories in turn."""
    draw = np.random.default_rng(0)
    return [
        sum(is_found(fault, histories[trial % len(histories)], draw) for trial in range(trials))
        / trials
        for fault in FAULTS
    ]


def read(paths: Sequence[Path]) -> list[History]:
    """Read files and folders, by ticker."""
    files = [one for path in paths for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    tables = (read_file(file, None, {}, FileOptions()) for file in files)
    histories = [one for table in tables for one in table.histories]
    return sorted(histories, key=lambda one: one.listing.ticker)


def report_prices(paths: Sequence[Path]) -> None:
    """Print the alarms on real series and the power in them."""
    histories = read(paths)
    for label, part in (
        ("every other ticker (chosen on)", histories[::2]),
        ("the other half", histories[1::2]),
        ("all", histories),
    ):
        bars, found = alarms(part)
        print(describe_alarms(label, bars, found))
    for one in found:
        if one.rule in (*ERRORS, *WARNINGS):
            print(f"  {one}")
    for label, (first, last) in CRISES.items():
        days = sum(((one.days >= first) & (one.days <= last)).sum() for one in histories)
        during = [one for one in found if first <= one.session <= last]
        print(describe_alarms(label, days, during))
    long = [one for one in histories if len(one.bars) >= DAYS]
    print_power({"real": power(long, TRIALS)})


def report_simulated(bars: int) -> None:
    """Print the alarms on simulated series and the power in them."""
    walks = {f"{size:.0%}": Walk(volatility=size) for size in VOLATILITIES}
    walks["10%, as traded"] = Walk(volatility=0.10, basis="as-traded")
    walks["10%, price step 0.01"] = Walk(volatility=0.10, tick=0.01, with_events=False)
    walks["10%, tail 3"] = Walk(volatility=0.10, tail=3.0)
    for label, walk in walks.items():
        series = (simulate(walk, seed) for seed in range(bars // DAYS))
        print(describe_alarms(f"simulated, {label}", *alarms(series)), flush=True)
    drawn = {
        f"{size:.0%}": [simulate(Walk(volatility=size), seed) for seed in range(50)]
        for size in VOLATILITIES
    }
    print_power({label: power(series, TRIALS) for label, series in drawn.items()})


def print_power(columns: dict[str, list[float]]) -> None:
    """Print the share of each fault that is found, as a table in Markdown."""
    print(f"| planted {TRIALS} times | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for fault, *shares in zip(FAULTS, *columns.values(), strict=True):
        print(f"| {fault.name} | {' | '.join(f'{share:.0%}' for share in shares)} |")


def main() -> None:
    """Parse the command line; report on files or on simulated series."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prices", type=Path, nargs="+")
    parser.add_argument("--bars", type=int, default=2_000_000)
    given = parser.parse_args()
    if given.prices:
        report_prices(given.prices)
    else:
        report_simulated(given.bars)


if __name__ == "__main__":
    main()
