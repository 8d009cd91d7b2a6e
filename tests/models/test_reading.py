"""What a core is shown of a day: inputs, some dropped, and nothing of a base."""

import pytest
import torch
from torch.testing import assert_close

from forecaster.errors import UsageError
from forecaster.models.heads import form_of
from forecaster.models.network import Architecture, build_network

FORMS = (form_of("student-t"), form_of("point"))
SIZES = {"inputs": 3, "forms": (form_of("point"),) * 2, "hidden": 5}


def network(model="lstm", **options):
    torch.manual_seed(0)
    return build_network(Architecture(model=model, **SIZES | options))


def test_a_base_is_added_to_the_heads_output_and_moves_nothing_else():
    """Its columns reach the forecast one to one; core and state never see them."""
    made = network(forms=FORMS, has_base=True)
    x, base = torch.randn(6, 4, 3), torch.randn(6, 4, 4)
    state = made.initial_state(4)
    alone, end = made(torch.cat([x, torch.zeros_like(base)], dim=-1), state)
    both, same = made(torch.cat([x, base], dim=-1), state)
    assert_close(both, alone + base)
    assert all(torch.equal(a, b) for a, b in zip(end.tensors, same.tensors, strict=True))
    last, _ = made(torch.cat([x, base], dim=-1), state, last=2)
    assert_close(last, both[-2:])


def test_without_a_base_nothing_is_added():
    x = torch.randn(6, 4, 3)
    plain, dropping = network(), network(input_dropout=0.5).eval()
    state = plain.initial_state(4)
    assert torch.equal(plain(x, state)[0], dropping(x, state)[0])


def test_input_dropout_acts_in_training_only_and_each_day_anew():
    made = network(input_dropout=0.5)
    x, state = torch.ones(40, 1, 3), made.initial_state(1)
    assert not torch.equal(made(x, state)[0], made(x, state)[0])
    shown = made.core.dropout(x)
    assert len(torch.unique(shown, dim=0)) > 3
    made.eval()
    assert torch.equal(made(x, state)[0], made(x, state)[0])


def test_an_mlp_has_no_memory():
    """Other days before, and another state, change nothing; today's inputs do."""
    made = network("mlp", layers=2).eval()
    x = torch.randn(6, 4, 3)
    other = torch.cat([torch.randn(5, 4, 3), x[-1:]])
    zeros = made.initial_state(4)
    found, end = made(x, zeros)
    again, _ = made(other, end)
    assert torch.equal(found[-1], again[-1])
    assert not torch.equal(found[0], again[0])
    assert end.tensors[0].shape == zeros.tensors[0].shape == (1, 4, 5)


def test_an_mlp_is_layers_of_rectified_units():
    made = network("mlp", layers=2).eval()
    x = torch.randn(2, 3, 3)
    first, second = made.core.stack[0], made.core.stack[3]
    hidden = torch.relu(torch.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    assert_close(made(x, made.initial_state(3))[0], made.head(hidden))


def test_a_share_of_all_inputs_is_refused():
    with pytest.raises(UsageError, match="--input-dropout is 1"):
        network(input_dropout=1.0)
