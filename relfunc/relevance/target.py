"""Targets: what of a model's output is explained, as the relevance it starts with and as a score.

A target gives the output weights, and what is explained is the weighted output, sum(weights * output). It is read at
the output of the input itself, and the weights hold for all that a method compares with it: noisy copies, the way to a
baseline, inputs with windows hidden. The output itself (None), and a function that computes with the values of the
output, are no weights but a score already: relevance starts with their value, and methods that compare outputs explain
their sum.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import TargetError
from ..graph.memory import is_transformed
from ..graph.returned import aligned, leaves, named_tensors

Index: TypeAlias = int | np.integer[Any] | np.ndarray[Any, Any] | Sequence[Any] | Tensor
Target: TypeAlias = Index | tuple[Index | slice, ...] | Callable[[Any], Any] | None
Seed: TypeAlias = Callable[[Any], Any]


def seed(target: Target) -> Seed:
    """Turn a target into the function from a model's output to the relevance it starts with.

    Parameters
    ----------
    target : int, array, list, tuple, Tensor, callable or None
        Of an output ``(sample, class)``: a class, or class indices ``(sample,)`` as a list, array or tensor. Of any
        output: a tuple that indexes it behind the sample, with an int, indices ``(sample,)`` or a slice for each axis,
        such as ``(-1, 42)``, token 42 at the last position of ``(sample, position, token)``, or ``(3, 10, 20)``, a
        pixel of ``(sample, class, row, column)``; floating-point weights of its shape, taken as they are; a function
        from the output to any of these; or None for the output itself. Of several outputs, such as those of a mapping,
        ``logits`` is meant, or else the only one that the target fits.

    Returns
    -------
    callable
        For indices, the relevance is 1 at what they name and 0 elsewhere.

    Raises
    ------
    TargetError
        If the target is of no such type; or when the function is called, if it does not fit the output.

    Examples
    --------
    >>> seed([1, 0])(torch.zeros(2, 3))
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    >>> seed((slice(None), 1))(torch.zeros(1, 2, 3))
    tensor([[[0., 1., 0.],
             [0., 1., 0.]]])

    What speaks for one class rather than another is a contrastive target, the difference of their scores:

    >>> def rather(output):
    ...     weights = torch.zeros_like(output)
    ...     weights[:, 2], weights[:, 0] = 1, -1
    ...     return weights
    >>> seed(rather)(torch.zeros(1, 3))
    tensor([[-1.,  0.,  1.]])
    """
    if target is None:
        return lambda output: output if isinstance(output, Tensor) else leaves(output)
    if callable(target):
        return lambda output: _returned(target(output), output)
    index = _parsed(target)

    return lambda output: _in_part(output, part_of(index, output), lambda part: _weights(index, part))


def part_of(target: Any, output: Any) -> Tensor:
    """Return the tensor of a model's output that a target names a part of.

    Parameters
    ----------
    target : int, tuple or Tensor
        An index, or weights.
    output : Any
        What the model returned.

    Returns
    -------
    Tensor
        The output itself, or its ``logits``, or the only tensor that the target fits.

    Raises
    ------
    TargetError
        If there is none, or several.

    Examples
    --------
    >>> part_of(1, {"hidden": torch.zeros(2, 5, 8), "scores": torch.zeros(2, 3)}).shape
    torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    parts = {name: part for name, part in named_tensors(output).items() if part.is_floating_point()}
    if "logits" in parts:
        return parts["logits"]
    ndim = len(target) + 1 if isinstance(target, tuple) else target.ndim if _is_floating(target) else 2
    fitting = [part for part in parts.values() if part.ndim == ndim]
    if len(fitting) == 1:
        return fitting[0]
    came = ", ".join(f"{name or 'it'} {tuple(part.shape)}" for name, part in parts.items()) or "no tensors"
    raise TargetError(
        f"the model returned a {type(output).__name__} ({came}), of which {_described(target)} names no part: give a "
        "function from the output to relevance of the same structure"
    )


def _in_part(output: Any, part: Tensor, of: Callable[[Tensor], Tensor]) -> Any:
    """Give a part of the output relevance, and all else none: a list of the output's leaves, if it has several."""
    return of(part) if isinstance(output, Tensor) else [of(leaf) if leaf is part else None for leaf in leaves(output)]


