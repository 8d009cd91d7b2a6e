"""What a trained version says about itself: one JSON document beside its weights.

Knows no network and no prices: names, numbers and hashes only.
"""

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "forecaster.version/2"
HASH_PIECE = 8


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkPart(_Part):
    """The arguments that rebuild the network."""

    model: str
    hidden: int = Field(ge=1, le=4096)
    layers: int = Field(ge=1, le=16)
    dropout: float
    input_dropout: float = 0.0
    heads: list[str]
    point_loss: Literal["mse", "huber"] = "mse"
    lookback: Annotated[int, Field(ge=1, le=100_000)] | Literal["all"]
    learned_start: bool = False
    bidirectional: bool = False


class ScalerPart(_Part):
    """Means and standard deviations by column, taken from fit days."""

    mean: list[float]
    scale: list[float]


class BasePart(_Part):
    """The linear forecaster under the network: inputs by name, scales, weights per raw output."""

    kind: Literal["har", "linear"]
    inputs: list[str]
    scaler: ScalerPart
    weights: list[list[float]]
    intercepts: list[float]


class BlocksPart(_Part):
    """First and last day of the prices, last day of the fit and of the select block."""

    first: date
    train_until: date
    validation_until: date
    last: date


class DataPart(_Part):
    """What was learnt from: tickers, the hash of exactly those bars, the blocks of time."""

    tickers: list[str]
    cross_section: bool
    fingerprint: str
    days: int
    blocks: BlocksPart


class MemberPart(_Part):
    """One trained network: its weights file and the seed that made it."""

    weights: str
    seed: int


class Manifest(_Part):
    """A version, whole; `version` itself is not part of the document's hash.

    `training` holds the settings, and under `looks` the select loss after so many updates.
    `inputs` are the network's; a `base` names its own. `shrinkage` multiplies what the network
    adds to each target's scaled location (see `evaluation/calibration.py`).
    `calibration` maps target and ticker (or "" for all others) to the scores that held the
    shares `levels` of the select block (see `evaluation/recalibration.py`).
    """

    schema_name: str = Field(SCHEMA, alias="schema")
    version: str = ""
    created_at: str
    code_version: str
    torch_version: str
    targets: list[str]
    inputs: list[str]
    network: NetworkPart
    base: BasePart | None = None
    members: list[MemberPart]
    scaler: ScalerPart
    target_scaler: ScalerPart
    shrinkage: list[float]
    data: DataPart
    training: dict[str, str | int | float | list[tuple[int, float]] | None]
    metrics: dict[str, float]
    levels: list[float]
    calibration: dict[str, dict[str, list[float]]]
    files: dict[str, str]

    def document(self) -> str:
        """Write the manifest as JSON, keys sorted, NaN refused."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"

    def content_hash(self) -> str:
        """Hash everything but the version id, which carries a piece of this hash."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"version"})
        text = json.dumps(content, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()
