"""Read back from a page what it hands to the drawing library."""

import base64
import html
import json
import re

import numpy as np


def figures(page: str) -> dict[str, list[dict]]:
    """The traces of each figure, by the heading above it; of several alike the first."""
    found: dict[str, list[dict]] = {}
    for part in re.split(r"<section[^>]*>", page)[1:]:
        heading = re.search(r"<h\d[^>]*>(.*?)</h\d>", part)
        data = re.search(r'id="figure-\d+-data">(.*?)</script>', part, re.S)
        if heading and data:
            found.setdefault(html.unescape(heading[1]), json.loads(data[1])["data"])
    return found


def decoded(values: object) -> np.ndarray:
    """Numbers as a page holds them: a list, or base64 of their bytes."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.array(values)


def cells(page: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, its column names first."""
    part = page.split(f">{heading}</h")[1].split("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", part, re.S)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in found]
