import copy
import json
import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import Batch, WindowBatches, pack_sequences
from forecaster.errors import DivergedError
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training import epoch as epoch_module
from forecaster.training import micro_batches, trainer
from forecaster.training.epoch import Position, Sampling, epoch_gradients
from forecaster.training.inference import forecast_histories
from forecaster.training.micro_batches import Learner, TrainingArrays, Workers
from forecaster.training.optimizer import AdamW
from forecaster.training.trainer import (
    MIN_RECENT,
    RECENT,
    SPIKE,
    Callbacks,
    GradientNorms,
    Options,
    train,
)
from tests.bptt.textbook import elman_gradients, elman_states
from tests.bptt.verification import gradients_of

OPTIONS = Options(
    plan=Plan.full(),
    sampling=Sampling(),
    max_steps=12,
    learning_rate=0.01,
    weight_decay=1e-3,
    clip_grad=1.0,
    evaluate_every=4,
    patience=100,
)
FULL = Plan.full()
HISTORIES = Sampling()
OFFSETS = np.array([0, 20, 32, 40])


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny networks wait longer for a second thread than it helps, on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(*, model="lstm", seed=0, dropout=0.0, layers=1, hidden=4, inputs=2, targets=1):
    torch.manual_seed(seed)
    return build_network(
        Architecture(
            model=model,
            inputs=inputs,
            forms=(PointForm(),) * targets,
            hidden=hidden,
            layers=layers,
            dropout=dropout,
        )
    )


def one_epoch(made, data, batches, plan, sampling=HISTORIES):
    """The gradients of an epoch from its start."""
    learner = Learner(network=made, arrays=data, plan=plan, workers=Workers())
    return epoch_gradients(learner, batches, sampling, Position())


def arrays(rows=40, seed=0, targets=1):
    """Random inputs and outcomes, one outcome in five not scored and not known."""
    draw = np.random.default_rng(seed)
    y = draw.normal(size=(rows, targets)).astype(np.float32)
    y[::5] = np.nan
    inputs = draw.normal(size=(rows, 2)).astype(np.float32)
    return TrainingArrays.on(torch.device("cpu"), inputs, y, np.isfinite(y))


def batch_rows(*, count=2, chunk=8, phase=None):
    """What the pipeline epochs: three series of 20, 12 and 8 days in batch rows."""
    generator = np.random.default_rng(3)
    return lambda number: pack_sequences(
        OFFSETS[:-1], OFFSETS[1:], count, chunk, generator, phase or chunk
    )


def run(
    made,
    epochs,
    *,
    data=None,
    plan=FULL,
    options=OPTIONS,
    validate=None,
    last_day_only=False,
):
    """Train; return the validations and the weights after every optimizer step."""
    weights = []
    sampling = Sampling(last_day_only=last_day_only)
    found = train(
        made,
        data or arrays(),
        epochs,
        replace(options, plan=plan, sampling=sampling),
        Callbacks(
            validate=validate or (lambda _: 1.0),
            on_step=lambda *_: weights.append(copy.deepcopy(made.state_dict())),
        ),
    )
    return found, weights


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def by_time(validations):
    return [replace(validation, seconds=0.0) for validation in validations]


@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(model):
    """Weights after every step and every validation, dropout included; another seed differs."""

    def once(seed):
        made = network(model=model, seed=seed, dropout=0.3, layers=2)
        return run(
            made,
            batch_rows(phase=3),
            validate=lambda n: float(forecast_histories(n, arrays().inputs, OFFSETS).sum() ** 2),
        )

    (validations, weights), (again, same), (_, other) = once(0), once(0), once(1)
    assert by_time(validations) == by_time(again)
    assert all(equal(a, b) for a, b in zip(weights, same, strict=True))
    assert not equal(weights[-1], other[-1])


