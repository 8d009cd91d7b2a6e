"""A stand-in for a GPU: real values in main memory, on a device called "gpu".

What a GPU refuses, or would have to wait for, is known from the operations alone. Inside
`fake_gpu`, an operation on tensors of two devices fails where it is called, and operations that
make the host wait for the device are listed. A GPU's kernels, speed and memory are not imitated.

Import it before the first backward pass of a process: torch's engine counts devices only once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import forecaster

_setup_privateuseone_for_python_backend("gpu")
# The stand-in draws in main memory; `torch.random.fork_rng` asks every device for its state.
torch.gpu.get_rng_state = lambda device=0: torch.get_rng_state()  # type: ignore[attr-defined]
torch.gpu.set_rng_state = lambda state, device=0: None  # type: ignore[attr-defined]

GPU = torch.device("gpu:0")
PACKAGE = Path(forecaster.__file__).parent
# Their result, or its size, is a number that the host reads.
READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "_unique2"}
COPIES = {"_to_copy", "copy_"}


class PlacementError(RuntimeError):
    """An operation on tensors of two devices."""


class OnGPU(torch.Tensor):
    """A tensor on the stand-in, around one in main memory."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real: torch.Tensor) -> "OnGPU":  # noqa: D102
        layout = {"strides": real.stride(), "storage_offset": real.storage_offset()}
        made = cls._make_wrapper_subclass(cls, real.shape, dtype=real.dtype, device=GPU, **layout)
        made.held = real
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise PlacementError(f"{func} outside of `fake_gpu`")

    def __repr__(self) -> str:
        return f"OnGPU({self.held!r})"


class _Dispatch(TorchDispatchMode):
    """Runs operations on main memory, checks their devices, and lists where the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        wanted = kwargs.get("device")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_gpu = [tensor for tensor in tensors if isinstance(tensor, OnGPU)]
        made_here = bool(on_gpu) if wanted is None else torch.device(wanted).type == "gpu"
        if not on_gpu and not made_here:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        self._check(name, tensors, made_here, args, kwargs)
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        real_args, real_kwargs = tree_map_only(OnGPU, lambda one: one.held, (args, kwargs))
        found = func(*real_args, **real_kwargs)
        if not made_here:
            return found
        known = {id(tensor.held): tensor for tensor in on_gpu}  # an operation in place
        return tree_map_only(
            torch.Tensor, lambda one: known[id(one)] if id(one) in known else OnGPU(one), found
        )

    def _check(self, name, tensors, made_here, args, kwargs) -> None:
        elsewhere = [one for one in tensors if not isinstance(one, OnGPU)]
        if name in COPIES:
            # Only an upload may go on while the host does.
            upload = made_here if name == "_to_copy" else isinstance(args[0], OnGPU)
            other = bool(elsewhere) or not made_here
            if other and not (upload and (kwargs.get("non_blocking") or args[2:] == (True,))):
                self.waits.append(f"{name} {_caller()}")
            return
        # A number of no dimension is passed on by value.
        if any(one.dim() > 0 for one in elsewhere):
            raise PlacementError(f"{name} of tensors on the GPU and on the CPU, {_caller()}")
        picks = any(one.dtype == torch.bool for one in tensors[1:]) and name.startswith("index")
        if name in READS or picks:
            self.waits.append(f"{name} {_caller()}")


def _caller() -> str:
    """Name the innermost line of the package on the way here."""
    frame = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            return f"in {path.relative_to(PACKAGE)}, {frame.f_code.co_name}"
        frame = frame.f_back
    return "in a backward pass, or outside of the package"


@contextmanager
def fake_gpu() -> Iterator[list[str]]:
    """Have a GPU inside; yields the list of operations that the host has waited for."""
    mode = _Dispatch()
    # Torch's own Python form of its recurrent kernels, which the stand-in lacks.
    with mode, enable_python_dispatcher():
        yield mode.waits
