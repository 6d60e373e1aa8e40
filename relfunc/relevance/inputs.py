"""Inputs of a model: one tensor, or several in a tuple of positional arguments or a mapping of arguments by name.

Arguments may be nested tuples, lists and dicts. Their floating-point tensors are explained; all else, such as token
ids, masks and options, is passed on, and has no attribution.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InputError
from ..graph.arguments import as_call
from ..graph.captured import parameter
from ..graph.memory import is_transformed
from ..graph.tokens import is_unchanged, lookup, source_of
from ..ops.spellings import spelling
from .function import Relevance

Inputs: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any]


def checked(x: Any, f: Callable[..., Any], *, tokens: bool = False) -> Any:
    """Return the inputs if ``f`` can be explained for them; values are not looked at inside a transform.

    Parameters
    ----------
    x : Any
        The inputs.
    f : callable
        What is explained.
    tokens : bool
        Whether integers that index tables of ``f`` are explained as well.

    Returns
    -------
    Tensor, tuple or dict

    Raises
    ------
    InputError
        If there is no floating-point tensor, or one that is not finite or not where the model is.
    """
    if not isinstance(x, Tensor | tuple | Mapping):
        raise InputError(f"an input is a {type(x).__name__}, not a tensor: convert it with torch.as_tensor")
    if tokens and has_tokens(f):
        _check_tokens(x, f)
    if isinstance(x, Tensor):
        if not x.is_floating_point():
            if tokens and has_tokens(f):
                return x
            raise InputError(
                f"the input is {x.dtype}, which has no gradient: convert it, as with x.float(){_OF_TOKENS}"
            )
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
    if not explained(x) and not (tokens and has_tokens(f)):
        came = ", ".join(_described(leaf) for leaf in pytree.tree_leaves(x)) or "nothing"
        raise InputError(
            f"no input is a floating-point tensor, which alone is explained: the inputs are {came}{_OF_TOKENS}"
        )
    return x


_OF_TOKENS: Final = (
    ". Token ids are explained by relfunc.gradient(f) with f = relfunc.lrp(model, composite, example_inputs=x): the "
    "relevance of what an embedding returns for them; a plain gradient, and methods that change inputs, can be given "
    "the embeddings themselves, which many models take as inputs_embeds"
)


def has_tokens(f: Callable[..., Any]) -> bool:
    """Whether ``f`` is a relevance function of a model that looks up tokens."""
    return isinstance(f, Relevance) and bool(f._lrp.program.tokens)


def _check_tokens(x: Any, f: Any) -> None:
    """Refuse token ids that are no integers, or that their table has no rows for."""
    lrp = f._lrp
    args, kwargs = as_call(x)
    values = dict(zip(lrp.program.inputs, lrp.values(args, kwargs), strict=True))
    for name in lrp.program.tokens:
        if values[name].is_floating_point():
            raise InputError(f"{name} is {values[name].dtype}, and holds token ids: give integers, as with x.long()")
    if is_transformed():
        return
    for node, index in lrp.known.tokens.lookups.items():
        name, table = source_of(index).name, lookup(node)[0]
        ids = values.get(name)
        if table.op != "get_attr" or ids is None or not ids.numel():
            continue
        rows, least, most = len(parameter(lrp.model, str(table.target))), int(ids.min()), int(ids.max())
        if spelling(node.target) == "embedding" and is_unchanged(index) and not 0 <= least <= most < rows:
            raise InputError(
                f"{name} has the id {least if least < 0 else most}, and the table {table.target} has rows 0 to "
                f"{rows - 1}: give the ids of this model's own tokenizer"
            )


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


def of_explained(x: Inputs, attribution: Any) -> list[Tensor]:
    """Return the attributions of the tensors that are explained, from those of all inputs."""
    if isinstance(x, Tensor):
        return [attribution]
    pairs = zip(pytree.tree_leaves(x), pytree.tree_leaves(attribution, is_leaf=lambda a: a is None), strict=True)
    return [a for leaf, a in pairs if _is_explained(leaf)]


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
