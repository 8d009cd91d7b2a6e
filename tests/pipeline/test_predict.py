"""Forecasts of the next session: by which models, of which day, with which intervals."""

import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.store import PriceStore
from forecaster.errors import TooOldError, UnknownNameError, UsageError
from forecaster.operations.promotion import run_promotion_test
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.predict import Prediction, predict
from forecaster.pipeline.status import score
from forecaster.pipeline.train import train
from forecaster.registry.promotion import promote
from forecaster.registry.versions import list_versions
from forecaster.settings import PredictSettings, TrainSettings
from tests.registry.samples import keep
from tests.synthetic import bars_of, ragged_bars

BARS = ragged_bars({"AAA": 400, "BBB": 400, "CCC": 120})
LAST = BARS["session"].max().date()
SETTINGS = TrainSettings(
    hidden=4,
    max_steps=25,
    train_until=date(2011, 1, 31),
    validation_until=date(2011, 6, 30),
)
VALIDATION_UNTIL = date(2011, 6, 30)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version for returns; CCC has fewer than 100 validation days."""
    made = tmp_path_factory.mktemp("home")
    train(BARS, settings=SETTINGS, home=made)
    return made


def version_of(home: Path) -> str:
    (version,) = list_versions(home)
    return version


def column(made: Prediction, name: str) -> dict[str, object]:
    return made.forecasts.set_index("ticker")[name].to_dict()


def test_a_past_day_is_not_forecast_with_hindsight(home: Path, logged_warnings: list[str]) -> None:
    """From the last validation day on, the next session is one that the version never saw."""
    honest = predict(["AAA"], bars=BARS, home=home, as_of=VALIDATION_UNTIL)
    assert not honest.in_sample and not logged_warnings
    with pytest.raises(UnknownNameError, match=f"until {VALIDATION_UNTIL}"):
        predict(["AAA"], bars=BARS, home=home, as_of=date(2011, 6, 29))


def test_a_version_named_for_days_that_it_has_seen_is_warned_of(
    home: Path, logged_warnings: list[str]
) -> None:
    made = predict(["AAA"], version=version_of(home), bars=BARS, home=home, as_of=date(2011, 6, 29))
    assert made.in_sample
    (warning,) = logged_warnings
    assert "has seen what it forecasts here" in warning and str(VALIDATION_UNTIL) in warning


def test_a_table_that_ends_before_the_validation_days_does_is_in_sample_too(home: Path) -> None:
    early = BARS[BARS["session"] < pd.Timestamp("2011-06-01")]
    made = predict(bars=early, home=home, version=version_of(home), as_of=date(2011, 5, 31))
    assert made.in_sample


def test_each_forecast_reports_whose_interval_it_has_and_whether_it_was_trained_on(
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


def test_tickers_gone_from_the_panel_are_listed(home: Path, logged_warnings: list[str]) -> None:
    """Without BBB the panel's mean, and with it every forecast, is another."""
    fewer = BARS[BARS["ticker"] != "BBB"]
    made = predict(["AAA"], bars=fewer, home=home, as_of=LAST)
    assert made.missing == ("BBB",)
    assert logged_warnings == [
        "BBB: trained on, but without prices here; the panel's mean that every forecast reads "
        "lacks them. Run: forecaster fetch BBB"
    ]


