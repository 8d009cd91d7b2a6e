"""Gradients of a batch of days at fixed weights: full or truncated BPTT, stored or recomputed.

Pure: no weight moves, `p.grad` is never touched. Every scored value counts once, with weight
1 / count, however the days are cut.

Shape letters: T days, B batch rows, F features.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from forecaster.bptt.batch import Batch, Gradients, checked
from forecaster.bptt.chunks import Cut, Piece, cut
from forecaster.bptt.nest import Nest, detached, leaves, mapped
from forecaster.bptt.plan import Memory, Plan
from forecaster.bptt.randomness import random_state, replayed
from forecaster.bptt.recurrent import Head, Recurrent, recurrent

# Longer gradient horizons are recomputed: the same gradient, a fraction of the memory.
STORE_UP_TO_DAYS = 256
RECOMPUTED_CHUNK_DAYS = 50

Loss = Callable[[Tensor, Tensor], Tensor]
Tensors = tuple[Tensor, ...]


def gradients(
    module: nn.Module | Recurrent,
    batch: Batch,
    plan: Plan,
    *,
    loss: Loss,
    state: Nest = None,
    head: Head | None = None,
) -> Gradients:
    """Differentiate the losses of a batch, errors travelling back as the plan says.

    With E_t the loss of day t and s_i the state after day i, the gradient sums
    dE_t/ds_i * ds_i/dW (immediate) over the pairs i <= t that the plan keeps: all of the batch
    for `full`; for `truncated`, with the batch cut in chunks of k1 days, those with i in the
    k2 / k1 chunks that end with t's own. The state's values are always carried; nothing travels
    into the days before the batch. Where only the last days have outcomes, errors travel through
    exactly the last k2 days.

    Args:
        module: `nn.RNN`, `nn.GRU`, `nn.LSTM`, their cells, or any module that maps `(x, state)`
            to `(output, state)`, with x (T, B, F), output (T, B, ...) and the state any nest of
            tensors. A cell of your own goes into `EachDay`.
        batch: the days, with what is scored.
        plan: how far errors travel, and whether activations are kept or recomputed.
        loss: `loss(output, y)` for any number of days at once: one value per day and row, (T, B)
            or (T, B, ...), as with `reduction="none"`.
        state: the module's state before the first day. None: every row starts here, in the
            module's `initial_state(rows)`, whose parameters then have a gradient (zeros for
            torch's own), or in what the module makes of None.
        head: maps outputs to forecasts, if the module does not.

    Raises:
        TypeError: the module or `x` has another form.
        ValueError: shapes do not fit together, the loss is a scalar, a module that reads days
            backwards is cut, or one that changes its buffers runs a day twice.

    Source: Williams and Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line Training
    of Recurrent Network Trajectories", BPTT(h; h') with h = k2 and h' = k1.

    Examples:
        >>> lstm, head = torch.nn.LSTM(3, 8), torch.nn.Linear(8, 1)
        >>> batch = Batch(x=torch.randn(250, 4, 3), y=torch.randn(250, 4, 1))
        >>> mse = torch.nn.MSELoss(reduction="none")
        >>> found = gradients(lstm, batch, Plan.truncated(k2=20), loss=mse, head=head)
        >>> found.by_name["weight_hh_l0"].shape, found.by_name["head.weight"].shape
        (torch.Size([32, 8]), torch.Size([1, 8]))
        >>> found.apply()  # now clip and step; carry on from found.state
    """
    run, whole = (
        recurrent(module, head, batch_first=batch.batch_first),
        cut(checked(batch), plan),
    )
    _refuse_cutting(run, whole)
    job, states = _Job.of(run, whole, loss), [detached(state)]
    total = _Total(job, whole.batch)
    with _same_buffers(run, whole, plan.memory):
        for span in whole.spans:
            _carry(job, whole, states, until=span.first)
            pieces = whole.pieces(span.first, span.last, span.scored_from)
            after = _add_span(total, job, pieces, states[span.first], plan.memory)
            states[span.first + 1 :] = after
        _carry(job, whole, states, until=len(whole.lengths))
    x = None if total.x is None else total.x.transpose(0, 1) if batch.batch_first else total.x
    return Gradients(
        loss=total.loss,
        by_name=dict(zip(run.parameters, total.weights, strict=True)),
        states=tuple(states[1:]),
        parameters=run.parameters,
        x=x,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What stays the same over the pieces of a batch."""

    run: Recurrent
    loss: Loss
    count: float | Tensor  # a number of outcomes with `per_value`, which may hold several values
    per_value: bool
    rows: int
    device: torch.device
    weights: Tensors

    @classmethod
    def of(cls, run: Recurrent, whole: Cut, loss: Loss) -> "_Job":
        """Prepare a batch."""
        batch, context = whole.batch, sum(whole.lengths[: whole.batch.context])
        assert batch.mask is not None
        return cls(
            run=run,
            loss=loss,
            count=batch.mask[context:].sum().clamp(min=1) if batch.count is None else batch.count,
            per_value=batch.count is None,
            rows=batch.shape[1],
            device=leaves(batch.x)[0].device,
            weights=tuple(run.parameters.values()),
        )

    def forward(self, piece: Piece, start: Nest) -> tuple[Tensor, Nest]:
        """Run a piece; return the sum of its scored losses over the count, and the state after."""
        output, after = self.run.run(piece.x, start, len(piece.y))
        mask = piece.mask if piece.scored else torch.zeros_like(piece.mask)
        if len(mask) == 0:
            return output.new_zeros(()), after
        summed, values = scored_loss(self.loss, output, piece.y, mask)
        return summed / (self.count * values if self.per_value else self.count), after


