"""Hyperparameter search by Optuna: trials on training and validation days, the test days unread.

Needs the extra `tune`. A study is a journal file that survives a kill and that several processes
share; each of them is a worker with a number, the lowest that no living process has.
"""

import logging
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import filelock
import numpy as np
import torch

from forecaster.data.panel import Panel
from forecaster.errors import DivergedError, TryLaterError, UsageError
from forecaster.files import make_private, to_json, touch_private
from forecaster.forecasting.data_set import Dataset, prepare_dataset
from forecaster.forecasting.fitting import Validation, fit_ensemble
from forecaster.settings import TrainSettings
from forecaster.settings.keywords import settings_from

if TYPE_CHECKING:
    import optuna

MOST_WORKERS: Final = 64
REFIT_SEEDS: Final = 3
LARGEST_SPACE: Final = 2**16  # bytes of a file
FIRST_TRIALS: Final = 8  # without pruning, to know what is usual
FIRST_VALIDATIONS: Final = 2
DEFAULT_SPACE: Final[Mapping[str, Mapping[str, Any]]] = {
    "hidden": {"values": [16, 32, 64, 128]},
    "lr": {"low": 5e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-5, "high": 1e-1, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "input_dropout": {"low": 0.0, "high": 0.3},
}
# What decides which loss is measured on which days, or only how long it takes.
NOT_TUNED: Final = (
    *("target", "head", "point_loss", "train_until", "validation_until", "seed"),
    *("device", "threads", "workers", "bptt_memory", "bptt_tolerance"),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is searched: the panel's fingerprint, the settings around the space, the budget."""

    path: Path
    base: TrainSettings
    space: Mapping[str, Mapping[str, Any]]
    fingerprint: str
    trials: int

    def identity(self) -> dict[str, Any]:
        """Return what all trials of a study must have in common."""
        return {
            "fingerprint": self.fingerprint,
            "settings": self.base.model_dump(mode="json", exclude={"threads", "workers"}),
            "space": {name: dict(choice) for name, choice in self.space.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """The best trial of a study, and what its gain is worth.

    Losses are the head's own on the validation days, in scaled units, lower is better.
    `importance` are shares of 1 by setting. `refits` are the losses of the best and of the
    default settings, trained again with `REFIT_SEEDS` further seeds each; empty if not done.
    """

    study: Path
    finished: int
    pruned: int
    failed: int
    best_trial: int
    best: Mapping[str, Any]
    best_loss: float
    importance: Mapping[str, float]
    refits: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def gain(self) -> float:
        """How much lower the best settings' mean loss over seeds is than the default's."""
        return float(np.mean(self.refits["default"]) - np.mean(self.refits["best"]))

    @property
    def seed_noise(self) -> float:
        """The standard error of `gain` from the scatter over seeds."""
        variances = [np.var(losses, ddof=1) / len(losses) for losses in self.refits.values()]
        return float(np.sqrt(np.sum(variances)))


def read_space(path: Path | None, base: TrainSettings) -> dict[str, Mapping[str, Any]]:
    """Read a search space from TOML: a table for each setting, with `values` or `low` and `high`.

    Without a file the space is `DEFAULT_SPACE`.

    Raises:
        UsageError: the file cannot be read, or a value is none that `train` accepts.
    """
    space: dict[str, Mapping[str, Any]] = dict(DEFAULT_SPACE)
    if path is not None:
        try:
            with path.open("rb") as stream:
                space = tomllib.loads(stream.read(LARGEST_SPACE).decode())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"--space {path}: cannot be read ({error}).") from error
    if not space:
        raise UsageError(f"--space {path}: has no setting; write a table such as [hidden].")
    for name, choice in space.items():
        _check_choice(name, choice, base)
    return space


def _check_choice(name: str, choice: Any, base: TrainSettings) -> None:
    """Refuse a setting that cannot be tuned, and values that `train` would refuse."""
    if name in NOT_TUNED:
        raise UsageError(
            f"[{name}] of the space: trials with other values of it cannot be compared; give "
            f"--{name.replace('_', '-')} to all of them."
        )
    ends = {"low", "high"}
    if not isinstance(choice, Mapping) or not (
        (set(choice) == {"values"} and isinstance(choice["values"], list) and choice["values"])
        or (ends <= set(choice) <= {*ends, "log"} and choice["low"] < choice["high"])
    ):
        raise UsageError(
            f"[{name}] of the space: write values = [...], or low, high and, if it spans several "
            "powers of ten, log = true."
        )
    for value in choice.get("values") or [choice["low"], choice["high"]]:
        settings_from(TrainSettings, base, {name: value})


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "A search needs further packages; in the checkout: "
            'pip install -c constraints.txt ".[tune]"'
        ) from error


@contextmanager
def _worker(path: Path) -> Iterator[int]:
    """Yield the lowest number that no living process of a study has."""
    make_private(path.parent)
    for number in range(MOST_WORKERS):
        lock = filelock.FileLock(f"{path}.worker-{number}", timeout=0, mode=0o600)
        with suppress(filelock.Timeout):
            lock.acquire()
            try:
                yield number
            finally:
                lock.release()
            return
    raise TryLaterError(f"{path}: {MOST_WORKERS} processes tune it already.")


def search(study: Study, panel: Panel, device: torch.device) -> TuneResult:
    """Run trials until the study has enough that are finished; then weigh the best one.

    With one worker the same seed makes the same trials, killed and started again in between or
    not; with several, who is faster decides what the others know. The first worker trains the
    best and the default settings again.

    Raises:
        DivergedError: not one trial was finished.
        TryLaterError: too many processes search.
        UsageError: the study is of other data, settings or space, or the extra is not installed.
    """
    _require_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _worker(study.path) as worker:
        shared = _open(study)
        _requeue_dead(shared, worker)
        mine = _Worker(study, panel, device)
        while (done := _finished(shared)) < study.trials and _failed(shared) < study.trials:
            shared.sampler = _sampler(study.base.seed, worker, done)
            mine.run(shared.ask(), shared, worker)
        result = _result(study, shared)
        return replace(result, refits=mine.refits(result)) if worker == 0 else result


def _open(study: Study) -> "optuna.Study":
    """Open or create the study in its journal, and bind it to its data, settings and space."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    touch_private(study.path)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(study.path)))
    shared = optuna.create_study(
        study_name="tune",
        storage=storage,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_VALIDATIONS),
    )
    identity = to_json(study.identity(), sort_keys=True)
    known = shared.user_attrs.setdefault("identity", identity)
    if known != identity:
        raise UsageError(
            f"{study.path}: its trials are of other prices, settings or another space; choose "
            "another --study, or delete it."
        )
    shared.set_user_attr("identity", identity)
    if not shared.trials:
        shared.enqueue_trial(_within(study.base, study.space), skip_if_exists=True)
    return shared


def _within(base: TrainSettings, space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return those of the settings' own values that the space contains."""
    found = {}
    for name, choice in space.items():
        value = getattr(base, name)
        inside = (
            value in choice["values"]
            if "values" in choice
            else isinstance(value, int | float) and choice["low"] <= value <= choice["high"]
        )
        if inside:
            found[name] = value
    return found


def _requeue_dead(shared: "optuna.Study", worker: int) -> None:
    """Add to the queue what this worker's number left running when it was killed."""
    import optuna

    for trial in shared.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        if trial.user_attrs.get("worker", 0) == worker:
            shared.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            shared.enqueue_trial(trial.params)


def _finished(shared: "optuna.Study") -> int:
    import optuna

    states = [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED]
    return len(shared.get_trials(deepcopy=False, states=states))


def _failed(shared: "optuna.Study") -> int:
    import optuna

    failed = shared.get_trials(deepcopy=False, states=[optuna.trial.TrialState.FAIL])
    return sum("error" in trial.user_attrs for trial in failed)  # the others were killed


def _sampler(seed: int, worker: int, done: int) -> "optuna.samplers.BaseSampler":
    """Make a sampler whose seed is what is finished: a study started again goes on as before."""
    import optuna

    state = np.random.SeedSequence((seed, worker, done)).generate_state(1)
    return optuna.samplers.TPESampler(seed=int(state[0]))


class _Worker:
    """The trials of one process."""

    def __init__(self, study: Study, panel: Panel, device: torch.device) -> None:
        self.study, self.panel, self.device = study, panel, device
        self.prepared: tuple[dict[str, Any], Dataset] | None = None

    def run(self, trial: "optuna.Trial", shared: "optuna.Study", worker: int) -> None:
        """Fit one trial and record its loss, or that it was pruned or failed."""
        import optuna

        trial.set_user_attr("worker", worker)
        chosen = {name: _suggest(trial, name, one) for name, one in self.study.space.items()}
        words = ", ".join(f"{name} {value}" for name, value in chosen.items())
        try:
            settings = settings_from(TrainSettings, self.study.base, chosen)
            loss = self.loss(settings, _Reporter(trial, settings.members).report)
        except optuna.TrialPruned:
            shared.tell(trial, state=optuna.trial.TrialState.PRUNED)
            log.info("trial %3d  pruned         %s", trial.number, words)
        except (DivergedError, UsageError) as error:
            trial.set_user_attr("error", str(error))
            shared.tell(trial, state=optuna.trial.TrialState.FAIL)
            log.info("trial %3d  failed         %s: %s", trial.number, words, error)
        else:
            shared.tell(trial, loss)
            log.info("trial %3d  loss %-8.6g  %s", trial.number, loss, words)

    def loss(
        self,
        settings: TrainSettings,
        on_step: Callable[[int, Validation | None], None] = lambda step, validation: None,
    ) -> float:
        """Fit with some settings; return the members' mean of their best validation losses."""
        members = fit_ensemble(self._dataset(settings), settings, self.device, on_step=on_step)
        return float(np.mean([min(v.validation_loss for v in m.validations) for m in members]))

    def _dataset(self, settings: TrainSettings) -> Dataset:
        """Prepare the data set, or take the last one where it would be equal."""
        key = settings.model_dump(include={"base", "lookback"})
        if self.prepared is None or self.prepared[0] != key:
            self.prepared = (key, prepare_dataset(self.panel, settings))
        return self.prepared[1]

    def refits(self, result: TuneResult) -> dict[str, tuple[float, ...]]:
        """Train the best and the default settings again, with seeds that no trial had."""
        found: dict[str, tuple[float, ...]] = {}
        for label, chosen in (("best", result.best), ("default", {})):
            for number in range(1, REFIT_SEEDS + 1):
                seed = self.study.base.seed + 1000 * number
                settings = settings_from(TrainSettings, self.study.base, {**chosen, "seed": seed})
                loss = self.loss(settings)
                log.info("refit  %-7s  loss %-8.6g  seed %d", label, loss, seed)
                found[label] = (*found.get(label, ()), loss)
        return found


class _Reporter:
    """Reports the validations of a trial's first member to the pruner."""

    def __init__(self, trial: "optuna.Trial", members: int) -> None:
        self.trial, self.prunable, self.seen = trial, members == 1, 0

    def report(self, step: int, validation: Validation | None) -> None:
        """Report a validation; raise TrialPruned where it lags behind the other trials."""
        import optuna

        if validation is None or not self.prunable:
            return
        self.seen += 1
        self.trial.report(validation.validation_loss, self.seen)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def _suggest(trial: "optuna.Trial", name: str, choice: Mapping[str, Any]) -> Any:
    if "values" in choice:
        return trial.suggest_categorical(name, choice["values"])
    low, high, scale = choice["low"], choice["high"], bool(choice.get("log", False))
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=scale)
    return _rounded(trial.suggest_float(name, low, high, log=scale))


def _rounded(value: Any) -> Any:
    """Round to three digits: no setting needs more, and these can be read."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _result(study: Study, shared: "optuna.Study") -> TuneResult:
    """Return the best trial without refits."""
    import optuna

    states = optuna.trial.TrialState
    by_state = {state: shared.get_trials(deepcopy=False, states=[state]) for state in states}
    complete = by_state[states.COMPLETE]
    if not complete:
        raise DivergedError(
            f"{study.path}: none of {len(shared.trials)} trials was finished; narrow the space, "
            "such as a lower lr."
        )
    best = shared.best_trial
    importance: Mapping[str, float] = {}
    if len(complete) > len(study.space):  # of fewer trials it says nothing
        importance = optuna.importance.get_param_importances(
            shared, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    return TuneResult(
        study=study.path,
        finished=len(complete),
        pruned=len(by_state[states.PRUNED]),
        failed=len(by_state[states.FAIL]),
        best_trial=best.number,
        best={name: _rounded(value) for name, value in best.params.items()},
        best_loss=float(best.value or 0.0),
        importance=importance,
    )
