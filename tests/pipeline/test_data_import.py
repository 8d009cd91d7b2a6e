"""A user's files: each ticker lands as a whole or not at all; what goes out comes in again."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import clock
from forecaster.data.history import History, fingerprint
from forecaster.data.sessions import sessions_between
from forecaster.data.store import PriceStore
from forecaster.errors import BugError, DataError, PartialFailure, UsageError
from forecaster.pipeline import data_import
from forecaster.pipeline.data import export_file
from forecaster.pipeline.data_import import import_files
from tests.data.histories import history
from tests.data.test_basis import adjusted, paying
from tests.synthetic import bars_of, ragged_bars


def written(folder: Path, table: pd.DataFrame, name: str = "prices.csv") -> Path:
    table.to_csv(folder / name, index=False)
    return folder / name


def made(ticker: str, calendar: str) -> History:
    """Sixty split-adjusted days of a calendar, with a split and a dividend."""
    table = bars_of(ticker, 60)
    split, dividend = table["split"].copy(), table["dividend"].copy()
    split[30], dividend[10] = 4.0, 0.205
    columns = {name: table[name] for name in ("open", "high", "low", "close", "volume")}
    return history(ticker, calendar=calendar, **columns, split=split, dividend=dividend)


def tickers(home: Path) -> list[str]:
    with PriceStore.open_for_reading(home) as store:
        return store.tickers()


def two_homes(folder: Path) -> tuple[Path, Path]:
    homes = folder / "one", folder / "other"
    for home in homes:
        home.mkdir()
    return homes


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_was_exported_comes_back_the_same(tmp_path: Path, ending: str) -> None:
    """Split-adjusted bars with splits and dividends, on New York's days and on a coin's."""
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    one, other = two_homes(tmp_path)
    before = [made("ACME", "XNYS"), made("COIN", "24/7")]
    with PriceStore.open_for_writing(one) as store:
        store.upsert_all(before, clock.now())
    export_file(tmp_path / f"all.{ending}", home=one)
    import_files([tmp_path / f"all.{ending}"], home=other)
    with PriceStore.open_for_reading(other) as store:
        after = [store.history(history.listing.ticker) for history in before]
    for old, new in zip(before, after, strict=True):
        found = new.listing.basis, new.listing.calendar
        assert found == ("split-adjusted", old.listing.calendar)
        pd.testing.assert_frame_equal(new.bars, old.bars, check_exact=True)
    assert fingerprint(after) == fingerprint(before)


def test_an_imported_listing_survives_another_round(tmp_path: Path) -> None:
    one, other = two_homes(tmp_path)
    file = written(tmp_path, bars_of("COIN", 30))
    import_files([file], basis="split-adjusted", calendar="weekdays", home=one)
    export_file(tmp_path / "out.csv", home=one)
    import_files([tmp_path / "out.csv"], home=other)
    with PriceStore.open_for_reading(one) as old, PriceStore.open_for_reading(other) as new:
        assert new.listing("COIN") == old.listing("COIN")


def broken(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(high=table["low"] / 2.0)


def later(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(session=table["session"] + pd.Timedelta("36500D"))


def today(table: pd.DataFrame) -> pd.DataFrame:
    return table.tail(1).assign(session=pd.Timestamp(clock.now().date()))


def rescaled(table: pd.DataFrame) -> pd.DataFrame:
    """The last ten stored days and ten more, at a quarter of their prices."""
    prices = ["open", "high", "low", "close"]
    return table.tail(20).assign(**{name: table[name] / 4.0 for name in prices})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (broken, "a high not below"),
        (later, "lies in the future"),
        (today, "no session of its bars has closed"),
        (rescaled, "20 of the 30 stored days are not in the file"),
        (lambda table: table.assign(basis="split-adjusted"), "do not mix. Add --basis as-traded"),
    ],
)
def test_a_bad_ticker_stays_as_stored_and_the_others_land(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    words: str,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 3, 6, 12, tzinfo=UTC))
    import_files([written(tmp_path, bars_of("ZZZ", 40).head(30))], home=tmp_path)
    good = bars_of("AAA", 30).assign(basis="as-traded")
    bad = change(bars_of("ZZZ", 40).assign(basis="as-traded"))
    report = import_files([written(tmp_path, pd.concat([bad, good]))], home=tmp_path)
    assert set(report.failures) == {"ZZZ"}
    with pytest.raises(DataError, match=words):
        raise report.failures["ZZZ"]
    with pytest.raises(PartialFailure, match="1 of 2 tickers failed: ZZZ"):
        report.raise_failures()
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.tickers() == ["AAA", "ZZZ"]
        assert (store.span("AAA").days, store.span("ZZZ").days) == (30, 30)


def test_a_past_that_is_replaced_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = bars_of("AAA", 30)
    import_files([written(tmp_path, table)], home=tmp_path)
    assert "replaced" not in caplog.text
    corrected = table.assign(close=table["close"] * 1.0005)
    report = import_files([written(tmp_path, corrected)], home=tmp_path)
    assert report.table["rows_changed"].tolist() == [30]
    assert "AAA: 30 of 30 days differ (first 2010-01-04: close" in caplog.text
    assert "all of them are replaced" in caplog.text


def test_newer_bars_are_added_without_the_old_ones(tmp_path: Path) -> None:
    """With an overlap that agrees, with none, and with a split that as-traded closes show."""
    table = bars_of("AAA", 40)
    table.loc[39, "split"] = 2.0
    table.loc[39, ["open", "high", "low", "close"]] /= 2.0
    for part in (table.head(20), table.iloc[15:30], table.iloc[30:]):
        import_files([written(tmp_path, part)], home=tmp_path)
    with PriceStore.open_for_reading(tmp_path) as store:
        assert len(store.bars("AAA")) == 40


def test_a_new_split_of_adjusted_bars_needs_the_whole_past(tmp_path: Path) -> None:
    table = bars_of("AAA", 40)
    table.loc[39, "split"] = 2.0
    import_files([written(tmp_path, table.head(30))], basis="split-adjusted", home=tmp_path)
    report = import_files([written(tmp_path, table.iloc[30:])], home=tmp_path)
    with pytest.raises(DataError, match="30 of the 30 stored days are not in the file"):
        report.raise_failures()


def test_a_file_in_two_pieces_is_refused(tmp_path: Path) -> None:
    files = [written(tmp_path, bars_of("AAA", 30), name) for name in ("a.csv", "b.csv")]
    with pytest.raises(UsageError, match="AAA: in more than one file"):
        import_files(files, home=tmp_path).raise_failures()


def test_one_file_may_be_given_by_itself(tmp_path: Path) -> None:
    file = written(tmp_path, bars_of("AAA", 30))
    for form in (file, str(file), [str(file)]):
        assert import_files(form, home=str(tmp_path)).table["days"].tolist() == [30]


def coin_days() -> pd.DataFrame:
    return made("BTC", "24/7").bars.assign(ticker="BTC", split=1.0)


def test_bars_of_another_calendar_are_quarantined_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The remedy is taken as it stands; what was held is released by it."""
    file = written(tmp_path, coin_days())
    refused = import_files([file], home=tmp_path).failures["BTC"]
    assert "other-calendar: the bars contradict calendar XNYS (" in str(refused)
    assert "first on 2024-01-06; 24/7 fits best (0 bars on no session" in str(refused)
    assert "Import with --calendar 24/7." in str(refused)
    caplog.clear()
    import_files([file], calendar="24/7", home=tmp_path)
    import_files([file], home=tmp_path)  # a calendar once named stays
    assert "calendar" not in caplog.text
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.listing("BTC").calendar == "24/7"
        assert store.quarantine.entries() == []


