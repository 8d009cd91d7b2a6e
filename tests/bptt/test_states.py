"""What the states show, compared with whole Jacobians and closed forms."""

import numpy as np
import pytest
import torch

from forecaster.bptt.states import cold_start, state_facts, state_norms, stretches
from forecaster.models.base import RecurrentState
from forecaster.models.network import CORES
from tests.bptt.test_memory_profile import ROWS, linear_network, make_days, make_network
from tests.bptt.verification import path_of


def jacobian(network, path, day, batch_row):
    """Write ds_t / ds_{t-1} of one batch row down, all tensors and layers of the state in a row."""
    before = [tensor[day][:, batch_row : batch_row + 1] for tensor in path.states]

    def one_day(flat):
        parts = flat.split([part.numel() for part in before])
        state = RecurrentState(tuple(p.view_as(b) for p, b in zip(parts, before, strict=True)))
        _, after = network.core(path.batch.x[day : day + 1, batch_row : batch_row + 1], state)
        return torch.cat([tensor.flatten() for tensor in after.tensors])

    flat = torch.cat([part.flatten() for part in before])
    return torch.autograd.functional.jacobian(one_day, flat)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("model", CORES)
def test_a_day_stretches_by_the_largest_singular_value_of_its_jacobian(model, layers):
    """T21: power iteration against the whole Jacobian, h and c and both layers in it."""
    network = make_network(model, layers=layers)
    path = path_of(network, *make_days(14))
    found = stretches(path, [3, 13])
    expected = [
        [
            torch.linalg.matrix_norm(jacobian(network, path, day, batch_row), 2)
            for batch_row in range(ROWS)
        ]
        for day in (3, 13)
    ]
    np.testing.assert_allclose(found, np.array(expected), rtol=0.02)  # a figure needs no more
    assert (found <= torch.tensor(expected) * (1 + 1e-12)).all()  # from below, always


def test_a_linear_unit_is_stretched_by_its_weight():
    path = path_of(linear_network(0.9), *make_days(9, targets=1))
    np.testing.assert_allclose(stretches(path, [0, 8]), 0.9, rtol=1e-12)


def test_the_norm_is_that_of_the_state_after_the_day():
    """All tensors and layers of it."""
    network = make_network("lstm", layers=2)
    x, y, mask = make_days(6)
    norms = state_norms(path_of(network, x, y, mask))
    assert norms.shape == (6, ROWS)
    for day in range(6):
        _, state = network.core(x[: day + 1], network.initial_state(ROWS))
        whole = torch.cat([tensor.transpose(0, 1).flatten(1) for tensor in state.tensors], dim=1)
        np.testing.assert_allclose(norms[day], whole.norm(dim=1).detach(), rtol=1e-12)


def test_cold_and_warm_errors_are_those_of_the_same_days():
    """Started on days 6, 12 and 18 of 26; unscored outcomes, even unknown ones, do not count."""
    network = make_network("gru")
    x, y, mask = make_days(26)
    mask[9, 2] = False
    y[9, 2] = torch.nan
    found = cold_start(path_of(network, x, y, mask), 8, starts=3)
    network.requires_grad_(False)
    warm, _ = network(x, network.initial_state(ROWS))
    for since in range(8):
        cold_errors, warm_errors = [], []
        for begin in (6, 12, 18):
            cold, _ = network(x[begin : begin + since + 1], network.initial_state(ROWS))
            day = begin + since
            cold_errors.append((cold[-1] - y[day])[mask[day]] ** 2)
            warm_errors.append((warm[day] - y[day])[mask[day]] ** 2)
        assert found.cold[since] == pytest.approx(float(torch.cat(cold_errors).mean()), rel=1e-10)
        assert found.warm[since] == pytest.approx(float(torch.cat(warm_errors).mean()), rel=1e-10)


def test_a_network_that_forgets_pays_for_a_cold_start_while_it_remembers():
    """s_t = 0.5 s_{t-1} + x_t and its own output as the outcome: cold errors fall by 4 a day."""
    network = linear_network(0.5)
    x, y, mask = make_days(200, targets=1)
    with torch.no_grad():
        y, _ = network(x, network.initial_state(ROWS))
    found = cold_start(path_of(network, x, y, mask), 6)
    assert (found.warm < 1e-25).all()
    np.testing.assert_allclose(found.cold[1:] / found.cold[:-1], 0.25, rtol=1e-9)


def test_a_short_block_has_facts_too():
    network = make_network("elman")
    facts = state_facts(path_of(network, *make_days(5)))
    assert facts.norms.shape == (5,) and facts.stretched_days.tolist() == [0, 1, 2, 3, 4]
    assert facts.stretch.shape == (5,) and facts.cold_start.cold.shape == (2,)
