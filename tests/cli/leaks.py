"""Leaks as people really make them, each planted into the product's own code.

`LEAKS` maps a name to the stage that must be reported and to what plants it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import benchmarks, fold
from forecaster.data import columns, features, ingest, loading, panel
from forecaster.data.columns import CALENDAR_INPUTS
from forecaster.data.history import History
from forecaster.data.scaling import Scaler
from forecaster.evaluation import conformal, regression
from forecaster.evaluation.splits import Split
from forecaster.forecasting import data_set, fitted_model, fitting, forecast_tables

Plant = Callable[[pytest.MonkeyPatch], None]
Columns = dict[str, np.ndarray]
FAR = np.datetime64("2100-01-01")


def unfinished_bar(patch: pytest.MonkeyPatch) -> None:
    """Today's bar is read while the exchange is open."""
    patch.setattr(loading, "final_part", lambda history, now: history)


def unfinished_bar_stored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ingest, "final_part", lambda history, now: history)


def as_of_ignored(patch: pytest.MonkeyPatch) -> None:
    real = loading._from_table
    patch.setattr(loading, "_from_table", lambda bars, wanted, until: real(bars, wanted, None))


def _own_columns(change: Callable[[History, Columns], Columns]) -> Plant:
    """Change what `own_columns` returns, or the history that it reads."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = panel.own_columns
        patch.setattr(
            panel,
            "own_columns",
            lambda history, targets=(): change(history, real(history, targets)),
        )

    return plant


def _target_among_features(history: History, own: Columns) -> Columns:
    return own | {"intraday": np.append(own["log_return"][1:], np.nan)}


def own_target_of_tomorrow(patch: pytest.MonkeyPatch) -> None:
    """The rows of an own column are shifted by a day."""

    def early(history: History, own: Columns) -> Columns:
        return own | {"log_rv5": np.append(own["log_rv5"][1:], np.nan)}

    _own_columns(early)(patch)


def _scored_over_the_whole_history(history: History, own: Columns) -> Columns:
    table = pd.DataFrame(own).astype(np.float64)
    return _columns((table - table.mean()) / (table.std() + 1e-9))


def _volume_over_its_full_mean(history: History, own: Columns) -> Columns:
    volume = own["log_volume"]
    return own | {"volume_deviation": volume - pd.Series(volume).mean()}


def _missing_range_from_later(history: History, own: Columns) -> Columns:
    return _columns(pd.DataFrame(own).astype(np.float64).bfill())


def _columns(table: pd.DataFrame) -> Columns:
    return {str(name): table[name].to_numpy() for name in table}


def _adjusted_close(history: History, own: Columns) -> Columns:
    """Prices as after all dividends and splits to come, as `auto_adjust` serves them."""
    bars = history.bars
    kept = (1.0 - bars["dividend"] / bars["close"]) / bars["split"]
    later = kept[::-1].cumprod()[::-1].shift(-1, fill_value=1.0)
    adjusted = bars.assign(
        **{name: bars[name] * later for name in ("open", "high", "low", "close")}
    )
    return columns.own_columns(replace(history, bars=adjusted))


def centred_mean(patch: pytest.MonkeyPatch) -> None:
    def mean(values: np.ndarray, days: int) -> np.ndarray:
        return pd.Series(values).rolling(days, min_periods=1, center=True).mean().to_numpy()

    patch.setattr(columns, "trailing_mean", mean)


def market_of_tomorrow(patch: pytest.MonkeyPatch) -> None:
    real = columns.DailyMeans.at
    patch.setattr(
        columns.DailyMeans, "at", lambda self, days: real(self, np.append(days[1:], days[-1]))
    )


def calendar_of_the_next_row(patch: pytest.MonkeyPatch) -> None:
    real = panel.scheduled_inputs

    def inputs(calendar: str, days: np.ndarray) -> np.ndarray:
        values = real(calendar, days)
        gaps = np.diff(days).astype(np.int64) - 1
        values[:-1, CALENDAR_INPUTS.index("gap_days")] = gaps
        return values

    patch.setattr(panel, "scheduled_inputs", inputs)


def outcome_of_two_days(patch: pytest.MonkeyPatch) -> None:
    real = panel._targets

    def targets(*arguments: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        today, level, y = real(*arguments)  # type: ignore[arg-type]
        y[:-1] = (y[:-1] + y[1:]) / 2.0
        return today, level, y

    patch.setattr(panel, "_targets", targets)


def _filled(fill: Callable[[pd.DataFrame], pd.DataFrame], *, across: bool) -> Plant:
    """Fill missing inputs, segment by segment or over the flat rows of all tickers."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = panel.features_by_segment

        def blocks(*arguments: object) -> Iterator[tuple[slice, np.ndarray]]:
            found = list(real(*arguments))  # type: ignore[arg-type]
            if across:
                whole = fill(pd.DataFrame(np.concatenate([block for _, block in found])))
                yield from ((rows, whole.to_numpy()[rows]) for rows, _ in found)
                return
            yield from ((rows, fill(pd.DataFrame(block)).to_numpy()) for rows, block in found)

        patch.setattr(panel, "features_by_segment", blocks)

    return plant


