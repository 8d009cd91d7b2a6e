"""The engine on modules that are not ours: torch's own, and such as a user writes."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from forecaster.bptt import Batch, EachDay, Plan, gradients
from tests.bptt.test_engine import equal, relative_error

DAYS, ROWS, INPUTS, HIDDEN = 23, 3, 2, 4
MSE = nn.MSELoss(reduction="none")


class OwnHead(nn.Module):
    """What most people write: an LSTM with a readout, which knows its first state itself."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(INPUTS, HIDDEN, 2), nn.Linear(HIDDEN, 1)

    def forward(self, x, state=None):
        """Run; see the class."""
        hidden, state = self.lstm(x, state)
        return self.out(hidden), state


@dataclass
class Pair:
    """A state of two tensors."""

    fast: torch.Tensor
    slow: torch.Tensor


class Nested(nn.Module):
    """A state in a dict, with batch rows in other places, and a first state that is learnt."""

    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(INPUTS + HIDDEN, HIDDEN)
        self.first = nn.Parameter(torch.randn(HIDDEN))

    def initial_state(self, rows):
        """Return the first state."""
        return {
            "pair": Pair(self.first.expand(rows, -1), self.first[:, None].expand(-1, rows)),
            "seen": [torch.zeros(1, rows)],
        }

    def forward(self, x, state):
        """Run; see the class."""
        fast, slow, outputs = state["pair"].fast, state["pair"].slow, []
        for day in x:
            fast = torch.tanh(self.cell(torch.cat([day, fast], dim=1)) + slow.T)
            slow = 0.5 * slow + 0.1 * fast.T
            outputs.append(fast)
        seen = state["seen"][0] + len(x)
        return torch.stack(outputs), {"pair": Pair(fast, slow), "seen": [seen]}


class Leaky(nn.Module):
    """A cell that steps through single days, with an output of its own."""

    def __init__(self):
        super().__init__()
        self.inside, self.out = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, 1)

    def initial_state(self, rows):
        """Return the first state."""
        return torch.zeros(rows, HIDDEN, dtype=self.out.weight.dtype)

    def forward(self, x, state):
        """Run; see the class."""
        state = 0.8 * state + torch.tanh(self.inside(x))
        return self.out(state), state


