"""Evaluation and prediction: on test days, beside benchmarks, without the future."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import clock
from forecaster.data.loading import load_histories
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.scored_forecasts import FORECAST_COLUMNS
from forecaster.evaluation.splits import Split
from forecaster.forecasting.model_version import load_model
from forecaster.pipeline.evaluate import Evaluation, Walk, evaluate
from forecaster.pipeline.predict import PREDICTION_COLUMNS, predict
from forecaster.pipeline.train import train
from forecaster.registry.champion import find_version
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of, ragged_bars

PANEL = {"AAA": 600, "BBB": 420, "CCC": 560}
FORECASTER = "forecaster"
SETTINGS = TrainSettings(hidden=8, max_steps=40, target="return,range,volume")
BARS = ragged_bars(PANEL)
LAST = BARS["session"].max().date()
SHARED, SAME_INPUTS = ["ridge", "trees"], ["linear", "mlp"]
DENSE = ["historical", "ewma-t", "garch-t", "egarch-t"]
QUICKLY = {"benchmarks": "quick", "walk": Walk(same_inputs=False)}


@pytest.fixture(scope="module", params=["all", pytest.param(20, marks=pytest.mark.slow)])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one version, of whole histories and of windows in turn."""
    made = tmp_path_factory.mktemp("home")
    train(BARS, settings=SETTINGS.model_copy(update={"lookback": request.param}), home=made)
    return made


@pytest.fixture(scope="module")
def result(home: Path) -> Evaluation:
    return evaluate(bars=BARS, home=home)


def test_the_table_has_every_forecaster_on_the_same_days(result: Evaluation) -> None:
    table = result.forecasts
    assert tuple(table.columns) == FORECAST_COLUMNS
    for target, names in {
        "return": ["lstm", "zero-return", "mean", "ar5", *SHARED, *DENSE, *SAME_INPUTS],
        "range": ["lstm", "persistence", "mean", "har", "har-x", *SHARED, *SAME_INPUTS],
        "volume": ["lstm", "persistence", "mean", "har", "har-x", *SHARED, *SAME_INPUTS],
    }.items():
        rows = table[table["target"] == target]
        assert rows["forecaster"].unique().tolist() == names
        days = [
            set(zip(g["ticker"], g["as_of"], strict=True)) for _, g in rows.groupby("forecaster")
        ]
        assert all(some == days[0] for some in days)


def test_only_test_days_are_scored(result: Evaluation) -> None:
    validation_end = pd.Timestamp(result.blocks["validation"][1])
    assert result.forecasts["session"].min() > validation_end
    assert result.forecasts["session"].max() == pd.Timestamp(LAST)
    train, validation, test = (result.blocks[name] for name in ("train", "validation", "test"))
    assert train[1] < validation[0] <= validation[1] < test[0]


def test_actuals_are_what_the_bars_say(result: Evaluation) -> None:
    bars = BARS.set_index(["ticker", "session"])
    sample = (
        result.forecasts[result.forecasts["forecaster"] == "lstm"]
        .groupby("target")
        .sample(5, random_state=0)
    )
    for row in sample.itertuples():
        today, then = bars.loc[(row.ticker, row.as_of)], bars.loc[(row.ticker, row.session)]
        actual = {
            "return": np.log(then["close"] / today["close"]),
            "range": np.log(np.log(then["high"] / then["low"])),
            "volume": np.log(then["close"] * then["volume"]),
        }[row.target]
        assert row.actual == pytest.approx(actual, abs=1e-12)
        assert row.last_close == today["close"]
        if row.target == "return":
            assert row.price_actual == pytest.approx(then["close"], rel=1e-12)


def test_persistence_is_todays_value(result: Evaluation) -> None:
    table = result.forecasts
    zero = table[table["forecaster"] == "zero-return"]
    assert (zero["forecast"] == 0.0).all()
    np.testing.assert_allclose(zero["price_forecast"], zero["last_close"])
    bars = BARS.set_index(["ticker", "session"])
    for row in table[table["forecaster"] == "persistence"].groupby("target").head(2).itertuples():
        today = bars.loc[(row.ticker, row.as_of)]
        value = {
            "range": np.log(np.log(today["high"] / today["low"])),
            "volume": np.log(today["close"] * today["volume"]),
        }[row.target]
        assert row.forecast == pytest.approx(value, abs=1e-9)


def test_the_mean_is_that_of_the_training_days(result: Evaluation) -> None:
    table = result.forecasts
    means = table[(table["forecaster"] == "mean") & (table["target"] == "range")]["forecast"]
    assert means.max() - means.min() < 1e-9


