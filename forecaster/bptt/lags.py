"""The gradient of a few days' errors by lag: by the state k days before, and by each parameter.

Shape letters: T days, B batch rows, A anchors (days whose errors are followed), R lags.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from forecaster.bptt.batch import Batch, checked
from forecaster.bptt.engine import Loss, scored_loss
from forecaster.bptt.nest import Nest, leaves, mapped, rebuilt
from forecaster.bptt.recurrent import Head, Recurrent, recurrent, row_dims

ANCHORS = 16
MOST_LAGS = 252  # a year of trading days

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """A module's way through a batch, without dropout.

    `outputs` are (T, B, ...). `states` are the tensors of its state, (T + 1, ...) each, from
    before the first day (zeros if only the module knows that one, `first_day` then being 1), in
    the form of `form`; `dims` say which dimension of each has the batch rows.
    """

    run: Recurrent
    batch: Batch
    loss: Loss
    outputs: Tensor
    states: Tensors
    form: Nest
    dims: tuple[int, ...]
    first_day: int

    @property
    def days(self) -> int:
        """The number of days."""
        return len(self.outputs)

    @property
    def mask(self) -> Tensor:
        """The mask of the outcomes."""
        assert self.batch.mask is not None
        return self.batch.mask

    def before(self, day: Tensor) -> Tensors:
        """Select the states before some days (A,), as A * B rows; leaves of a new graph."""
        picked = (
            tensor[day].movedim(0, dim).flatten(dim, dim + 1)
            for tensor, dim in zip(self.states, self.dims, strict=True)
        )
        return tuple(tensor.contiguous().requires_grad_() for tensor in picked)

    def run_day(self, day: Tensor, before: Tensors) -> tuple[Tensor, Tensors]:
        """Run some days (A,) as one day of A * B rows; return the outputs and states after."""
        x = mapped(self.batch.x, lambda tensor: tensor[day].flatten(0, 1)[None])
        output, after = self.run.run(x, rebuilt(self.form, before), 1)
        return output, leaves(after)

    def row_norms(self, state: Tensors) -> Tensor:
        """Compute the norm over everything in a state but its rows, one per row."""
        squares = [
            tensor.movedim(dim, 0).flatten(1).square().sum(dim=1)
            for tensor, dim in zip(state, self.dims, strict=True)
        ]
        return torch.stack(squares).sum(dim=0).sqrt()


def trajectory(
    module: nn.Module | Recurrent, batch: Batch, *, loss: Loss, head: Head | None = None
) -> Path:
    """Run a copy of a module through a batch from its initial state, keeping every state.

    Dropout is off. Raises as `gradients`; ValueError also where the batch has resets or the
    outcomes of its last days alone.
    """
    run = _quiet(recurrent(module, head, batch_first=batch.batch_first))
    batch = checked(batch)
    days, rows = batch.shape
    if batch.resets is not None or len(batch.y) < days:
        raise ValueError(
            "whole histories are measured, which start with the batch and have an outcome on "
            "each day; drop resets, give y for all days, and mask those without."
        )
    with torch.no_grad():
        state = run.initial_state(rows)
        states, outputs = [leaves(state)], []
        for day in range(days):
            x = mapped(batch.x, partial(_one_day, day=day))
            output, state = run.run(x, state, 1)
            states.append(leaves(state))
            outputs.append(output)
        dims = _row_dims(run, batch, rows)
    knows = bool(states[0])
    if not knows:
        states[0] = tuple(torch.zeros_like(tensor) for tensor in states[1])
    return Path(
        run=run,
        batch=batch,
        loss=loss,
        outputs=torch.cat(outputs),
        states=tuple(torch.stack(parts) for parts in zip(*states, strict=True)),
        form=state,
        dims=dims,
        first_day=0 if knows else 1,
    )


def _one_day(tensor: Tensor, *, day: int) -> Tensor:
    return tensor[day : day + 1]


def _quiet(run: Recurrent) -> Recurrent:
    """Copy what is run, dropout off, so that it can be differentiated day by day."""
    copied = copy.deepcopy(run)
    for module in copied.modules:
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
            module.train()  # cuDNN differentiates in no other mode
            if not module.bidirectional:
                module.register_forward_hook(_output_from_state)
    return copied


def _output_from_state(module: nn.RNNBase, _: Any, answer: tuple[Tensor, Nest]) -> Any:
    """Take one day's output from the state after it: an equal tensor, but the state's own node."""
    output, after = answer
    top = leaves(after)[0][-1]
    day = 1 if module.batch_first else 0
    return (top.unsqueeze(day), after) if output.ndim == 3 and output.shape[day] == 1 else answer


def _row_dims(run: Recurrent, batch: Batch, rows: int) -> tuple[int, ...]:
    """Find the dimension of the batch rows in each state tensor, by a day with one more row."""
    first = mapped(batch.x, lambda tensor: tensor[:1])
    wider = mapped(first, lambda tensor: torch.cat([tensor, tensor[:, :1]], dim=1))
    (_, after), (_, other) = (
        run.run(x, run.initial_state(width), 1) for x, width in ((first, rows), (wider, rows + 1))
    )
    return tuple(row_dims(after, other))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LagGradients:
    """Gradients of the errors of some days, by lag k.

    `by_lag` (A, R + 1) is the norm of dE_t / ds_{t-k}, mean over the scored batch rows (NaN
    without), `curve` (R + 1,) its mean over those of all anchors. `parts` (R + 1,) is the norm of
    lag k's contribution to the gradient of all parameters, `named_parts` that to each one's,
    `partial` (R + 2,) the norm of the sum of the first k. Lag 0 of `by_lag` and `curve` is NaN
    where the output is not made from the state that is returned.
    """

    by_lag: Tensor
    curve: Tensor
    parts: Tensor
    named_parts: Mapping[str, Tensor]
    partial: Tensor


def lag_gradients(
    path: Path, anchors: Sequence[int], lags: int, terms: list[Tensors] | None = None
) -> LagGradients:
    """Follow the errors of the anchor days back through R lags, all of them together.

    Each anchor has R days behind it; lag 0 is the anchor itself. Every lag's contribution is
    appended to `terms`, if given.

    Source: the definition of BPTT: dE_t/ds_{i-1} = dE_t/ds_i J_i, and lag t - i adds
    dE_t/ds_i ds_i/dW, the second factor with s_{i-1} held fixed.
    """
    days = torch.tensor(list(anchors)).to(path.outputs.device)
    if min(anchors, default=-1) - path.first_day < lags:
        raise ValueError(f"anchors {list(anchors)} do not all have {lags} days behind them.")
    scored = path.mask[days].flatten(2).any(dim=-1) if path.mask.ndim > 2 else path.mask[days]
    of_after, adjoint, found = _error_gradients(path, days)
    sizes, named, sums, total = [path.row_norms(of_after)], [], [0.0], None
    for lag in range(lags + 1):
        if lag:
            sizes.append(path.row_norms(adjoint))
            adjoint, found = day_before(path, days - lag, adjoint)
        if terms is not None:
            terms.append(found)
        named.append(torch.stack([gradient.square().sum() for gradient in found]))
        total = found if total is None else tuple(map(torch.add, total, found))
        sums.append(_norm(total))
    size = torch.stack([each.reshape(scored.shape) for each in sizes], dim=-1)  # 0 if not scored
    squares = torch.stack(named).double().cpu()  # (R + 1, parameters)
    return LagGradients(
        by_lag=size.sum(dim=1) / scored.sum(dim=1, keepdim=True),
        curve=size.sum(dim=(0, 1)) / scored.sum(),
        parts=squares.sum(dim=1).sqrt(),
        named_parts=dict(zip(path.run.parameters, squares.sqrt().T, strict=True)),
        partial=torch.tensor(sums, dtype=torch.float64),
    )


def _error_gradients(path: Path, day: Tensor) -> tuple[Tensors, Tensors, Tensors]:
    """Differentiate the errors of some days by the states after and before and the parameters."""
    before = path.before(day)
    output, after = path.run_day(day, before)
    y, mask = (tensor[day].flatten(0, 1)[None] for tensor in (path.batch.y, path.mask))
    error, _ = scored_loss(path.loss, output, y, mask)
    weights = tuple(path.run.parameters.values())
    found = torch.autograd.grad(error, (*after, *before, *weights), allow_unused=True)
    unknown = all(gradient is None for gradient in found[: len(after)])
    filled = tuple(
        torch.zeros_like(wanted) if gradient is None else gradient
        for wanted, gradient in zip((*after, *before, *weights), found, strict=True)
    )
    of_after = filled[: len(after)]
    if unknown:
        of_after = tuple(torch.full_like(tensor, torch.nan) for tensor in of_after)
    return of_after, filled[len(after) : 2 * len(after)], filled[2 * len(after) :]


def day_before(path: Path, day: Tensor, adjoint: Tensors) -> tuple[Tensors, Tensors]:
    """Move adjoints back over one day; return those of the state before and the parameters'."""
    before, weights = path.before(day), tuple(path.run.parameters.values())
    _, after = path.run_day(day, before)
    found = torch.autograd.grad(
        after, (*before, *weights), adjoint, allow_unused=True, materialize_grads=True
    )
    return found[: len(before)], found[len(before) :]