def test_days_filled_forward_are_left_out_whether_alone_or_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve weekends and two holidays; the last Sunday once more by itself."""
    table = bars_of("ACME", 60).set_index("session").asfreq("D").ffill().reset_index()
    sunday = table["session"].dt.day_of_week == 6
    for rows, count, days in ((table, 2 * 12 + 2, 60), (table[sunday].tail(1), 1, 60)):
        report = import_files([written(tmp_path, rows)], home=tmp_path)
        with pytest.raises(PartialFailure, match=f"rows left out: {count} filled-day"):
            report.raise_failures()
        assert report.table["days"].tolist() == [days]
    assert "on no session" not in caplog.text


def test_a_row_of_the_far_future_is_left_out_until_its_date_is_corrected(tmp_path: Path) -> None:
    table = bars_of("ACME", 60)
    typed = table.assign(session=table["session"].where(table.index != 30, "2102-02-16"))
    for rows, days, left_out in ((typed, 59, ["future-day"]), (table, 60, [])):
        report = import_files([written(tmp_path, rows)], home=tmp_path)
        assert report.table["days"].tolist() == [days]
        assert report.left_out["rule"].tolist() == left_out


def test_a_guessed_calendar_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import_files([written(tmp_path, bars_of("QNBK.QA", 30))], home=tmp_path)
    assert "QNBK.QA: no calendar is known for its exchange" in caplog.text


def test_a_dry_run_shows_the_week_that_is_learned(tmp_path: Path) -> None:
    days = sessions_between("sun-thu", date(2023, 1, 1), date(2023, 6, 29))
    table = bars_of("ABC.ZZ", len(days)).assign(session=days.astype("datetime64[s]"))
    report = import_files([written(tmp_path, table)], home=tmp_path, dry_run=True)
    (shown,) = report.previews
    assert (shown.listing.calendar, shown.interval) == ("sun-thu", "daily")


def test_gaps_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also the one that lies between stored and new bars."""
    table = bars_of("AAA", 100)
    import_files([written(tmp_path, table.drop(index=range(20, 30)).head(50))], home=tmp_path)
    assert caplog.text.count("AAA: no bars from") == 1
    caplog.clear()
    import_files([written(tmp_path, table.iloc[80:])], home=tmp_path)
    assert caplog.text.count("no bars from") == 1 and "(20 sessions" in caplog.text


