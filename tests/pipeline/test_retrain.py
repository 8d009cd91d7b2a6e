"""Daily runs: level-triggered, idempotent, with forecasts even after a failed training."""

import contextvars
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pandas as pd
import pytest

from forecaster import clock
from forecaster.data.history import History
from forecaster.data.store import PriceStore
from forecaster.errors import DivergedError, SourceDownError, StorageError, TryLaterError
from forecaster.operations import daily_run
from forecaster.operations.daily_run import Decided, training_due
from forecaster.operations.due_sessions import SessionWork, StoreState
from forecaster.operations.lock import writer
from forecaster.operations.run_log import log_path, read_heartbeat
from forecaster.pipeline import retrain as retrain_module
from forecaster.pipeline.data import check_prices
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.quarantine import release
from forecaster.pipeline.retrain import retrain
from forecaster.pipeline.status import status
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.run_history import begin_training, finish_training, session_records
from tests.operations.sessions import Daily, end_of, last_session, on, results, settings

DAYS = 60


@pytest.fixture
def source():
    return Daily(DAYS)


@pytest.fixture
def trainings(monkeypatch):
    """Trainings take no time and decide nothing, but are noted."""
    made = []

    def train(work, day):
        made.append(day)
        number = begin_training(work.home, work.name, "cold", day)
        finish_training(work.home, number, state="done")
        return Decided(outcome="kept", version=None, reason="no better")

    monkeypatch.setattr(daily_run, "train_and_decide", train)
    return made


def contents(home):
    return {
        str(path): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock"))
    }


def test_a_second_run_does_nothing(tmp_path, source, trainings):
    """Not even asks the source; only the heartbeat says that it ran."""
    day = source.sessions[-5]
    first = on(day, tmp_path, source, settings())
    assert [one.session for one in first.sessions] == [day] and first.exit_code == 0
    before, asked = contents(tmp_path), source.asked
    with clock.as_if(end_of(day) + timedelta(hours=1)):
        beat = clock.now()
    second = on(day, tmp_path, source, settings())
    assert (second.sessions, second.exit_code, source.asked) == ((), 0, asked)
    assert contents(tmp_path) == before
    with clock.as_if(beat):
        retrain(home=tmp_path, settings=settings(), source=source)
    assert read_heartbeat(tmp_path) == beat


def test_a_daily_run_forecasts_every_ticker_and_logs_it(tmp_path, source, trainings):
    """By the baseline until a version passes the promotion test; in time, from that day's bars."""
    day = source.sessions[-5]
    (done,) = on(day, tmp_path, source, settings()).sessions
    rows = read_forecasts(tmp_path, "return")
    assert sorted(rows["ticker"]) == ["AAA", "BBB"] and done.new == 2
    assert set(rows["version"]) == {"baseline"} and rows["scheduled"].all()
    assert not rows["late"].any() and (rows["as_of"].dt.date == day).all()
    assert (rows["session"].dt.date == source.sessions[-4]).all()
    assert last_session(tmp_path, "return").outcome == "done"
    assert '"event": "session"' in log_path(tmp_path).read_text()


@pytest.mark.slow
def test_a_week_off_ends_as_a_run_every_day(tmp_path, source, trainings):
    """Forecasts, trainings, decisions; but what was caught up is marked late."""
    daily, off = tmp_path / "daily", tmp_path / "off"
    for home in (daily, off):
        home.mkdir()
        on(source.sessions[-8], home, source, settings(every=3))
    for day in source.sessions[-7:]:
        on(day, daily, source, settings(every=3))
    each = list(trainings[2:])
    on(source.sessions[-1], off, source, settings(every=3))
    assert results(off) == results(daily)
    assert trainings[2 + len(each) :] == each and len(each) == 2
    late = read_forecasts(off, "return").set_index("as_of")["late"]
    assert late.sum() == 2 * 6 and not read_forecasts(daily, "return")["late"].any()