def _norm(gradients: Tensors) -> float:
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


def anchor_days(path: Path, lags: int, anchors: int) -> list[int]:
    """Spread anchors over the scored days that have all lags behind them.

    Raises:
        ValueError: `lags` or `anchors` is out of range, or no such day is scored.
    """
    most = path.days - 1 - path.first_day
    if not 1 <= lags <= most:
        raise ValueError(f"lags is {lags}; give 1 to {most} for a batch of {path.days} days.")
    if anchors < 1:
        raise ValueError(f"anchors is {anchors}; give at least 1.")
    scored = np.flatnonzero(path.mask.flatten(1).any(dim=1).cpu().numpy())
    scored = scored[scored >= lags + path.first_day]
    if len(scored) == 0:
        raise ValueError(f"no scored day has {lags} days behind it; measure fewer lags.")
    places = np.linspace(0, len(scored) - 1, min(anchors, len(scored))).round().astype(int)
    return [int(day) for day in scored[places]]


def lags_of(batch: Batch, lags: int | None) -> int:
    """Return the lags asked for, or half of the days, at most a year of trading days."""
    return max(1, min(MOST_LAGS, batch.shape[0] // 2)) if lags is None else lags


def gradient_by_lag(
    module: nn.Module | Recurrent,
    batch: Batch,
    *,
    loss: Loss,
    head: Head | None = None,
    lags: int | None = None,
    anchors: int | Sequence[int] = ANCHORS,
) -> np.ndarray:
    """Measure how the gradient of an error fades with the lag: |dE_t / ds_{t-k}|, k = 0 to R.

    A copy of the module runs from its initial state without dropout; the errors of a few days,
    the anchors, are followed back.

    Args:
        module: the recurrent network, as for `gradients`.
        loss: one value per day and row.
        head: maps outputs to forecasts, if the module does not.
        batch: whole histories; their scored days are the candidates for anchors.
        lags: R; None for half of the days, at most 252.
        anchors: how many days, spread over the batch, or which ones.

    Returns:
        (R + 1,) means over anchors and batch rows. Lag 0 is NaN where the output is not made from
        the state that the module returns.

    Raises:
        ValueError: no scored day has R days behind it; and as `gradients`.

    Examples:
        >>> rnn = torch.nn.RNN(1, 1)
        >>> for name, weight in rnn.named_parameters():
        ...     _ = torch.nn.init.constant_(weight, 0.5 if name == "weight_hh_l0" else 0.0)
        >>> batch = Batch(x=torch.zeros(20, 1, 1), y=torch.ones(20, 1, 1))
        >>> mse = torch.nn.MSELoss(reduction="none")
        >>> gradient_by_lag(rnn, batch, loss=mse, lags=3)
        array([2.  , 1.  , 0.5 , 0.25])
    """
    path = trajectory(module, batch, loss=loss, head=head)
    number = lags_of(batch, lags)
    days = anchor_days(path, number, anchors) if isinstance(anchors, int) else anchors
    curve: np.ndarray = lag_gradients(path, days, number).curve.double().cpu().numpy()
    return curve


def contributions(
    module: nn.Module | Recurrent,
    batch: Batch,
    *,
    loss: Loss,
    head: Head | None = None,
    lags: int | None = None,
    anchors: int | Sequence[int] = ANCHORS,
) -> dict[str, Tensor]:
    """Split each parameter's gradient by lag: what each day back adds to it.

    Of the sum of the anchors' scored losses, E, this is the textbook's sum term by term:

        dE/dW = sum over k of  sum over anchors t of  dE_t/ds_{t-k} ds_{t-k}/dW

    the last factor with s_{t-k-1} held fixed. Arguments and errors as in `gradient_by_lag`.

    Returns:
        (R + 1, ...) by the parameter's name: its terms at lags 0 to R. They add up to its whole
        gradient if every anchor has no more than R days behind it.

    Examples:
        >>> rnn = torch.nn.RNN(2, 3)
        >>> batch = Batch(x=torch.randn(6, 4, 2), y=torch.randn(6, 4, 3))
        >>> mse = torch.nn.MSELoss(reduction="none")
        >>> terms = contributions(rnn, batch, loss=mse, lags=5, anchors=[5])
        >>> terms["weight_hh_l0"].shape  # the error of day 5, on days 5 to 0
        torch.Size([6, 3, 3])
    """
    path, terms = trajectory(module, batch, loss=loss, head=head), list[Tensors]()
    number = lags_of(batch, lags)
    days = anchor_days(path, number, anchors) if isinstance(anchors, int) else anchors
    lag_gradients(path, days, number, terms)
    by_weight = zip(*terms, strict=True)
    return {
        name: torch.stack(each) for name, each in zip(path.run.parameters, by_weight, strict=True)
    }