def scored_loss(loss: Loss, output: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, int]:
    """Sum the losses where the mask is True; return how many values each of its elements has.

    Raises:
        ValueError: the loss does not return one value per day and row.
    """
    # NaN must be gone before the loss: a masked NaN loss still has a NaN gradient.
    losses = loss(output, torch.where(_over(mask, y), y, 0))
    if not isinstance(losses, Tensor) or losses.shape[: mask.ndim] != mask.shape:
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        remedy = 'give it reduction="none", so that every day counts once however days are cut'
        if shape:
            remedy = "return one value for each element of the mask, or give a mask of that shape"
        raise ValueError(
            f"the loss of outputs {tuple(output.shape)} and y {tuple(y.shape)} with a mask "
            f"{tuple(mask.shape)} is {shape or 'a scalar'}; {remedy}."
        )
    values = losses.numel() // mask.numel()
    return torch.where(_over(mask, losses), losses, 0.0).sum(), values


def _over(mask: Tensor, tensor: Tensor) -> Tensor:
    """Expand a mask so that it broadcasts over a tensor's last dimensions."""
    return mask.view(*mask.shape, *(1 for _ in range(tensor.ndim - mask.ndim)))


class _Total:
    """The sums over spans: of the loss, the weights' gradients and that of the inputs."""

    def __init__(self, job: _Job, batch: Batch) -> None:
        self.weights: Tensors = ()
        self.loss = job.weights[0].new_zeros(())
        wanted = isinstance(batch.x, Tensor) and batch.x.requires_grad
        self.x = torch.zeros_like(batch.x) if wanted else None
        self.number = len(job.weights)

    def inputs(self, piece: Piece) -> Piece:
        """Make a piece's inputs a leaf of its own if their gradient is wanted."""
        if self.x is None:
            return piece
        return replace(piece, x=piece.x.detach().requires_grad_())

    def add(self, loss: Tensor, found: Tensors, piece: Piece) -> Tensors:
        """Add what differentiating a piece found; return what is left, the adjoints."""
        weights, rest = found[: self.number], found[self.number :]
        self.loss = self.loss + loss.detach()
        self.weights = tuple(map(torch.add, self.weights, weights)) if self.weights else weights
        if self.x is None:
            return rest
        self.x[piece.first_day : piece.first_day + piece.days] += rest[0]
        return rest[1:]


def _refuse_cutting(run: Recurrent, whole: Cut) -> None:
    """Refuse to cut what reads days backwards."""
    if run.cuttable:
        return
    resets, lengths = whole.batch.resets, whole.lengths
    if len(lengths) == 1 and (resets is None or not resets[1:].any()):
        return
    raise ValueError(
        f"{run.name} reads days from both ends, so its outputs change where days are cut, here "
        f"into {len(lengths)} chunks of up to {max(lengths)} days; give Plan.full() and no resets "
        "inside the batch, or a module that reads forward only."
    )


def _carry(job: _Job, whole: Cut, states: list[Nest], *, until: int) -> None:
    """Run without a graph through the chunks whose end state is missing, up to `until`."""
    for number in range(len(states) - 1, until):
        state = states[-1]
        with torch.no_grad():
            for piece in whole.pieces(number, number):
                start = job.run.start(state, piece.resets, job.rows)
                _, state = job.run.run(piece.x, start, 0)
        states.append(detached(state))


def is_recomputed(days: int, memory: Memory) -> bool:
    """Whether a span of `days` is recomputed in chunks."""
    return memory == "recompute" or (memory == "auto" and days > STORE_UP_TO_DAYS)


