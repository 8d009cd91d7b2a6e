"""Segments that remember which rows the update under way has read, to name them if it fails."""

from collections.abc import Iterator, Sequence

import numpy as np

from forecaster.training.passes import Segment, Segments


class Watched:
    """The segments of a pass, watched while they are read."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._read: list[np.ndarray] = []

    @property
    def rows(self) -> Sequence[int]:
        """Rows read since the last update, without padding."""
        found: list[int] = np.concatenate([rows[rows >= 0] for rows in self._read]).tolist()
        return found

    def forget(self) -> None:
        """Begin another update."""
        self._read = []

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        self.forget()  # an earlier iteration may have counted only
        for segment in self._segments:
            self._read.append(segment.rows)
            yield segment
