"""The states of a version's tickers, kept in `models/state/` from one run to the next.

A state is used only if the bars that it was made from are the stored ones still; whatever is
missing, stale or damaged is made again. The files may be deleted at any time.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, field, replace
from datetime import date
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import forecaster
from forecaster import database
from forecaster.data.columns import TRAILING_DAYS, DailyMeans, own_columns
from forecaster.data.history import History, fingerprint
from forecaster.data.loading import read_store
from forecaster.data.sessions import segments
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Mark
from forecaster.errors import (
    ArtifactError,
    BugError,
    Failures,
    ForecasterError,
    StorageError,
    TickerBugError,
    UnknownNameError,
    work_without_failing,
)
from forecaster.evaluation.conformal import COVERAGES, Adaptive, Track
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import TargetForecast
from forecaster.forecasting.ticker_state import (
    TickerState,
    absurd_states,
    advance,
    forecast_next,
    lacks_outcomes,
)
from forecaster.registry.versions import state_path

log = logging.getLogger(__name__)

SCHEMA: Final = "forecaster.state/1"
AT_ONCE: Final = 64  # tickers
MOST_NEW: Final = 40  # bars since a state; after more it is made again
# Bars before a state's day that inputs of later days read: of 364 days, all of them sessions, and
# of the month before.
REACH: Final = 364 + 2 * TRAILING_DAYS
_LARGEST: Final = 2**24  # bytes of one state; of 500 scores and 4,096 units a tenth
_TABLE: Final = f"""
    CREATE TABLE states (
        name TEXT NOT NULL PRIMARY KEY,
        day TEXT NOT NULL,
        key TEXT NOT NULL,
        checksum TEXT NOT NULL,
        content BLOB NOT NULL CHECK (length(content) <= {_LARGEST})
    ) STRICT
"""
_READ: Final = f"""
    SELECT name, day, states.key, checksum, content FROM json_each(?) JOIN states ON name = value
    WHERE length(content) <= {_LARGEST}
"""
_WRITE: Final = "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?)"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBars:
    """The bars until a day of an open store, or of a caller's own table, by ticker."""

    until: date | None
    store: PriceStore | None = None
    table: Mapping[str, History] = field(default_factory=dict)

    def marks(self, tickers: Sequence[str], until: date | None) -> dict[str, Mark]:
        """Return the marks of those tickers that have a bar until a day; none of a table."""
        found = self.store.marks(tickers, until) if self.store else []
        return {one.ticker: one for one in found}

    def known(self, tickers: Sequence[str]) -> list[str]:
        """List those tickers that have a bar, sorted."""
        if self.store:
            return [*self.marks(tickers, self.until)]
        return sorted(set(tickers) & set(self.table))

    def fingerprint(self, tickers: Sequence[str], recent: Sequence[History]) -> str:
        """Hash the bars of known tickers: 64 hexadecimal digits.

        Of a store the `recent` bars, of all others revision and newest day: any change of an
        earlier bar raises the revision.
        """
        if not self.store:
            return fingerprint([self.table[ticker] for ticker in tickers])
        marks = self.marks(tickers, self.until).values()
        older = [astuple(replace(one, raised_at="")) for one in marks]
        return hashlib.sha256(json.dumps([older, fingerprint(recent)]).encode()).hexdigest()

    def read(self, tickers: Sequence[str], newest: int | None = None) -> Iterator[History]:
        """Read known tickers, all their bars or of a store the `newest` ones."""
        if self.store:
            yield from read_store(self.store, tickers, self.until, newest)
        else:
            yield from (self.table[ticker] for ticker in tickers)


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry of a file: the day it was made on, the hash of what it was made from, arrays."""

    name: str
    day: str
    key: str
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class StateFile:
    """The file of a version's states. Trouble with it is no one's failure, and logged for debug."""

    home: Path
    version: str
    is_written: bool

    @property
    def _database(self) -> database.Database:
        path = state_path(self.home, self.version)
        return database.Database(
            path=path, migrations=((_TABLE,),), absent="", wrong_row="", lost="delete it."
        )

    def read(self, names: Sequence[str]) -> dict[str, Kept]:
        """Read the intact entries among some names."""
        file, rows = self._database, list[Any]()
        try:
            with closing(database.connect_for_reading(file, self.home)) as connection:
                with database.translated_errors(file):
                    rows = connection.execute(_READ, (json.dumps([*names]),)).fetchall()
        except UnknownNameError:
            pass
        except ForecasterError as error:
            self._give_up(error)
        found = (_intact(*row) for row in rows)
        return {one.name: one for one in found if one is not None}

    def write(self, entries: Sequence[Kept]) -> None:
        """Write entries in one transaction, if this file is written at all."""
        if not (self.is_written and entries):
            return
        file, rows = self._database, []
        for one in entries:
            content = save_arrays(one.arrays)
            checksum = _checksum(one.name, one.key, content)
            rows.append((one.name, one.day, one.key, checksum, content))
        try:
            with closing(database.connect_for_writing(file, self.home)) as connection:
                with database.translated_errors(file), database.transaction(connection):
                    connection.executemany(_WRITE, rows)
        except (ForecasterError, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        log.debug("states of %s: %s", self.version, error)
        if isinstance(error, StorageError) and self.is_written:
            for suffix in ("", "-wal", "-shm"):
                path = self._database.path
                with suppress(OSError):
                    path.with_name(path.name + suffix).unlink()


def _checksum(name: str, key: str, content: bytes) -> str:
    return hashlib.sha256(f"{name} {key} ".encode() + content).hexdigest()


def _intact(name: str, day: str, key: str, checksum: str, content: bytes) -> Kept | None:
    """Return an entry if its content has the checksum."""
    if checksum != _checksum(name, key, content):
        log.debug("the state of %s is damaged", name)
        return None
    try:
        return Kept(name, day, key, load_arrays(content))
    except (SafetensorError, KeyError):
        return None


@dataclass(frozen=True, slots=True)
class Market:
    """The means of a model's universe by calendar, or None for a model that reads none."""

    means: dict[str, DailyMeans] | None

    def digest(self, calendar: str, day: date) -> str:
        """Hash a calendar's means until a day, as exactly as a network reads them."""
        means = (self.means or {}).get(calendar)
        if means is None:
            return ""
        days = means.days[means.days <= np.datetime64(day)]
        values = means.at(days).astype(np.float32)
        return hashlib.sha256(days.tobytes() + values.tobytes()).hexdigest()


