"""What inputs, a linear base and a memory bring, by walk-forward on the prices of a folder.

Usage: python -m benchmarks.recipe DIR [--seeds 3] [--refit 252] [--block test|validation]
           [--basis as-traded] [--set NAME=VALUE ...]

DIR holds CSV or parquet files as `forecaster data import` takes them. The first 70 % of the days
are trained on, the next 10 % stop the training and calibrate, the last 20 % are tested; every
`--refit` days all forecasters are fitted again on the days before. `--block validation` scores the
validation days instead, without refits: recipes are not chosen on test days.
`--set` changes settings of `train`. Prints Markdown. One thread; 20 minutes for 20 tickers of 20
years.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from forecaster.backtesting.fold import MEMORYLESS
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.regression import least_squares
from forecaster.evaluation.significance import daily, diebold_mariano
from forecaster.evaluation.splits import Fold, Split, Walk, walk_folds
from forecaster.evaluation.volatility import garch, refit_days
from forecaster.forecasting.data_set import build_dataset
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.fitting import fit
from forecaster.pipeline.data_import import import_files
from forecaster.settings import TrainSettings

TARGETS = ("return", "range", "volume")
SHARES = (0.70, 0.80)
RECIPE = {"target": TARGETS, "base": "linear"}


@dataclass(slots=True)
class Forecasts:
    """By forecaster and target, losses (N,) of all rows, NaN where there is no forecast."""

    rows: int
    losses: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)

    def add(
        self, name: str, target: str, forecast: Predictive, y: np.ndarray, rows: np.ndarray
    ) -> None:
        """Score the rows of one fold."""
        part, outcome = forecast.take(rows), y[rows]
        found = {"mse": (part.mean() - outcome) ** 2}
        if not isinstance(part, Point):
            found |= {"nll": -part.log_density(outcome), "crps": part.crps(outcome)}
        for loss, values in found.items():
            empty = np.full(self.rows, np.nan)
            self.losses.setdefault((name, target, loss), empty)[rows] = values


def panel_of(folder: Path, basis: str) -> Panel:
    """Import a folder's prices into a temporary home and build their panel."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".csv", ".parquet"))
    with tempfile.TemporaryDirectory() as place:
        import_files(files, basis=basis, home=Path(place))  # type: ignore[arg-type]
        histories = load_histories(None, Path(place), (), None)
    names = [history.listing.ticker for history in histories]
    return build_panel(histories, TARGETS, universe=names if len(names) > 1 else None)


def folds_of(panel: Panel, refit: int, block: str) -> Iterator[tuple[Fold, np.ndarray]]:
    """Yield each fold and the rows (N,) that it is scored on."""
    days = np.unique(panel.days)
    train_until, validation_until = (days[round(share * len(days)) - 1] for share in SHARES)
    split = Split(train_until=train_until, validation_until=validation_until)
    walk = Walk(refit_every=None if block == "validation" else refit)
    for fold in walk_folds(panel.outcome_days, split, walk):
        _, validation, test = fold.masks(panel.outcome_days)
        yield fold, validation if block == "validation" else test


def run_fold(
    panel: Panel, fold: Fold, rows: np.ndarray, settings: TrainSettings, seeds: int, out: Forecasts
) -> None:
    """Fit every forecaster on one fold and score its rows."""
    dataset = build_dataset(panel, fold.split, settings)
    base, wanted = dataset.model.reader.base, np.flatnonzero(rows)
    train_rows = fold.masks(panel.outcome_days)[0]

    def score(name: str, model: FittedModel) -> tuple[Predictive, ...]:
        found = tuple(model.distributions(panel, rows).values())
        for k, target in enumerate(TARGETS):
            known = wanted[np.isfinite(panel.y[wanted, k])]
            out.add(name, target, found[k], panel.y[:, k], known)
        return found

    score("linear", dataset.model)
    members: dict[str, list[tuple[Predictive, ...]]] = {"lstm": [], "mlp": []}
    for seed in range(seeds):
        seeded = settings.model_copy(update={"seed": seed})
        horizon = None if settings.bptt_k2 == "auto" else settings.bptt_k2
        without_memory = seeded.model_copy(update={**MEMORYLESS, "bptt_k2": horizon})
        same_inputs = build_dataset(panel, fold.split, without_memory, base)
        for name, given, own in (
            ("lstm", dataset, seeded),
            ("mlp", same_inputs, without_memory),
        ):
            model = fit(given, own, torch.device("cpu")).model
            members[name].append(score(f"{name} {seed}", model))
    for k, target in enumerate(TARGETS[1:], start=1):
        shared = np.nan_to_num(panel.shared_inputs)
        terms = panel.har_terms(target)
        y = panel.y[:, k]
        known = wanted[np.isfinite(y[wanted])]
        for name, x in (("har", terms), ("har-x", np.column_stack([terms, shared]))):
            out.add(name, target, Point(least_squares(x, y, train_rows)), y, known)
        for name, parts in members.items():
            mean = np.mean([part[k].mean() for part in parts], axis=0)
            out.add(f"{name} mean of {seeds}", target, Point(mean), y, known)