def test_a_replay_ends_as_a_run_every_day_and_asks_no_source(tmp_path, source, trainings):
    """On a fresh home that has all bars."""
    daily, replayed = tmp_path / "daily", tmp_path / "replayed"
    for home in (daily, replayed):
        home.mkdir()
    for day in source.sessions[-4:]:
        on(day, daily, source, settings())
    with clock.as_if(end_of(source.sessions[-1]) + timedelta(days=30)):
        fetch(home=replayed, source=source)
        asked = source.asked
        for day in (source.sessions[-4], source.sessions[-1]):
            retrain(home=replayed, settings=settings(), source=source, as_of=day)
    assert source.asked == asked
    assert results(replayed) == results(daily)


def test_a_dry_run_writes_nothing_and_lists_the_sessions(tmp_path, source, trainings):
    """Neither into an empty home nor into one in use."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert on(source.sessions[-5], empty, source, settings(), dry_run=True).plan.sessions == ()
    assert list(empty.iterdir()) == []
    home = tmp_path / "home"
    home.mkdir()
    on(source.sessions[-5], home, source, settings())
    before = contents(home)
    plan = on(source.sessions[-3], home, source, settings(every=2), dry_run=True).plan
    assert plan.expected == tuple(source.sessions[-4:-2]) and plan.sessions == ()
    assert plan.champion == "baseline" and plan.train.startswith("2 sessions since")
    assert contents(home) == before and source.asked == 2


def test_a_failed_training_leaves_the_forecasts_and_the_champion(
    tmp_path, source, monkeypatch, logged_warnings
):
    """Exit 5; the session is finished, and the next one trains again."""
    tried = []

    def fail(home, name, *args, **kwargs):
        tried.append(name)
        raise DivergedError("update 3: the loss is not finite.")

    monkeypatch.setattr(daily_run, "train_challenger", fail)
    report = on(source.sessions[-5], tmp_path, source, settings())
    assert report.exit_code == 5 and "the loss is not finite" in report.reason
    assert len(read_forecasts(tmp_path, "return")) == 2
    assert on(source.sessions[-5], tmp_path, source, settings()).sessions == ()
    on(source.sessions[-4], tmp_path, source, settings())
    assert len(tried) == 2 and len(read_forecasts(tmp_path, "return")) == 4
    assert read_heartbeat(tmp_path) == end_of(source.sessions[-5]), "a failed run is no heartbeat"
    assert any("training failed, the champion stays" in text for text in logged_warnings)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(143), StorageError("disk full")])
def test_a_stopped_session_is_resumed_and_nothing_is_doubled(
    tmp_path, source, trainings, monkeypatch, error
):
    """Stopped after its forecasts, before its end: the next run finishes it, then goes on."""
    first, second = source.sessions[-5:-3]
    with monkeypatch.context() as patch:

        def stop(*args):
            raise error

        patch.setattr(daily_run, "train_and_decide", stop)
        with pytest.raises(BaseException):  # noqa: B017
            on(first, tmp_path, source, settings())
    rows = read_forecasts(tmp_path, "return")
    assert len(rows) == 2 and last_session(tmp_path, "return") is None
    report = on(second, tmp_path, source, settings())
    assert [one.session for one in report.sessions] == [first, second]
    assert len(read_forecasts(tmp_path, "return")) == 4
    assert read_forecasts(tmp_path, "return")["made_at"].iloc[0] == rows["made_at"].iloc[0]
    assert all(one.finished_at for one in session_records(tmp_path, "return"))


def test_a_second_writer_gets_an_error_with_the_first(tmp_path, source, trainings):
    with (
        writer(tmp_path, "forecaster fetch"),
        pytest.raises(TryLaterError, match="forecaster fetch"),
    ):
        contextvars.Context().run(on, source.sessions[-5], tmp_path, source, settings())
    assert source.asked == 0


def test_a_source_that_is_down_is_asked_again_by_the_next_run(tmp_path, source, trainings):
    """What is stored was forecast from already: the session waits for its bars, exit 69."""
    on(source.sessions[-5], tmp_path, source, settings())
    source.is_down = True
    report = on(source.sessions[-4], tmp_path, source, settings())
    assert (report.exit_code, report.waiting_for) == (69, source.sessions[-4])
    source.is_down = False
    report = on(source.sessions[-4], tmp_path, source, settings())
    assert [one.session for one in report.sessions] == [source.sessions[-4]]
    assert report.exit_code == 0


def test_a_source_that_is_down_from_the_start_is_an_error(tmp_path, source):
    source.is_down = True
    with pytest.raises(SourceDownError):
        on(source.sessions[-5], tmp_path, source, settings())


def test_a_ticker_that_lacks_its_bar_is_named_then_left_out(
    tmp_path, source, trainings, logged_warnings
):
    """Exit 3 as long as it may come back; once it has been silent for long, exit 0."""
    on(source.sessions[-12], tmp_path, source, settings())
    reports = []
    source.names = ("AAA",)
    for day in source.sessions[-11:-4]:
        (one,) = on(day, tmp_path, source, settings()).sessions
        reports.append((one.exit_code, one.behind, one.inactive))
    assert reports == [(3, ("BBB",), ())] * 5 + [(0, (), ("BBB",))] * 2
    assert sum("left out from now on" in text for text in logged_warnings) == 1


def test_a_clock_set_back_changes_nothing(tmp_path, source, trainings):
    on(source.sessions[-5], tmp_path, source, settings())
    before = contents(tmp_path)
    with pytest.raises(TryLaterError, match="The clock says"):
        on(source.sessions[-9], tmp_path, source, settings())
    after = {k: v for k, v in contents(tmp_path).items() if not k.endswith("forecaster.log")}
    assert after == {k: v for k, v in before.items() if not k.endswith("forecaster.log")}


def test_only_so_many_sessions_are_caught_up(tmp_path, source, trainings, logged_warnings):
    on(source.sessions[-9], tmp_path, source, settings())
    chosen = settings()
    few = chosen.model_copy(update={"retrain": chosen.retrain.model_copy(update={"catch_up": 3})})
    report = on(source.sessions[-1], tmp_path, source, few)
    assert [one.session for one in report.sessions] == source.sessions[-3:]
    assert any("5 sessions before" in text for text in logged_warnings)


def test_prices_of_another_source_are_not_asked_for(tmp_path, source, trainings):
    """Imported ones are taken as they are."""
    day = source.sessions[-5]
    with clock.as_if(end_of(day)):
        with PriceStore.open_for_writing(tmp_path) as store:
            for ticker in source.names:
                store.upsert(source.history(ticker, None, None), clock.now())
        report = retrain(home=tmp_path, settings=settings())
    assert [one.session for one in report.sessions] == [day] and report.exit_code == 0


def test_drift_brings_a_training_forward_but_not_every_session(tmp_path):
    """After a third of the sessions between two trainings, no sooner."""
    source = Daily(DAYS)
    begun = begin_training(tmp_path, "return", "cold", source.sessions[0])
    finish_training(tmp_path, begun, state="done")
    failed = begin_training(tmp_path, "return", "cold", source.sessions[5])
    finish_training(tmp_path, failed, state="failed", reason="does not count")

    def due(sessions, drift):
        stored = StoreState(calendars={"AAA": "XNYS"}, oldest={}, newest={})
        work = SessionWork(home=tmp_path, name="return", settings=settings(), stored=stored)
        return training_due(work, source.sessions[sessions], drift)

    assert due(21, ()) and not due(20, ())
    assert due(7, ("coverage",)) == "drift: coverage" and not due(6, ("coverage",))


def test_a_new_ticker_is_asked_for_alone_and_missed_if_it_does_not_come(
    tmp_path, source, trainings, monkeypatch
):
    """The session is finished: nothing else needs the source."""
    day = source.sessions[-5]
    on(day, tmp_path, source, settings())
    asked = []
    served = Daily.history

    def history(self, ticker, start, end):
        asked.append(ticker)
        if ticker == "NEW":
            raise SourceDownError("NEW: down. Try again later.")
        return served(self, ticker, start, end)

    monkeypatch.setattr(Daily, "history", history)
    report = on(day, tmp_path, source, settings(), tickers=["AAA", "BBB", "new"])
    assert asked == ["NEW"] and report.sessions == ()
    assert (report.exit_code, report.reason) == (3, "no prices of NEW")


def test_a_dry_run_of_an_empty_home_knows_the_session_of_a_given_ticker(tmp_path, source):
    """By its calendar alone: nothing is asked."""
    plan = on(source.sessions[-5], tmp_path, source, settings(), tickers=["AAA"], dry_run=True).plan
    assert plan.expected == (source.sessions[-5],) and plan.fetch == ("AAA",)
    assert source.asked == 0 and list(tmp_path.iterdir()) == []


def breaks(*tickers):
    """Make a source in which some tickers cause an unexpected exception."""

    class Broken(Daily):
        def history(self, ticker, start, end):
            if ticker in tickers:
                raise ZeroDivisionError(ticker)
            return super().history(ticker, start, end)

    return Broken(DAYS)


def fetched_on(day, home):
    """The bars of a day come by another road than its daily run."""
    with clock.as_if(end_of(day)):
        fetch(home=home, source=Daily(DAYS))


def test_a_bug_in_one_ticker_costs_the_others_nothing(tmp_path, source, trainings):
    """It is forecast from its last bar; exit 3, the traceback in the log."""
    before, day = source.sessions[-6:-4]
    on(before, tmp_path, source, settings())
    report = on(day, tmp_path, breaks("BBB"), settings())
    assert report.exit_code == 3 and "no bar of" in report.reason and "BBB" in report.reason
    rows = read_forecasts(tmp_path)
    assert rows.loc[rows["as_of"] == pd.Timestamp(day), "ticker"].tolist() == ["AAA"]
    assert "Traceback" in log_path(tmp_path).read_text()
    assert on(day, tmp_path, source, settings()).late == ("BBB",)


def test_a_bug_in_the_fetch_of_every_ticker_exits_1_after_the_stored_are_forecast(
    tmp_path, source, trainings
):
    before, day = source.sessions[-6:-4]
    on(before, tmp_path, source, settings())
    fetched_on(day, tmp_path)
    report = on(day, tmp_path, breaks("AAA", "BBB"), settings())
    assert report.exit_code == 1 and "ZeroDivisionError" in report.reason
    assert len(read_forecasts(tmp_path, since=day)) == 2
    beat = read_heartbeat(tmp_path)
    assert beat is not None and beat.date() == end_of(before).date(), "no good run"


@pytest.mark.parametrize("thing", ["fetch", "check_prices"])
def test_a_bug_around_the_tickers_prevents_no_forecast(
    tmp_path, source, trainings, monkeypatch, thing
):
    before, day = source.sessions[-6:-4]
    on(before, tmp_path, source, settings())
    fetched_on(day, tmp_path)

    def breaks(*arguments, **options):
        raise ImportError(f"cannot import name {thing}")

    monkeypatch.setattr(retrain_module, thing, breaks)
    report = on(day, tmp_path, source, settings())
    assert (report.exit_code, len(report.sessions)) == (1, 1)
    assert "ImportError" in report.reason
    assert len(read_forecasts(tmp_path, since=day)) == 2


class InPounds(Daily):
    """A source that serves BBB in another unit from a session on."""

    begins: date = date.max

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve what has closed by the clock."""
        found = super().history(ticker, start, end)
        if ticker == "BBB":
            rows = found.bars["session"] >= pd.Timestamp(self.begins)
            found.bars.loc[rows, ["open", "high", "low", "close"]] *= 0.01
        return found