@dataclass(slots=True)
class States:
    """The states of a version's tickers from some bars; from a file what is still right."""

    model: FittedModel
    bars: KnownBars
    file: StateFile | None
    market: Market
    _digests: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: FittedModel, bars: KnownBars, file: StateFile | None) -> "States":
        """Read or compute the means of the universe first."""
        means = _market_means(model, bars, file) if model.cross_section else None
        return cls(model, bars, file, Market(means))

    def newest(self, tickers: Sequence[str]) -> list[TickerState]:
        """Return the states after the newest bars of known tickers, in their order."""
        found = dict[str, TickerState]()
        for begin in range(0, len(tickers), AT_ONCE):
            names = tickers[begin : begin + AT_ONCE]
            marks = self.bars.marks(names, self.bars.until)
            before = self._kept(names)
            done = {name: one for name, one in before.items() if str(one.day) == marks[name].last}
            rest = [name for name in names if name not in done]
            made = self._advanced(rest, before) if rest else []
            self._keep(made, marks)
            found |= done | {one.ticker: one for one in made}
        return [found[ticker] for ticker in tickers]

    def _advanced(
        self, names: Sequence[str], before: Mapping[str, TickerState]
    ) -> list[TickerState]:
        """Make states from the bars since those before, or from all."""
        lookback = self.model.lookback if isinstance(self.model.lookback, int) else 0
        reach, used = REACH + lookback, dict[str, TickerState]()
        tails = self.bars.read([n for n in names if n in before], reach + MOST_NEW)
        histories = dict[str, History]()
        for tail in tails:
            ticker, days = tail.listing.ticker, tail.days
            row = int(np.searchsorted(days, before[ticker].day))
            is_whole = len(days) < reach + MOST_NEW
            if (row >= reach or is_whole) and days[row : row + 1] == before[ticker].day:
                histories[ticker], used[ticker] = tail, before[ticker]
        whole = [name for name in names if name not in used]
        histories |= {one.listing.ticker: one for one in self.bars.read(whole)}
        panel = self.model.panel([histories[name] for name in names], self.market.means)
        return advance(self.model, panel, used)

    def _kept(self, names: Sequence[str]) -> dict[str, TickerState]:
        """Read the states that were made from the bars that are stored now."""
        kept, found = self.file.read(names) if self.file else {}, dict[str, TickerState]()
        for day in sorted({one.day for one in kept.values()}):
            with suppress(ValueError):
                marks = self.bars.marks([n for n in kept if kept[n].day == day], _day(day))
                for name, mark in marks.items():
                    if mark.last == day and kept[name].key == self._key(mark):
                        state = _state_of(name, day, kept[name].arrays)
                        if _fits(state, self.model):
                            found[name] = state
        return found

    def _keep(self, states: Sequence[TickerState], marks: Mapping[str, Mark]) -> None:
        if self.file is not None and self.file.is_written:
            self.file.write(
                [
                    Kept(one.ticker, str(one.day), self._key(marks[one.ticker]), _arrays_of(one))
                    for one in states
                ]
            )

    def _key(self, mark: Mark) -> str:
        """Hash what a state after a mark's last bar was made from."""
        calendar, day = mark.calendar, mark.last
        if (calendar, day) not in self._digests:
            self._digests[calendar, day] = self.market.digest(calendar, _day(day))
        return _hash([self.model.version, astuple(mark), self._digests[calendar, day]])


