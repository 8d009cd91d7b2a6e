"""Nests of tensors: a tensor, or tuples, lists, dicts and dataclasses of them, to any depth."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

Nest = Any  # None is the empty one


def leaves(nest: Nest) -> tuple[Tensor, ...]:
    """List the tensors of a nest.

    Raises:
        TypeError: it holds something else.
    """
    found: list[Tensor] = []
    mapped(nest, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return tuple(found)


def mapped(nest: Nest, function: Callable[[Tensor], Tensor]) -> Nest:
    """Apply a function to every tensor, in the order of `leaves`; keep the form."""
    if nest is None:
        return None
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, Mapping):
        return {key: mapped(part, function) for key, part in nest.items()}
    if is_dataclass(nest) and not isinstance(nest, type):
        parts = (mapped(getattr(nest, field.name), function) for field in fields(nest))
        return type(nest)(*parts)
    if isinstance(nest, tuple | list):
        parts = (mapped(part, function) for part in nest)
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    raise TypeError(
        f"a {type(nest).__name__} is neither a tensor nor a tuple, list, dict or dataclass of "
        "tensors; give one of these."
    )


def rebuilt(nest: Nest, tensors: Iterable[Tensor]) -> Nest:
    """Replace the tensors of a nest by others, in the order of `leaves`."""
    following = iter(tensors)
    return mapped(nest, lambda _: next(following))


def detached(nest: Nest) -> Nest:
    """Return the same values without gradient history."""
    return mapped(nest, Tensor.detach)
