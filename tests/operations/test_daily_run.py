"""Daily runs: late bars; thirty sessions one by one, in a replay, and after weeks off end alike."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from forecaster import clock
from forecaster.data import panel
from forecaster.data.history import History
from forecaster.errors import SourceDownError
from forecaster.operations import daily_run
from forecaster.operations.daily_run import Decided
from forecaster.operations.run_log import log_path
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.retrain import RetrainReport, retrain
from forecaster.pipeline.status import score
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.run_history import begin_training, finish_training
from tests.operations.sessions import Daily, end_of, last_session, on, results, settings

LATE_DAYS = 60


class Patchy(Daily):
    """A source that lacks the newest bar of some tickers, or fails for them."""

    lacks: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    closed: tuple[date, ...] = ()

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve, lack or fail."""
        if ticker in self.fails:
            self.asked += 1
            raise SourceDownError(f"{ticker}: down")
        served = super().history(ticker, start, end)
        shut = served.bars["session"].dt.date.isin(self.closed)
        served = replace(served, bars=served.bars[~shut].reset_index(drop=True))
        if ticker in self.lacks:
            return replace(served, bars=served.bars.iloc[:-1])
        return served


@pytest.fixture
def source() -> Patchy:
    return Patchy(LATE_DAYS)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that take no time and decide nothing."""

    def train(work, day):
        number = begin_training(work.home, work.name, "cold", day)
        finish_training(work.home, number, state="done")
        return Decided(outcome="kept", version=None, reason="no better")

    monkeypatch.setattr(daily_run, "train_and_decide", train)


def hours_after(hours: int, day: date, home: Path, source: Patchy, **options) -> RetrainReport:
    with clock.as_if(end_of(day) + timedelta(hours=hours)):
        return retrain(home=home, settings=settings(), source=source, **options)


def forecasts_of(home: Path, ticker: str) -> list[dict]:
    return [row for row in results(home)["forecasts"] if row["ticker"] == ticker]


@pytest.mark.usefixtures("trainings")
@pytest.mark.parametrize("trouble", ["lacks", "fails"])
def test_a_bar_that_comes_an_hour_later_is_forecast_from(tmp_path, source, trouble):
    """As if it had come in time; what was forecast of the others without it stays."""
    late, other = tmp_path / "late", tmp_path / "other"
    for home in (late, other):
        home.mkdir()
        on(source.sessions[-6], home, source, settings())
    day = source.sessions[-5]
    on(day, other, Daily(LATE_DAYS), settings())
    setattr(source, trouble, ("BBB",))
    first = hours_after(0, day, late, source)
    assert (first.exit_code, first.late) == (3, ())
    setattr(source, trouble, ())
    asked = source.asked
    second = hours_after(1, day, late, source)
    assert (second.exit_code, second.late, second.sessions) == (0, ("BBB",), ())
    assert source.asked == asked + 1, "only the ticker that was lacking is asked for"
    assert forecasts_of(late, "BBB") == forecasts_of(other, "BBB")
    assert len(results(late)["forecasts"]) == len(results(other)["forecasts"]) == 4
    mended, well = last_session(late, "return"), last_session(other, "return")
    assert {**mended.summary, "scores": well.summary["scores"]} == well.summary
    assert mended.exit_code == 0
    assert not read_forecasts(late, "return")["late"].any()
    assert hours_after(2, day, late, source).late == () and source.asked == asked + 1


@pytest.mark.usefixtures("trainings")
def test_one_that_still_fails_is_asked_for_again_in_silence(tmp_path, source, logged_warnings):
    """The session has reported it; once the source is down no other ticker is asked for."""
    on(source.sessions[-6], tmp_path, source, settings())
    day, source.fails = source.sessions[-5], ("AAA", "BBB")
    source.fails = ("BBB",)
    hours_after(0, day, tmp_path, source)
    before, asked = results(tmp_path), source.asked
    logged_warnings.clear()
    for hour in (1, 2):
        report = hours_after(hour, day, tmp_path, source)
        assert (report.exit_code, report.late, logged_warnings) == (0, (), [])
    assert source.asked == asked + 2 and results(tmp_path) == before
    assert last_session(tmp_path, "return").summary["behind"] == ["BBB"]


@pytest.mark.usefixtures("trainings")
def test_without_fetching_and_in_a_dry_run_the_source_is_not_asked(tmp_path, source):
    """A dry run lists the tickers it would ask for."""
    on(source.sessions[-6], tmp_path, source, settings())
    day, source.lacks = source.sessions[-5], ("BBB",)
    hours_after(0, day, tmp_path, source)
    asked = source.asked
    hours_after(1, day, tmp_path, source, no_fetch=True)
    plan = hours_after(1, day, tmp_path, source, dry_run=True).plan
    assert source.asked == asked and plan.fetch == ("BBB",) and plan.sessions == ()


@pytest.mark.usefixtures("trainings")
def test_a_newer_session_leaves_the_older_one_as_it_was(tmp_path, source):
    """Its forecasts would come after their session."""
    on(source.sessions[-6], tmp_path, source, settings())
    source.lacks = ("BBB",)
    hours_after(0, source.sessions[-5], tmp_path, source)
    source.lacks = ()
    report = hours_after(0, source.sessions[-4], tmp_path, source)
    assert report.late == () and len(report.sessions) == 1
    rows = read_forecasts(tmp_path, "return")
    assert len(rows) == 5 and not rows["late"].any()


@pytest.mark.slow
@pytest.mark.usefixtures("trainings")
@pytest.mark.parametrize("number", [1, 2, 6], ids=["a day", "two days", "more than a week"])
def test_a_closure_that_no_calendar_knew_is_scored_when_the_next_bar_comes(
    tmp_path, source, number
):
    """One forecast of each ticker is moved; no session is lost or counted twice."""
    days = source.sessions[-9:]
    source.closed = tuple(days[1 : 1 + number])
    traded = [day for day in days if day not in source.closed]
    for day in sorted([*traded, days[1]]):
        on(day, tmp_path, source, settings())
    with clock.as_if(end_of(days[-1])):
        found = score(home=tmp_path)
    assert found.table["made"].tolist() == ["live"]
    assert found.table["forecasts"].item() == 2 * (len(traded) - 1)
    assert (found.table["moved"].item(), found.pending, found.unscorable) == (2, 2, 0)
    scores = last_session(tmp_path).summary["scores"]["return"]
    assert scores["forecasts"] == found.table["forecasts"].item()


DAYS = 700
NIGHTS = 30


@pytest.mark.slow
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_thirty_sessions_replayed_equal_thirty_sessions_one_by_one(tmp_path, start):
    """Forecasts, decisions and champion per session, bit for bit: three trainings and tests."""
    source, chosen = Daily(DAYS), settings(every=10)
    chosen = chosen.model_copy(
        update={"retrain": chosen.retrain.model_copy(update={"start": start})}
    )
    daily, replayed, off = (tmp_path / name for name in ("daily", "replayed", "off"))
    for home in (daily, replayed, off):
        home.mkdir()
    session_records = source.sessions[-NIGHTS:]
    for day in session_records:
        (done,) = on(day, daily, source, chosen).sessions
        assert done.exit_code in (0, 4), done.reason
    with clock.as_if(end_of(session_records[-1]) + timedelta(days=90)):
        fetch(home=replayed, source=source)
        for day in (session_records[0], session_records[11], session_records[-1]):
            retrain(home=replayed, settings=chosen, as_of=day)
    for day in (session_records[0], session_records[9], session_records[19], session_records[-1]):
        on(day, off, source, chosen)
    expected = results(daily)
    assert len(expected["decisions"]) == 3 and len(expected["forecasts"]) == NIGHTS * 2
    assert results(replayed) == expected
    assert results(off) == expected


def breaks_for(ticker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the columns of one ticker's bars cause an unexpected exception."""
    own = panel.own_columns

    def columns(segment: History, targets: tuple[str, ...]) -> dict:
        if segment.listing.ticker == ticker:
            raise FloatingPointError(ticker)
        return own(segment, targets)

    monkeypatch.setattr(panel, "own_columns", columns)