def _day(text: str) -> date:
    return date.fromisoformat(text)


@cache
def _code() -> tuple[str, ...]:
    """Return what computes states."""
    return (SCHEMA, forecaster.__version__, installed("torch"), installed("exchange_calendars"))


def _hash(content: list[Any]) -> str:
    """Hash JSON together with the code that computes states."""
    return hashlib.sha256(json.dumps([*_code(), *content]).encode()).hexdigest()


def _market_means(
    model: FittedModel, bars: KnownBars, file: StateFile | None
) -> dict[str, DailyMeans]:
    """Return the means of a model's tickers by calendar, from a file up to its day."""
    marks, found = bars.marks(model.tickers, bars.until), dict[str, DailyMeans]()
    by_calendar = dict[str, list[str]]()
    for mark in marks.values():
        by_calendar.setdefault(mark.calendar, []).append(mark.ticker)
    if bars.store is None or file is None:
        _add(found, bars.read(bars.known(model.tickers)))
        return found
    for calendar, names in by_calendar.items():
        one = _kept_means(calendar, names, bars, file)
        if one is None:
            parts = dict[str, DailyMeans]()
            _add(parts, bars.read(names))
            one = parts.get(calendar, DailyMeans())
            _keep_means(calendar, [marks[name] for name in names], one, file)
        found[calendar] = one
    return found


def _kept_means(
    calendar: str, names: Sequence[str], bars: KnownBars, file: StateFile
) -> DailyMeans | None:
    """Read a calendar's means and add the days since; None where they can't be used."""
    name = f"means {calendar}"
    kept = file.read([name]).get(name)
    if kept is None:
        return None
    try:
        day, known = _day(kept.day), bars.marks(names, _day(kept.day))
        days, means = kept.arrays["days"].astype("datetime64[D]"), kept.arrays["means"]
    except (ValueError, KeyError):
        return None
    if kept.key != _hash([name, [astuple(one) for one in known.values()]]):
        return None
    found = {calendar: DailyMeans()}
    found[calendar].restore(days, means)
    marks = bars.marks(names, bars.until)
    later = [one for one in names if marks[one].last > kept.day]
    if not later:
        return found[calendar]
    if not _add(found, bars.read(later, TRAILING_DAYS + MOST_NEW), after=np.datetime64(day)):
        return None
    _keep_means(calendar, [*marks.values()], found[calendar], file)
    return found[calendar]


def _keep_means(calendar: str, marks: Sequence[Mark], means: DailyMeans, file: StateFile) -> None:
    """Keep a calendar's means until the newest bar."""
    name, days = f"means {calendar}", means.days
    arrays = {"days": days.astype(np.int64), "means": means.at(days)}
    key = _hash([name, [astuple(one) for one in marks]])
    file.write([Kept(name, max(one.last for one in marks), key, arrays)])


def _add(
    means: dict[str, DailyMeans], histories: Iterator[History], after: np.datetime64 | None = None
) -> bool:
    """Add tickers' days to the means of their calendars; False if the first ones are too near.

    A ticker whose bars cause an exception is left out.
    """
    failures = Failures()
    for history in histories:
        listing, days = history.listing, history.days
        with failures.of(listing.ticker):
            parts = [own_columns(segment) for segment in segments(history)]
            own = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            first = 0 if after is None else int(np.searchsorted(days, after, side="right"))
            is_cut = after is not None and len(days) == TRAILING_DAYS + MOST_NEW
            if is_cut and first < TRAILING_DAYS:
                return False
            new = {name: values[first:] for name, values in own.items()}
            means.setdefault(listing.calendar, DailyMeans()).add(new, days[first:])
    return True


