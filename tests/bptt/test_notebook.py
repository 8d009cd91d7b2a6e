"""The page and the notebook on truncated BPTT run, and learn what they say."""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def code_of_the_page():
    """List the page's examples."""
    page = (DOCS / "truncated-bptt.md").read_text()
    return re.findall(r"```python\n(.*?)\n```", page, re.S)


def code_of_the_notebook():
    """List the notebook's cells."""
    cells = json.loads((DOCS / "truncated-bptt.ipynb").read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_has_the_code_of_the_page():
    assert code_of_the_notebook() == code_of_the_page()


@pytest.mark.slow
def test_the_cells_run_in_order():
    """The lag is learned, and the figure shows that the gradient reaches it."""
    names: dict = {}
    for cell in code_of_the_notebook():
        exec(cell, names)  # our own code
    assert names["losses"][-1] < 0.02 * names["losses"][0]
    (line,) = names["figure"].data
    assert len(line.y) == 41 and line.y[5] > 0.01
    assert names["horizon"].days is None or names["horizon"].days > 5