def test_learns_a_noiseless_sine():
    """From one value a day, the next follows only with memory: its slope has to be remembered."""
    wave = np.sin(np.arange(121) * 2 * np.pi / 20).astype(np.float32)[:, None]
    data = TrainingArrays.on(
        torch.device("cpu"), wave[:-1], wave[1:], np.ones((120, 1), dtype=np.bool_)
    )
    options = replace(OPTIONS, max_steps=400, learning_rate=0.03, evaluate_every=100)
    made = network(hidden=8, inputs=1)
    generator = np.random.default_rng(0)
    first, stop = np.array([0]), np.array([120])
    validations, _ = run(
        made,
        lambda number: pack_sequences(
            first, stop, 1, 40, generator, int(generator.integers(1, 41))
        ),
        data=data,
        options=options,
        validate=lambda n: float(
            np.mean((forecast_histories(n, data.inputs, np.array([0, 120])) - wave[1:]) ** 2)
        ),
    )
    # Knowing only today's value leaves (1 - cos^2(18 deg)) / 2 = 0.048 at best.
    assert validations[-1].validation_loss < 0.005
    assert validations[-1].train_loss < 0.005
    assert validations[0].train_loss > validations[-1].train_loss


def test_early_stopping_returns_the_best_validation_bit_for_bit():
    """Losses 3, 1, 2, 1, 1.5: a tie is no gain, three validations without one end it."""
    losses = iter([3.0, 1.0, 2.0, 1.0, 1.5, 0.0])
    made = network()
    options = replace(OPTIONS, max_steps=50, evaluate_every=2, patience=3)
    validations, weights = run(made, batch_rows(), options=options, validate=lambda _: next(losses))
    assert [validation.validation_loss for validation in validations] == [3.0, 1.0, 2.0, 1.0, 1.5]
    assert [validation.best for validation in validations] == [True, True, False, False, False]
    assert [validation.step for validation in validations] == [2, 4, 6, 8, 10]
    assert len(weights) == 10
    assert equal(made.state_dict(), weights[3])
    assert not equal(made.state_dict(), weights[-1])


def test_patience_counts_validations_without_gain():
    """The first validation is the best, three more are no better: it ends there."""
    losses = iter([1.0, 2.0, 3.0, 4.0, 0.0])
    made = network()
    options = replace(OPTIONS, max_steps=50, evaluate_every=1, patience=3)
    validations, weights = run(made, batch_rows(), options=options, validate=lambda _: next(losses))
    assert len(validations) == 4
    assert equal(made.state_dict(), weights[0])


def test_the_last_step_is_validated_too():
    """Seven steps, a validation every three: after 3, 6 and 7."""
    made = network()
    options = replace(OPTIONS, max_steps=7, evaluate_every=3)
    losses = iter([3.0, 2.0, 1.0])
    validations, weights = run(made, batch_rows(), options=options, validate=lambda _: next(losses))
    assert [validation.step for validation in validations] == [3, 6, 7]
    assert equal(made.state_dict(), weights[-1])


def test_on_step_is_called_after_every_step_with_its_validation():
    """Numbered from 1; the validation where there was one, None elsewhere."""
    calls = []
    validations = train(
        network(),
        arrays(),
        batch_rows(),
        replace(OPTIONS, max_steps=5, evaluate_every=2),
        Callbacks(validate=lambda _: 1.0, on_step=lambda *news: calls.append(news)),
    )
    assert calls == [
        (1, None),
        (2, validations[0]),
        (3, None),
        (4, validations[1]),
        (5, validations[2]),
    ]


def test_epochs_are_numbered_from_one():
    """Two batches an epoch: five steps are two epochs and a half."""
    asked = []

    def epochs(number):
        asked.append(number)
        return [Batch(np.arange(3)[:, None], np.array([True]))] * 2

    validations, _ = run(network(), epochs, options=replace(OPTIONS, max_steps=5, evaluate_every=2))
    assert asked == [1, 2, 3]
    assert [validation.epoch for validation in validations] == [1, 2, 3]


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e30])
def test_divergence_is_an_error_and_the_best_weights_are_kept(bad):
    """A bad outcome in the third epoch; the best validation was after step 4."""
    data, made = arrays(), network()

    def epochs(number):
        if number == 3:
            data.y[data.scored] = bad
        return batch_rows()(number)

    per_epoch = len(batch_rows()(1))
    losses = iter([2.0, 1.0, 3.0, 3.0, 3.0])
    options = replace(OPTIONS, max_steps=100, evaluate_every=2)
    weights = []
    with pytest.raises(DivergedError) as caught:
        train(
            made,
            data,
            epochs,
            options,
            Callbacks(
                validate=lambda _: next(losses),
                on_step=lambda *_: weights.append(copy.deepcopy(made.state_dict())),
            ),
        )
    assert len(weights) == 2 * per_epoch
    assert f"Optimizer step {2 * per_epoch + 1} in epoch 3 had a gradient of norm" in str(
        caught.value
    )
    assert "lower --lr" in str(caught.value)
    assert caught.value.exit_code == 5
    assert equal(made.state_dict(), weights[3])


