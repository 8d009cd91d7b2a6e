"""The tests lie where the package has what they test, and every module has its test."""

from importlib import import_module
from pathlib import Path

import pytest

import forecaster

TESTS = Path(__file__).parent
PACKAGE = Path(forecaster.__file__).parent
BENCHMARKS = TESTS.parent / "benchmarks"
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
# Shared servers, faults, planted bugs, documents and jobs that need the whole package.
OUTSIDE = {
    "conftest.py",
    "faults",
    "home_0_1_0",
    "mutants",
    "yahoo",
    "check_series.py",
    "fake_gpu.py",
    "forked.py",
    "synthetic.py",
    "wheel.sh",
    "test_architecture.py",
    "test_check_series.py",
    "test_docs.py",
    "test_errors.py",
    "test_home_0_1_0.py",
    "test_labs.py",
    "test_memory.py",
    "test_mirror.py",
    "test_public_names.py",
    "test_vocabulary.py",
}
# Test files of a room about more than one module: why they are there.
WHOLE_JOBS = {
    "bptt/notebook": "the page and the notebook on truncated BPTT",
    "bptt/examples": "the examples in docstrings, as doctests",
    "bptt/verification_algebra": "gradient verification: plans against each other",
    "bptt/verification_heads": "gradient verification: other heads, a base, input dropout",
    "bptt/verification_horizon": "gradient verification: what truncation cuts",
    "bptt/verification_learning": "gradient verification: whole trainings",
    "bptt/verification_memory": "gradient verification: recomputation and its memory",
    "cli/bad_input": "every mistake of a user, over all commands",
    "cli/black_box": "the installed program, as a process",
    "cli/commands": "every command on one home",
    "pipeline/degenerate": "prices without information, from training to JSON",
    "pipeline/evaluate_and_predict": "`evaluate` scores what `predict` forecasts",
    "pipeline/fetch_killed": "kill -9, a full disk and a read-only home in the middle of a fetch",
    "pipeline/fetch_machine": "any order of fetches, changes and crashes",
    "pipeline/gaps": "a gap of years, over training, evaluation and forecasts",
    "training/gpu": "the device path on an NVIDIA GPU, where there is one",
    "training/placement": "trainings, forecasts and memory on a stand-in for a GPU",
    "registry/registry_machine": "any order of promotions, prunes and crashes",
    "report/in_chromium": "pages as a browser shows them",
}
# Modules without a test file of their own: the test file that covers them.
COVERED_BY: dict[str, str] = {
    "data/sources/own_values": "pipeline/test_own_values.py",
    "report/evaluation_tables": "report/test_evaluation.py",
    "backtesting/scoring": "pipeline/test_evaluate.py",
    "backtesting/version_evaluation": "pipeline/test_evaluate.py",
    "bptt/batch": "bptt/test_engine.py",
    "bptt/chunks": "bptt/test_engine.py",
    "bptt/horizon": "bptt/test_memory_profile.py",
    "bptt/nest": "bptt/test_recurrent.py",
    "bptt/randomness": "bptt/test_engine.py",
    "cli/output": "cli/test_commands.py",
    "cli/predict": "cli/test_commands.py",
    "data/sources/dated_rows": "data/sources/test_files.py",
    "data/sources/dates": "data/sources/test_files.py",
    "data/sources/file_bars": "data/sources/test_files.py",
    "data/sources/file_parts": "data/sources/test_files.py",
    "data/sources/file_table": "data/sources/test_files.py",
    "data/sources/layouts": "data/sources/test_headers.py",
    "data/sources/yahoo_session": "data/sources/test_yahoo.py",
    "data/price_database": "data/test_store.py",
    "data/store_rows": "data/test_store.py",
    "data/trading_calendar": "data/test_sessions.py",
    "estimators/forecasts": "estimators/test_price_forecaster.py",
    "forecasting/ticker_state": "forecasting/test_carried_state.py",
    "forecasting/version_training": "pipeline/test_train.py",
    "evaluation/evaluation": "pipeline/test_evaluate.py",
    "evaluation/mixture": "evaluation/test_distributions.py",
    "evaluation/quantiles": "evaluation/test_distributions.py",
    "forecasting/base_model": "forecasting/test_data_set.py",
    "forecasting/fitted_model": "forecasting/test_fitting.py",
    "forecasting/forecast_tables": "pipeline/test_evaluate_and_predict.py",
    "models/elman": "models/test_base.py",
    "models/gru": "models/test_base.py",
    "models/lstm": "models/test_base.py",
    "models/mlp": "models/test_network.py",
    "operations/checkpoint_file": "operations/test_challenger.py",
    "pipeline/arguments": "cli/test_bad_input.py",
    "pipeline/doctor": "cli/test_operations.py",
    "pipeline/import_report": "cli/test_data_import.py",
    "pipeline/lists": "cli/test_models.py",
    "pipeline/models": "cli/test_models.py",
    "pipeline/tune": "forecasting/test_tuning.py",
    "registry/champion_history": "registry/test_promotion.py",
    "registry/manifest": "registry/test_versions.py",
    "registry/registry_file": "registry/test_promotion.py",
    "report/evaluation_figures": "report/test_evaluation.py",
    "report/page": "report/test_memory.py",
    "training/epoch": "training/test_trainer.py",
    "training/network_run": "training/test_micro_batches.py",
}


def modules(room: str) -> set[str]:
    """Return the modules and folders of a room, as paths without suffix."""
    root = PACKAGE / room
    files = {path for path in root.rglob("*.py") if path.name != "__init__.py"}
    return {
        str(path.relative_to(PACKAGE).with_suffix(""))
        for path in [*files, *(path.parent for path in files if path.parent != root)]
    }


def covered_modules() -> set[str]:
    """Return `room/X` for every `tests/room/test_X.py`."""
    return {
        str(path.relative_to(TESTS).with_name(path.stem.removeprefix("test_")))
        for room in ROOMS
        for path in (TESTS / room).rglob("test_*.py")
    }


def test_every_test_file_has_its_module() -> None:
    there = set().union(*map(modules, ROOMS))
    alone = sorted(covered_modules() - there - set(WHOLE_JOBS))
    assert not alone, "\n".join(alone)


def test_every_module_has_its_test_file_or_says_what_covers_it() -> None:
    there = {name for room in ROOMS for name in modules(room) if (PACKAGE / f"{name}.py").exists()}
    bare = sorted(there - covered_modules() - set(COVERED_BY))
    assert not bare, "\n".join(bare)


def test_the_lists_are_current() -> None:
    there = set().union(*map(modules, ROOMS))
    assert set(WHOLE_JOBS) <= covered_modules() - there
    assert set(COVERED_BY) <= there - covered_modules()
    for name in COVERED_BY.values():
        assert (TESTS / name).exists(), name


def test_nothing_else_lies_beside_the_mirror() -> None:
    found = {path.name for path in TESTS.iterdir() if not path.name.startswith("__")}
    assert found <= {*OUTSIDE, *ROOMS, *(f"test_{path.name}" for path in PACKAGE.glob("*.py"))}


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py")))
def test_a_benchmark_can_be_started(name: str) -> None:
    """What it imports is still there: nothing else runs these scripts."""
    import_module(f"benchmarks.{name}")
