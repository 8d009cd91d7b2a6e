"""Documents that went wrong: a good one with a few places changed, taken away or put elsewhere."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, -(10**30), 0.5, 1e308, -1e-320, 1e999, -1e999])
SCALARS = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def paths(document: Any, here: Path = ()) -> Iterator[Path]:
    """Walk to every place below the top; of long lists only their ends."""
    if isinstance(document, dict):
        inside: list[Any] = list(document)
    elif isinstance(document, list):
        inside = sorted({0, 1, len(document) - 1} & set(range(len(document))))
    else:
        inside = []
    for key in inside:
        yield (*here, key)
        yield from paths(document[key], (*here, key))


def mutations(document: Any, most: int = 3) -> st.SearchStrategy[Any]:
    """Draw copies of a JSON document with one or a few places mutated."""
    places = st.sampled_from(list(paths(document)))
    change = st.tuples(
        st.sampled_from(["set", "set", "drop", "swap", "twice"]), places, VALUES, places
    )
    return st.lists(change, min_size=1, max_size=most).map(lambda todo: _changed(document, todo))


def _changed(document: Any, todo: list[tuple[str, Path, Any, Path]]) -> Any:
    copy = deepcopy(document)
    for kind, place, value, other in todo:
        try:
            holder, key = _at(copy, place[:-1]), place[-1]
            if kind == "set":
                holder[key] = value
            elif kind == "drop":
                del holder[key]
            elif kind == "swap":
                holder[key] = deepcopy(_at(copy, other))
            else:
                holder.insert(key, holder[key])
        except (LookupError, TypeError, AttributeError):  # an earlier change took the place away
            pass
    return copy


def _at(document: Any, place: Path) -> Any:
    for key in place:
        document = document[key]
    return document


def torn(content: bytes) -> st.SearchStrategy[bytes]:
    """Draw copies of a file with a piece cut out, doubled or overwritten."""
    ends = st.integers(0, len(content))
    piece = st.tuples(ends, st.integers(0, 40), st.binary(max_size=8) | st.sampled_from(_PIECES))
    return st.lists(piece, min_size=1, max_size=3).map(lambda todo: _torn(content, todo))


_PIECES = [b'"', b",", b";", b"\n", b"\r", b"\0", b"\xff", b"=cmd()", b"1e999", b"-", b"[", b"nan"]


def _torn(content: bytes, todo: list[tuple[int, int, bytes]]) -> bytes:
    for begin, length, piece in todo:
        content = content[:begin] + piece + content[begin + length :]
    return content
