"""The choice of the device to compute on.

Knows no network and no data; changes no setting of torch.
"""

import torch

from forecaster.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """Return the device with a name.

    `auto` takes CUDA, else MPS, else the CPU; the caller prints the choice.

    Raises:
        UsageError: the name is unknown, or the named device is absent.
    """
    if name not in DEVICES:
        raise UsageError(f"--device {name} is not known; choose one of {', '.join(DEVICES)}.")
    present = _present_devices()
    if name == "auto":
        return torch.device(present[0])
    if name not in present:
        raise UsageError(
            f"--device {name} is not available: torch {torch.__version__} finds only "
            f"{', '.join(present)} on this machine. Use --device auto or --device cpu, or "
            f"install the driver and a torch build with {name.upper()}."
        )
    return torch.device(name)


def _present_devices() -> list[str]:
    """List what torch can use here, fastest first; the CPU is always there."""
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present.insert(0, "cuda")
    return present


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is a lack of memory, of which torch may raise a plain RuntimeError."""
    # The last one is oneDNN's, which says no more.
    words = ("can't allocate memory", "not enough memory", "could not create a primitive")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        one in str(error) for one in words
    )
