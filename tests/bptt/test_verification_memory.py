"""The activations that backward needs, in bytes: T18 of docs/gradient-verification.md."""

from math import isqrt
from weakref import finalize

import pytest
import torch

from forecaster.bptt import engine
from forecaster.bptt.plan import Plan
from forecaster.models.heads import PointForm
from forecaster.models.network import CORES, Architecture, build_network
from tests.bptt.verification import gradients_of, within

ROWS, INPUTS, HIDDEN = 2, 3, 8


class SavedBytes:
    """Counts the storages that graphs keep alive; leaves, which exist anyway, left out."""

    def __init__(self, leaves):
        self.users = {tensor.untyped_storage().data_ptr(): None for tensor in leaves}
        self.now = self.peak = 0

    def pack(self, tensor):
        """Count a storage the first time that a graph keeps it."""
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        kept = _Kept(tensor)
        if self.users.get(key, 0) is not None:
            if self.users.setdefault(key, 0) == 0:
                self.now += size
                self.peak = max(self.peak, self.now)
            self.users[key] += 1
            finalize(kept, self.drop, key, size)
        return kept

    def drop(self, key, size):
        """Forget a storage when the last graph lets go of it."""
        self.users[key] -= 1
        if self.users[key] == 0:
            del self.users[key]
            self.now -= size


class _Kept:
    """What a graph holds in place of a tensor."""

    def __init__(self, tensor):
        # Detached: a graph dropped without backward must not hold itself by one of its outputs.
        self.tensor = tensor.detach()


def peak_bytes(model, days, plan, hidden=HIDDEN):
    """The most that graphs hold at a time while a block is differentiated, states included."""
    torch.manual_seed(0)
    network = build_network(
        Architecture(
            model=model, inputs=INPUTS, forms=(PointForm(),), hidden=hidden, layers=1, dropout=0.0
        )
    )
    x, y = torch.randn(days, ROWS, INPUTS), torch.randn(days, ROWS, 1)
    mask, state = torch.ones_like(y, dtype=torch.bool), network.initial_state(ROWS)
    counted = SavedBytes([x, y, mask, *state.tensors, *network.parameters()])
    with torch.autograd.graph.saved_tensors_hooks(counted.pack, lambda kept: kept.tensor):
        gradients_of(network, x, y, mask, state, plan, float(days * ROWS))
    assert counted.now == 0
    return counted.peak


@pytest.mark.parametrize("model", CORES)
def test_one_graph_grows_with_the_days(model):
    """T18: eight times the days hold at least 7.5 times the bytes."""
    store = Plan.full(memory="store")
    ratio = peak_bytes(model, 2000, store) / peak_bytes(model, 250, store)
    print(f"measured {ratio:.3f}")
    assert ratio >= 7.5


@pytest.mark.parametrize("model", CORES)
def test_truncated_memory_does_not_grow_with_the_days(model):
    """T18: TBPTT of 250 days holds as much at 2,000 days as at 500, to 2 %."""
    plan = Plan.truncated(k2=250, memory="store")
    within(peak_bytes(model, 2000, plan) / peak_bytes(model, 500, plan), 1.02)


@pytest.mark.parametrize("model", CORES)
def test_recomputation_holds_one_chunk(monkeypatch, model):
    """T18: exact full BPTT in chunks of sqrt(T) days holds at most 3 x one graph of sqrt(T).

    The states kept at chunk starts are counted too.
    """
    days = 2000
    chunk = isqrt(days)
    monkeypatch.setattr(engine, "RECOMPUTED_CHUNK_DAYS", chunk)
    tensors = {"elman": 1, "gru": 1, "lstm": 2}[model]
    starts = -(-days // chunk) * tensors * ROWS * HIDDEN * 4
    recomputed = peak_bytes(model, days, Plan.full(memory="recompute")) + starts
    one_chunk = peak_bytes(model, chunk, Plan.full(memory="store"))
    within(recomputed / one_chunk, 3.0)


@pytest.mark.parametrize("model", CORES)
def test_overlapping_chunks_keep_their_horizon_only(model):
    """T18: with (k1, k2) one block of k2 days is held, however many blocks there are."""
    plan = Plan.truncated(k2=120, k1=30, memory="store")
    one_block = peak_bytes(model, 120, Plan.full(memory="store"))
    within(peak_bytes(model, 600, plan) / one_block, 1.05)
