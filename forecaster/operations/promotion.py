"""The promotion test on recent days: challenger, champion and baseline compared on the same rows.

The days are the last ones that neither version was trained or validated on; the baseline is
fitted on all before them. Tested are the weights on disk; a fresh process must reproduce the
challenger's forecasts bit for bit.
"""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np

import forecaster
from forecaster.data.history import History
from forecaster.data.loading import load_known
from forecaster.data.panel import Panel
from forecaster.errors import (
    ArtifactError,
    DataError,
    OutOfMemoryError,
    StorageError,
    UsageError,
    name_some,
)
from forecaster.evaluation.conformal import COVERAGES
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.live_scores import mean_error, scaled_errors
from forecaster.evaluation.mixture import arrays_of
from forecaster.evaluation.promotion_test import Limits, PromotionResult, Trial, promotion_test
from forecaster.evaluation.threads import one_thread
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.model_version import load_model
from forecaster.forecasting.next_session import BASELINE, forecast_baseline
from forecaster.forecasting.plausibility import absurd_forecasts
from forecaster.registry.champion import champion_of, replacement
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import read_manifest

log = logging.getLogger(__name__)

TEST_DAYS: Final = 126
_CHILD: Final = "from forecaster.operations.promotion import print_digest; print_digest()"
_MAX_SHOWN: Final = 300  # characters of the last line of a failed process