def test_a_quarantined_ticker_is_exit_3_until_it_is_not_and_stops_no_other(tmp_path, trainings):
    """Also after the sessions for which its last bar is not too old; the reason names it."""
    source = InPounds(DAYS)
    days = source.sessions[-12:]
    assert on(days[0], tmp_path, source, settings()).exit_code == 0
    source.begins = days[1]
    for day in days[1:9]:
        done = on(day, tmp_path, source, settings())
        assert (done.exit_code, done.reason) == (3, "in quarantine: BBB; see: forecaster status")
        rows = read_forecasts(tmp_path, "return", day)
        assert rows.loc[rows["as_of"].dt.date == day, "ticker"].tolist() == ["AAA"]
    with clock.as_if(end_of(days[8])):
        (held,) = status(home=tmp_path).quarantined
    assert (held.ticker, held.rule, held.since) == ("BBB", "unit-slip", f"{days[1]}")
    source.begins = date.max
    assert on(days[9], tmp_path, source, settings()).exit_code == 0
    rows = read_forecasts(tmp_path, "return")
    assert sorted(rows.loc[rows["as_of"].dt.date == days[9], "ticker"]) == ["AAA", "BBB"]


@dataclass(slots=True)
class FillsForward(Daily):
    """A source that repeats BBB's last bar on the Saturdays of a week."""

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve what has closed by the clock."""
        found = Daily.history(self, ticker, start, end)
        if ticker == "BBB":
            bars = found.bars.set_index("session")
            table = bars.asfreq("D").ffill().reset_index().tail(10)
            bars = pd.concat([found.bars, table[table["session"].dt.day_of_week == 5]])
            bars = bars.sort_values("session", ignore_index=True)
            found = replace(found, bars=bars)
        return found


def test_filled_days_are_exit_3_on_the_day_they_come_and_cost_no_forecast(tmp_path, trainings):
    source = FillsForward(DAYS)
    monday = next(day for day in source.sessions[-12:] if day.weekday() == 0)
    friday, _, tuesday = source.sessions[source.sessions.index(monday) - 1 :][:3]
    assert on(friday, tmp_path, source, settings()).exit_code == 3
    done = on(monday, tmp_path, source, settings())
    reason = "rows left out of BBB; see: forecaster data quarantine list"
    assert (done.exit_code, done.reason) == (3, reason)
    assert on(tuesday, tmp_path, source, settings()).exit_code == 0
    with clock.as_if(end_of(tuesday)):
        assert status(home=tmp_path).rows_left_out == ("BBB",)
    rows = read_forecasts(tmp_path, "return", tuesday)
    assert sorted(rows.loc[rows["as_of"].dt.date == tuesday, "ticker"]) == ["AAA", "BBB"]


def test_an_error_in_stored_bars_is_put_in_quarantine(tmp_path, source, trainings):
    """A bar that was stored before its rule existed; a person's decision ends it."""
    days = source.sessions[-6:]
    assert on(days[0], tmp_path, source, settings()).exit_code == 0
    with PriceStore.open_for_writing(tmp_path) as store:
        history = store.history("BBB")
        bars = history.bars.iloc[20:21].copy()
        bars[["open", "high", "low", "close"]] *= 0.01
        store.upsert(replace(history, bars=bars), end_of(days[0]))
    for day in days[1:3]:
        done = on(day, tmp_path, source, settings())
        assert (done.exit_code, done.reason) == (3, "in quarantine: BBB; see: forecaster status")
    rows = read_forecasts(tmp_path, "return", days[2])
    assert sorted(rows.loc[rows["as_of"].dt.date == days[2], "ticker"]) == ["AAA", "BBB"]
    with clock.as_if(end_of(days[2])):
        release("BBB", home=tmp_path)
    assert on(days[3], tmp_path, source, settings()).exit_code == 0


@pytest.mark.slow
def test_each_of_many_tickers_is_checked_again_once_a_week(
    tmp_path, source, trainings, monkeypatch
):
    checked = []

    def check(names, **options):
        checked.extend(names)
        return check_prices(names, **options)

    monkeypatch.setattr(retrain_module, "check_prices", check)
    monkeypatch.setattr(retrain_module, "_CHECKED_AT_ONCE", 1)
    week = source.sessions[-5:]
    assert {day.weekday() for day in week} == set(range(5))
    for day in week:
        assert on(day, tmp_path, source, settings()).exit_code == 0
    assert sorted(checked) == ["AAA", "BBB"]
