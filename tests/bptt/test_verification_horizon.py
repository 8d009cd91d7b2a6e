"""The horizon, by exact zeros: T7, T9, T10 and T16 of docs/gradient-verification.md."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, window_ends
from forecaster.models.heads import PointForm
from forecaster.models.network import CORES, Architecture, build_network
from forecaster.training.inference import forecast_histories, forecast_windows
from tests.bptt.test_engine import (
    COUNT,
    FULL,
    equal,
    make_days,
    make_network,
    make_probed,
    touched_days,
)
from tests.bptt.verification import (
    arrays_of,
    delay_line,
    epochs_of,
    fit,
    gradients_of,
    lagged,
    offsets_of,
    relative_mse,
    watched_fit,
    within,
)

LAG, SERIES, LENGTH = 10, 16, 120
OFFSETS = offsets_of([LENGTH] * SERIES)
SMALL = [(1, 1), (4, 4), (5, 5), (10, 10), (8, 4), (10, 1), (10, 2)]
LARGE = [(11, 11), (12, 12), (20, 20), (12, 4), (11, 1), (12, 2)]


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("k2", "k1"), [(6, 6), (8, 8), (8, 4), (12, 4), (6, 1), (40, 8), (39, 39)])
@pytest.mark.parametrize("memory", ["store", pytest.param("recompute", marks=pytest.mark.slow)])
def test_the_days_that_matter_are_exactly_those_within_the_horizon(model, k2, k1, memory):
    """T7: the set of days with dE_t/dx != 0 is {a, ..., t}, both inclusions, for (k1, k2)."""
    network, x, y, state = make_probed(model)
    for day in (39, 40):
        mask = torch.zeros_like(y, dtype=torch.bool)
        mask[day] = True
        plan = Plan.truncated(k2=k2, k1=k1, memory=memory)
        result = gradients_of(network, x, y, mask, state, plan, 1.0)
        first = max(0, (day // k1 + 1) * k1 - k2)
        assert touched_days(network, result) == list(range(first, day + 1))


def trained_delay_line(plan, k1, steps=250):
    """The write-gate experiment through the whole training loop."""
    inputs, d = lagged(SERIES, LENGTH, LAG)
    made, epochs = delay_line(LAG), epochs_of([LENGTH] * SERIES, SERIES, k1)
    optimizer = watched_fit(made, arrays_of(inputs, d), epochs, plan, steps, learning_rate=0.05)
    forecast = forecast_histories(made, torch.from_numpy(inputs), OFFSETS)
    largest = max(float(part.abs().max()) for parts in optimizer.seen for part in parts)
    return made, largest, relative_mse(forecast, d)


@pytest.mark.parametrize(("k2", "k1"), SMALL)
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_the_write_gate_stays_shut_below_the_lag(k2, k1, memory):
    """T9: reach <= L: no gradient is ever anything but 0 and no weight moves by a bit."""
    plan = Plan.truncated(k2=k2, k1=k1, memory=memory)
    made, largest, error = trained_delay_line(plan, k1, steps=60)
    assert equal(made.parameters(), delay_line(LAG).parameters())
    assert largest == 0.0
    assert error == 1.0


@pytest.mark.parametrize(("k2", "k1"), LARGE)
def test_the_write_gate_opens_one_day_beyond_the_lag(k2, k1):
    """T9: reach >= L + 1: the same network, data and budget learn the lag."""
    plan = Plan.truncated(k2=k2, k1=k1)
    _, largest, error = trained_delay_line(plan, k1)
    assert largest > 0.0
    within(error, 0.1)


def test_full_opens_the_write_gate():
    """T9: errors that reach the first day learn the lag, recomputed or not."""
    for memory in ("store", "recompute"):
        plan = Plan.full(memory=memory)
        _, _, error = trained_delay_line(plan, LENGTH, steps=120)
        within(error, 0.1)


def windows_of(days, lookback, batch=64):
    """Passes over all windows of one series."""
    ends = window_ends(np.array([0, days]), lookback, np.ones(days, dtype=np.bool_))
    generator = np.random.default_rng(0)
    return ends, lambda number: WindowBatches.drawn(ends, lookback, batch, generator)


@pytest.mark.parametrize(
    ("lookback", "k2", "opens"),
    [(LAG, None, False), (LAG + 1, None, True), (30, LAG, False), (30, LAG + 1, True)],
)
def test_windows_open_the_write_gate_at_the_same_day(lookback, k2, opens):
    """T9: with a last-day loss the cliff is at a look-back, and at a horizon, of L + 1 days."""
    inputs, d = lagged(1, 1000, LAG)
    data, (ends, epochs) = arrays_of(inputs, d), windows_of(1000, lookback)
    plan = Plan.truncated(k2=k2) if k2 else FULL
    made = delay_line(LAG)
    watched = watched_fit(made, data, epochs, plan, 200, learning_rate=0.05, last_day_only=True)
    forecast = forecast_windows(made, data.inputs, ends, lookback)
    if opens:
        within(relative_mse(forecast, d[ends]), 0.1)
    else:
        assert not any(part.any() for parts in watched.seen for part in parts)
        assert relative_mse(forecast, d[ends]) == 1.0


def test_windows_no_longer_than_the_lag_forecast_no_better_than_the_mean():
    """T10: what is not in the window cannot be known: error >= 0.97 Var on new days."""
    lag, lookback, days = 8, 8, 1500
    inputs, d = lagged(2, days, lag, seed=2)
    inputs, d = (values.astype(np.float32) / 0.3 for values in (inputs, d))
    torch.manual_seed(0)
    made = build_network(
        Architecture(model="lstm", inputs=1, forms=(PointForm(),), hidden=16, layers=1, dropout=0.0)
    )
    _, epochs = windows_of(days, lookback)
    fit(made, arrays_of(inputs[:days], d[:days]), epochs, FULL, 200, last_day_only=True)
    fresh = torch.from_numpy(inputs[days:])
    ends = np.arange(lag, days)
    error = relative_mse(forecast_windows(made, fresh, ends, lookback), d[days:][ends])
    print(f"measured {error:.4f}")
    assert error >= 0.97


PLANS = [
    Plan.full(memory="store"),
    Plan.full(memory="recompute"),
    Plan.truncated(k2=8),
    Plan.truncated(k2=12, k1=4, memory="recompute"),
]


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("plan", PLANS)
def test_another_row_leaves_a_rows_gradient_and_state_alone(model, plan):
    """T16a: perturb row B; row A's part of the gradient and its state keep every bit."""
    network = make_network(model)
    x, y, mask, state = make_days(network)
    mask[:, 1:] = False
    before = gradients_of(network, x, y, mask, state, plan, COUNT)
    x[:, 1:] *= 10
    y[:, 1:] += 1.0
    after = gradients_of(network, x, y, mask, state, plan, COUNT)
    first = torch.tensor([0])
    assert equal(before.values, after.values)
    assert equal(before.state.rows(first).tensors, after.state.rows(first).tensors)
    assert not equal(before.state.tensors, after.state.tensors)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("plan", PLANS)
