"""Inputs of a model: one tensor, or several in a tuple of positional arguments or a mapping of arguments by name.

Arguments may be nested tuples, lists and dicts. Their floating-point tensors are explained; all else, such as token
ids, masks and options, is passed on, and has no attribution.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InputError
from ..graph.memory import is_transformed

Inputs: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any]


def checked(x: Any, f: Callable[..., Any]) -> Any:
    """Return the inputs if ``f`` can be explained for them; values are not looked at inside a transform.

    Raises
    ------
    InputError
        If there is no floating-point tensor, or one that is not finite or not where the model is.
    """
    if not isinstance(x, Tensor | tuple | Mapping):
        raise InputError(f"an input is a {type(x).__name__}, not a tensor: convert it with torch.as_tensor")
    if isinstance(x, Tensor):
        if not x.is_floating_point():
            raise InputError(f"the input is {x.dtype}, which has no gradient: convert it, as with x.float()")
        _check_values(x, f, "")
        return x
    x = x if isinstance(x, tuple | dict) else dict(x)
    for path, leaf in pytree.tree_flatten_with_path(x)[0]:
        where = pytree.keystr(path)
        if not isinstance(leaf, Tensor | bool | int | float | str | None):
            raise InputError(
                f"the input{where} is a {type(leaf).__name__}, not a tensor: convert it with torch.as_tensor"
            )
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            _check_values(leaf, f, where)
    if not explained(x):
        came = ", ".join(_described(leaf) for leaf in pytree.tree_leaves(x)) or "nothing"
        raise InputError(f"no input is a floating-point tensor, which alone is explained: the inputs are {came}")
    return x


def call(f: Callable[..., Any], x: Inputs) -> Any:
    """Call a model with its inputs."""
    if isinstance(x, Tensor):
        return f(x)
    return f(*x) if isinstance(x, tuple) else f(**x)


def explained(x: Inputs) -> list[Tensor]:
    """Return the tensors that are explained."""
    return [x] if isinstance(x, Tensor) else [leaf for leaf in pytree.tree_leaves(x) if _is_explained(leaf)]


def replaced(x: Inputs, values: Sequence[Tensor]) -> Any:
    """Put other tensors in the place of those that are explained."""
    each = iter(values)
    return pytree.tree_map(lambda leaf: next(each) if _is_explained(leaf) else leaf, x)


def attributed(x: Inputs, relevance: Sequence[Tensor]) -> Any:
    """Give relevance of the tensors that are explained the structure of the inputs, with None for all else."""
    each = iter(relevance)
    return pytree.tree_map(lambda leaf: next(each) if _is_explained(leaf) else None, x)


def is_stackable(x: Inputs, samples: int) -> bool:
    """Whether the first axis of every tensor is the samples, so that copies of the inputs make one batch."""
    tensors = [leaf for leaf in pytree.tree_leaves(x) if isinstance(leaf, Tensor)]
    return all(tensor.ndim > 0 and len(tensor) == samples for tensor in tensors)


def stacked(x: Inputs, copies: Sequence[Sequence[Tensor]]) -> Any:
    """Stack copies of the inputs, given by their explained tensors, into one batch: one copy after the other."""
    if len(copies) == 1:
        return replaced(x, copies[0])
    each: Iterator[tuple[Tensor, ...]] = zip(*copies, strict=True)

    def stack(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return torch.cat(next(each) if _is_explained(leaf) else [leaf] * len(copies))

    return pytree.tree_map(stack, x)


def trackable(x: Any) -> Any:
    """Copy the tensors made in inference mode, which autograd refuses."""
    return pytree.tree_map_only(Tensor, lambda value: value.clone() if value.is_inference() else value, x)


def _is_explained(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _check_values(x: Tensor, f: Callable[..., Any], where: str) -> None:
    if is_transformed():
        return
    device = next((p.device for p in f.parameters()), x.device) if isinstance(f, torch.nn.Module) else x.device
    if device != x.device:
        raise InputError(
            f"the input{where} is on {x.device} and the model on {device}: move one, as with x.to('{device}')"
        )
    finite = torch.isfinite(x)
    if not finite.all():
        at = tuple((~finite).nonzero()[0].tolist())
        raise InputError(f"the input{where} is {x[at].item()} at {at}: relevance of it would be NaN everywhere")


def _described(leaf: Any) -> str:
    return f"{leaf.dtype} {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else repr(leaf)
