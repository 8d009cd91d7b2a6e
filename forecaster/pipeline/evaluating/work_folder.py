"""Results of a long evaluation, kept until it is done: a rerun goes on where the last stopped.

Arrays in safetensors and words in JSON, never pickled. A file that is damaged counts as not there.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from forecaster.registry.versions import UNFINISHED

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


class WorkFolder:
    """A folder under `models/.unfinished/`, named after everything that its results depend on."""

    def __init__(self, home: Path, about: Mapping[str, object]) -> None:
        """Choose the folder; it is made when there is something to keep.

        Args:
            home: the workspace.
            about: what the results depend on, in plain values.
        """
        text = json.dumps(about, sort_keys=True, default=str)
        name = f"evaluate-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        self.folder = home / "models" / UNFINISHED / name
        self._about = text
        self._writable = True

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one result whole or not at all; say once where that cannot be done."""
        if not self._writable:
            return
        side = self.folder / f"{uuid4().hex}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "about.json").write_text(self._about)
            with side.open("wb") as file:
                file.write(save_tensors(_contiguous(arrays)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(side, self.folder / f"{name}.safetensors")
        except OSError as error:
            self._writable = False
            log.warning("%s: %s; what is done cannot be resumed", self.folder, error.strerror)

    def kept(self, name: str) -> Arrays | None:
        """Read one result, or None."""
        try:
            found: Arrays = load_tensors((self.folder / f"{name}.safetensors").read_bytes())
            return found
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s is damaged (%s) and done again", name, type(error).__name__)
            return None

    def remove(self) -> None:
        """Delete everything kept: it is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _contiguous(arrays: Mapping[str, np.ndarray]) -> Arrays:
    # safetensors writes memory as it lies: a transposed view would come back scrambled.
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
