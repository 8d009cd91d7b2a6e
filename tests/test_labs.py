"""The page on BPTT says what its scripts print."""

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
    """What the page prints below a script's command."""
    begin = f"```\n$ python docs/labs/{lab.name}\n"
    assert PAGE.count(begin) == 1, f"docs/bptt.md does not show {lab.name} once"
    return PAGE.split(begin)[1].split("\n```")[0].splitlines()


def number(word: str) -> float | None:
    """A word as a number, if it is one."""
    return float(word) if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", word) else None


@pytest.mark.parametrize(
    "lab",
    [
        pytest.param(lab, id=lab.stem, marks=[] if lab.stem in QUICK else [pytest.mark.slow])
        for lab in LABS
    ],
)
def test_the_page_says_what_the_script_prints(lab):
    """Word by word; trained figures within what another CPU's rounding may move."""
    done = subprocess.run(
        [sys.executable, str(lab)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    printed, page = done.stdout.splitlines(), shown(lab)
    assert len(printed) == len(page)
    for found, said in zip(printed, page, strict=True):
        assert len(found.split()) == len(said.split()), said
        for word, written in zip(found.split(), said.split(), strict=True):
            value = number(written)
            if value is None or "." not in written:
                assert word == written, said
            else:
                assert float(word) == pytest.approx(value, rel=2e-3, abs=2e-3), said


def test_every_lab_is_there():
    """An empty folder would prove nothing."""
    assert {lab.stem for lab in LABS} == {*QUICK, "delay_line", "equal_updates", "triangle"}