def volatilities(panel: Panel, refit: int, first: np.datetime64, out: Forecasts) -> None:
    """Score GARCH and EGARCH, fitted again as often as the rest."""
    k = TARGETS.index("return")
    refits = refit_days(panel.days, first, refit)
    for kind in ("garch", "egarch"):
        made = garch(panel.today[:, k], panel.series, panel.days, refits, kind=kind)
        known = np.isfinite(made.predictive.scale) & np.isfinite(panel.y[:, k])
        later = known & (panel.days >= first)
        rows = np.flatnonzero(later)
        out.add(f"{kind}-t", "return", made.predictive, panel.y[:, k], rows)
        print(f"{kind}-t: {made.fits} fits, {made.failed} failed, {made.replaced} rows replaced")


def table(out: Forecasts, days: np.ndarray, benchmarks: dict[str, tuple[str, str]]) -> None:
    """Print each forecaster's mean loss and its difference to the benchmarks of its target."""
    for target in TARGETS:
        kinds = ("nll", "crps", "mse") if target == "return" else ("mse",)
        for loss in kinds:
            print(
                f"\n{target}, {loss}\n\n| forecaster | mean | "
                + " | ".join(f"against {benchmark}" for benchmark in benchmarks[target])
                + " |"
            )
            print("|---" * (2 + len(benchmarks[target])) + "|")
            named = {n: v for (n, t, kind), v in out.losses.items() if (t, kind) == (target, loss)}
            common = np.isfinite(np.column_stack(list(named.values()))).all(axis=1)
            for name, values in named.items():
                cells = []
                for benchmark in benchmarks[target]:
                    if benchmark not in named or benchmark == name:
                        cells.append("")
                        continue
                    gap = (values - named[benchmark])[common]
                    p = diebold_mariano(daily(gap, days[common]))
                    mean = named[benchmark][common].mean()
                    size = f"{gap.mean():+.4f}" if loss == "nll" else f"{gap.mean() / mean:+.1%}"
                    cells.append(f"{size} (p {p:.2g})")
                print(f"| {name} | {values[common].mean():.6g} | " + " | ".join(cells) + " |")
            print(f"\n{common.sum():,} forecasts, {len(np.unique(days[common]))} days")


def main() -> None:
    """Fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--basis", default="as-traded")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--refit", type=int, default=252)
    parser.add_argument("--block", choices=("test", "validation"), default="test")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(pair.split("=", 1) for pair in given.set)
    settings = TrainSettings.model_validate({**RECIPE, **changes})
    panel, started = panel_of(given.folder, given.basis), time.monotonic()
    out, folds = Forecasts(len(panel.days)), list(folds_of(panel, given.refit, given.block))
    for fold, rows in folds:
        run_fold(panel, fold, rows, settings, given.seeds, out)
        print(
            f"fold {fold.number}: train until {fold.split.train_until}, {rows.sum():,} rows scored"
        )
    split = folds[0][0].split
    before = split.train_until if given.block == "validation" else split.validation_until
    volatilities(panel, given.refit, before, out)
    others = ("har", "linear", f"mlp mean of {given.seeds}")
    benchmarks = {
        "return": ("garch-t", "egarch-t", "linear"),
        "range": others,
        "volume": others,
    }
    table(out, panel.outcome_days, benchmarks)
    print(f"\n{time.monotonic() - started:.0f} s; {settings.model_dump(mode='json')}")


if __name__ == "__main__":
    main()
