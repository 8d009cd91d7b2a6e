"""The page on BPTT shows what its scripts print."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_every_lab_is_there():
    """Every script is listed, so none is skipped."""
    assert {lab.stem for lab in LABS} == {
        *(*QUICK, "delay_line", "equal_steps", "kept_pairs"),
        *("adding_problem", "influence_balancing"),
    }