@dataclass(frozen=True, slots=True, eq=False)
class _Contender:
    """A version with its panel and its forecasts of the rows since its training days."""

    model: FittedModel
    panel: Panel
    forecasts: dict[str, Predictive]

    @classmethod
    def of(cls, model: FittedModel, histories: Sequence[History]) -> "_Contender":
        panel = model.panel(histories)
        forecasts = model.distributions(panel, model.rows_since_training(panel))
        return cls(model, panel, forecasts)

    def newest_centers(self) -> dict[str, np.ndarray]:
        """Return the forecasts from each series' newest row, (S,) by target, without the level."""
        return {name: one.take(self.panel.newest).mean() for name, one in self.forecasts.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Comparison:
    """Challenger and champion; both panels have the same rows."""

    challenger: _Contender
    champion: _Contender | None

    @property
    def since(self) -> np.datetime64:
        """The last day that either version was validated on."""
        both = [self.challenger, *([self.champion] if self.champion else [])]
        return max(one.model.known_until for one in both)

    def candidates(self, target: str) -> np.ndarray:
        """Select the last rows with an outcome that both can forecast, (panel rows,) bool."""
        own, panel = self.challenger.model, self.challenger.panel
        rows = np.isfinite(panel.y[:, panel.targets.index(target)])
        rows &= (panel.outcome_days > self.since) & own.forecastable(panel)
        rows &= np.isin(panel.tickers, own.tickers)[panel.series]
        if self.champion is not None:
            rows &= self.champion.model.forecastable(self.champion.panel)
        days = np.unique(panel.outcome_days[rows])[-TEST_DAYS:]
        chosen: np.ndarray = rows & np.isin(panel.outcome_days, days)
        return chosen


@one_thread()
def run_promotion_test(
    home: Path,
    name: str,
    challenger: str,
    as_of: date | None = None,
    limits: Limits | None = None,
) -> PromotionResult:
    """Compare a challenger with the champion of a model name and with the baseline.

    The loss is the CRPS if both versions forecast a distribution of the target, else the squared
    error. A corrupt champion is replaced by the version that forecasts in its place.

    Returns:
        The decision. Its evidence has both versions and, under `expected`, by target, the mean
        and the error of `scaled_errors` on these days, with which drift is measured.

    Raises:
        ArtifactError, UnknownNameError: the challenger is corrupt, or there is no such version.
        DataError: none of its tickers has prices.
        OutOfMemoryError, StorageError: there is no memory for a fresh process, or the disk failed.
        UsageError: it is the champion already.
    """
    manifest, before = read_manifest(home, challenger), champion_of(home, name).manifest
    if before is not None and before.version == challenger:
        raise UsageError(f"{challenger} is the champion of {name}; there is nothing to test.")
    tickers = sorted({*manifest.data.tickers, *(before.data.tickers if before else ())})
    histories = load_known(None, home, tickers, as_of)
    if not histories:
        raise DataError(
            f"{challenger} was trained on {name_some(manifest.data.tickers)}; none of its "
            "tickers has prices here. Fetch them."
        )
    own, champion = _Contender.of(load_model(home, manifest), histories), None
    if before is not None:
        champion = _champion(home, name, before, histories)
    compared = _Comparison(own, champion)
    trials, expected = [], {}
    for target in manifest.targets:
        trial, expected[target] = _trial(compared, target)
        trials.append(trial)
    flaws, forecasts = _flaws(compared), digest(own.forecasts)
    irreproducible = reproduction_flaw(home, challenger, tickers, as_of, forecasts)
    flaws += [irreproducible] if irreproducible else []
    found = promotion_test(trials, flaws=flaws, limits=limits)
    log.info("test    %s: %s", "promoted" if found.promoted else "not promoted", found.reason)
    both = {"challenger": challenger, "champion": champion.model.version if champion else BASELINE}
    return replace(found, evidence={**both, **found.evidence, "expected": expected})


def _champion(
    home: Path, name: str, manifest: Manifest, histories: Sequence[History]
) -> _Contender | None:
    """Load the champion or, if most of its forecasts are absurd, what forecasts in its place."""
    damage, current = dict[str, str](), manifest
    while True:
        try:
            found = _Contender.of(load_model(home, current), histories)
            found.model.absurd(found.panel, found.newest_centers())
            return found
        except ArtifactError as error:
            damage[current.version] = str(error)
        following = replacement(home, name, damage).manifest
        if following is None:
            return None
        current = following


def _trial(compared: _Comparison, target: str) -> tuple[Trial, dict[str, Any] | None]:
    """Compute all losses on the tested rows of a target, and the challenger's expected error."""
    own, other = compared.challenger, compared.champion
    panel, forecasts = own.panel, own.forecasts[target]
    rows = np.flatnonzero(compared.candidates(target))
    y = panel.y[rows, panel.targets.index(target)]
    base = forecast_baseline(panel, target, panel.outcome_days <= compared.since, rows)
    champion = other.forecasts.get(target) if other else None
    dense = not isinstance(forecasts, Point) and not isinstance(champion, Point)
    losses = {}
    if other is not None and champion is not None:
        losses[other.model.version] = _loss(champion.take(rows), y, dense)
    losses[BASELINE] = base.distribution.crps(y) if dense else (base.center - y) ** 2
    known = np.all([np.isfinite(values) for values in losses.values()], axis=0)
    tested = known if known.any() else np.ones(len(rows), dtype=np.bool_)
    rows, y = rows[tested], y[tested]
    forecast, days = forecasts.take(rows), panel.outcome_days[rows]
    served = own.model.served_intervals(panel, target, forecasts, rows)
    low, high = served.bounds[COVERAGES[0]].T
    expected = mean_error(scaled_errors(y, forecast.mean(), low, high), days)
    trial = Trial(
        target=target,
        loss="CRPS" if dense else "MSE",
        days=days,
        challenger=_loss(forecast, y, dense),
        benchmarks={name: values[tested] for name, values in losses.items()},
        inside={coverage: served.inside(y, coverage) for coverage in COVERAGES},
    )
    return trial, None if expected is None else asdict(expected)


def _loss(forecast: Predictive, y: np.ndarray, dense: bool) -> np.ndarray:
    return np.asarray(forecast.crps(y) if dense else (forecast.mean() - y) ** 2)


def _flaws(compared: _Comparison) -> list[str]:
    """Find absurd forecasts although their inputs are complete, and targets not forecast."""
    challenger, champion = compared.challenger, compared.champion
    panel, found = challenger.panel, []
    ready = challenger.model.forecastable(panel)[panel.newest]
    for target, center in challenger.newest_centers().items():
        wrong = absurd_forecasts(panel, {target: center}, ready)
        if wrong:
            text = f"{target}: {len(wrong)} forecasts of the next session are not finite or absurd"
            found.append(text)
    targets = champion.forecasts if champion else ()
    lost = [target for target in targets if target not in challenger.forecasts]
    if lost:
        found.append(f"it does not forecast {', '.join(lost)}, which the champion does")
    return found


def digest(forecasts: Mapping[str, Predictive]) -> str:
    """Compute a hash of forecasts, of every bit."""
    found = hashlib.sha256()
    for target in sorted(forecasts):
        for name, array in sorted(arrays_of(forecasts[target]).items()):
            found.update(f"{target} {name} {array.shape} {array.dtype}\n".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def reproduction_flaw(
    home: Path, version: str, tickers: Sequence[str], as_of: date | None, expected: str
) -> str | None:
    """Forecast again with a version in a new Python process; return what is wrong, if anything.

    This finds weights that exist in this process only, files that differ from what was written,
    and rounding that depends on what ran before. `expected` is the `digest` of this process.

    Raises:
        OutOfMemoryError: the system has no memory for another process, or killed it.
        StorageError: the disk failed the process.
    """
    arguments = [str(home.resolve()), version, list(tickers), as_of.isoformat() if as_of else None]
    here = str(Path(forecaster.__file__).parents[1])  # this very package, installed or not
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = os.pathsep.join([here, *map(os.path.abspath, given)])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=home,  # and with a safe path: nothing is imported from where cron runs us
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        )
    except OSError as error:
        raise _no_memory(version, error.strerror or str(error)) from error
    if done.returncode == -signal.SIGKILL:
        raise _no_memory(version, "it was killed")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        if done.returncode == StorageError.exit_code:
            raise StorageError(lines[-1])
        return f"it cannot be used in a fresh process: {lines[-1][:_MAX_SHOWN]}"
    if done.stdout.strip() != expected:
        return "in a fresh process its forecasts differ"
    return None


def _no_memory(version: str, why: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"{version}: the fresh process of its promotion test failed: {why}. Provide more memory."
    )


@one_thread()
def print_digest() -> None:
    """Write the digest of a version's forecasts to stdout; run in the fresh process."""
    home, version, tickers, until = json.loads(sys.argv[1])
    as_of = date.fromisoformat(until) if until else None
    try:
        model = load_model(Path(home), read_manifest(Path(home), version))
        panel = model.panel(load_known(None, Path(home), tickers, as_of))
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    sys.stdout.write(digest(model.distributions(panel, model.rows_since_training(panel))))