def score(target: Target, output: Any) -> tuple[Callable[[Any], Tensor], Seed]:
    """Turn a target into the number that is explained of each sample, for methods that compare outputs.

    Parameters
    ----------
    target : int, array, list, tuple, Tensor, callable or None
        As :func:`seed` takes it. None is the sum of the output. A function that computes with the values of the
        output, such as ``lambda y: y.log_softmax(1) * hot``, is the sum of what it returns; one whose value does not
        change with the output, such as ``lambda y: hot``, weighs it.
    output : Tensor
        Of the input itself; weights are read from it, and hold for all outputs.

    Returns
    -------
    tuple
        Two functions of outputs of the same samples: the score ``(sample,)``; and its derivative, which is the
        relevance to start with.

    Raises
    ------
    TargetError
        If the target does not fit the output.

    Examples
    --------
    >>> y = torch.tensor([[1.0, 2.0]])
    >>> [score(target, y)[0](2 * y).item() for target in (1, None, lambda y: y * y, lambda y: torch.ones_like(y))]
    [4.0, 6.0, 20.0, 6.0]
    """
    if target is None:
        return _summed, lambda y: pytree.tree_map_only(Tensor, torch.ones_like, y if _is_floating(y) else leaves(y))
    if callable(target) and _is_computed(target, output):
        return lambda y: _summed(target(y)), lambda y: _derivative(target, y)
    weights = seed(target)(output)
    return lambda y: _summed(_times(weights, y)), lambda y: weights


# --- relevance ------------------------------------------------------------------------------------------


def _parsed(target: Any) -> Any:
    """Return a tuple of ints, slices and tensors, or one tensor or int."""
    if isinstance(target, tuple):
        return tuple(entry if isinstance(entry, slice) else _parsed_entry(entry, target) for entry in target)
    return _parsed_entry(target, target)


def _parsed_entry(entry: Any, target: Any) -> int | Tensor:
    if isinstance(entry, Tensor):
        return entry
    if isinstance(entry, int | np.integer) and not isinstance(entry, bool):
        return int(entry)
    if isinstance(entry, Sequence) and not isinstance(entry, str | bytes) and len(entry):
        if all(isinstance(one, Tensor) for one in entry):
            return torch.stack(tuple(entry))
        if not any(isinstance(one, bool | np.bool_) for one in entry):
            return _parsed_array(entry, target)
    elif hasattr(entry, "__array__"):
        return _parsed_array(entry, target)
    raise _no_target(target)


def _parsed_array(entry: Any, target: Any) -> Tensor:
    try:
        array = np.array(entry)
    except ValueError as error:
        raise _no_target(target) from error
    if array.dtype.kind not in "iuf":
        raise _no_target(target)
    # torch computes with few of the unsigned types
    return torch.tensor(array if array.dtype.kind == "f" else array.astype(np.int64))


def _no_target(target: Any) -> TargetError:
    said = f"{target!r}"
    return TargetError(
        "a target is an int, a tensor, a function of the output, an array or list of class indices, a tuple that "
        f"indexes the output, or None, not {said if len(said) <= 80 else type(target).__name__}"
    )


def _returned(given: Any, output: Any) -> Any:
    """Turn what a target function returned into relevance."""
    if given is None:
        raise TargetError("the target function returned None: return relevance of the output, or what names a part")
    if isinstance(output, Tensor):
        return given if _is_floating(given) and given.shape == output.shape else seed(given)(output)
    if isinstance(given, Tensor | int | np.integer | np.ndarray):
        part = part_of(given, output)
        return _in_part(output, part, lambda y: _returned(given, y))
    try:
        return aligned(output, given)
    except ValueError as error:
        raise TargetError(
            f"the target function returned another structure than the model: {error}; give relevance of the same "
            "structure, with None for a part that has none"
        ) from error


