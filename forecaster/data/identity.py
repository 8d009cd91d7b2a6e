"""What a ticker is, beyond its symbol: told by its source, kept, and compared at each fetch.

Listings in; a sentence or a listing out.  A symbol that suddenly means something else is
for a person to judge.
"""

from dataclasses import replace
from typing import Final

from forecaster.data.bars import Listing

_MARKS: Final = {
    "name": "name",
    "exchange": "exchange",
    "currency": "currency",
    "first_trade": "first trade date",
}


def describe_change(stored: Listing, served: Listing) -> str:
    """Say which marks of a ticker are others now; empty where none is.

    A mark that either side does not tell is no change; a name may change its case and its
    punctuation. Currencies are compared to the letter: GBp is pence, GBP is pounds.
    """
    changes = [
        f"{word} was {getattr(stored, mark)}, is {getattr(served, mark)}"
        for mark, word in _MARKS.items()
        if _comparable(stored, mark)
        and _comparable(served, mark)
        and _comparable(stored, mark) != _comparable(served, mark)
    ]
    return "; ".join(changes)


def keep_known(stored: Listing, served: Listing) -> Listing:
    """Fill the marks that a source does not tell this time with those stored."""
    known = {mark: getattr(served, mark) or getattr(stored, mark) for mark in _MARKS}
    return replace(served, **known)


def _comparable(listing: Listing, mark: str) -> object:
    value = getattr(listing, mark)
    if mark != "name":
        return value
    return "".join(letter for letter in value.casefold() if letter.isalnum())