def test_a_ticker_not_yet_listed_on_a_past_day_is_not_missing(
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
    as_of_day = date.fromisoformat(as_of)
    made = predict(["BBB"], version=version_of(home), bars=mixed, home=home, as_of=as_of_day)
    (found,) = made.forecasts.itertuples()
    assert (found.as_of, found.session) == (pd.Timestamp(as_of), pd.Timestamp(session))


@pytest.mark.slow
def test_only_the_bars_of_the_ticker_and_of_those_trained_on_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store with many others; by the promotion test and `score` alike."""
    names = ["AAA", "BBB", "NEW", *(f"T{number}" for number in range(9))]
    ragged_bars(dict.fromkeys(names, 400)).to_csv(tmp_path / "bars.csv", index=False)
    import_files([tmp_path / "bars.csv"], home=tmp_path)
    version = train(settings=SETTINGS, tickers=["AAA", "BBB"], home=tmp_path).version
    read_bars, read = PriceStore._read_bars, set[str]()

    def note(store: PriceStore, wanted: str, *ends: date | None) -> object:
        read.update(json.loads(wanted))
        return read_bars(store, wanted, *ends)

    monkeypatch.setattr(PriceStore, "_read_bars", note)
    predict(["AAA"], home=tmp_path, as_of=LAST)
    assert read == {"AAA", "BBB"}
    predict(["NEW"], home=tmp_path, as_of=LAST)
    assert read == {"AAA", "BBB", "NEW"}
    read.clear()
    run_promotion_test(tmp_path, "return", version, LAST)
    score(["AAA"], home=tmp_path, as_of=LAST)
    assert read == {"AAA", "BBB"}


@pytest.mark.parametrize("as_of", [LAST.isoformat(), pd.Timestamp(LAST)])
def test_a_day_may_be_text_or_a_timestamp(home: Path, as_of: str | pd.Timestamp) -> None:
    assert len(predict(["AAA"], bars=BARS, home=home, as_of=as_of).forecasts) == 1


def test_a_day_that_is_no_date_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match=r"as_of = .* a day is needed, without a time of day"):
        predict(bars=BARS, home=home, as_of=datetime(2011, 7, 1, 16))


def test_a_home_may_be_text(home: Path) -> None:
    assert len(predict(["AAA"], bars=BARS, home=str(home), as_of=LAST).forecasts) == 1


def test_a_malformed_ticker_is_reported_before_anything_is_looked_for(tmp_path: Path) -> None:
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


def targets_by_version(made: Prediction) -> dict[str, str]:
    return dict(zip(made.forecasts["target"], made.forecasts["version"], strict=True))


def trained(home: Path, target: str, name: str | None = None) -> str:
    settings = SETTINGS.model_copy(update={"target": tuple(target.split(",")), "max_steps": 5})
    return train(BARS, settings=settings, home=home, name=name).version


def test_a_version_without_returns_forecasts_what_it_has(tmp_path: Path) -> None:
    version = trained(tmp_path, "range")
    for choice in ({}, {"version": version}, {"name": "range"}):
        made = predict(bars=BARS, home=tmp_path, as_of=LAST, **choice)
        assert targets_by_version(made) == {"range": version}
        assert (made.version, made.name) == (version, "range")


def test_several_champions_forecast_their_targets_each(tmp_path: Path) -> None:
    """The baseline of one name beside the version of another, as each does alone."""
    both = trained(tmp_path, "return,range", name="both")
    promote(tmp_path, "both", both, reason="better")
    keep(tmp_path, "volume", trained(tmp_path, "volume"), reason="worse")
    made = predict(bars=BARS, home=tmp_path, as_of=LAST)
    assert targets_by_version(made) == {"return": both, "range": both, "volume": "baseline"}
    assert dict(made.models) == {"both": both, "volume": "baseline"}
    for name in ("both", "volume"):
        alone = predict(bars=BARS, home=tmp_path, as_of=LAST, name=name).forecasts
        mine = made.forecasts["target"].isin(alone["target"].unique())
        pd.testing.assert_frame_equal(made.forecasts[mine].reset_index(drop=True), alone)


def test_two_champions_for_one_target_need_a_name(tmp_path: Path) -> None:
    versions = {name: trained(tmp_path, "return", name=name) for name in ("calm", "wild")}
    for name, version in versions.items():
        promote(tmp_path, name, version, reason="better")
    with pytest.raises(UsageError, match=r"forecast return: calm, wild\. .* --name"):
        predict(bars=BARS, home=tmp_path, as_of=LAST)
    made = predict(bars=BARS, home=tmp_path, as_of=LAST, name="wild")
    assert targets_by_version(made) == {"return": versions["wild"]}
