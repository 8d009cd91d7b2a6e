"""`benchmarks.gpu` on an NVIDIA GPU, and that it runs where there is none."""

import pytest
import torch

from benchmarks import gpu
from forecaster.bptt.plan import Plan
from forecaster.training.inference import allow_tf32

CUDA = torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", gpu.COMPARED)
def test_the_gpu_has_the_cpus_gradients_and_forecasts(name: str) -> None:
    """In float32 without TF32, relative to the largest element of a tensor."""
    allow_tf32(False)
    assert gpu.distance(gpu.COMPARED[name], CUDA) <= gpu.TOLERANCE


@pytest.mark.gpu
@needs_cuda
def test_a_step_does_not_wait_for_the_gpu() -> None:
    """As torch itself detects waiting."""
    assert gpu.waits_at(gpu.Size(series=50, days=400), CUDA) is None


@pytest.mark.gpu
@needs_cuda
def test_recomputing_saves_half_of_the_memory() -> None:
    """Of histories of 2,520 days."""
    size = gpu.Size(series=50)
    stored, recomputed = (
        gpu.peak_mib(size, CUDA, Plan.full(memory=kind)) for kind in ("store", "recompute")
    )
    assert recomputed <= stored / 2


def test_without_a_gpu_it_compares_the_cpu_with_itself() -> None:
    """A dry run of some comparisons."""
    cpu = torch.device("cpu")
    for name in ("elman", "last day", "gru, 500 days, full"):
        assert gpu.distance(gpu.COMPARED[name], cpu) == 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_that_nothing_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gpu.main([]) == 0
    assert capsys.readouterr().out.startswith("SKIPPED: torch finds no NVIDIA GPU here")
