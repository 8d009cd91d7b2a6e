import pytest
import torch
from torch.testing import assert_close

from forecaster.errors import UsageError
from forecaster.models.base import RecurrentState
from forecaster.models.heads import Head, PointForm, StudentTForm, form_of
from forecaster.models.lstm import LSTMCore
from forecaster.models.network import CORES, Architecture, BidirectionalCore, build_network
from tests.models.oracles import run

SIZES = {
    "inputs": 3,
    "forms": (PointForm(), PointForm()),
    "hidden": 5,
    "layers": 2,
    "dropout": 0.0,
}


def test_elman_network_is_the_textbook_one():
    """s_t = tanh(W_s s + W_x x + b), y_t = W_y s_t + b_y, with its own weights."""
    torch.manual_seed(1)
    network = build_network(Architecture(model="elman", **SIZES)).double()
    torch.nn.init.normal_(network.head.linear.bias)
    x = torch.randn(9, 4, 3, dtype=torch.float64)
    state = RecurrentState((torch.randn(2, 4, 5, dtype=torch.float64),))
    prediction, _ = network(x, state)
    hidden, _ = run("elman", network.core.fused, x, state.tensors)
    expected = hidden @ network.head.linear.weight.T + network.head.linear.bias
    torch.testing.assert_close(prediction, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_in_training_only(model, layers):
    """With dropout two training calls differ, two evaluation calls do not; no warning."""
    network = build_network(Architecture(model=model, **SIZES | {"layers": layers, "dropout": 0.5}))
    x, state = torch.randn(6, 4, 3), network.initial_state(4)
    assert not torch.equal(network(x, state)[0], network(x, state)[0])
    network.eval()
    assert torch.equal(network(x, state)[0], network(x, state)[0])


def test_output_dropout_spares_the_state():
    """With one layer the state is the same with and without dropout."""
    torch.manual_seed(2)
    network = build_network(Architecture(model="lstm", **SIZES | {"layers": 1, "dropout": 0.9}))
    x, state = torch.randn(6, 4, 3), network.initial_state(4)
    _, dropped = network(x, state)
    _, kept = network.eval()(x, state)
    assert all(torch.equal(a, b) for a, b in zip(dropped.tensors, kept.tensors, strict=True))


def test_same_seed_same_weights():
    """Weights come from torch's global generator and nothing else."""
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(build_network(Architecture(model="gru", **SIZES)).state_dict())
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in draws[0])


def test_forecasts_start_near_zero():
    """A fresh network forecasts close to no change."""
    torch.manual_seed(4)
    network = build_network(Architecture(model="lstm", **SIZES))
    prediction, _ = network(torch.randn(50, 4, 3), network.initial_state(4))
    assert prediction.abs().max() < 0.05


def test_point_loss_by_hand():
    """Squared errors, one per element: (1-3)^2 = 4, (2-2)^2 = 0, (0-(-1))^2 = 1."""
    head = Head(1, [PointForm()] * 3)
    loss = head.loss(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[3.0, 2.0, -1.0]]))
    assert loss.tolist() == [[4.0, 0.0, 1.0]]


def test_point_loss_refuses_shapes_that_would_broadcast():
    """(B, 1) against (B,) is an error and not a (B, B) table."""
    with pytest.raises(ValueError, match=r"give \(\.\.\., 1\) and"):
        Head(1, [PointForm()]).loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("transformer", {}, "--model transformer is not known; choose one of elman, gru, lstm"),
        ("lstm", {"hidden": 0}, "--hidden is 0"),
        ("lstm", {"layers": 0}, "--layers is 0"),
        ("lstm", {"dropout": 1.0}, "--dropout is 1"),
        ("lstm", {"dropout": -0.1}, "--dropout is -0.1"),
        ("lstm", {"dropout": float("nan")}, "--dropout is nan"),
    ],
)
def test_bad_choices_name_the_option(model, change, message):
    """A usage error that says which option, what it got and what it takes."""
    with pytest.raises(UsageError, match=message):
        build_network(Architecture(model=model, **SIZES | change))


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("forms", [(PointForm(),), (StudentTForm(), PointForm())])
def test_a_network_without_numbers_is_built_without_the_compiler(model, forms, monkeypatch):
    """On the meta device no normal numbers are drawn: torch would import 3 s of compiler for it."""

    def refuse(*arguments, **options):
        raise AssertionError("drawn")

    monkeypatch.setattr(torch.nn.init, "normal_", refuse)
    with torch.device("meta"):
        network = build_network(Architecture(model=model, **SIZES | {"forms": forms}))
    assert all(parameter.is_meta for parameter in network.parameters())


