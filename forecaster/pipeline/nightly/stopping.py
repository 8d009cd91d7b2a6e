"""A signal that waits: work is stopped between two steps, not inside one.

What a signal does in the end is up to whoever handled it before: the command line exits 130 or
143, a notebook raises KeyboardInterrupt.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Waiting:
    """Holds the first signal back until `deliver`; the second one is not held."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def hold(self) -> None:
        """Begin to hold signals back; nothing outside the main thread, which alone gets them."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def release(self) -> None:
        """Let signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def deliver(self) -> None:
        """Let the signal that came, if one did, do what it would have done."""
        self.release()
        if self.number is not None:
            number, self.number = self.number, None
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.release()


@contextmanager
def signals_wait() -> Iterator[Waiting]:
    """Hold the first SIGINT or SIGTERM back inside the block, at most until its end."""
    waiting = Waiting()
    waiting.hold()
    try:
        yield waiting
    finally:
        waiting.deliver()