@pytest.mark.usefixtures("trainings")
def test_bars_that_break_the_forecast_of_one_ticker_leave_the_others(tmp_path, source, monkeypatch):
    """Exit 3; the others' forecasts are those of a run without the ticker, bit for bit."""
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    day = source.sessions[-5]
    on(day, other, Patchy(LATE_DAYS, names=("AAA",)), settings())
    breaks_for("BBB", monkeypatch)
    report = on(day, home, source, settings())
    assert report.exit_code == 3 and "no forecast for BBB" in report.reason
    assert forecasts_of(home, "AAA") == forecasts_of(other, "AAA")
    assert forecasts_of(home, "BBB") == []
    assert "FloatingPointError" in log_path(home).read_text()


@pytest.mark.parametrize("step", ["score_rows", "train_and_decide", "prune"])
@pytest.mark.usefixtures("trainings")
def test_a_bug_after_the_forecast_ends_the_session_and_not_the_next_one(
    tmp_path, source, monkeypatch, step
):
    before, day, later = source.sessions[-7:-4]
    on(before, tmp_path, source, settings(every=1))
    with monkeypatch.context() as patch:
        patch.setattr(daily_run, step, lambda *a, **o: 1 // 0)
        report = on(day, tmp_path, source, settings(every=1))
    assert report.exit_code == 1 and "ZeroDivisionError" in report.reason
    assert len(read_forecasts(tmp_path, since=day)) == 2
    assert last_session(tmp_path).exit_code == 1
    report = on(later, tmp_path, source, settings(every=1))
    assert [one.session for one in report.sessions] == [later] and report.exit_code == 0


@pytest.mark.usefixtures("trainings")
def test_a_bug_in_all_forecasts_leaves_the_session_to_the_next_run(tmp_path, source, monkeypatch):
    before, day = source.sessions[-6:-4]
    on(before, tmp_path, source, settings())
    with monkeypatch.context() as patch:
        patch.setattr(daily_run, "forecast_session", lambda *arguments: 1 // 0)
        assert on(day, tmp_path, source, settings()).exit_code == 1
    assert last_session(tmp_path).session == before
    report = on(day, tmp_path, source, settings())
    assert [one.session for one in report.sessions] == [day] and report.exit_code == 0
    assert len(read_forecasts(tmp_path, since=day)) == 2
