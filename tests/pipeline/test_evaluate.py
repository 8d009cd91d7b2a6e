"""Evaluations: which version, which tickers, and when there is none."""

from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest

from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.pipeline.evaluate import Walk, evaluate
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of, ragged_bars

BARS = ragged_bars({"AAA": 400, "BBB": 400, "CCC": 120})
VALIDATION_UNTIL = date(2011, 6, 30)
FIRST = BARS[BARS["ticker"] == "CCC"]["session"].min()
SETTINGS = TrainSettings(
    hidden=4, max_steps=25, train_until=date(2011, 1, 31), validation_until=VALIDATION_UNTIL
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    train(BARS, settings=SETTINGS, home=made)
    return made


def version_of(home: Path) -> str:
    (version,) = list_versions(home)
    return version


def test_a_past_session_takes_a_version_of_then(home: Path) -> None:
    """The newest, trained on later days, is not considered."""
    with pytest.raises(UnknownNameError, match=f"until {VALIDATION_UNTIL}"):
        evaluate(bars=BARS, home=home, as_of=date(2011, 6, 29))
    with pytest.raises(DataError, match="No day after 2011-06-30 can be scored"):
        evaluate(version_of(home), bars=BARS, home=home, as_of=date(2011, 6, 29))


@pytest.mark.parametrize("as_of", [date(2011, 7, 12), None])
def test_unchanged_bars_are_not_called_changed(
    home: Path, logged_warnings: list[str], as_of: date | None
) -> None:
    """Even where as_of hides some of those that were trained on."""
    evaluate(bars=BARS, home=home, as_of=as_of)
    assert not logged_warnings


@pytest.mark.slow
def test_a_ticker_without_a_test_day_is_reported(home: Path, logged_warnings: list[str]) -> None:
    """It ended in the validation days: it has no scores, and a warning."""
    dead = (BARS["ticker"] == "BBB") & (BARS["session"] > pd.Timestamp("2011-05-31"))
    result = evaluate(bars=BARS[~dead], home=home)
    assert result.by_target["return"].unscored == ("BBB",)
    assert set(result.table("scores_by_ticker")["ticker"]) == {"AAA", "CCC"}
    assert "BBB: no test day can be scored for return" in logged_warnings
    assert evaluate(bars=BARS, home=str(home), targets="return").by_target["return"].unscored == ()


def test_a_ticker_without_prices_is_left_out_with_a_warning(
    home: Path, logged_warnings: list[str]
) -> None:
    result = evaluate(bars=BARS[BARS["ticker"] != "BBB"], home=home)
    assert result.missing == ("BBB",)
    assert logged_warnings == ["BBB: trained on, but without prices here any more; left out"]
    with pytest.raises(DataError, match="AAA, BBB, CCC; none of them has prices here"):
        evaluate(bars=bars_of("NEW", 400), home=home)


@pytest.mark.parametrize(
    ("first", "part"), [(date(2011, 2, 1), "training"), (date(2011, 7, 1), "training")]
)
def test_without_days_to_fit_the_benchmarks_there_is_no_evaluation(
    home: Path, first: date, part: str
) -> None:
    """As our error, and not that of the library that would have fitted them."""
    late = BARS[BARS["session"] >= pd.Timestamp(first)]
    with pytest.raises(DataError, match=f"The {part} days .* 0 days with a return"):
        evaluate(bars=late, home=home)


def test_without_days_to_choose_the_benchmarks_there_is_no_evaluation(home: Path) -> None:
    days = BARS["session"]
    between = (days > pd.Timestamp("2011-01-20")) & (days <= pd.Timestamp(VALIDATION_UNTIL))
    with pytest.raises(DataError, match=r"The validation days .* 0 days with a return"):
        evaluate(bars=BARS[~between & (BARS["ticker"] != "CCC")], home=home)


@pytest.mark.parametrize("as_of", [datetime(2011, 7, 1, 16), "2011-07"])
def test_an_as_of_that_is_no_date_is_refused(home: Path, as_of: object) -> None:
    with pytest.raises(UsageError, match=r"as_of = .* a day is needed"):
        evaluate(bars=BARS, home=home, as_of=as_of)  # type: ignore[arg-type]


def test_an_index_has_no_backtest_unless_costs_are_given(tmp_path: Path) -> None:
    """And the evaluation says why; a share has one."""
    bars = BARS[BARS["ticker"] == "AAA"]
    train(bars.assign(ticker="^AAA"), settings=SETTINGS, home=tmp_path)
    walk = Walk(same_inputs=False)
    given = {"bars": bars.assign(ticker="^AAA"), "home": tmp_path, "benchmarks": "quick"}
    result = evaluate(walk=walk, **given)
    assert result.by_target["return"].backtests == {}
    assert result.notes == (
        "no backtest, since ^AAA cannot be traded (an index); --costs-bps 5 makes it all the same",
    )
    asked = evaluate(walk=walk, costs_bps=3.0, **given)
    assert set(asked.by_target["return"].backtests) == {"lstm", "mean"} and asked.costs_bps == 3.0
    assert asked.notes == ()