def corrupted(after: date) -> pd.DataFrame:
    """The same bars until a date, then nonsense."""
    wild = BARS.copy()
    later = wild["session"] > pd.Timestamp(after)
    wild.loc[later, ["open", "high", "low", "close"]] *= 3.0
    wild.loc[later, "volume"] = 1.0
    return wild


@pytest.mark.parametrize(
    ("days_before_the_end", "benchmarks"),
    [
        (60, "quick"),
        pytest.param(1, "quick", marks=pytest.mark.slow),
        *(pytest.param(days, "all", marks=pytest.mark.slow) for days in (1, 20, 60)),
    ],
)
def test_no_forecast_sees_its_own_future(
    home: Path, result: Evaluation, days_before_the_end: int, benchmarks: str
) -> None:
    """Cut and corrupt everything after a date: forecasts made until then stay the same."""
    options = QUICKLY if benchmarks == "quick" else {}
    sessions = np.unique(BARS["session"])
    cut = pd.Timestamp(sessions[-1 - days_before_the_end])
    keys = ["ticker", "as_of", "target", "forecaster"]
    early = result.forecasts["session"] <= cut
    if benchmarks == "quick":
        slow = ["trees", "garch-t", "egarch-t", *SAME_INPUTS]
        early &= ~result.forecasts["forecaster"].isin(slow)
    # A matrix product over days rounds by how many there are: the MLP alone has one.
    exact = result.forecasts["forecaster"] != "mlp"
    expected = result.forecasts[early & exact].set_index(keys)["forecast"]
    rounded = result.forecasts[early & ~exact].set_index(keys)["forecast"]
    assert len(expected) > 1000 and len(rounded) > (90 if benchmarks == "all" else -1)
    versions = {"cut": BARS[BARS["session"] <= cut], "corrupted": corrupted(cut.date())}
    for bars in versions.values():
        again = evaluate(bars=bars, home=home, **options).forecasts.set_index(keys)["forecast"]
        found = again.reindex(expected.index)
        np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
        np.testing.assert_allclose(again.reindex(rounded.index), rounded, rtol=1e-6, atol=1e-8)


def test_predict_is_the_forecast_that_evaluate_scores(home: Path, result: Evaluation) -> None:
    row = result.forecasts[
        (result.forecasts["forecaster"] == "lstm") & (result.forecasts["target"] == "return")
    ]
    as_of = row["as_of"].iloc[-30]
    expected = row[row["as_of"] == as_of].set_index("ticker")
    made = predict(bars=BARS, home=home, target="return", as_of=as_of.date())
    made = made.forecasts.set_index("ticker")
    for name in ("forecast", "q10", "q90", "last_close", "price_forecast", "session"):
        pd.testing.assert_series_equal(made[name], expected[name].loc[made.index])


def test_predict_columns_and_order(home: Path) -> None:
    made = predict(bars=BARS, home=home, as_of=LAST)
    assert tuple(made.forecasts.columns) == PREDICTION_COLUMNS
    assert made.forecasts["ticker"].tolist() == 3 * ["AAA", "BBB", "CCC"]
    assert made.forecasts["target"].tolist() == 3 * ["return"] + 3 * ["range"] + 3 * ["volume"]
    one = predict(["CCC"], bars=BARS, home=home, as_of=LAST).forecasts
    assert one["forecast"].tolist() == made.forecasts["forecast"].tolist()[2::3]


def test_predict_range_has_no_price(home: Path) -> None:
    made = predict(bars=BARS, home=home, target="range", as_of=LAST).forecasts
    assert made["price_forecast"].isna().all() and made["forecast"].notna().all()


def test_a_ticker_that_was_not_trained_on_is_forecast_without_changing_the_others(
    home: Path,
) -> None:
    more = pd.concat([BARS, bars_of("NEW", 600, seed=9)], ignore_index=True)
    alone = predict(bars=BARS, home=home, target="return", as_of=LAST).forecasts.set_index("ticker")
    made = predict(bars=more, home=home, target="return", as_of=LAST).forecasts.set_index("ticker")
    assert made.index.tolist() == ["AAA", "BBB", "CCC", "NEW"]
    assert made.loc["AAA":"CCC", "forecast"].tolist() == alone["forecast"].tolist()


def test_the_interval_holds_about_its_share_of_test_days_it_never_saw(
    result: Evaluation,
) -> None:
    """And no tail holds all the misses: both ends are where they should be."""
    own = result.forecasts[result.forecasts["forecaster"] == "lstm"]
    for _, rows in own.groupby("target"):
        below, above = rows["actual"] < rows["q10"], rows["actual"] > rows["q90"]
        assert 0.65 < 1 - (below.mean() + above.mean()) < 0.95
        assert below.any() and above.any()