FORMS = (form_of("student-t"), form_of("point"))


def shallow(model="lstm", **options):
    torch.manual_seed(0)
    return build_network(Architecture(model=model, **SIZES | {"layers": 1} | options))


def test_a_base_is_added_to_the_heads_output_and_moves_nothing_else():
    """Its columns reach the forecast one to one; core and state never see them."""
    made = shallow(forms=FORMS, has_base=True)
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
    plain, dropping = shallow(), shallow(input_dropout=0.5).eval()
    state = plain.initial_state(4)
    assert torch.equal(plain(x, state)[0], dropping(x, state)[0])


def test_input_dropout_acts_in_training_only_and_drawn_each_day():
    made = shallow(input_dropout=0.5)
    x, state = torch.ones(40, 1, 3), made.initial_state(1)
    assert not torch.equal(made(x, state)[0], made(x, state)[0])
    shown = made.core.dropout(x)
    assert len(torch.unique(shown, dim=0)) > 3
    made.eval()
    assert torch.equal(made(x, state)[0], made(x, state)[0])


def test_an_mlp_has_no_memory():
    """Other days before, and another state, change nothing; today's inputs do."""
    made = shallow("mlp", layers=2).eval()
    x = torch.randn(6, 4, 3)
    other = torch.cat([torch.randn(5, 4, 3), x[-1:]])
    zeros = made.initial_state(4)
    found, end = made(x, zeros)
    again, _ = made(other, end)
    assert torch.equal(found[-1], again[-1])
    assert not torch.equal(found[0], again[0])
    assert end.tensors[0].shape == zeros.tensors[0].shape == (1, 4, 5)


def test_an_mlp_is_layers_of_rectified_units():
    made = shallow("mlp", layers=2).eval()
    x = torch.randn(2, 3, 3)
    first, second = made.core.stack[0], made.core.stack[3]
    hidden = torch.relu(torch.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    assert_close(made(x, made.initial_state(3))[0], made.head(hidden))


def test_a_share_of_all_inputs_is_refused():
    with pytest.raises(UsageError, match="--input-dropout is 1"):
        shallow(input_dropout=1.0)


def make_pair():
    torch.manual_seed(0)
    pair = LSTMCore(3, 4, 2), LSTMCore(3, 4, 2)
    return BidirectionalCore(*pair).double(), torch.randn(9, 2, 3, dtype=torch.float64)


def test_the_last_day_holds_both_readings():
    """Forward up to the last day, backward down to the first."""
    core, x = make_pair()
    hidden, state = core(x, core.initial_state(2))
    ahead, expected = core.forward_core(x, core.forward_core.initial_state(2))
    backward, _ = core.backward_core(x.flip(0), core.backward_core.initial_state(2))
    assert torch.equal(hidden[-1], torch.cat([ahead[-1], backward[-1]], dim=1))
    assert all(torch.equal(a, b) for a, b in zip(state.tensors, expected.tensors, strict=True))
    assert hidden.shape == (9, 2, core.hidden_size)


def test_every_output_depends_on_every_day():
    """Which is why it may forecast nothing but the day after the window."""
    core, x = make_pair()
    x.requires_grad_()
    hidden, _ = core(x, core.initial_state(2))
    (gradient,) = torch.autograd.grad(hidden[4].sum(), x)
    assert (gradient != 0).any(dim=2).all()
    assert not core.cuttable