@pytest.mark.parametrize("burn_in", [None, 2])
@pytest.mark.parametrize("step_per", ["chunk", "epoch"])
def test_a_divergence_lists_the_rows_that_its_step_has_read(step_per, burn_in):
    """One batch's, or with one step per epoch those of all of them."""
    data, made = arrays(), network()
    data.y[23] = np.nan
    data.scored[23] = True
    if burn_in is None:
        passed = list(batch_rows(count=1, chunk=4)(1))
    else:
        passed = list(WindowBatches(np.array([9, 19, 26, 39]), lookback=6, batch=1))
    guilty = [batch.rows[batch.rows >= 0] for batch in passed if 23 in batch.rows]
    with pytest.raises(DivergedError) as caught:
        train(
            made,
            data,
            lambda number: passed,
            replace(
                OPTIONS,
                plan=Plan.full(step_per=step_per),
                sampling=Sampling(burn_in=burn_in),
            ),
            Callbacks(validate=lambda _: 1.0),
        )
    expected = passed if step_per == "epoch" else [Batch(guilty[0][:, None], np.array([True]))]
    rows = np.concatenate([batch.rows[batch.rows >= 0] for batch in expected])
    assert sorted(caught.value.rows) == sorted(rows.tolist())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_gradient_that_is_not_finite_freezes_all_until_the_host_looks(monkeypatch, bad):
    """As on a GPU: it looks at steps 1 to 4 together, of which step 2 of epoch 1 was the bad one.

    The two good gradients after it change nothing, and no checkpoint can be made of it.
    """
    monkeypatch.setattr(trainer, "READ_EVERY", {"cpu": 4})
    data, made, weights, refused = arrays(), network(), [], []
    data.y[3], data.scored[3] = bad, True
    passed = [Batch(np.arange(a, a + 3)[:, None], np.array([True])) for a in (20, 3, 30, 33)]

    def boundary(checkpoint):
        if len(weights) == 3:
            with pytest.raises(DivergedError) as caught:
                checkpoint()
            refused.append(caught.value)
            raise caught.value

    for on_boundary in (lambda checkpoint: None, boundary):
        weights.clear()
        with pytest.raises(DivergedError, match="step 2 in epoch 1 had a gradient of") as caught:
            train(
                made,
                data,
                lambda number: passed,
                replace(OPTIONS, max_steps=100, evaluate_every=5),
                Callbacks(
                    validate=lambda _: 1.0,
                    on_step=lambda *_: weights.append(copy.deepcopy(made.state_dict())),
                    on_boundary=on_boundary,
                ),
            )
        assert sorted(caught.value.rows) == [3, 4, 5]
        assert len(weights) == 3
        assert equal(weights[0], weights[1]) and equal(weights[0], weights[2])
    assert len(refused) == 1


