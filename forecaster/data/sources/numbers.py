"""Numbers as people write them."""

from typing import Literal

DecimalMark = Literal["point", "comma"]
