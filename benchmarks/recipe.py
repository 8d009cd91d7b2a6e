"""What inputs, a linear base and a memory bring, by walk-forward on the prices of a folder.

Usage: python -m benchmarks.recipe DIR [--seeds 3] [--refit 252] [--block report|select]
           [--basis as-traded] [--set NAME=VALUE ...]

DIR holds CSV or parquet files as `forecaster data import` takes them. The first 70 % of the days
are fitted on, the next 10 % stop the training and calibrate, the last 20 % are reported; every
`--refit` days all forecasters are fitted anew on what came before. `--block select` scores the
select block instead, without refits: whoever tries recipes out must not look at the report.
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

from forecaster.backtesting.benchmarks import alone, memoryless_twin
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.evaluation.benchmark_models import least_squares
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.significance import daily, diebold_mariano
from forecaster.evaluation.splits import Fold, Split, walk_folds
from forecaster.evaluation.volatility import garch, refit_days
from forecaster.forecasting.data_set import build_dataset
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
        self, name: str, target: str, stated: Predictive, y: np.ndarray, rows: np.ndarray
    ) -> None:
        """Score the rows of one fold."""
        part, outcome = stated.take(rows), y[rows]
        found = {"mse": (part.mean() - outcome) ** 2}
        if not isinstance(part, Point):
            found |= {"nll": -part.log_density(outcome), "crps": part.crps(outcome)}
        for loss, values in found.items():
            empty = np.full(self.rows, np.nan)
            self.losses.setdefault((name, target, loss), empty)[rows] = values


def panel_of(folder: Path, basis: str) -> Panel:
    """Import a folder's prices into a home that is thrown away, and lay them side by side."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".csv", ".parquet"))
    with tempfile.TemporaryDirectory() as place:
        import_files(files, basis=basis, home=Path(place))  # type: ignore[arg-type]
        histories = load_histories(None, Path(place), (), None)
    names = [history.listing.ticker for history in histories]
    return build_panel(histories, TARGETS, universe=names if len(names) > 1 else None)


def folds_of(panel: Panel, refit: int, block: str) -> Iterator[tuple[Fold, np.ndarray]]:
    """Give each fold and the rows (N,) that it is scored on."""
    days = np.unique(panel.days)
    train_until, validation_until = (days[round(share * len(days)) - 1] for share in SHARES)
    split = Split(train_until=train_until, validation_until=validation_until)
    every = None if block == "select" else refit
    for fold in walk_folds(panel.outcome_days, split, refit_every=every):
        chosen = fold.select if block == "select" else fold.report
        yield fold, chosen(panel.outcome_days)


def run_fold(
    panel: Panel, fold: Fold, rows: np.ndarray, settings: TrainSettings, seeds: int, out: Forecasts
) -> None:
    """Fit every forecaster on one fold and score its rows."""
    dataset = build_dataset(panel, fold.split, settings)
    base, wanted = dataset.reader.base, np.flatnonzero(rows)
    fit_rows = fold.fit(panel.outcome_days)

    def score(name: str, stated: tuple[Predictive, ...]) -> None:
        for k, target in enumerate(TARGETS):
            known = wanted[np.isfinite(panel.y[wanted, k])]
            out.add(name, target, stated[k], panel.y[:, k], known)

    score("linear twin", alone(dataset, settings).predictive(panel, rows))
    members: dict[str, list[tuple[Predictive, ...]]] = {"lstm": [], "mlp": []}
    for seed in range(seeds):
        seeded = settings.model_copy(update={"seed": seed})
        made = fit(dataset, seeded, torch.device("cpu")).fitted
        benchmark = memoryless_twin(panel, fold.split, seeded, base).fitted
        for name, fitted in (("lstm", made), ("mlp", benchmark)):
            stated = fitted.predictive(panel, rows)
            members[name].append(stated)
            score(f"{name} {seed}", stated)
    for k, target in enumerate(TARGETS[1:], start=1):
        shared = np.nan_to_num(panel.shared_inputs)
        terms = panel.har_terms(target)
        y = panel.y[:, k]
        known = wanted[np.isfinite(y[wanted])]
        for name, x in (("har", terms), ("har-x", np.column_stack([terms, shared]))):
            out.add(name, target, Point(least_squares(x, y, fit_rows)), y, known)
        for name, parts in members.items():
            mean = np.mean([part[k].mean() for part in parts], axis=0)
            out.add(f"{name} mean of {seeds}", target, Point(mean), y, known)


def volatilities(panel: Panel, refit: int, first: np.datetime64, out: Forecasts) -> None:
    """Score GARCH and EGARCH, fitted anew as often as the rest."""
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
    """Print each forecaster's mean loss and how it stands to the rivals of its target."""
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
    parser.add_argument("--block", choices=("report", "select"), default="report")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(pair.split("=", 1) for pair in given.set)
    settings = TrainSettings.model_validate({**RECIPE, **changes})
    panel, started = panel_of(given.folder, given.basis), time.monotonic()
    out, folds = Forecasts(len(panel.days)), list(folds_of(panel, given.refit, given.block))
    for fold, rows in folds:
        run_fold(panel, fold, rows, settings, given.seeds, out)
        print(f"fold {fold.number}: fit until {fold.split.train_until}, {rows.sum():,} rows scored")
    split = folds[0][0].split
    before = split.train_until if given.block == "select" else split.validation_until
    volatilities(panel, given.refit, before, out)
    others = ("har", "linear twin", f"mlp mean of {given.seeds}")
    benchmarks = {
        "return": ("garch-t", "egarch-t", "linear twin"),
        "range": others,
        "volume": others,
    }
    table(out, panel.outcome_days, benchmarks)
    print(f"\n{time.monotonic() - started:.0f} s; {settings.model_dump(mode='json')}")


if __name__ == "__main__":
    main()