class Stepped(nn.Module):
    """The oracle's way through a cell of torch."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, state):
        """Run; see the class."""
        outputs = []
        for day in x:
            state = self.cell(day, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs), state


def detached(state):
    if isinstance(state, torch.Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {key: detached(part) for key, part in state.items()}
    if isinstance(state, Pair):
        return Pair(state.fast.detach(), state.slow.detach())
    return type(state)(detached(part) for part in state)


def readout():
    return nn.Linear(HIDDEN, 1).double()


FOREIGN = {
    "rnn": lambda: (nn.RNN(INPUTS, HIDDEN, nonlinearity="relu"), readout()),
    "gru, 2 layers": lambda: (nn.GRU(INPUTS, HIDDEN, 2), readout()),
    "lstm, 2 layers": lambda: (nn.LSTM(INPUTS, HIDDEN, 2), readout()),
    "lstm with a projection": lambda: (nn.LSTM(INPUTS, 7, proj_size=HIDDEN), readout()),
    "rnn cell": lambda: (nn.RNNCell(INPUTS, HIDDEN), readout()),
    "gru cell": lambda: (nn.GRUCell(INPUTS, HIDDEN), readout()),
    "lstm cell": lambda: (nn.LSTMCell(INPUTS, HIDDEN), readout()),
    "own head": lambda: (OwnHead(), None),
    "nested state": lambda: (Nested(), readout()),
    "own cell": lambda: (EachDay(Leaky()), None),
}


def make(name):
    torch.manual_seed(3)
    module, head = FOREIGN[name]()
    return module.double(), head


def days(rows=ROWS):
    torch.manual_seed(4)
    x = torch.randn(DAYS, rows, INPUTS, dtype=torch.float64)
    y = torch.randn(DAYS, rows, 1, dtype=torch.float64)
    mask = torch.rand(DAYS, rows) < 0.7
    return x, torch.where(mask[..., None], y, torch.nan), mask


def plain(module, head, x, y, mask, cut=DAYS):
    """Autograd's gradients of the mean loss, the state detached every `cut` days."""
    state = module.initial_state(x.shape[1]) if hasattr(module, "initial_state") else None
    run = Stepped(module) if isinstance(module, nn.RNNCellBase) else module
    losses, y = [], y.nan_to_num()
    for first in range(0, len(x), cut):
        output, state = run(x[first : first + cut], state)
        state = detached(state)
        output = output if head is None else head(output)
        scored = mask[first : first + cut]
        losses.append((output - y[first : first + cut]).square()[..., 0][scored])
    weights = [*module.parameters(), *(() if head is None else head.parameters())]
    return torch.autograd.grad(torch.cat(losses).mean(), weights, allow_unused=True)


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("k2", [None, 5])
def test_any_module_has_the_gradients_of_autograd(monkeypatch, name, memory, k2):
    monkeypatch.setattr("forecaster.bptt.engine.RECOMPUTED_CHUNK_DAYS", 3)
    (module, head), (x, y, mask) = make(name), days()
    plan = Plan.full(memory=memory) if k2 is None else Plan.truncated(k2, memory=memory)
    found = gradients(module, Batch(x, y, mask), plan, loss=MSE, head=head)
    expected = plain(module, head, x, y, mask, k2 or DAYS)
    named = [*dict(module.named_parameters())]
    named += [] if head is None else ["head.weight", "head.bias"]
    assert [*found.by_name] == named
    assert relative_error(found.values, expected) < 1e-13


@pytest.mark.parametrize("name", FOREIGN)
def test_the_state_is_carried_to_the_next_batch_in_its_own_form(name):
    (module, head), (x, y, mask) = make(name), days()
    loss = {"loss": MSE, "head": head}
    first = gradients(module, Batch(x[:9], y[:9], mask[:9], count=1), Plan.full(), **loss)
    rest = Batch(x[9:], y[9:], mask[9:], count=1)
    second = gradients(module, rest, Plan.full(), state=first.state, **loss)
    whole = Batch(x, y, mask, count=1, chunks=(9, DAYS - 9))
    both = gradients(module, whole, Plan.truncated(DAYS - 9), **loss)
    assert type(first.state) is type(both.state)
    assert float(first.loss + second.loss) == pytest.approx(float(both.loss), rel=1e-13)
    summed = [a + b for a, b in zip(first.values, second.values, strict=True)]
    assert relative_error(summed, both.values) < 1e-13


class Masked(nn.Module):
    """Dropout in a head, in front of a state-carrying module that draws between its layers."""

    def __init__(self):
        super().__init__()
        self.drop, self.out = nn.Dropout(0.4), nn.Linear(HIDDEN, 1)

    def forward(self, hidden):
        """Run; see the class."""
        return self.out(self.drop(hidden))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("plan", [Plan.full(), Plan.truncated(60, 20)])
def test_stored_and_recomputed_agree_bit_for_bit_with_dropout(kind, plan):
    torch.manual_seed(1)
    module, head = kind(INPUTS, HIDDEN, 2, dropout=0.3), Masked()
    x, y, found = torch.randn(130, ROWS, INPUTS), torch.randn(130, ROWS, 1), []
    for memory in ("store", "recompute"):
        torch.manual_seed(2)
        chosen = Plan(kind=plan.kind, k2=plan.k2, k1=plan.k1, memory=memory)
        made = gradients(module, Batch(x, y), chosen, loss=MSE, head=head)
        found.append((made.loss, *made.values, torch.rand(1)))
    assert equal(*found)


