"""What a scorecard says of itself: which version, which tickers, and when it cannot be made."""

from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest

from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.pipeline.evaluate import evaluate
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of, ragged_bars

BARS = ragged_bars({"AAA": 400, "BBB": 400, "CCC": 120})
SELECT_UNTIL = date(2011, 6, 30)
FIRST = BARS[BARS["ticker"] == "CCC"]["session"].min()
SETTINGS = TrainSettings(
    hidden=4, max_steps=25, train_until=date(2011, 1, 31), validation_until=SELECT_UNTIL
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    train(BARS, settings=SETTINGS, home=made)
    return made


def version_of(home: Path) -> str:
    (version,) = list_versions(home)
    return version


def test_a_past_evening_takes_a_version_of_then(home: Path) -> None:
    """The newest, fitted on later days, is not even tried."""
    with pytest.raises(UnknownNameError, match=f"until {SELECT_UNTIL}"):
        evaluate(bars=BARS, home=home, as_of=date(2011, 6, 29))
    with pytest.raises(DataError, match="No day after 2011-06-30 can be scored"):
        evaluate(version_of(home), bars=BARS, home=home, as_of=date(2011, 6, 29))


@pytest.mark.parametrize("as_of", [date(2011, 7, 12), None])
def test_unchanged_bars_are_not_called_changed(
    home: Path, logged_warnings: list[str], as_of: date | None
) -> None:
    """Even where the evening hides some of those that were trained on."""
    evaluate(bars=BARS, home=home, as_of=as_of)
    assert not logged_warnings


@pytest.mark.slow
def test_a_ticker_without_a_report_day_is_named(home: Path, logged_warnings: list[str]) -> None:
    """It died in the select block: its rows are missing from the scorecard, and it says so."""
    dead = (BARS["ticker"] == "BBB") & (BARS["session"] > pd.Timestamp("2011-05-31"))
    result = evaluate(bars=BARS[~dead], home=home)
    assert result.unscored == {"return": ("BBB",)}
    assert set(result.per_ticker["ticker"]) == {"AAA", "CCC"}
    assert "BBB: no report day can be scored for return" in logged_warnings
    assert evaluate(bars=BARS, home=str(home), targets="return").unscored == {}


def test_a_ticker_without_prices_is_left_out_by_name(
    home: Path, logged_warnings: list[str]
) -> None:
    result = evaluate(bars=BARS[BARS["ticker"] != "BBB"], home=home)
    assert result.missing == ("BBB",)
    assert logged_warnings == ["BBB: trained on, but without prices here any more; left out"]
    with pytest.raises(DataError, match="AAA, BBB, CCC; none of them has prices here"):
        evaluate(bars=bars_of("NEW", 400), home=home)


@pytest.mark.parametrize(("first", "block"), [(date(2011, 2, 1), "fit"), (date(2011, 7, 1), "fit")])
def test_without_days_to_fit_the_baselines_there_is_no_scorecard(
    home: Path, first: date, block: str
) -> None:
    """Said as such, and not by the library that would have fitted them."""
    late = BARS[BARS["session"] >= pd.Timestamp(first)]
    with pytest.raises(DataError, match=f"The {block} block .* no day of return"):
        evaluate(bars=late, home=home)


def test_without_days_to_choose_the_baselines_there_is_no_scorecard(home: Path) -> None:
    days = BARS["session"]
    between = (days > pd.Timestamp("2011-01-20")) & (days <= pd.Timestamp(SELECT_UNTIL))
    with pytest.raises(DataError, match=r"The select block .* no day of return"):
        evaluate(bars=BARS[~between & (BARS["ticker"] != "CCC")], home=home)


@pytest.mark.parametrize("as_of", [datetime(2011, 7, 1), "2011-07-01"])
def test_an_evening_that_is_no_date_is_refused(home: Path, as_of: object) -> None:
    with pytest.raises(UsageError, match=r"as_of = .*datetime\.date is needed"):
        evaluate(bars=BARS, home=home, as_of=as_of)  # type: ignore[arg-type]
