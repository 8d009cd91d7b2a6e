"""The daily run under test: bars of a new session, a forecast, a training, a test, a promotion.

Every part is the product's own except the prices, the limits of the promotion test and how its
fresh process begins: a fork, which costs no imports.
"""

import io
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from forecaster import clock
from forecaster.data.store import PriceStore
from forecaster.database import integrity_error
from forecaster.evaluation.promotion_test import Limits
from forecaster.operations import daily_run, promotion
from forecaster.pipeline import retrain as retrain_module
from forecaster.pipeline.retrain import RetrainReport, retrain
from forecaster.registry.champion_history import decisions, registered
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.registry_file import registry_path
from forecaster.registry.run_history import trainings
from forecaster.registry.versions import list_versions
from forecaster.settings import RetrainSettings, Settings, TrainSettings
from tests.operations.sessions import Daily, end_of, results

SOURCE = Daily(700)
YESTERDAY, TODAY = SOURCE.sessions[-2:]
TRAIN = TrainSettings(hidden=4, max_steps=24, evaluate_every=6)
SETTINGS = Settings(train=TRAIN, retrain=RetrainSettings(every=1, checkpoint_every=4))
LAX = Limits(margin=0.9, slack=0.9)  # whatever is learned in a second passes
# Where each phase begins and ends: the function that does it, and where its caller finds it.
PHASES: dict[str, tuple[Any, str]] = {
    "fetch": (retrain_module, "fetch"),
    "predict": (daily_run, "forecast_session"),
    "train": (daily_run, "train_challenger"),
    "test": (daily_run, "run_promotion_test"),
    "promote": (daily_run, "promote"),
}
# Called at the beginning and end of a phase.
OnEdge = Callable[[str, str], None]


def arrange(patch: pytest.MonkeyPatch) -> None:
    """Make a run cheap: a lax promotion test, no fresh process."""
    patch.setattr(
        daily_run, "run_promotion_test", partial(promotion.run_promotion_test, limits=LAX)
    )
    patch.setattr(promotion, "reproduction_flaw", lambda *arguments: None)


def arrange_fork(patch: pytest.MonkeyPatch, on_edge: OnEdge) -> None:
    """Make a run interruptible: a lax promotion test, a fork for its process, phases with edges."""
    patch.setattr(
        daily_run, "run_promotion_test", partial(promotion.run_promotion_test, limits=LAX)
    )
    patch.setattr(promotion.subprocess, "run", _forked)
    for phase, (module, name) in PHASES.items():
        patch.setattr(module, name, _edged(getattr(module, name), phase, on_edge))


def _edged(step: Callable[..., Any], phase: str, on_edge: OnEdge) -> Callable[..., Any]:
    @wraps(step)
    def watched(*arguments: object, **options: object) -> object:
        on_edge(phase, "begins")
        try:
            return step(*arguments, **options)
        finally:
            on_edge(phase, "ends")

    return watched


def _forked(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """Stand in for `subprocess.run` of the promotion test; it prints, but not by write(2)."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        code = 1
        sys.argv, sys.stdout, sys.stderr = ["-c", command[-1]], io.StringIO(), io.StringIO()
        try:
            promotion.print_digest()
            code = 0
        except SystemExit as ended:
            code = int(str(ended.code))
        finally:
            output = {"stdout": sys.stdout.getvalue(), "stderr": sys.stderr.getvalue()}
            theirs.sendall(json.dumps(output).encode())
            os._exit(code)
    theirs.close()
    with ours, ours.makefile("rb") as answer:
        output = json.load(answer)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return subprocess.CompletedProcess(command, code, **output)


def warm_up() -> None:
    """Import and compute, once for all forks, what a run would."""
    import_module("torch._dynamo")  # which the first optimizer of a process imports
    end_of(TODAY)
    # No handler here: warnings are in the log of the run.
    logging.lastResort = None


def do(day: date, home: Path, settings: Settings = SETTINGS) -> RetrainReport:
    """Run the command at the end of a day, with the bars of that time."""
    with clock.as_if(end_of(day)):
        return retrain(home=home, settings=settings, source=SOURCE)


def state(home: Path) -> dict[str, object]:
    """All that must be as if nothing had happened; not what is swept up in time."""
    with PriceStore.open_for_reading(home) as store:
        prices = {
            name: (store.revision(name).number, store.bars(name).to_dict("records"))
            for name in store.tickers()
        }
    done = [(one.session, one.version, one.steps) for one in trainings(home) if one.state == "done"]
    statuses = {version: one.status for version, one in registered(home).items()}
    return {
        **results(home),
        "prices": prices,
        "trainings": done,
        "versions": (list_versions(home), statuses),
    }


def flaws(home: Path) -> list[str]:
    """Say what is wrong with the files of a home, and what is in them twice."""
    found = [integrity_error(path) for path in (home / "data" / "prices.db", registry_path(home))]
    rows = read_forecasts(home)
    if rows.duplicated(["name", "ticker", "target", "as_of"]).any():
        found.append("a forecast is in the ledger twice")
    taken = [(one.session, one.challenger) for one in decisions(home)]
    if len(set(taken)) != len(taken):
        found.append(f"decided twice: {[asdict(one) for one in decisions(home)]}")
    return [one for one in found if one]