def test_rows_first_is_the_same_and_the_other_layout_is_refused():
    (module, head), (x, y, mask) = make("lstm, 2 layers"), days()
    rows_first = nn.LSTM(INPUTS, HIDDEN, 2, batch_first=True).double()
    rows_first.load_state_dict(module.state_dict())
    turned = [tensor.transpose(0, 1) for tensor in (x, y, mask)]
    turned[0] = turned[0].clone().requires_grad_()
    plan, how = Plan.truncated(5), {"loss": MSE, "head": head}
    found = gradients(rows_first, Batch(*turned, batch_first=True), plan, **how)
    expected = gradients(module, Batch(x.requires_grad_(), y, mask), plan, **how)
    assert relative_error(found.values, expected.values) < 1e-13
    assert torch.allclose(found.x.transpose(0, 1), expected.x, rtol=1e-12)
    with pytest.raises(ValueError, match=r"give Batch\(..., batch_first=True\)"):
        gradients(rows_first, Batch(x, y, mask), plan, **how)


@pytest.mark.parametrize("name", ["lstm, 2 layers", "gru cell", "nested state", "own cell"])
@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("k2", [None, 6])
def test_series_start_on_any_day(monkeypatch, name, memory, k2):
    """Row 1 starts again on day 8, inside a chunk: as if its two series were alone."""
    monkeypatch.setattr("forecaster.bptt.engine.RECOMPUTED_CHUNK_DAYS", 5)
    (module, head), (x, y, mask) = make(name), days()
    resets = torch.zeros(DAYS, ROWS, dtype=torch.bool)
    resets[0], resets[8, 1] = True, True
    plan = Plan.full(memory=memory) if k2 is None else Plan.truncated(k2, memory=memory)
    how, total = {"loss": MSE, "head": head}, 0.0
    found = flat(gradients(module, Batch(x, y, mask, resets, count=1), plan, **how))
    for row, first, stop in ((0, 0, DAYS), (1, 0, 8), (1, 8, DAYS), (2, 0, DAYS)):
        at = (slice(first, stop), slice(row, row + 1))
        chunks = None
        if k2 and first:  # the chunks of the batch, not of the series
            chunks = (4, 6, 5)
        alone = Batch(x[at], y[at], mask[at], count=1, chunks=chunks)
        total = total + flat(gradients(module, alone, plan, **how))
    assert relative_error([found], [total]) < 1e-12


def flat(found):
    """Join all gradients in one vector."""
    return torch.cat([gradient.flatten() for gradient in found.values])


def test_a_first_state_that_only_the_module_knows_cannot_be_reset_to():
    (module, _), (x, y, mask) = make("own head"), days()
    resets = torch.zeros(DAYS, ROWS, dtype=torch.bool)
    resets[8, 1] = True
    with pytest.raises(ValueError, match=r"only OwnHead knows; give it a method `initial_state"):
        gradients(module, Batch(x, y, mask, resets), Plan.full(), loss=MSE)


@pytest.mark.parametrize("plan", [Plan.full(), Plan.truncated(5), Plan.truncated(8, 4)])
def test_the_loss_is_the_mean_of_all_scored_values_however_the_days_are_cut(plan):
    (module, _), (x, y, mask) = make("lstm, 2 layers"), days()
    y = torch.randn(DAYS, ROWS, HIDDEN, dtype=x.dtype)
    losses = (module(x)[0] - y).square()
    for chosen, expected in (
        (None, losses.mean()),
        (mask, losses[mask].mean()),
        (y > 0, losses[y > 0].mean()),
    ):
        found = gradients(module, Batch(x, y, chosen), plan, loss=MSE)
        assert float(found.loss) == pytest.approx(float(expected.detach()), rel=1e-13)


