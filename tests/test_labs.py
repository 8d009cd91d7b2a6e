"""The page on BPTT shows what its scripts print."""

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from forecaster.bptt import Batch, Plan, gradients

ROOT = Path(__file__).parents[1]
LABS = sorted((ROOT / "docs" / "labs").glob("*.py"))
PAGE = (ROOT / "docs" / "bptt.md").read_text()
QUICK = {"contributions"}


def shown(lab: Path) -> list[str]:
    """Return the lines that the page shows below a script's command."""
    begin = f"```\n$ python docs/labs/{lab.name}\n"
    assert PAGE.count(begin) == 1, f"docs/bptt.md does not show {lab.name} once"
    return PAGE.split(begin)[1].split("\n```")[0].splitlines()


def number(word: str) -> float | None:
    """Convert a word to a number, or None."""
    return float(word) if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", word) else None


@pytest.mark.parametrize(
    "lab",
    [
        pytest.param(lab, id=lab.stem, marks=[] if lab.stem in QUICK else [pytest.mark.slow])
        for lab in LABS
    ],
)
def test_the_page_shows_what_the_script_prints(lab):
    """Word by word; figures of trainings within the rounding of another CPU."""
    done = subprocess.run(
        [sys.executable, str(lab)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    printed, page = done.stdout.splitlines(), shown(lab)
    assert len(printed) == len(page)
    for found, expected in zip(printed, page, strict=True):
        assert len(found.split()) == len(expected.split()), expected
        for word, written in zip(found.split(), expected.split(), strict=True):
            value = number(written)
            if value is None or "." not in written:
                assert word == written, expected
            else:
                assert float(word) == pytest.approx(value, rel=2e-3, abs=2e-3), expected


def module_of(name: str) -> ModuleType:
    """A script, imported from its file."""
    spec = spec_from_file_location(name, ROOT / "docs" / "labs" / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_short_horizon_has_the_wrong_sign_where_influences_balance():
    """The exact derivative of the first unit by theta is 2 (10 - 13) = -6, the target is above."""
    lab = module_of("influence_balancing")
    x = torch.zeros(130, 1, 1, dtype=torch.float64)
    mask = torch.zeros(130, 1, dtype=torch.bool)
    mask[-20:] = True
    found = {
        name: gradients(lab.Chain(), Batch(x, torch.ones_like(x), mask), plan, loss=lab.mse)
        for name, plan in {"short": Plan.truncated(5), "full": Plan.full()}.items()
    }
    assert found["short"].by_name["theta"] < 0.0
    assert found["full"].by_name["theta"].item() == pytest.approx(12.0, rel=0.01)


def test_answers_of_the_adding_problem_vary_as_the_page_says():
    """Two uniform numbers on [-1, 1] over 4: 1/24; and both marks are on other days."""
    lab = module_of("adding_problem")
    x, answers = zip(*(lab.draw(torch.Generator().manual_seed(n)) for n in range(300)), strict=True)
    assert torch.cat(answers).var().item() == pytest.approx(1 / 24, rel=0.05)
    assert all(((one[..., 1] == 1.0).sum(0) + (one[0, :, 1] == 1.0) >= 2).all() for one in x)


def test_every_lab_is_there():
    """Every script is listed, so none is skipped."""
    assert {lab.stem for lab in LABS} == {
        *(*QUICK, "delay_line", "equal_steps", "kept_pairs"),
        *("adding_problem", "influence_balancing"),
    }