def test_an_ordinary_import_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        import_files([written(tmp_path, ragged_bars({"AAA": 60, "BBB": 40}))], home=tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_a_ticker_is_called_goes_out_and_comes_in_again(tmp_path: Path, ending: str) -> None:
    """A name that a spreadsheet would run comes back without its apostrophe."""
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    here, there = two_homes(tmp_path)
    known = {"name": "=Invented Inc", "exchange": "LSE", "currency": "GBp"}
    with PriceStore.open_for_writing(here) as store:
        marked = made("AAA", "XLON")
        store.upsert(replace(marked, listing=replace(marked.listing, **known)), clock.now())
        store.upsert(made("BBB", "XNYS"), clock.now())
    export_file(tmp_path / f"out.{ending}", home=here)
    import_files(tmp_path / f"out.{ending}", home=there)
    with PriceStore.open_for_reading(there) as store:
        found, other = store.listing("AAA"), store.listing("BBB")
    assert {mark: getattr(found, mark) for mark in known} == known
    assert (other.name, other.exchange, other.currency) == ("", "", "")


def test_a_file_without_a_currency_keeps_the_stored_one(tmp_path: Path) -> None:
    table = bars_of("AAA", 60)
    import_files(written(tmp_path, table.assign(currency="GBp"), "one.csv"), home=tmp_path)
    import_files(written(tmp_path, table, "two.csv"), home=tmp_path)
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.listing("AAA").currency == "GBp"


def test_a_column_that_changes_within_a_ticker_is_no_mark(tmp_path: Path) -> None:
    """Other people's columns called name hold all sorts of things."""
    table = bars_of("AAA", 60)
    table["name"] = [f"row {number}" for number in range(60)]
    import_files(written(tmp_path, table), home=tmp_path)
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.listing("AAA").name == ""


def test_total_returns_are_rescaled_by_every_dividend(tmp_path: Path) -> None:
    """The next file has all days on another scale, and is stored; a part of it is refused."""
    later = adjusted(paying(0)).bars
    paid = later.index[later["dividend"] > 0]
    cut = int(paid[-2]) + 5
    earlier = later.head(cut).copy()
    earlier["close"] /= later["close"][cut - 1] / paying(0).bars["close"][cut - 1]
    for bars in (earlier, later):
        for name in ("open", "high", "low"):
            bars[name] = bars["close"]
        bars.insert(0, "ticker", "AAPL")
    options = {"basis": "total-return", "home": tmp_path}
    assert not import_files(written(tmp_path, earlier), **options).failures
    part = import_files(written(tmp_path, later.iloc[cut:]), **options)
    with pytest.raises(DataError, match=r"a dividend of .* rescales what is stored"):
        part.raise_failures()
    assert not import_files(written(tmp_path, later), **options).failures
    with PriceStore.open_for_reading(tmp_path) as store:
        bars = store.bars("AAPL")
        assert store.revision("AAPL").number == 2
    np.testing.assert_array_equal(bars["close"], later["close"])


@pytest.mark.parametrize("step", ["_read", "_store"])
def test_a_bug_in_one_of_many_files_leaves_the_others_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Exit 3 with its line; the same one in all of them is a bug of the program, exit 1."""
    names = ("AAA", "BBB", "CCC")
    files = [tmp_path / f"{name}.csv" for name in names]
    for name, file in zip(names, files, strict=True):
        bars_of(name, 30).drop(columns=["ticker"], errors="ignore").to_csv(file, index=False)
    own = getattr(data_import, step)

    def broken(*arguments: object) -> object:
        subject = f"{arguments[1] if step == '_store' else arguments[0]}"
        if any(name in subject for name in bad):
            raise ZeroDivisionError(subject)
        return own(*arguments)

    monkeypatch.setattr(data_import, step, broken)
    bad: tuple[str, ...] = ("BBB",)
    (tmp_path / "one").mkdir()
    report = import_files(files, home=tmp_path / "one", basis="split-adjusted")
    with pytest.raises(PartialFailure), PriceStore.open_for_reading(tmp_path / "one") as store:
        assert store.tickers() == ["AAA", "CCC"]
        report.raise_failures()
    bad = names
    (tmp_path / "all").mkdir()
    with pytest.raises(BugError, match="for each of 3"):
        import_files(files, home=tmp_path / "all", basis="split-adjusted").raise_failures()