def test_the_interval_holds_its_share_of_the_validation_days(home: Path) -> None:
    """By construction: as many outcomes lie below as above, a tenth less one in each tail."""
    version = find_version(home)
    blocks, trained = version.data.blocks, load_model(home, version)
    panel = trained.panel(load_histories(BARS, home, (), None))
    split = Split(
        train_until=np.datetime64(blocks.train_until),
        validation_until=np.datetime64(blocks.validation_until),
    )
    select = split.masks(panel.outcome_days)[1] & trained.forecastable(panel)
    stated, tickers = trained.distributions(panel, select), np.array(panel.tickers)[panel.series]
    for k, target in enumerate(panel.targets):
        assert set(version.calibration[target]) == {""}
        rows = select & np.isfinite(panel.y[:, k])
        actual = panel.y[rows, k]
        made = trained.calibrated(target, stated[target].take(rows), tickers[rows])
        low, high = made.interval(0.8).T
        outside = (len(actual) + 1) // 10 - 1
        assert outside > 20
        # The outcome that is the bound itself may fall on either side of it by a last bit.
        for beyond in ((actual < low).sum(), (actual > high).sum()):
            assert beyond in (outside, outside + 1)


@pytest.mark.parametrize(
    ("now", "code"),
    [("2012-05-25T23:00:00+00:00", None), ("2012-06-29T23:00:00+00:00", "sessions before")],
)
def test_stale_bars_give_no_forecast(
    home: Path, monkeypatch: pytest.MonkeyPatch, now: str, code: str | None
) -> None:
    """The last bar is of 2012-05-18; five missed sessions are borne, more are not."""
    assert date(2012, 5, 18) == LAST
    monkeypatch.setattr(clock, "now", lambda: datetime.fromisoformat(now))
    if code is None:
        assert len(predict(bars=BARS, home=home).forecasts) == 9
    else:
        with pytest.raises(DataError, match=code):
            predict(bars=BARS, home=home)


def test_one_stale_ticker_is_skipped_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2012, 5, 21, 23, tzinfo=UTC))
    old = BARS[(BARS["ticker"] != "BBB") | (BARS["session"] < pd.Timestamp("2012-04-01"))]
    made = predict(bars=old, home=home)
    assert made.skipped == ("BBB",)
    assert made.forecasts["ticker"].tolist() == 3 * ["AAA", "CCC"]


def test_a_target_that_was_not_trained_is_refused(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"target": ("range",)})
    version = train(BARS, settings=settings, home=tmp_path).version
    with pytest.raises(UsageError, match="--target return"):
        evaluate(version, bars=BARS, targets=["return"], home=tmp_path)
    with pytest.raises(UsageError, match="--target return"):
        predict(bars=BARS, version=version, target="return", home=tmp_path)
    named = predict(bars=BARS, version=version, home=tmp_path, as_of=LAST)
    assert named.forecasts["target"].unique().tolist() == ["range"]


def test_changed_bars_are_noticed(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    monkeypatch.setattr(logging.getLogger("forecaster"), "propagate", True)
    evaluate(bars=BARS, home=home, **QUICKLY)
    assert "not the ones" not in caplog.text
    changed = BARS.copy()
    changed.loc[5, "volume"] += 1.0
    evaluate(bars=changed, home=home, **QUICKLY)
    assert "not the ones that version" in caplog.text


@pytest.mark.slow
def test_a_dividend_and_a_split_are_no_crash(tmp_path: Path) -> None:
    """The same company, as-traded and split-adjusted, gets the same forecasts."""
    adjusted = bars_of("AAA", 400).assign(basis="split-adjusted")
    adjusted.loc[200, "dividend"] = 0.5
    traded = adjusted.assign(basis="as-traded")
    before = traded.index < 350
    traded.loc[before, ["open", "high", "low", "close", "dividend"]] *= 4.0
    traded.loc[before, "volume"] /= 4.0
    traded.loc[350, "split"] = 4.0
    adjusted.loc[350, "split"] = 4.0
    tables = []
    for name, bars in (("adjusted", adjusted), ("traded", traded)):
        (tmp_path / name).mkdir()
        train(bars, settings=SETTINGS, home=tmp_path / name)
        tables.append(evaluate(bars=bars, home=tmp_path / name, **QUICKLY).forecasts)
    np.testing.assert_allclose(tables[0]["forecast"], tables[1]["forecast"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tables[0]["actual"], tables[1]["actual"], atol=1e-9)


def test_predict_refuses_the_future(home: Path) -> None:
    with pytest.raises(UsageError, match="after today"):
        predict(bars=BARS, home=home, as_of=date(2999, 1, 1))
