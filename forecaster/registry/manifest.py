"""The manifest of a version: names, numbers and hashes in one JSON document beside its weights.

Manifests of schema 2 (forecaster 0.1.0) are read, never written.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Final = "forecaster.version/3"
SCHEMA_2: Final = "forecaster.version/2"
HASH_LENGTH: Final = 8  # characters of the content hash in a version's id


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkPart(_Part):
    """The arguments that rebuild the network."""

    model: str
    hidden: int = Field(ge=1, le=4096)
    layers: int = Field(ge=1, le=16)
    dropout: float = Field(ge=0.0, lt=1.0)
    input_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    heads: list[str]
    point_loss: Literal["mse", "huber"] = "mse"
    lookback: Annotated[int, Field(ge=1, le=100_000)] | Literal["all"]
    learned_start: bool = False
    bidirectional: bool = False


class ScalerPart(_Part):
    """Means and standard deviations by column, of training days."""

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
    """First and last day of the prices, last days of training and validation."""

    first: date
    train_until: date
    validation_until: date
    last: date


class DataPart(_Part):
    """What was learned from: tickers, the hash of exactly those bars, the split in time."""

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
    """A complete version.

    `training` has the settings and results of the training; its `validations` are pairs of
    optimizer step and validation loss. `inputs` are the network's; a `base` lists its own.
    `shrinkage` multiplies what the network adds to each target's scaled location. `calibration`
    maps target and ticker ("" for all others) to the scores that covered the shares `levels` of
    the validation days.
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
        """Return the manifest as JSON, keys sorted; raise ValueError if a number is not finite."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"

    def content_hash(self) -> str:
        """Return the hash that the version's id carries a part of."""
        return content_hash(self.model_dump(mode="json", by_alias=True))


def content_hash(document: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of a manifest's document without its version id."""
    content = {name: value for name, value in document.items() if name != "version"}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


_NEW_NAMES: Final = {
    "fit_until": "train_until",
    "select_until": "validation_until",
    "bptt_steps": "bptt_k2",
    "bptt_stride": "bptt_k1",
    "bptt_update": "step_per",
    "max_updates": "max_steps",
    "lanes": "batch_rows",
    "updates": "steps",
    "passes": "epochs",
    "best_update": "best_step",
    "best_updates": "best_steps",
    "leaps": "gradient_spikes",
    "looks": "validations",
}


def from_schema_2(document: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the document of a schema 2 manifest to the names of schema 3."""
    data = dict(document["data"])
    data["blocks"] = {_NEW_NAMES.get(name, name): day for name, day in data["blocks"].items()}
    training = {_NEW_NAMES.get(name, name): value for name, value in document["training"].items()}
    if training.get("step_per") == "pass":
        training["step_per"] = "epoch"
    scores = document["metrics"].items()
    metrics = {name.replace("select_mse_", "validation_mse_"): one for name, one in scores}
    converted = {"schema": SCHEMA, "data": data, "training": training, "metrics": metrics}
    return {**document, **converted}