def forecast_tickers(
    states: States, tickers: Sequence[str], others: Sequence[str], fresh: Collection[str]
) -> tuple[dict[str, TargetForecast], dict[str, str], list[TickerState]]:
    """Forecast some tickers' next sessions by target; explain, by ticker, which are absurd.

    The `others` that the version reads are forecast too only where the result depends on them: for
    the intervals of a young ticker among the `fresh`, which are served, and where most of the
    forecasts are absurd, so that either the version is corrupt or these tickers are odd.

    Raises:
        ArtifactError: most forecasts are absurd.
    """
    model, mine = states.model, states.newest(tickers)
    everyone = mine
    young = [one for one in mine if one.is_young and one.ticker in fresh]
    if young:
        everyone = _with_others(states, mine, others)
        if lacks_outcomes(young, everyone):
            again = States(model, states.bars, None, states.market)
            mine = again.newest(tickers)
            everyone = _with_others(again, mine, others)
    made = forecast_next(model, mine, everyone)
    try:
        absurd = absurd_states(model, mine, made)
    except ArtifactError:
        everyone = _with_others(states, mine, others)
        absurd = absurd_states(model, everyone, forecast_next(model, everyone, everyone))
    return made, absurd, mine


def _with_others(
    states: States, mine: Sequence[TickerState], others: Sequence[str]
) -> list[TickerState]:
    """Add the states of other tickers, but for those whose bars cause an exception, sorted."""
    found = [*mine]
    if others:
        with suppress(BugError, TickerBugError):
            found += work_without_failing(others, states.newest)[0]
    return sorted(found, key=lambda one: one.ticker)


def _arrays_of(state: TickerState) -> Arrays:
    """Convert a state to arrays, of its tracks the last scores alone."""
    tracks = [track.last(Adaptive().window) for track in state.tracks]
    is_whole = state.whole and all(len(one.known) < Adaptive().window for one in tracks)
    found = {
        "facts": np.array([state.close, state.able, is_whole]),
        **{name: np.ascontiguousarray(getattr(state, name)) for name in ("level", "low", "high")},
        "raw": np.ascontiguousarray(state.raw),
    }
    for member, cells in enumerate(state.cells):
        for number, cell in enumerate(cells):
            found[f"cell.{member}.{number}"] = np.ascontiguousarray(cell)
    for k, track in enumerate(tracks):
        found[f"known.{k}"] = track.known.astype("datetime64[D]").astype(np.int64)
        for coverage in COVERAGES:
            found[f"scores.{k}.{coverage}"] = np.ascontiguousarray(track.scores[coverage])
            found[f"levels.{k}.{coverage}"] = np.ascontiguousarray(track.levels[coverage])
    return found


def _state_of(ticker: str, day: str, arrays: Arrays) -> TickerState:
    """Convert arrays to a state; raise ValueError if they are not one's."""
    try:
        close, able, whole = arrays["facts"].tolist()
        cells: list[list[np.ndarray]] = []
        while f"cell.{len(cells)}.0" in arrays:
            member, mine = len(cells), list[np.ndarray]()
            while f"cell.{member}.{len(mine)}" in arrays:
                mine.append(arrays[f"cell.{member}.{len(mine)}"])
            cells.append(mine)
        tracks = [
            Track(
                arrays[f"known.{k}"].astype("datetime64[D]"),
                {coverage: arrays[f"scores.{k}.{coverage}"] for coverage in COVERAGES},
                {coverage: arrays[f"levels.{k}.{coverage}"] for coverage in COVERAGES},
            )
            for k in range(len(arrays["level"]))
        ]
        return TickerState(
            ticker=ticker,
            day=np.datetime64(day, "D"),
            close=close,
            able=bool(able),
            whole=bool(whole),
            cells=tuple(tuple(mine) for mine in cells),
            tracks=tuple(tracks),
            **{name: arrays[name] for name in ("level", "low", "high", "raw")},
        )
    except KeyError as error:
        raise ValueError(f"no array {error}") from error


def _fits(state: TickerState, model: FittedModel) -> bool:
    """Whether a state's arrays have the shapes of a model's."""
    width, count = sum(form.width for form in model.forms), max(len(model.networks), 1)
    cells = [
        [(len(tensor), tensor.shape[2]) for tensor in network.initial_state(1).tensors]
        for network in model.networks
        if model.lookback == "all"
    ]
    levels = {one.shape for one in (state.level, state.low, state.high)}
    return (
        state.raw.shape == (count, width)
        and levels == {(len(model.targets),)}
        and [[cell.shape for cell in mine] for mine in state.cells if mine]
        == [mine for mine in cells if mine]
        and all(
            one.scores[coverage].shape == one.known.shape and one.levels[coverage].shape == (2,)
            for one in state.tracks
            for coverage in COVERAGES
        )
    )
