import pytest
import torch

from forecaster.errors import UsageError
from forecaster.training.device import choose_device


@pytest.fixture
def machine(monkeypatch):
    """Pretend that torch finds these accelerators, and no others."""

    def pretend(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")],
)
def test_auto_takes_the_fastest_present(machine, cuda, mps, chosen):
    """CUDA before MPS before the CPU."""
    machine(cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(chosen)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_absent_device_is_an_error_with_a_remedy(machine, name):
    """An explicit device never falls back silently."""
    machine()
    with pytest.raises(UsageError, match=rf"--device {name} is not available.*--device auto"):
        choose_device(name)
    assert UsageError.exit_code == 2


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_present_device_is_taken(machine, name):
    """What is named and there is used, even beside a faster one."""
    machine(cuda=True, mps=True)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:0"])
def test_unknown_name_is_a_usage_error(name):
    """The message lists the names there are."""
    with pytest.raises(UsageError, match="choose one of auto, cpu, cuda, mps"):
        choose_device(name)
