"""A version as an ONNX graph of one day: unscaled inputs and state in, distributions and state out.

Needs the extra `onnx`. Shape letters: B rows (tickers), C inputs, M members, P parameters of one
target, R raw outputs of all targets together, Y layers, H hidden units.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forecaster.data.export import check_folder
from forecaster.data.scaling import CLIP, Scaler
from forecaster.errors import UsageError
from forecaster.files import output_file, to_json
from forecaster.forecasting.fitted_model import FittedModel, location_columns
from forecaster.models.base import RecurrentState

OPSET = 18
EXAMPLE_ROWS = 2  # torch.export takes a dimension of 1 for a constant


class _Scaling(nn.Module):
    """`Scaler.apply` on tensors: (B, C) unscaled to (B, C) float32, a missing value to 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, scaler: Scaler) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(scaler.mean))
        self.register_buffer("scale", torch.from_numpy(scaler.scale))

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - self.mean) / self.scale
        known = torch.where(torch.isnan(scaled), torch.zeros_like(scaled), scaled)
        return known.clamp(-CLIP, CLIP).float()


class OneDay(nn.Module):
    """A fitted model's whole way from the inputs of a day to its distributions.

    The same steps as `FittedModel.raw_by_member`, for one day of B series.
    """

    factors: Tensor
    weights: Tensor
    intercepts: Tensor

    def __init__(self, model: FittedModel) -> None:
        super().__init__()
        self.model, self.own = model, len(model.reader.names)
        self.networks = nn.ModuleList(model.networks)
        self.tensors = [len(network.initial_state(1).tensors) for network in model.networks]
        self.scaling = _Scaling(model.reader.scaler)
        self.shrunk = location_columns(model.forms).tolist()
        self.register_buffer("factors", torch.from_numpy(model.shrinkage))
        self.base = base = model.reader.base
        if base is not None:
            self.base_scaling = _Scaling(base.scaler)
            self.register_buffer("weights", torch.from_numpy(base.weights))
            self.register_buffer("intercepts", torch.from_numpy(base.intercepts))

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Map `x` (B, C) and the state tensors of all members to (M, B, P) a target and states."""
        inputs, base = self.scaling(x[:, : self.own]), torch.zeros((), dtype=torch.float64)
        if self.base is not None:
            scaled = self.base_scaling(x[:, self.own :]).double()
            outputs = (scaled @ self.weights + self.intercepts).float()
            inputs, base = torch.cat([inputs, outputs], dim=1), outputs.double()
        raws, after, left = [], [], list(states)
        for network, tensors in zip(self.networks, self.tensors, strict=True):
            own, left = left[:tensors], left[tensors:]
            raw, state = network(inputs[None], RecurrentState(tuple(own)))
            raws.append(self._shrink(raw[0].double(), base))
            after += state.tensors
        return (*self._distributions(torch.stack(raws or [base])), *after)

    def _shrink(self, raw: Tensor, base: Tensor) -> Tensor:
        columns = list(raw.unbind(1))
        for factor, column in zip(self.factors, self.shrunk, strict=True):
            own = base[:, column] if self.base is not None else base
            columns[column] = own + factor * (columns[column] - own)
        return torch.stack(columns, dim=1)

    def _distributions(self, raw: Tensor) -> list[Tensor]:
        forms, scaler = self.model.forms, self.model.target_scaler
        parts = torch.split(raw, [form.width for form in forms], dim=-1)
        return [
            form.in_units(part, float(mean), float(scale))
            for form, part, mean, scale in zip(forms, parts, scaler.mean, scaler.scale, strict=True)
        ]


def export_onnx(model: FittedModel, path: Path) -> Path:
    """Write a model as an ONNX graph, and beside it what its inputs and outputs mean, as JSON.

    Distributions are uncalibrated and of the deviation from the target's level, as in
    `FittedModel.distributions`; a new axis holds the members of an ensemble.

    Returns:
        The path of the JSON file.

    Raises:
        CannotWriteError: the folder of `path` is missing or read-only.
        UsageError: the model reads its window both ways, or the extra is not installed.
    """
    if path.suffix == ".json":
        raise UsageError(f"--onnx {path}: its description takes that name; choose one in .onnx.")
    check_folder("--onnx", path)
    _refuse(model)
    states = [
        (f"member{member + 1}_{name}", tensor[:, 0])
        for member, network in enumerate(model.networks)
        for name, tensor in zip("hc", network.initial_state(1).tensors, strict=False)
    ]
    graph = _graph(model, [name for name, _ in states])
    described = path.with_suffix(".json")
    with output_file(path) as stream:
        stream.write(graph)
    with output_file(described) as stream:
        stream.write((to_json(_description(model, states), indent=2) + "\n").encode())
    return described


def _refuse(model: FittedModel) -> None:
    """Refuse a model that cannot be carried from day to day, and a missing extra."""
    for network in model.networks:
        if not network.core.cuttable:
            raise UsageError(
                f"Version {model.version} is bidirectional: it reads a complete window both ways, "
                "and no state carries it from day to day. Only one-directional versions can be "
                "exported."
            )
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "An export needs further packages; in the checkout: "
            'pip install -c constraints.txt ".[onnx]"'
        ) from error


def _graph(model: FittedModel, names: Sequence[str]) -> bytes:
    """Translate `OneDay` with a free number of rows; return the serialised graph."""
    day = OneDay(model).eval()
    rows = EXAMPLE_ROWS
    x = torch.zeros(rows, len(model.reader.columns_read), dtype=torch.float64)
    states = [
        tensor.detach().contiguous()
        for network in model.networks
        for tensor in network.initial_state(rows).tensors
    ]
    free = torch.export.Dim("rows", min=1)
    shapes = ({0: free}, tuple({1: free} for _ in states))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        program = torch.onnx.export(
            day,
            (x, *states),
            input_names=["x", *names],
            output_names=[*model.targets, *(f"{name}_after" for name in names)],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is None only where torch writes the file itself
    return bytes(program.model_proto.SerializeToString())


def _description(model: FittedModel, states: Sequence[tuple[str, Tensor]]) -> dict[str, Any]:
    return {
        "schema": 1,
        "version": model.version,
        "lookback": model.lookback,
        "inputs": list(model.reader.columns_read),
        "initial_state": {name: tensor.detach().numpy() for name, tensor in states},
        "outputs": {
            target: {"head": form.name, "parameters": list(form.parameter_names)}
            for target, form in zip(model.targets, model.forms, strict=True)
        },
        "members": max(1, len(model.networks)),
    }
