"""A recurrent network for any regression on rows in time order, with scikit-learn's conventions.

Arrays in, arrays out; knows no prices and no file. It is trained by the product's own training.

Shape letters: N rows, F features, S series.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from forecaster.bptt.plan import Plan
from forecaster.data.scaling import Scaler
from forecaster.data.sequence_packing import PackedSequences, pack_sequences
from forecaster.models.heads import PointForm, PointLoss
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Sampling
from forecaster.training.inference import choose_device, forecast_histories
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Callbacks, Options
from forecaster.training.trainer import train as run_training

if TYPE_CHECKING:
    from typing import Self

Array = NDArray[np.float64]
_SEEDS: Final = 2**31 - 1
_REQUESTS: Final = {"series": True}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Rows sorted by series: `order` (N,) selects them, series s has those from `offsets[s]`."""

    order: NDArray[np.intp]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, series: ArrayLike | None, rows: int) -> "_Layout":
        if series is None:
            return cls(np.arange(rows), np.array([0, rows]))
        names = column_or_1d(np.asarray(series))
        check_consistent_length(names, np.empty(rows))
        _, numbers = np.unique(names, return_inverse=True)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(numbers))])
        return cls(np.argsort(numbers, kind="stable"), offsets)

    @property
    def place(self) -> NDArray[np.int64]:
        """(N,) number of each sorted row within its series."""
        return np.arange(len(self.order)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def unsorted(self, values: np.ndarray) -> np.ndarray:
        """Return the values (N,) of sorted rows in the caller's order."""
        found = np.empty_like(values)
        found[self.order] = values
        return found


class RecurrentRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Regression by a recurrent network that carries its state from row to row.

    Rows are in time order. With `series`, one label per row, they are those of several series,
    stacked or mixed, each in time order; without it they are one series. `fit` and `predict` start
    every series at the initial state: `predict` depends on nothing but the fit and its arguments,
    and no row on later ones. To forecast from the end of a history, pass the history too.

    Parameters have the names of `train`'s settings. Features and targets are standardised.

    Args:
        model: "elman", "gru", "lstm", or "mlp", which has no memory.
        hidden: units per layer.
        layers: recurrent layers.
        dropout: share of outputs dropped while training.
        initial_state: "zeros" or "learned".
        bptt: "truncated", or "full" to each series' first row.
        bptt_k2: rows that an error travels back, its own included; of truncated BPTT.
        bptt_k1: rows of a chunk, None for `bptt_k2`; divides it.
        point_loss: "mse" or "huber".
        warm_up: first rows of each series that no error is counted of, neither by `fit` nor by
            `score`: the state has seen too little there.
        validation_fraction: last rows of each series that decide when training stops; 0, or
            series too short to spare a row: the training rows decide.
        max_steps: optimizer steps at most.
        lr: peak learning rate.
        weight_decay: decoupled (AdamW) weight decay.
        clip_grad: largest gradient norm.
        batch_rows: series trained side by side, at most.
        evaluate_every: optimizer steps between two validations.
        patience: validations without improvement before training stops.
        threads: of torch, while it fits or predicts.
        device: "auto", "cpu", "cuda" or "mps".
        random_state: seed of the weights, the dropout and the order of series.

    Attributes:
        weights_: arrays by name, of the best validation.
        validation_losses_: pairs of optimizer step and loss.
        n_features_in_: number of features.
        feature_names_in_: names of features, where X has names of text.

    Examples:
        >>> import numpy as np
        >>> from forecaster import RecurrentRegressor
        >>> x = np.random.default_rng(0).normal(size=(300, 1))
        >>> y = np.r_[0.0, x[:-1, 0]]  # yesterday's value: only a memory can know it
        >>> model = RecurrentRegressor(random_state=0).fit(x, y)
        >>> bool(model.score(x, y) > 0.9)
        True
    """

    # For `set_config(enable_metadata_routing=True)`: series go wherever they are passed.
    __metadata_request__fit: ClassVar = _REQUESTS
    __metadata_request__predict: ClassVar = _REQUESTS
    __metadata_request__score: ClassVar = _REQUESTS

    def __init__(
        self,
        model: Literal["elman", "gru", "lstm", "mlp"] = "lstm",
        *,
        hidden: int = 16,
        layers: int = 1,
        dropout: float = 0.0,
        initial_state: Literal["zeros", "learned"] = "zeros",
        bptt: Literal["full", "truncated"] = "truncated",
        bptt_k2: int = 21,
        bptt_k1: int | None = None,
        point_loss: PointLoss = "mse",
        warm_up: int = 0,
        validation_fraction: float = 0.15,
        max_steps: int = 500,
        lr: float = 0.01,
        weight_decay: float = 1e-3,
        clip_grad: float = 1.0,
        batch_rows: int = 64,
        evaluate_every: int = 25,
        patience: int = 8,
        threads: int = 1,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.initial_state = initial_state
        self.bptt = bptt
        self.bptt_k2 = bptt_k2
        self.bptt_k1 = bptt_k1
        self.point_loss = point_loss
        self.warm_up = warm_up
        self.validation_fraction = validation_fraction
        self.max_steps = max_steps
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_grad = clip_grad
        self.batch_rows = batch_rows
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.threads = threads
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, series: ArrayLike | None = None) -> "Self":
        """Train on rows (N, F) with finite features and targets (N,).

        Raises:
            DivergedError: training met a value that is not finite.
            UsageError: a parameter is out of range, or the device is absent.
            ValueError: the BPTT parameters contradict each other, or X, y or `series` has the
                wrong shape, a value that is not finite, or no row that is scored.
        """
        checked = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        layout = _Layout.of(series, len(checked[0]))
        train, validation = self._scored(layout)
        features, outcomes = checked[0][layout.order], checked[1][layout.order][:, None]
        self.scaler_ = Scaler.fit(features, train)
        self.target_scaler_ = Scaler.fit(outcomes, train)
        inputs, scaled = self.scaler_.apply(features), self.target_scaler_.apply_target(outcomes)
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        with _torch_for(self.threads, seed):
            network = build_network(self._architecture()).to(choose_device(self.device))
            device = next(network.parameters()).device
            arrays = TrainingArrays.on(device, inputs, scaled, train[:, None])

            def loss(network: Network) -> float:
                raw = forecast_histories(network, arrays.inputs, layout.offsets)[validation]
                known = torch.from_numpy(scaled[validation].astype(np.float64))
                return float(network.head.loss(torch.from_numpy(raw), known).mean())

            epochs = self._epochs(layout, train, seed)
            done = run_training(network, arrays, epochs, self._options(), Callbacks(validate=loss))
        self.weights_ = {
            name: value.detach().cpu().numpy().copy()
            for name, value in network.state_dict().items()
        }
        self.validation_losses_ = [(one.step, one.validation_loss) for one in done]
        return self

    def predict(self, X: ArrayLike, series: ArrayLike | None = None) -> Array:
        """Predict (N,) from rows (N, F), each series from the initial state.

        Raises:
            NotFittedError: there was no fit.
            ValueError: X or `series` has the wrong shape, or a value that is not finite.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        layout = _Layout.of(series, len(rows))
        with _torch_for(self.threads, 0):
            network = build_network(self._architecture())
            weights = {name: torch.from_numpy(value) for name, value in self.weights_.items()}
            network.load_state_dict(weights)
            inputs = torch.from_numpy(self.scaler_.apply(rows[layout.order]))
            raw = forecast_histories(network, inputs, layout.offsets)[:, 0]
        values = raw * self.target_scaler_.scale[0] + self.target_scaler_.mean[0]
        return layout.unsorted(values)

    def score(self, X: ArrayLike, y: ArrayLike, series: ArrayLike | None = None) -> float:
        """Return R2 of the predictions, the first `warm_up` rows of each series left out."""
        found = self.predict(X, series=series)
        layout = _Layout.of(series, len(found))
        kept = layout.unsorted(layout.place >= self.warm_up)
        return float(r2_score(np.asarray(y)[kept], found[kept]))

    def _scored(self, layout: _Layout) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Select sorted rows (N,) to train on and to validate on."""
        lengths = np.repeat(np.diff(layout.offsets), np.diff(layout.offsets))
        held = (lengths * self.validation_fraction).astype(np.int64)
        warm = layout.place >= self.warm_up
        validation = warm & (layout.place >= lengths - held)
        train = warm & ~validation
        if not train.any():
            raise ValueError(
                f"No row to train on: {len(layout.order)} rows in {len(layout.offsets) - 1} "
                f"series, the first {self.warm_up} of each not scored. Lower warm_up."
            )
        return train, validation if validation.any() else train

    def _architecture(self) -> Architecture:
        return Architecture(
            model=self.model,
            inputs=self.n_features_in_,
            forms=(PointForm(self.point_loss),),
            hidden=self.hidden,
            layers=self.layers,
            dropout=self.dropout,
            learned_start=self.initial_state == "learned",
        )

    def _plan(self) -> Plan:
        if self.bptt == "full":
            return Plan.full()
        return Plan(kind=self.bptt, k2=self.bptt_k2, k1=self.bptt_k1)

    def _options(self) -> Options:
        return Options(
            plan=self._plan(),
            sampling=Sampling(),
            max_steps=self.max_steps,
            learning_rate=self.lr,
            weight_decay=self.weight_decay,
            clip_grad=self.clip_grad,
            evaluate_every=self.evaluate_every,
            patience=self.patience,
        )

    def _epochs(
        self, layout: _Layout, train: NDArray[np.bool_], seed: int
    ) -> Callable[[int], PackedSequences]:
        """Return a function that draws an epoch of packed series by its number."""
        first = layout.offsets[:-1]
        last = np.where(train, np.arange(1, len(train) + 1), 0)
        stop = np.maximum(np.maximum.reduceat(last, first), first)
        longest = int((stop - first).max())
        chunk = self._plan().chunk_days(longest)

        def packed(number: int) -> PackedSequences:
            generator = np.random.default_rng((seed, number))
            phase = chunk if chunk == longest else int(generator.integers(1, chunk + 1))
            return pack_sequences(first, stop, self.batch_rows, chunk, generator, phase)

        return packed


@contextmanager
def _torch_for(threads: int, seed: int) -> Iterator[None]:
    """Set torch's seed and threads inside; restore both after."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
