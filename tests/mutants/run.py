"""Plant one bug at a time in a copy of the package and check that a test fails.

`python -m tests.mutants.run [NAME ...]` prints a table and ends with an error if a bug
survives, or if a patch no longer applies. The first line of each patch says what it breaks.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
PATCHES = sorted(Path(__file__).parent.glob("*.patch"))
COPIED = ("forecaster", "tests", "pyproject.toml")
TESTS = (
    "tests/bptt/test_verification_algebra.py",
    "tests/bptt/test_engine.py",
    "tests/training/test_trainer.py",
    "tests/training/test_checkpoint.py",
    "tests/training/test_inference.py",
    "tests/models/test_base.py",
    "tests/data/test_sequence_packing.py",
    "tests/bptt/test_verification_learning.py",
    "tests/bptt/test_verification_horizon.py",
)
# Those of patches called device-...: the others' tests see one device alone.
DEVICE_TESTS = ("tests/training/test_placement.py",)
PYTEST = ("-m", "pytest", "-x", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider")
LIMIT_S = 600
PROCESSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantResult:
    """The outcome of a mutant: killed (and by which test), SURVIVED, NO PATCH or BROKEN.

    The tree without a mutant passes or FAILS.
    """

    name: str
    outcome: str
    killer: str
    seconds: float


def main(names: list[str]) -> int:
    """Try the mutants with these names, or all; return the exit status."""
    unknown = set(names) - {patch.stem for patch in PATCHES}
    if unknown:
        print(f"no such mutant: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chosen = [patch for patch in PATCHES if not names or patch.stem in names]
    good = True
    with ThreadPoolExecutor(PROCESSES) as pool:
        print(f"{'mutant':32}{'outcome':10}{'seconds':>7}  first test that fails")
        for found in pool.map(run_mutant, [None, *chosen]):
            print(f"{found.name:32}{found.outcome:10}{found.seconds:7.0f}  {found.killer}")
            sys.stdout.flush()
            good &= found.outcome == ("passes" if found.name == "none" else "killed")
    print(f"{len(chosen)} mutants, {'all killed' if good else 'NOT all killed'}")
    return 0 if good else 1


def run_mutant(patch: Path | None) -> MutantResult:
    """Test a copy of the tree with one patch, or without."""
    started = time.monotonic()
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_tree(copy)
        outcome, killer = "NO PATCH", "write the patch again: it does not apply"
        if patch is None or applies(patch, copy):
            outcome, killer = test_copy(copy, tests_of(patch))
    if patch is None:
        outcome = {"SURVIVED": "passes", "killed": "FAILS"}.get(outcome, outcome)
    name = patch.stem if patch else "none"
    return MutantResult(
        name=name, outcome=outcome, killer=killer, seconds=time.monotonic() - started
    )


def tests_of(patch: Path | None) -> tuple[str, ...]:
    """Return the tests that a patch must not pass; without one, all of them."""
    if patch is None:
        return (*TESTS, *DEVICE_TESTS)
    return DEVICE_TESTS if patch.stem.startswith("device-") else TESTS


def copy_tree(folder: Path) -> None:
    """Copy what the tests need."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)


def applies(patch: Path, folder: Path) -> bool:
    """Apply a patch to the copy, without fuzz."""
    # A temporary folder inside some checkout must not make git look there.
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", "-p1", str(patch)]
    return subprocess.run(command, cwd=folder, env=alone, capture_output=True).returncode == 0


def test_copy(folder: Path, tests: tuple[str, ...]) -> tuple[str, str]:
    """Run tests on the copy, up to the first that fails; return the outcome and that test."""
    env = os.environ | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    where = run(
        [sys.executable, "-c", "import forecaster; print(forecaster.__file__)"], folder, env
    )
    if not Path(where.stdout.strip()).is_relative_to(folder):
        return "BROKEN", f"the tests would import {where.stdout.strip() or where.stderr[-200:]}"
    try:
        done = run([sys.executable, *PYTEST, "-m", "not slow and not gpu", *tests], folder, env)
    except subprocess.TimeoutExpired:
        return "BROKEN", f"not done after {LIMIT_S} s"
    if done.returncode == 0:
        return "SURVIVED", ""
    failed = re.search(r"^FAILED (\S+?::\S.*?)(?: - |$)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or failed is None:  # an error while collecting kills nothing
        return "BROKEN", (done.stdout + done.stderr)[-300:]
    return "killed", failed[1].removeprefix("tests/")


def run(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy."""
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
