"""A no-refit walk-forward at scale: 500 tickers x 2,520 days, invented, a trained LSTM 64.

Usage: python -m benchmarks.walk_forward [--tickers 500] [--days 2520] [--test-share 0.5]

Times the panel, the forecasts (one forward over every history, the linear model's too) and
the adaptive intervals apart, without benchmarks and bootstraps.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from forecaster.backtesting.walk_forward import WorkFolder, walk_forward
from forecaster.data.loading import load_histories
from forecaster.data.sessions import sessions_between
from forecaster.evaluation.splits import Walk, walk_folds
from forecaster.forecasting.forecast_tables import adaptive_intervals
from forecaster.forecasting.model_version import load_model, recipe_of
from forecaster.pipeline.train import train
from forecaster.registry.champion import find_version
from forecaster.settings import TrainSettings

FIRST, LIMIT = date(2014, 1, 2), 60.0
Result = TypeVar("Result")


def bars_of(tickers: int, days: int) -> pd.DataFrame:
    """Invent prices whose volatility comes in clusters, one day's shock shared by all."""
    generator = np.random.default_rng(0)
    sessions = sessions_between("XNYS", FIRST, date(2030, 1, 1))[:days]
    market, parts = generator.standard_normal(days), []
    for number in range(tickers):
        noise = generator.standard_normal((3, days))
        level = np.convolve(noise[0], 0.95 ** np.arange(100))[:days] * 0.3
        spread = 0.012 * np.exp(level)
        close = 50.0 * np.exp(np.cumsum(spread * (0.6 * market + 0.8 * noise[1])))
        opening = np.r_[50.0, close[:-1]]
        horizon = spread * (0.3 + 0.5 * np.abs(noise[2]))
        parts.append(
            pd.DataFrame(
                {
                    "ticker": f"T{number:04d}",
                    "session": sessions.astype("datetime64[s]"),
                    "open": opening,
                    "high": np.maximum(opening, close) * np.exp(horizon),
                    "low": np.minimum(opening, close) * np.exp(-horizon),
                    "close": close,
                    "volume": np.round(1e6 * np.exp(0.5 * noise[0])),
                    "calendar": "XNYS",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def timed(name: str, work: Callable[[], Result]) -> tuple[Result, float]:
    """Print how long a piece of work took."""
    began = time.monotonic()
    found = work()
    seconds = time.monotonic() - began
    print(f"{name:<22} {seconds:8.1f} s", flush=True)
    return found, seconds


def main() -> None:
    """Train a little, then walk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tickers", type=int, default=500)
    parser.add_argument("--days", type=int, default=2520)
    parser.add_argument("--test-share", type=float, default=0.5)
    options = parser.parse_args()
    bars = bars_of(options.tickers, options.days)
    days = np.unique(bars["session"])
    validated = int(len(days) * (1.0 - options.test_share))
    settings = TrainSettings(
        target="return,range",
        hidden=64,
        max_steps=25,
        train_until=pd.Timestamp(days[int(validated * 0.8)]).date(),
        validation_until=pd.Timestamp(days[validated]).date(),
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        timed("train, 25 steps", lambda: train(bars, settings=settings, home=home))
        manifest = find_version(home)
        model = load_model(home, manifest)
        histories = load_histories(bars, home, (), None)
        panel, _ = timed("panel", lambda: model.panel(histories))
        folds = walk_folds(panel.outcome_days, model.split)
        walk, work = Walk(same_inputs=False), WorkFolder(home, {})
        (seeds, _), seconds = timed(
            "forecasts, two models",
            lambda: walk_forward(panel, model, recipe_of(manifest), folds, walk, work),
        )
        own = seeds[0]
        count = int(np.isfinite(own[0].mean()).sum())
        for target, forecast in zip(panel.targets, own, strict=True):
            timed(
                f"intervals, {target}",
                lambda t=target, f=forecast: adaptive_intervals(
                    panel, t, f, model.split.train_until
                ),
            )
    print(f"{count:,} days forecast of {len(panel.days):,} read; limit {LIMIT:.0f} s")
    raise SystemExit(0 if seconds < LIMIT else 1)


if __name__ == "__main__":
    main()
