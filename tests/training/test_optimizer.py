"""Our AdamW and its schedule are torch's, bit for bit."""

import pytest
import torch

from forecaster.training.optimizer import AdamW, one_cycle

SHAPES, PEAK, DECAY = ((64, 34), (3, 5), (7,)), 0.02, 1e-2


def drawn(dtype=torch.float32):
    return [torch.randn(shape, dtype=dtype) for shape in SHAPES]


def torchs(weights, steps):
    """Torch's optimizer and schedule of as many steps."""
    optimizer = torch.optim.AdamW(weights, lr=PEAK, weight_decay=DECAY, fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, max(steps, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stop", [0, 4])
def test_weights_move_as_torchs_do(dtype, stop):
    """From the first step, and continued from what torch's optimizer left in a checkpoint."""
    torch.manual_seed(0)
    start, steps = drawn(dtype), 12
    its = [weight.clone().requires_grad_() for weight in start]
    optimizer, schedule = torchs(its, steps)
    for step in range(steps):
        if step == stop:
            mine = [weight.detach().clone() for weight in its]
            ours, left = AdamW(mine, DECAY), optimizer.state_dict()["state"]
            ours.restore(
                {f"{n}/{key}": t for n, own in left.items() for key, t in own.items()}
                or ours.state()
            )
        gradients = drawn(dtype)
        for weight, gradient in zip(its, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        schedule.step()
        if step >= stop:
            ours.step(gradients, *one_cycle(step, steps, PEAK))
    assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))


def test_nothing_moves_after_a_gradient_that_was_not_finite():
    torch.manual_seed(0)
    weights = drawn()
    ours = AdamW(weights, DECAY)
    ours.step(drawn(), PEAK, 0.9)
    before = [tensor.clone() for tensor in (*weights, *ours.state().values())]
    ours.found_inf.fill_(1.0)
    ours.step(drawn(), PEAK, 0.9)
    after = (*weights, *ours.state().values())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 101, 1500])
def test_the_cycle_is_torchs(steps):
    optimizer, schedule = torchs([torch.zeros(1, requires_grad=True)], steps)
    optimizer.step()  # without gradients: the schedule asks for it
    for step in range(steps):
        (group,) = optimizer.param_groups
        assert one_cycle(step, steps, PEAK) == (group["lr"], group["betas"][0])
        if step + 1 < steps:
            schedule.step()
