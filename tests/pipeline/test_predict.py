"""What a forecast says of itself: which day, seen before or not, whose interval, which panel."""

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import TooOldError, UnknownNameError, UsageError
from forecaster.pipeline.predict import Prediction, predict
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions
from forecaster.settings import PredictSettings, TrainSettings
from tests.synthetic import bars_of, ragged_bars

BARS = ragged_bars({"AAA": 400, "BBB": 400, "CCC": 120})
LAST = BARS["session"].max().date()
SETTINGS = TrainSettings(
    hidden=4,
    max_steps=25,
    train_until=date(2011, 1, 31),
    validation_until=date(2011, 6, 30),
)
SELECT_UNTIL = date(2011, 6, 30)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version for returns; CCC has fewer than 100 select days."""
    made = tmp_path_factory.mktemp("home")
    train(BARS, settings=SETTINGS, home=made)
    return made


def version_of(home: Path) -> str:
    (version,) = list_versions(home)
    return version


def column(made: Prediction, name: str) -> dict[str, object]:
    return made.forecasts.set_index("ticker")[name].to_dict()


def test_a_past_evening_is_not_forecast_with_hindsight(
    home: Path, logged_warnings: list[str]
) -> None:
    """From the last select day on, the next session is one that the version never saw."""
    honest = predict(["AAA"], bars=BARS, home=home, as_of=SELECT_UNTIL)
    assert not honest.in_sample and not logged_warnings
    with pytest.raises(UnknownNameError, match=f"until {SELECT_UNTIL}"):
        predict(["AAA"], bars=BARS, home=home, as_of=date(2011, 6, 29))


def test_a_version_named_for_days_that_it_has_seen_is_told_aloud(
    home: Path, logged_warnings: list[str]
) -> None:
    made = predict(["AAA"], version=version_of(home), bars=BARS, home=home, as_of=date(2011, 6, 29))
    assert made.in_sample
    (warning,) = logged_warnings
    assert "has seen what it forecasts here" in warning and str(SELECT_UNTIL) in warning


def test_a_table_that_ends_before_the_select_block_does_is_told_too(home: Path) -> None:
    early = BARS[BARS["session"] < pd.Timestamp("2011-06-01")]
    made = predict(bars=early, home=home, version=version_of(home), as_of=date(2011, 5, 31))
    assert made.in_sample


def test_each_forecast_tells_whose_interval_it_has_and_whether_it_was_trained_on(
    home: Path, logged_warnings: list[str]
) -> None:
    more = pd.concat([BARS, bars_of("NEW", 400, seed=9)], ignore_index=True)
    made = predict(bars=more, home=home, as_of=LAST)
    assert column(made, "interval") == {
        **{"AAA": "own", "BBB": "own"},
        **{"CCC": "pooled", "NEW": "pooled"},
    }
    assert column(made, "trained_on") == {"AAA": True, "BBB": True, "CCC": True, "NEW": False}
    assert [warning.split(":")[0] for warning in logged_warnings] == ["NEW", "CCC, NEW"]
    assert predict(["AAA"], bars=more, home=home, as_of=LAST).missing == ()
    assert len(logged_warnings) == 2, "nothing to say of a ticker that was trained on"


def test_tickers_gone_from_the_panel_are_named(home: Path, logged_warnings: list[str]) -> None:
    """Without BBB the panel's mean, and with it every forecast, is another."""
    fewer = BARS[BARS["ticker"] != "BBB"]
    made = predict(["AAA"], bars=fewer, home=home, as_of=LAST)
    assert made.missing == ("BBB",)
    assert logged_warnings == [
        "BBB: trained on, but without prices here; the panel's mean that every forecast reads "
        "lacks them. Run: forecaster fetch BBB"
    ]


def test_a_ticker_not_yet_listed_on_a_past_evening_is_not_missing(
    home: Path, logged_warnings: list[str]
) -> None:
    """CCC has its first bar later: training saw the same panel without it."""
    before = (BARS[BARS["ticker"] == "CCC"]["session"].min() - pd.Timedelta(days=1)).date()
    made = predict(["AAA"], version=version_of(home), bars=BARS, home=home, as_of=before)
    assert made.missing == ()
    assert not any("CCC" in warning for warning in logged_warnings)


@pytest.mark.parametrize(
    ("calendar", "as_of", "session"),
    [
        ("24/7", "2011-07-01", "2011-07-02"),  # a coin is traded on Saturday
        ("XNYS", "2011-07-01", "2011-07-05"),  # Independence Day was a Monday
        ("XLON", "2011-05-27", "2011-05-31"),  # the spring bank holiday too
        ("XTKS", "2011-07-15", "2011-07-19"),  # Marine Day
        ("weekdays", "2011-07-01", "2011-07-04"),
    ],
)
def test_the_session_forecast_is_the_next_of_the_tickers_own_calendar(
    home: Path, calendar: str, as_of: str, session: str
) -> None:
    mixed = BARS.assign(calendar=np.where(BARS["ticker"] == "BBB", calendar, "XNYS"))
    evening = date.fromisoformat(as_of)
    made = predict(["BBB"], version=version_of(home), bars=mixed, home=home, as_of=evening)
    (found,) = made.forecasts.itertuples()
    assert (found.as_of, found.session) == (pd.Timestamp(as_of), pd.Timestamp(session))


@pytest.mark.parametrize("as_of", [datetime(2011, 7, 1), "2011-07-01", pd.Timestamp("2011-07-01")])
def test_an_evening_that_is_no_date_is_refused(home: Path, as_of: object) -> None:
    with pytest.raises(UsageError, match=r"as_of = .*datetime\.date is needed"):
        predict(bars=BARS, home=home, as_of=as_of)  # type: ignore[arg-type]


def test_a_home_may_be_text(home: Path) -> None:
    assert len(predict(["AAA"], bars=BARS, home=str(home), as_of=LAST).forecasts) == 1


def test_a_malformed_ticker_is_told_before_anything_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a ticker"):
        predict(["../../x"], home=tmp_path)


def test_a_champion_that_grew_old_is_warned_of_and_then_refused_but_not_a_named_version(
    home: Path, logged_warnings: list[str]
) -> None:
    """Seven sessions have come since the training."""
    newer = BARS.groupby("ticker").tail(7).copy()
    newer["session"] += 7 * pd.offsets.BDay()
    bars = pd.concat([BARS, newer], ignore_index=True)

    def asked(most: int, version: str | None = None) -> Prediction:
        settings = PredictSettings(max_model_age=most)
        as_of = newer["session"].max().date()
        return predict(
            ["AAA"], version=version, bars=bars, home=home, as_of=as_of, settings=settings
        )

    asked(7)
    assert not logged_warnings
    asked(4)
    (warning,) = logged_warnings
    assert "7 sessions before" in warning and "--max-model-age is 4" in warning
    with pytest.raises(TooOldError, match="Train, or promote another"):
        asked(3)
    assert asked(3, version_of(home)).version == version_of(home)