def _add_span(
    total: _Total, job: _Job, pieces: list[Piece], state: Nest, memory: Memory
) -> list[Nest]:
    """Differentiate a span through all its days; return the states after its chunks.

    Forward through its pieces; then, last piece first, backward, the adjoint of the start state
    handed to the piece before. Recomputed, the graphs of the first run are dropped, and the pieces
    run forward again one at a time.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", with pieces of
    days as the segments.
    """
    recomputed = is_recomputed(sum(piece.days for piece in pieces), memory)
    if not job.run.cuttable or not _can_replay(job.run, job.device):
        recomputed = False
    elif recomputed or memory == "store":  # in the same pieces, to draw and round alike
        pieces = [part for piece in pieces for part in piece.split(RECOMPUTED_CHUNK_DAYS)]
    runs, after = list[_Run](), list[Nest]()
    for piece in pieces:
        run = _Run(total.inputs(piece), state, random_state(job.device))
        # Asked for, a recomputation has a graph here too, a tenth slower: without one, oneDNN's
        # LSTM rounds differently than the stored graph.
        with torch.set_grad_enabled(not recomputed or memory == "recompute"):
            state = detached(run.forward(job, is_first=not runs))
        if recomputed:
            run.loss = run.end = None
        runs.append(run)
        if piece.ends_chunk:
            after.append(state)
    adjoint: Tensors = ()
    while runs:
        run = runs.pop()
        if recomputed:
            with replayed(run.randomness, job.device):
                run.forward(job, is_first=not runs)
        adjoint = run.backward(total, job, adjoint)
    return after


@dataclass(slots=True, eq=False)
class _Run:
    """A piece run from a state, and what of it is differentiated."""

    piece: Piece
    start: Nest
    randomness: Mapping[str, Tensor]
    loss: Tensor | None = None
    end: Nest = None

    def forward(self, job: _Job, *, is_first: bool) -> Nest:
        """Run the piece; return the state after it."""
        if not is_first:  # nothing travels into the days before the span
            self.start = mapped(self.start, _leaf)
        start = job.run.start(self.start, self.piece.resets, job.rows)
        self.loss, self.end = job.forward(self.piece, start)
        return self.end

    def backward(self, total: _Total, job: _Job, adjoint: Tensors) -> Tensors:
        """Differentiate the piece's losses and, by the adjoint of its end, the later ones.

        Returns the adjoint of the start state.
        """
        assert self.loss is not None
        ends = leaves(self.end) if adjoint else ()
        pairs = zip((self.loss, *ends), (torch.ones_like(self.loss), *adjoint), strict=True)
        inputs = () if total.x is None else (self.piece.x,)
        start = leaves(self.start)
        into = tuple(tensor for tensor in start if tensor.requires_grad)
        found = _differentiate(
            [(output, seed) for output, seed in pairs if output.requires_grad],
            (*job.weights, *inputs, *into),
        )
        rest = iter(total.add(self.loss, found, self.piece))
        return tuple(
            next(rest) if tensor.requires_grad else torch.zeros_like(tensor) for tensor in start
        )


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _differentiate(outputs: Sequence[tuple[Tensor, Tensor]], inputs: Tensors) -> Tensors:
    """Differentiate outputs by their seeds; what they do not depend on has zeros."""
    if not outputs:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    tensors, seeds = zip(*outputs, strict=True)
    return torch.autograd.grad(tensors, inputs, seeds, allow_unused=True, materialize_grads=True)


@contextmanager
def _same_buffers(run: Recurrent, whole: Cut, memory: Memory) -> Iterator[None]:
    """Refuse a module that changes its buffers when days run more than once; set them back."""
    spans = [sum(whole.lengths[span.first : span.last + 1]) for span in whole.spans]
    twice = is_recomputed(max(spans), memory) or sum(spans) > sum(whole.lengths)
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in (run.modules if twice else ())
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        changed = set()
        for module, name, buffer, before in buffers:
            if getattr(module, name) is not buffer or not torch.equal(buffer, before):
                setattr(module, name, before)
                changed.add(name)
        if changed:
            raise ValueError(
                f"{run.name} changes its buffers ({', '.join(sorted(changed))}) in forward, and "
                'here days run more than once; give a plan with memory="store" and k1 = k2, or '
                "freeze the buffers."
            )


def _can_replay(run: Recurrent, device: torch.device) -> bool:
    """Whether running days again draws the same dropout.

    cuDNN draws the dropout between layers from a state of its own, cached and advanced
    outside torch's generators: https://github.com/pytorch/pytorch/issues/74177
    """
    if device.type != "cuda":
        return True
    fused = (module for module in run.modules if isinstance(module, nn.RNNBase))
    return not any(module.training and module.dropout > 0 for module in fused)