def _weights(target: Any, output: Tensor) -> Tensor:
    if _is_floating(target) and target.shape == output.shape:
        return target.to(output)
    shape = tuple(output.shape)
    if isinstance(target, tuple):
        if len(target) != output.ndim - 1:
            raise TargetError(
                f"{_described(target)} has {len(target)} entries, and the model's output has shape {shape}: give one "
                "for each axis behind the sample, slice(None) for all of an axis"
            )
        entries = target
    elif output.ndim == 2:
        entries = (target,)
    else:
        instead = "None for the output itself" if output.ndim < 2 else f"a tuple of {output.ndim - 1} indices"
        raise TargetError(
            f"the model's output has shape {shape}, not (sample, class), so that {_described(target)} names no part "
            f"of it: give {instead}, a tensor of that shape, or a function from the output to one"
        )
    named = torch.ones(shape[:1], dtype=torch.bool, device=output.device).view(-1, *(1,) * (output.ndim - 1))
    for axis, entry in enumerate(entries, 1):
        along = _along(entry, output, axis, target)
        named = named & along.view(-1, *(along.shape[-1] if i == axis else 1 for i in range(1, output.ndim)))
    return named.to(output.dtype)


def _along(entry: int | slice | Tensor, output: Tensor, axis: int, target: Any) -> Tensor:
    """Say what of an axis is named: ``(size,)`` for all samples, or ``(sample, size)``."""
    samples, size = output.shape[0], output.shape[axis]
    places = torch.arange(size, device=output.device)
    if isinstance(entry, slice):
        return torch.isin(places, places[entry])
    index = torch.as_tensor(entry, device=output.device)
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        fits = False
    else:
        fits = index.shape in {(), (samples,)}
    if not fits:
        raise TargetError(
            f"{_described(target)} fits no output of shape {tuple(output.shape)}: give an int, one class index for "
            f"each of the {samples} samples, or a floating-point tensor of the output's shape"
        )
    index = torch.where(index < 0, index + size, index) if isinstance(target, tuple) else index  # from the end
    if not is_transformed() and bool(((index < 0) | (index >= size)).any()):
        of = "the model has classes" if output.ndim == 2 else f"axis {axis} of the model's output has places"
        raise TargetError(f"{_described(target)} is out of range: {of} 0 … {size - 1}")
    return places == index.long().unsqueeze(-1)


def _described(target: Any) -> str:
    if not isinstance(target, Tensor):
        said = f"target {target}"
        return said if len(said) <= 80 else f"a target of {len(target)} indices"
    if target.numel() <= 16 and not is_transformed():
        return f"target {target.tolist()}"
    return f"a target of shape {tuple(target.shape)} and {target.dtype}"


# --- scores ---------------------------------------------------------------------------------------------


def _is_computed(target: Callable[[Any], Any], output: Any) -> bool:
    """Whether the value of a function changes with the output."""
    if is_transformed():
        raise TargetError(
            "inside a transform the values of a target function cannot be looked at: give this method an index, "
            "weights of the output's shape, or None"
        )
    try:
        found = leaves(_derivative(target, output))
    except RuntimeError:  # of what autograd cannot see through, such as y.numpy()
        return False
    return any(bool(leaf.any()) for leaf in found if isinstance(leaf, Tensor))


def _derivative(target: Callable[[Any], Any], output: Any) -> Any:
    """Return the derivative of the sum of what a function returns."""
    with torch.inference_mode(False), torch.enable_grad():
        flat, spec = pytree.tree_flatten(output)
        tracked = [leaf.detach().clone().requires_grad_() if _is_floating(leaf) else leaf for leaf in flat]
        # the function gets views: it may write to what it is given, which autograd forbids for leaves
        views = [leaf.view_as(leaf) if _is_floating(leaf) else leaf for leaf in tracked]
        given = [one for one in pytree.tree_leaves(target(pytree.tree_unflatten(views, spec))) if _is_floating(one)]
        sums = [one.sum() for one in given if one.requires_grad]
        wanted = [leaf for leaf in tracked if _is_floating(leaf)]
        found = torch.autograd.grad(sums, wanted, materialize_grads=True) if sums else map(torch.zeros_like, wanted)
    each = iter(found)
    return pytree.tree_unflatten([next(each) if _is_floating(leaf) else None for leaf in flat], spec)


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _times(weights: Any, output: Any) -> list[Tensor]:
    pairs = zip(leaves(weights), leaves(output), strict=True)
    return [w * y for w, y in pairs if w is not None]


def _summed(values: Any) -> Tensor:
    """Sum over all but the samples."""
    parts = [part for part in leaves(values) if _is_floating(part)]
    if not parts or any(part.ndim == 0 for part in parts):
        raise TargetError("the score of a sample is unknown: the model and the target function keep the sample's axis")
    return torch.stack([part.reshape(len(part), -1).sum(1) for part in parts]).sum(0)
