"""A training stopped between two optimizer steps, as tensors and plain facts.

Nothing is pickled: `to_bytes` returns a line with a SHA-256 and, after it, a safetensors file
with the facts as JSON in its header.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from forecaster.errors import ArtifactError

SCHEMA = 2


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything that the next optimizer step depends on, but the data and the settings.

    Tensors go by "group/name" and lie on the CPU; facts are JSON-compatible.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @classmethod
    def of(cls, groups: Mapping[str, Mapping[str, Tensor]], facts: dict[str, Any]) -> "Checkpoint":
        """Copy groups of tensors, so that later steps do not change them."""
        tensors = {
            f"{group}/{name}": tensor.detach().cpu().clone().contiguous()
            for group, members in groups.items()
            for name, tensor in members.items()
        }
        return cls(tensors, {"schema": SCHEMA, **facts})

    def group(self, name: str) -> dict[str, Tensor]:
        """Copy a group's tensors by their own names, in the order of the names."""
        names = sorted(full for full in self.tensors if full.startswith(f"{name}/"))
        return {full.removeprefix(f"{name}/"): self.tensors[full].clone() for full in names}

    def require(self, identity: Mapping[str, object], weights: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint that another training made.

        Raises:
            ArtifactError: other settings, or weights of other names or shapes.
        """
        found, own = self.facts["training"], json.loads(json.dumps(identity))
        if found != own:
            raise ArtifactError(
                f"The checkpoint was made with {_difference(found, own)}; resume with the "
                "settings it was made with, or train again from the start."
            )
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        if {name: tensor.shape for name, tensor in self.group("weights").items()} != shapes:
            raise ArtifactError(
                "The checkpoint's weights have other names or shapes than the network; resume "
                "with the network it was made with, or train again from the start."
            )

    def to_bytes(self) -> bytes:
        """Return the content of a file."""
        content: bytes = save(self.tensors, {"facts": json.dumps(self.facts)})
        return hashlib.sha256(content).hexdigest().encode() + b"\n" + content

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Read what `to_bytes` wrote.

        Raises:
            ArtifactError: corrupt, or of another schema.
        """
        digest, _, body = content.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise ArtifactError("The checkpoint is corrupt; delete it and train again.")
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        facts = json.loads(header["__metadata__"]["facts"])
        if facts["schema"] != SCHEMA:
            raise ArtifactError(
                f"The checkpoint has schema {facts['schema']!r}, this forecaster reads "
                f"{SCHEMA}; delete it and train again."
            )
        return cls(load(body), facts)


def _difference(found: object, own: object) -> str:
    """Return the first setting that differs."""
    if isinstance(found, dict) and isinstance(own, dict):
        for name in own:
            if found.get(name) != own[name]:
                inner = _difference(found.get(name), own[name])
                return inner if isinstance(own[name], dict) else f"{name} {inner}"
    return f"{found!r}, not {own!r}"