def test_days_of_context_are_not_counted():
    (module, head), (x, y, mask) = make("gru, 2 layers"), days()
    context = torch.zeros_like(mask)
    context[8:12] = mask[8:12]
    cut = {"chunks": (4, 4, 4), "context": 2}
    how = {"loss": MSE, "head": head}
    found = gradients(module, Batch(x[:12], y[:12], mask[:12], **cut), Plan.truncated(12, 4), **how)
    expected = gradients(module, Batch(x[:12], y[:12], context[:12]), Plan.full(), **how)
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-13)
    assert relative_error(found.values, expected.values) < 1e-13


def test_classes_are_scored_by_their_own_loss():
    """`y` holds numbers of classes; where none is known, any."""
    (module, _), (x, _, mask) = make("gru, 2 layers"), days()
    y = torch.where(mask, torch.randint(HIDDEN, (DAYS, ROWS)), -100)

    def loss(output, y):
        return nn.functional.cross_entropy(output.movedim(-1, 1), y, reduction="none")

    found = gradients(module, Batch(x, y, mask), Plan.full(), loss=loss)
    expected = nn.functional.cross_entropy(module(x)[0].flatten(0, 1), y.flatten())
    grads = torch.autograd.grad(expected, tuple(module.parameters()))
    assert relative_error(found.values, grads) < 1e-13


def test_gradients_of_the_inputs_come_on_request():
    (module, head), (x, y, mask) = make("rnn"), days()
    plain_x, y = x.clone().requires_grad_(), y.nan_to_num()
    for plan, cut in ((Plan.full(memory="recompute"), DAYS), (Plan.truncated(5), 5)):
        asked = Batch(x.clone().requires_grad_(), y, mask)
        found = gradients(module, asked, plan, loss=MSE, head=head)
        state, losses = None, []
        for first in range(0, DAYS, cut):
            hidden, state = module(plain_x[first : first + cut], state)
            state, at = state.detach(), slice(first, first + cut)
            losses.append((head(hidden) - y[at]).square()[..., 0][mask[at]])
        (expected,) = torch.autograd.grad(torch.cat(losses).mean(), plain_x)
        assert relative_error([found.x], [expected]) < 1e-13
    assert gradients(module, Batch(x, y, mask), plan, loss=MSE, head=head).x is None


def test_any_optimizer_steps_on_what_apply_sets():
    """SGD with momentum and clipping, as after `backward`; `add` adds to what is there."""
    runs = []
    for ours in (True, False):
        (module, head), (x, y, mask) = make("lstm, 2 layers"), days()
        y = y.nan_to_num()
        weights = [*module.parameters(), *head.parameters()]
        optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
        for _ in range(3):
            if ours:
                gradients(module, Batch(x, y, mask), Plan.full(), loss=MSE, head=head).apply()
            else:
                optimizer.zero_grad()
                (head(module(x)[0]) - y).square()[..., 0][mask].mean().backward()
            nn.utils.clip_grad_norm_(weights, 0.1)
            optimizer.step()
        runs.append([weight.detach() for weight in weights])
    assert relative_error(*runs) < 1e-13
    once = gradients(module, Batch(x, y, mask), Plan.full(), loss=MSE, head=head)
    once.apply()
    once.apply(add=True)
    assert all(torch.equal(w.grad, 2 * g) for w, g in zip(weights, once.values, strict=True))


def test_frozen_parameters_are_left_out():
    (module, head), (x, y, mask) = make("rnn"), days()
    module.requires_grad_(False)
    found = gradients(module, Batch(x, y, mask), Plan.full(), loss=MSE, head=head)
    assert [*found.by_name] == ["head.weight", "head.bias"]
    head.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of RNN requires a gradient"):
        gradients(module, Batch(x, y, mask), Plan.full(), loss=MSE, head=head)


class Normalised(nn.Module):
    """A module that changes its buffers, running means, in forward."""

    def __init__(self):
        super().__init__()
        self.norm, self.rnn = nn.BatchNorm1d(INPUTS), nn.RNN(INPUTS, 1)

    def forward(self, x, state):
        """Run; see the class."""
        return self.rnn(self.norm(x.flatten(0, 1)).view_as(x), state)