def echo_of_days_to_come(patch: pytest.MonkeyPatch) -> None:
    def later(rows: features.SegmentRows) -> np.ndarray:
        values = rows["abnormal_range"]
        return np.append(values[5:], np.repeat(values[-1], 5))[: len(values)]

    for days in features.ECHO_DAYS:
        patch.setitem(features._COMPUTE, f"range_echo{days}", later)


def _masks(change: Callable[..., tuple[np.ndarray, ...]]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        real = Split.masks
        patch.setattr(Split, "masks", lambda self, days: change(*real(self, days)))

    return plant


def _shuffled(*masks: np.ndarray) -> tuple[np.ndarray, ...]:
    order = np.random.default_rng(0).permutation(len(masks[0]))
    return tuple(mask[order] for mask in masks)


def scaler_on_all_days(patch: pytest.MonkeyPatch) -> None:
    real = Scaler.fit.__func__  # type: ignore[attr-defined]
    everything = classmethod(lambda cls, values, rows: real(cls, values, np.ones_like(rows)))
    patch.setattr(Scaler, "fit", everything)


def base_on_all_days(patch: pytest.MonkeyPatch) -> None:
    real = data_set.fit_base
    patch.setattr(
        data_set,
        "fit_base",
        lambda kind, panel, scored, y, forms: real(kind, panel, np.isfinite(y), y, forms),
    )


def validation_days_in_train(patch: pytest.MonkeyPatch) -> None:
    real = data_set.Dataset.rows
    patch.setattr(
        data_set.Dataset,
        "rows",
        lambda self, block: real(self, block) | (real(self, 1) if block == 0 else False),
    )


def _with_test_days(made: data_set.Dataset) -> data_set.Dataset:
    """Extend the validation days over the test days."""
    split = Split(train_until=made.model.split.train_until, validation_until=FAR)
    return replace(made, model=replace(made.model, split=split))


def early_stopping_on_test_days(patch: pytest.MonkeyPatch) -> None:
    real = fitting.validation_loss
    patch.setattr(
        fitting, "validation_loss", lambda made, *others: real(_with_test_days(made), *others)
    )


def calibrated_on_test_days(patch: pytest.MonkeyPatch) -> None:
    real = fitting.calibrate
    patch.setattr(
        fitting,
        "calibrate",
        lambda members, made, *others: real(members, _with_test_days(made), *others),
    )


def benchmark_on_all_days(patch: pytest.MonkeyPatch) -> None:
    real = regression.least_squares
    patch.setattr(regression, "least_squares", lambda x, y, fit: real(x, y, np.ones_like(fit)))


def fold_selected_on_its_own_days(patch: pytest.MonkeyPatch) -> None:
    """A fold whose network is chosen by the days that it then forecasts."""
    real = fold.fit_panel

    def fit_panel(panel, split, settings, **options):  # type: ignore[no-untyped-def]
        own = Split(train_until=split.train_until, validation_until=FAR)
        return real(panel, own, settings, **options)

    patch.setattr(fold, "cut", lambda panel, **days: (panel, np.arange(len(panel.days))))
    patch.setattr(fold, "fit_panel", fit_panel)


def volatility_fitted_on_all_days(patch: pytest.MonkeyPatch) -> None:
    real = benchmarks.ewma_student
    patch.setattr(
        benchmarks,
        "ewma_student",
        lambda returns, series, y, fit: real(returns, series, y, np.isfinite(y)),
    )


def intervals_that_know_tomorrow(patch: pytest.MonkeyPatch) -> None:
    """An outcome is taken for the one before, a day too early."""
    real, early = forecast_tables.adaptive_conformal, conformal.Adaptive(window=40, least=20)

    def found(part, y, series, made, known, settings):  # type: ignore[no-untyped-def]
        mine = replace(early, coverages=settings.coverages)
        return real(part, np.append(y[1:], np.nan), series, made, known, mine)

    patch.setattr(forecast_tables, "adaptive_conformal", found)


def state_from_the_future(patch: pytest.MonkeyPatch) -> None:
    """A network that reads the history from both ends."""
    real = fitted_model.forecast_rows

    def both(network, inputs, offsets, lookback, rows):  # type: ignore[no-untyped-def]
        turned = np.array(offsets[-1] - offsets[::-1])
        back = real(network, inputs.flip(0), turned, lookback, rows[::-1].copy())
        return (real(network, inputs, offsets, lookback, rows) + back[::-1]) / 2.0

    patch.setattr(fitted_model, "forecast_rows", both)


LEAKS: dict[str, tuple[str, Plant]] = {
    "today's unfinished bar": ("bars", unfinished_bar),
    "today's unfinished bar stored": ("bars", unfinished_bar_stored),
    "--as-of ignored": ("bars", as_of_ignored),
    "target among the features": ("features", _own_columns(_target_among_features)),
    "z-score over the whole history": ("features", _own_columns(_scored_over_the_whole_history)),
    "volume over its full-sample mean": ("features", _own_columns(_volume_over_its_full_mean)),
    "missing range from a later day": ("features", _own_columns(_missing_range_from_later)),
    "close adjusted for later dividends": ("features", _own_columns(_adjusted_close)),
    "centred mean": ("features", centred_mean),
    "cross-section of the next day": ("cross-section", market_of_tomorrow),
    "calendar from the next row": ("calendar", calendar_of_the_next_row),
    "outcome of two days": ("targets", outcome_of_two_days),
    "forward fill across tickers": ("inputs", _filled(pd.DataFrame.ffill, across=True)),
    "backfill": ("inputs", _filled(pd.DataFrame.bfill, across=False)),
    "echo reading forward": ("inputs", echo_of_days_to_come),
    "split by shuffling": ("split", _masks(_shuffled)),
    "validation days in the training mask": ("split", _masks(lambda f, s, r: (f | s, s, r))),
    "scaler on all days": ("scales", scaler_on_all_days),
    "base on all days": ("base", base_on_all_days),
    "validation days trained on": ("training", validation_days_in_train),
    "early stopping on test days": ("training", early_stopping_on_test_days),
    "calibration on test days": ("calibration", calibrated_on_test_days),
    "benchmark on all days": ("benchmarks", benchmark_on_all_days),
    "volatility fitted on all days": ("benchmarks", volatility_fitted_on_all_days),
    "state from the future": ("forecasts", state_from_the_future),
    "intervals that know tomorrow": ("intervals", intervals_that_know_tomorrow),
    "fold selected on its own days": ("walk-forward", fold_selected_on_its_own_days),
}