def test_later_days_leave_earlier_errors_alone(model, plan):
    """T16b: perturb x and d from day 23 on; loss and gradient of days before keep every bit."""
    network, day = make_network(model), 23
    x, y, mask, state = make_days(network)
    mask[day:] = False
    before = gradients_of(network, x, y, mask, state, plan, COUNT)
    x[day:] *= 10
    y[day:] += 1.0
    after = gradients_of(network, x, y, mask, state, plan, COUNT)
    assert equal(before.values, after.values)
    assert torch.equal(before.loss, after.loss)


@pytest.mark.parametrize("model", CORES)
def test_a_validation_replays_history_with_the_weights_of_that_moment(model):
    """T16d: forecasts inside `validate` are those of a fresh copy of the network."""
    lengths, seen = (30, 12, 8), []
    offsets = offsets_of(lengths)
    inputs = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((50, 2)).astype(np.float32)
    data = arrays_of(inputs, y)
    made = make_network(model, dtype=torch.float32)

    def validated(step, validation):
        fresh = make_network(model, dtype=torch.float32)
        fresh.load_state_dict(made.state_dict())
        kept = forecast_histories(made, data.inputs, offsets)
        np.testing.assert_array_equal(kept, forecast_histories(fresh, data.inputs, offsets))
        seen.append(kept)

    fit(made, data, epochs_of(lengths, 2, 8), Plan.truncated(k2=8), 6, on_step=validated)
    assert len(seen) == 6
    assert all((a != b).any() for a, b in pairwise(seen))


@pytest.mark.parametrize("model", CORES)
def test_the_order_of_series_does_not_change_their_forecasts(model):
    """T16e: series forecast in another order, one by one the same to 1e-12."""
    lengths = np.array([7, 1, 12, 5, 12])
    network = make_network(model)
    torch.manual_seed(1)
    parts = list(torch.randn(37, 3, dtype=torch.float64).split(lengths.tolist()))
    forecasts = []
    for order in ([0, 1, 2, 3, 4], [3, 4, 0, 2, 1]):
        inputs = torch.cat([parts[k] for k in order])
        found = forecast_histories(network, inputs, offsets_of(lengths[order]))
        split = np.split(found, np.cumsum(lengths[order])[:-1])
        forecasts.append([split[order.index(k)] for k in range(5)])
    for one, other in zip(*forecasts, strict=True):
        within(float(np.abs(one - other).max()), 1e-12)


def test_the_experiment_can_fail():
    """T9's control: with the write gate a crack open, a short reach does move weights."""
    inputs, d = lagged(SERIES, LENGTH, LAG)
    made = delay_line(LAG)
    torch.nn.init.constant_(made.core.write, 0.1)
    plan = replace(Plan.truncated(k2=LAG), step_per="epoch")
    watched = watched_fit(made, arrays_of(inputs, d), epochs_of([LENGTH] * SERIES, 4, 10), plan, 2)
    assert any(part.any() for parts in watched.seen for part in parts)