@pytest.mark.parametrize("plan", [Plan.full(memory="recompute"), Plan.truncated(8, 4)])
def test_changing_buffers_is_refused_where_days_run_twice(plan):
    """And they are what they were; run once, they may change."""
    module, (x, y, mask) = Normalised().double(), days()
    before = [buffer.clone() for buffer in module.buffers()]
    with pytest.raises(
        ValueError, match=r"Normalised changes its buffers \(num_batches_tracked, running_mean, "
    ):
        gradients(module, Batch(x, y, mask), plan, loss=MSE)
    assert equal(module.buffers(), before)
    gradients(module, Batch(x, y, mask), Plan.truncated(8), loss=MSE)
    assert not equal(module.buffers(), before)
    module.eval()
    gradients(module, Batch(x, y, mask), plan, loss=MSE)


def test_a_bidirectional_module_is_refused_where_days_are_cut_only():
    module, (x, _, _) = nn.GRU(INPUTS, 2, bidirectional=True).double(), days()
    y = torch.randn(DAYS, ROWS, 4, dtype=x.dtype)
    found = gradients(module, Batch(x, y), Plan.full(), loss=MSE)
    loss = (module(x)[0] - y).square().mean()
    assert (
        relative_error(found.values, torch.autograd.grad(loss, tuple(module.parameters()))) < 1e-13
    )
    inside = torch.zeros(DAYS, ROWS, dtype=torch.bool)
    inside[8, 1] = True
    for plan, resets in ((Plan.truncated(5), None), (Plan.full(), inside)):
        with pytest.raises(ValueError, match="GRU reads days from both ends"):
            gradients(module, Batch(x, y, resets=resets), plan, loss=MSE)


def test_other_forms_are_refused_with_their_remedy():
    (module, head), (x, y, mask) = make("rnn"), days()
    packed = pack_padded_sequence(x, torch.tensor([DAYS] * ROWS))
    plan, how = Plan.full(), {"loss": MSE, "head": head}
    with pytest.raises(TypeError, match="pad_packed_sequence"):
        gradients(module, Batch(packed, y, mask), plan, **how)
    with pytest.raises(ValueError, match=r"a scalar; give it reduction=\"none\""):
        gradients(module, Batch(x, y, mask), plan, loss=nn.MSELoss(), head=head)
    with pytest.raises(
        ValueError, match=r"is \(23, 3\); .* one value for each element of the mask"
    ):
        gradients(
            module,
            Batch(x, y, torch.isfinite(y)),
            plan,
            loss=lambda output, y: (output - y).square().mean(-1),
            head=head,
        )
    with pytest.raises(ValueError, match=r"resets are torch.bool \(3,\); give a bool \(23, 3\)"):
        gradients(module, Batch(x, y, mask, torch.ones(3, dtype=torch.bool)), plan, **how)
    with pytest.raises(TypeError, match=r"must map \(x, state\) to \(output, state\)"):
        gradients(Outputs(), Batch(x, y, mask), plan, loss=MSE)
    with pytest.raises(ValueError, match=r"outputs of shape \(1, 3, 1\) for 23 days of 3 rows"):
        gradients(LastDay(), Batch(x, y, mask), plan, loss=MSE)
    with pytest.raises(TypeError, match=r"no torch\.nn\.Module"):
        gradients(torch.tanh, Batch(x, y, mask), plan, loss=MSE)
    with pytest.raises(TypeError, match="a str is neither a tensor"):
        gradients(module, Batch("x", y, mask), plan, **how)


class Outputs(nn.Linear):
    """A module without a state."""

    def __init__(self):
        super().__init__(INPUTS, 1, dtype=torch.float64)

    def forward(self, x, state):
        """Run; see the class."""
        return super().forward(x)


class LastDay(Outputs):
    """One output for all days."""

    def forward(self, x, state):
        """Run; see the class."""
        return nn.Linear.forward(self, x)[-1:], torch.zeros(1)