def test_divergence_at_once_leaves_the_first_weights():
    """Nothing was validated yet; the message has no earlier norm."""
    data, made = arrays(), network()
    data.y[data.scored] = np.nan
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(
        DivergedError, match="Optimizer step 1 in epoch 1 had a gradient of norm nan; lower"
    ):
        run(made, batch_rows(), data=data)
    assert equal(made.state_dict(), before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_validation_loss_that_is_not_finite_is_divergence(bad):
    """The network has the weights of its best validation, not those where it broke."""
    losses = iter([1.0, bad])
    made, weights = network(), []
    with pytest.raises(
        DivergedError, match=r"Optimizer step 8 in epoch .* had a validation loss of"
    ):
        train(
            made,
            arrays(),
            batch_rows(),
            OPTIONS,
            Callbacks(
                validate=lambda _: next(losses),
                on_step=lambda *_: weights.append(copy.deepcopy(made.state_dict())),
            ),
        )
    assert equal(made.state_dict(), weights[3])


def test_a_learning_rate_that_explodes_is_divergence():
    """A real one: weights of 1e30 square beyond float32 at the next step."""
    with pytest.raises(DivergedError):
        run(network(), batch_rows(), options=replace(OPTIONS, learning_rate=1e30))


def test_an_epoch_without_batches_is_refused():
    """It would go round for ever."""
    with pytest.raises(ValueError, match="no batches"):
        run(network(), lambda number: [])


@dataclass
class Still:
    """Stand in for the step: gradients are added up and no weight moves."""

    total: list[torch.Tensor]
    steps: int = 0

    def step(self, optimizer, block, *given):
        """Take the place of `_step`."""
        self.steps += 1
        self.total = [a + b for a, b in zip(self.total, block.values, strict=True)]
        return torch.tensor(1.0)


def frozen(monkeypatch, made):
    still = Still([torch.zeros_like(parameter) for parameter in made.parameters()])
    monkeypatch.setattr(trainer, "_step", still.step)
    return still


def mean_loss(made, data, rows_of_series):
    """Mean squared error over all scored outcomes, by plain autograd, series by series."""
    total = 0.0
    for rows in rows_of_series:
        prediction, _ = made(data.inputs[rows][:, None], made.initial_state(1))
        error = prediction[:, 0] - torch.where(data.scored[rows], data.y[rows], 0.0)
        total = total + (error**2)[data.scored[rows]].sum()
    return total / data.scored.sum()


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_scored_outcome_of_whole_histories_weighs_the_same(monkeypatch, targets, count):
    """One epoch adds up to the gradient of the mean loss, whatever the batch rows and the padding.

    Series of 20, 12 and 8 days in 1 to 3 batch rows; the mean of the batches' gradients is that of
    the mean over all outcomes.
    """
    made, data = network(targets=targets), arrays(targets=targets)
    data.y[0] = np.nan  # row 0 stands in for padding: it must teach nothing there
    still = frozen(monkeypatch, made)
    epochs = batch_rows(count=count, chunk=20)
    batches = len(batch_rows(count=count, chunk=20)(1))
    options = replace(OPTIONS, max_steps=batches, evaluate_every=batches)
    (validation,), _ = run(made, epochs, data=data, options=options)
    series = [torch.arange(a, b) for a, b in pairwise(OFFSETS)]
    loss = mean_loss(made, data, series)
    expected = torch.autograd.grad(loss, tuple(made.parameters()))
    assert still.steps == batches
    assert validation.train_loss == pytest.approx(loss.item(), rel=1e-5)
    for found, wanted in zip(still.total, expected, strict=True):
        torch.testing.assert_close(found / batches, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_each_scored_window_weighs_the_same(monkeypatch, at_once):
    """Seven windows in batches of three: the last batch's one window weighs no more.

    However many are differentiated at a time.
    """
    monkeypatch.setattr(micro_batches, "windows_at_once", lambda *given: at_once)
    made, data = network(), arrays()
    data.y[:], data.scored[:] = 0.0, False
    ends = np.array([4, 9, 14, 19, 24, 29, 34])
    data.y[ends, 0] = torch.arange(7.0)
    data.scored[ends] = True
    still = frozen(monkeypatch, made)
    (validation,), _ = run(
        made,
        lambda number: WindowBatches(ends, lookback=4, batch=3),
        data=data,
        options=replace(OPTIONS, max_steps=3, evaluate_every=3),
        last_day_only=True,
    )
    loss = mean_loss(made, data, [torch.arange(end - 3, end + 1) for end in ends])
    expected = torch.autograd.grad(loss, tuple(made.parameters()))
    assert validation.train_loss == pytest.approx(loss.item(), rel=1e-5)
    for found, wanted in zip(still.total, expected, strict=True):
        torch.testing.assert_close(found / 3, wanted, rtol=1e-4, atol=1e-6)


def test_padding_neither_scores_nor_trains():
    """A batch row that has run out shows row 0; its outcome counts in its own place only."""
    alone = [Batch(np.arange(8)[:, None], np.array([True]))]
    rows = np.full((8, 2), -1)
    rows[:, 0] = np.arange(8)
    beside = [Batch(rows, np.array([True, False]))]
    data = arrays()
    data.y[0], data.scored[0] = 5.0, True
    options = replace(OPTIONS, max_steps=1, evaluate_every=1)
    (one,), _ = run(network(), lambda number: alone, data=data, options=options)
    (two,), _ = run(network(), lambda number: beside, data=data, options=options)
    assert one.train_loss == pytest.approx(two.train_loss, rel=1e-6)


def test_validation_changes_nothing_in_later_steps():
    """Forecasting every day between steps or only at the end: the same weights, bit for bit."""
    trajectories = []
    for every in (1, 12):
        made = network(dropout=0.5, layers=2)
        _, weights = run(
            made,
            batch_rows(),
            options=replace(OPTIONS, evaluate_every=every),
            validate=lambda n: -float(forecast_histories(n, arrays().inputs, OFFSETS).mean() < 1e9),
        )
        trajectories.append(weights)
    assert all(equal(a, b) for a, b in zip(*trajectories, strict=True))
    assert not equal(trajectories[0][0], trajectories[0][-1])


def spied(monkeypatch):
    """Record the state and the rows that each block is differentiated from."""
    calls = []

    def spy(learner, rows, scored, state, count, chunking):
        block = micro_batches.block_gradients(learner, rows, scored, state, count, chunking)
        inputs = learner.arrays.inputs[rows]
        calls.append((state.reset(chunking.resets[0]), block.state, inputs))
        return block

    monkeypatch.setattr(epoch_module, "block_gradients", spy)
    return calls


def test_state_is_carried_across_batches_and_zeroed_at_starts(monkeypatch):
    """A batch row begins from zeros where a series starts, else where its last batch ended."""
    calls, batches = spied(monkeypatch), []

    def epochs(number):
        batches.extend(batch_rows()(number))
        return batch_rows()(number)

    per_epoch = len(batch_rows()(1))
    run(network(), epochs, options=replace(OPTIONS, max_steps=2 * per_epoch))
    carried = 0
    for number, (batch, (state, _, _)) in enumerate(zip(batches, calls, strict=True)):
        for batch_row, starts in enumerate(batch.starts):
            for k, tensor in enumerate(state.tensors):
                if starts:
                    assert (tensor[:, batch_row] == 0).all()
                elif batch.rows[0, batch_row] >= 0:
                    carried += 1
                    before = calls[number - 1][1].tensors[k]
                    assert torch.equal(tensor[:, batch_row], before[:, batch_row])
    assert carried > 0


def test_state_is_never_shared_between_series():
    """Corrupt one series' inputs: the others' gradients, and so their weights, do not move.

    The corrupted series is not scored, so a difference could only come through the state.
    """
    weights = []
    for wild in (1.0, 100.0):
        data, made = arrays(), network()
        data.scored[20:32] = False
        data.inputs[20:32] *= wild
        run(made, batch_rows(count=1, chunk=4), data=data)
        weights.append(copy.deepcopy(made.state_dict()))
    assert equal(*weights)


@pytest.mark.parametrize("k2", [20, 25])
@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
def test_truncation_beyond_the_longest_batch_is_full_bit_for_bit(monkeypatch, k2, model):
    """Weights after each of several steps, and Adam's memory at the end."""
    made_optimizers = []

    def recorded(*args):
        made_optimizers.append(AdamW(*args))
        return made_optimizers[-1]

    monkeypatch.setattr(trainer, "AdamW", recorded)
    trajectories = []
    for plan in (FULL, Plan.truncated(k2=k2)):
        made = network(model=model, dropout=0.2)
        trajectories.append(run(made, batch_rows(chunk=20), plan=plan)[1])
    assert all(equal(a, b) for a, b in zip(*trajectories, strict=True))
    full, truncated = (optimizer.state() for optimizer in made_optimizers)
    assert equal(full, truncated)


def test_a_shorter_horizon_is_another_run():
    """The comparison above can fail: errors that travel one day train other weights."""
    (_, full), (_, short) = (
        run(network(), batch_rows(chunk=20), plan=plan) for plan in (FULL, Plan.truncated(k2=1))
    )
    assert not equal(full[-1], short[-1])


def test_the_learning_rate_cycles_over_the_whole_budget():
    """It rises to its peak at 30 % and ends near nothing, so the last steps hardly move."""
    _, weights = run(network(), batch_rows(), options=replace(OPTIONS, max_steps=40))
    moves = [
        math.sqrt(sum(float((b[name] - a[name]).square().sum()) for name in a))
        for a, b in pairwise(weights)
    ]
    assert 5 <= int(np.argmax(moves)) <= 20
    assert moves[-1] < max(moves) / 100


@pytest.mark.parametrize("clip", [1e-3, 0.05, 1e3])
def test_a_gradient_is_clipped_to_its_largest_norm(monkeypatch, clip):
    """What the optimizer is given: a longer one at that length, its direction kept.

    The weights cannot tell: Adam's first step is the same for gradients of any length.
    """
    seen = []

    class Spy(AdamW):
        def step(self, gradients, *rates):
            seen.append([gradient.clone() for gradient in gradients])

    monkeypatch.setattr(trainer, "AdamW", Spy)
    made, data = network(), arrays()
    run(made, batch_rows(), data=data, options=replace(OPTIONS, clip_grad=clip, max_steps=1))
    (block, *_) = one_epoch(made, data, batch_rows()(1), FULL)
    norm = torch.nn.utils.get_total_norm(block.values)
    assert 0.05 < norm < 1e3
    for found, whole in zip(seen[0], block.values, strict=True):
        torch.testing.assert_close(found, whole * min(1.0, clip / float(norm)))


def test_the_weights_decay_by_the_share_asked_for():
    """Two steps that differ in the decay alone: AdamW shrinks each weight by the same share."""
    moved = {}
    for decay in (0.0, 0.5):
        made = network()
        before = copy.deepcopy(made.state_dict())
        run(made, batch_rows(), options=replace(OPTIONS, max_steps=1, weight_decay=decay))
        moved[decay] = made.state_dict()
    name = "core.fused.weight_hh_l0"
    share = (moved[0.0][name] - moved[0.5][name]) / before[name]
    assert 1e-4 < float(share.mean()) < OPTIONS.learning_rate * 0.5
    torch.testing.assert_close(share, share.mean().expand_as(share), rtol=0.02, atol=0.0)


def test_a_budget_of_one_step_moves_the_weights():
    """A cycle of one step would begin where it ends, near a rate of nothing."""
    made = network()
    before = copy.deepcopy(made.state_dict())
    run(made, batch_rows(), options=replace(OPTIONS, max_steps=1))
    moved = [float((made.state_dict()[name] - before[name]).abs().max()) for name in before]
    assert min(moved) > OPTIONS.learning_rate / 30


@pytest.mark.parametrize(("k2", "k1"), [(8, 8), (8, 4), (12, 4), (6, 1), (200, 200)])
def test_steps_are_those_of_an_independent_numpy_run(k2, k1):
    """Each step starts from the state that the one before left at its own first grid line.

    Plain gradient descent on two batch rows, one of which holds two series, written once more in
    numpy: losses, gradients and weights agree to rounding.
    """
    torch.manual_seed(3)
    made = build_network(
        Architecture(
            model="elman", inputs=3, forms=(PointForm(),) * 2, hidden=4, layers=1, dropout=0.0
        )
    ).double()
    torch.nn.init.normal_(made.head.linear.weight)
    generator = np.random.default_rng(0)
    offsets = np.array([0, 37, 57, 70])
    x, y = generator.standard_normal((70, 3)), generator.standard_normal((70, 2))
    scored = generator.random((70, 2)) < 0.8
    packed = pack_sequences(offsets[:-1], offsets[1:], 2, min(k1, 40), generator, min(k1, 3))
    plan = Plan.truncated(k2=k2, k1=k1)
    data = TrainingArrays.on(torch.device("cpu"), x, y, scored)
    oracle = NumpyDescent(made, x, y, scored, packed, k2 // k1 - 1)
    blocks = one_epoch(made, data, packed, plan)
    for block, (loss, gradients) in zip(blocks, oracle.steps(), strict=True):
        assert float(block.loss) == pytest.approx(loss, rel=1e-10)
        for found, expected in zip(block.values, gradients, strict=True):
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-11)
        with torch.no_grad():
            for parameter, gradient in zip(made.parameters(), block.values, strict=True):
                parameter -= 0.05 * gradient
    for found, expected in zip(made.parameters(), oracle.in_order(oracle.weights), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-11)


class NumpyDescent:
    """Truncated BPTT over batch rows as written without torch: day by day, row by row."""

    def __init__(self, made, x, y, scored, packed, context):
        weights = dict(made.named_parameters())
        take = lambda name: weights[name].detach().numpy().copy()  # noqa: E731
        self.biases = [take("core.fused.bias_ih_l0"), take("core.fused.bias_hh_l0")]
        self.weights = [
            take("core.fused.weight_hh_l0"),
            take("core.fused.weight_ih_l0"),
            sum(self.biases),
            take("head.linear.weight"),
            take("head.linear.bias"),
        ]
        self.x, self.y, self.scored, self.context = x, y, scored, context
        self.batches = list(packed)
        self.count = scored.sum() / len(self.batches)

    def in_order(self, parts):
        """Arrange W_s, W_x, b, W_y, b_y like the network's parameters."""
        w_s, w_x, b, w_y, b_y = parts
        return [w_x, w_s, *self.split(b), w_y, b_y]

    def split(self, b):
        """Torch has two biases; what they add up to moves by twice the step of each."""
        if b is not self.weights[2]:
            return [b, b]
        half = (b - sum(self.biases)) / 2
        return [bias + half for bias in self.biases]

    def steps(self):
        """Yield each step's loss and gradients, then move the weights."""
        width = self.batches[0].rows.shape[1]
        before = {0: np.zeros((width, 4))}
        for last in range(len(self.batches)):
            first = max(0, last - self.context)
            loss, total = 0.0, [np.zeros_like(part) for part in self.weights]
            for batch_row in range(width):
                part_loss, part = self.batch_row(first, last, batch_row, before)
                loss += part_loss
                total = [a + b for a, b in zip(total, part, strict=True)]
            yield loss, self.in_order(total)
            self.weights[2] = self.weights[2] - 0.05 * total[2]  # each bias moves once more
            self.weights = [w - 0.05 * g for w, g in zip(self.weights, total, strict=True)]

    def batch_row(self, first, last, batch_row, before):
        """One batch row's errors of batch `last`, carried back to `first` or its series' start."""
        w_s, w_x, b, *_ = self.weights
        state, rows = before[first][batch_row], []
        for number in range(first, last + 1):
            if self.batches[number].starts[batch_row]:
                state, rows = np.zeros(4), []
            if not rows:
                start = state
            here = self.batches[number].rows[:, batch_row]
            state = elman_states(w_s, w_x, b, self.x[np.maximum(here, 0)], state)[-1]
            before.setdefault(number + 1, np.zeros_like(before[first]))[batch_row] = state
            rows += [here]
        days = np.concatenate(rows)
        mask = self.scored[np.maximum(days, 0)] & (days >= 0)[:, None]
        mask[: len(days) - len(rows[-1])] = False
        x, y = (values[np.maximum(days, 0)][:, None] for values in (self.x, self.y))
        return elman_gradients(
            self.weights, x, y, mask[:, None], start[None], self.count, len(days) + 1
        )


def test_one_update_per_epoch_adds_up_its_blocks():
    """`step_per="epoch"` at frozen weights is the mean gradient over the epoch."""
    made, data = network(), arrays()
    plan = Plan.truncated(k2=5, step_per="epoch")
    (whole,) = one_epoch(made, data, batch_rows()(1), plan)
    parts = list(one_epoch(made, data, batch_rows()(1), replace(plan, step_per="chunk")))
    for k, found in enumerate(whole.values):
        expected = torch.stack([part.values[k] for part in parts]).mean(dim=0)
        torch.testing.assert_close(found, expected)


def test_each_day_windows_score_a_day_once_per_window_after_the_burn_in():
    """A epoch adds up to plain autograd's gradient over the same windows and days."""
    made, data = network(), arrays()
    ends = np.array([9, 15, 19, 31, 39])
    batches = WindowBatches(ends, lookback=6, batch=2)
    plan = Plan.full(step_per="epoch")
    (found,) = one_epoch(made, data, batches, plan, Sampling(burn_in=2))
    rows = torch.from_numpy(ends) + torch.arange(-5, 1)[:, None]
    prediction, _ = made(data.inputs[rows], made.initial_state(5))
    mask = data.scored[rows].clone()
    mask[:2] = False
    loss = (prediction[mask] - data.y[rows][mask]).square().mean()
    expected = torch.autograd.grad(loss, tuple(made.parameters()))
    for a, b in zip(found.values, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("k2", "k1"), [(3, 3), (4, 2), (6, 6)])
def test_truncation_inside_each_day_windows_cuts_them_like_histories(k2, k1):
    """A window is a short history that begins again: the same pairs of days are kept."""
    made, data = network(), arrays()
    batches = WindowBatches(np.array([9, 15]), lookback=6, batch=2)
    plan = Plan.truncated(k2=k2, k1=k1)
    (found,) = one_epoch(made, data, batches, plan, Sampling(burn_in=0))
    rows = torch.tensor([9, 15]) + torch.arange(-5, 1)[:, None]
    expected = gradients_of(
        made,
        *(tensor[rows] for tensor in (data.inputs, data.y, data.scored)),
        made.initial_state(2),
        plan,
        float(data.scored[rows].sum()),
    )
    for a, b in zip(found.values, expected.values, strict=True):
        torch.testing.assert_close(a, b)


def counted(norms, *, clip=1.0, every=7):
    """Record norms, counting now and then as a training does."""
    found = GradientNorms()
    for number, norm in enumerate(norms, start=1):
        found.uncounted.append(float(norm))
        if number % every == 0:
            found.count(clip)
    found.count(clip)
    return found


def by_hand(norms, clip):
    spikes = 0
    for at in range(MIN_RECENT, len(norms)):
        spikes += norms[at] > SPIKE * np.median(norms[max(0, at - RECENT) : at])
    return int(np.sum(np.asarray(norms) > clip)), spikes


@pytest.mark.parametrize("every", [1, 7, 50, 1000])
def test_counts_do_not_depend_on_when_they_are_taken(every):
    """The definition, over norms with a heavy tail."""
    norms = np.exp(np.random.default_rng(0).standard_t(2, 400))
    found = counted(norms, clip=3.0, every=every)
    assert (found.clipped, found.spikes) == by_hand(norms, 3.0)
    assert found.clipped > 10 and found.spikes > 3


def test_a_steady_growth_is_no_spike_and_a_sudden_one_is():
    steady = 1.02 ** np.arange(300)
    assert counted(steady, clip=1e9).spikes == 0
    assert counted([*steady[:200], 11 * steady[150], steady[200]], clip=1e9).spikes == 1
    assert counted([*np.ones(MIN_RECENT - 1), 1e6]).spikes == 0, "too few to have a median"


def test_what_went_through_json_counts_on_alike():
    norms = np.exp(np.random.default_rng(1).standard_t(2, 200))
    first, second = GradientNorms(), GradientNorms()
    for number, norm in enumerate(norms):
        first.uncounted.append(float(norm))
        if number % 30 == 0:
            first.count(2.0)
        if number == 130:
            second = GradientNorms(**json.loads(json.dumps(asdict(first))))
            assert second.last == first.last == norm
        if number > 130:
            second.uncounted.append(float(norm))
    first.count(2.0)
    second.count(2.0)
    assert (second.clipped, second.spikes) == (first.clipped, first.spikes) == by_hand(norms, 2.0)


def test_before_the_first_norm_there_is_no_last():
    assert np.isnan(GradientNorms().last)
