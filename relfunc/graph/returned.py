"""What models return: nested tensors in a graph, and the class that holds them for who called the model.

A graph returns tuples, lists and dicts. A model may return a mapping of its own, with tensors beside what
is no tensor, such as a cache of keys and values: the graph leaves that out, and what was left out is None.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..errors import CaptureError


@dataclass(frozen=True)
class Returned:
    """Makes of a graph's output what the model returns.

    Parameters
    ----------
    kind : type, optional
        The model's own class of mapping; None for a tuple, list or dict, which the graph holds as it is.
    parts : tuple
        ``(key, Returned)`` of the parts in which such a class is.
    """

    kind: type | None
    parts: tuple[tuple[Any, "Returned"], ...] = ()
    __name__ = "returned"

    def __call__(self, structure: Any) -> Any:
        """Put a class around a dict, here and in its parts."""
        if not self.parts and self.kind is None:
            return structure
        if isinstance(structure, dict):
            made: Any = dict(structure)
            made.update({key: part(structure[key]) for key, part in self.parts})
            if self.kind is None:
                return made
            return self.kind(**made) if dataclasses.is_dataclass(self.kind) else self.kind(made)
        items = list(structure)
        for i, part in self.parts:
            items[i] = part(items[i])
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)


def returned(output: Any) -> Returned | None:
    """Describe the classes in which a model returns its output; None if a graph holds it as it is."""
    made = _described(output)
    return made if made.kind is not None or made.parts else None


def _described(a: Any) -> Returned:
    kind = type(a) if _is_own(a) else None
    items = a.items() if isinstance(a, Mapping) else enumerate(a) if isinstance(a, tuple | list) else ()
    parts = ((key, _described(part)) for key, part in items)
    return Returned(kind, tuple((key, part) for key, part in parts if part.kind is not None or part.parts))


def is_tensor(a: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(a, Tensor)


def plain(
    output: Any,
    leaf: Callable[[Any], Any] = lambda a: a,
    is_leaf: Callable[[Any], bool] = is_tensor,
    *,
    inside: bool = False,
) -> Any:
    """Turn what a model returns into nested tuples, lists and dicts of tensors and numbers.

    Parameters
    ----------
    output : Any
        What it returned.
    leaf : callable
        Of each tensor.
    is_leaf : callable
        What counts as one.
    inside : bool
        Whether it stands in a mapping, where what no graph holds is left out.

    Returns
    -------
    Any
        With dicts for mappings, but for plain dicts without their entries that are None or left out; None for what is
        left out elsewhere in a mapping.

    Raises
    ------
    CaptureError
        If it is, or has in a tuple or list, what no graph holds.
    """
    if is_leaf(output):
        return leaf(output)
    if isinstance(output, tuple | list):
        items = [plain(item, leaf, is_leaf, inside=inside) for item in output]
        if hasattr(output, "_fields"):
            return type(output)(*items)  # type: ignore[call-arg]
        return items if isinstance(output, list) else tuple(items)
    if isinstance(output, Mapping):
        entries = {key: plain(part, leaf, is_leaf, inside=True) for key, part in output.items()}
        return {key: part for key, part in entries.items() if part is not None or type(output) is dict}
    if isinstance(output, torch.SymInt):  # a size, when it is exported: that of the example
        return int(output)
    if output is None or isinstance(output, bool | int | float | str | torch.dtype | torch.device):
        return output
    if inside:
        return None
    raise CaptureError(
        f"the model returns an object of class {type(output).__name__}: return a tensor, tuple, list, dict, mapping or "
        "named tuple; dataclasses.asdict makes a dict of a dataclass"
    )


def leaves(output: Any) -> list[Any]:
    """Return the tensors and numbers of what a model returns, and None for what is none.

    Parameters
    ----------
    output : Any
        What it returned, or relevance of the same structure.

    Returns
    -------
    list
    """
    return pytree.tree_leaves(plain(output), is_leaf=lambda a: a is None)


def named_tensors(output: Any) -> dict[str, Tensor]:
    """Return the tensors of what a model returns by their places, such as ``logits`` or ``hidden_states[0]``."""
    found = pytree.tree_flatten_with_path(plain(output))[0]
    return {_place(path): leaf for path, leaf in found if isinstance(leaf, Tensor)}


def _place(path: Any) -> str:
    said = pytree.keystr(path)
    return said[2:].replace("']", "", 1) if said.startswith("['") else said


def aligned(output: Any, given: Any) -> list[Any]:
    """Return the leaves of ``given`` in the places of the leaves of ``output``; None where it has none.

    Parameters
    ----------
    output : Any
        What a model returned.
    given : Any
        Of the same structure, where entries of mappings may be missing; or a list of all the leaves.

    Returns
    -------
    list

    Raises
    ------
    ValueError
        If there is a part that the output has not.
    """
    wanted, has = plain(output), plain(given)
    if isinstance(has, list) and not isinstance(wanted, list) and len(has) == len(leaves(wanted)):
        return has  # the leaves already
    return list(_aligned(wanted, has))


def _aligned(wanted: Any, has: Any) -> Iterator[Any]:
    if isinstance(wanted, dict) and isinstance(has, dict | None):
        has = has or {}
        if not set(has) <= set(wanted):
            raise ValueError(f"{sorted(set(has) - set(wanted))} is no part of the output")
        for key, part in wanted.items():
            yield from _aligned(part, has.get(key))
    elif isinstance(wanted, tuple | list) and (has is None or isinstance(has, tuple | list)):
        if has is not None and len(has) != len(wanted):
            raise ValueError(f"{len(has)} parts in the place of {len(wanted)}")
        for i, part in enumerate(wanted):
            yield from _aligned(part, None if has is None else has[i])
    elif isinstance(has, dict | tuple | list):
        raise ValueError(f"a {type(has).__name__} in the place of a tensor")
    else:
        yield has


def _is_own(a: Any) -> bool:
    """Whether a value is of a class of mappings that is no plain dict."""
    return isinstance(a, Mapping) and type(a) is not dict


def in_class(graph: fx.Graph, original: fx.Graph, structure: Any) -> Any:
    """Put the output of a graph into the class in which the model returns it.

    Parameters
    ----------
    graph : torch.fx.Graph
        The graph that is written.
    original : torch.fx.Graph
        What was captured, or a graph made of it.
    structure : Any
        Nodes of ``graph``, nested as the output of ``original``.

    Returns
    -------
    Any
        A node, or the structure itself.
    """
    returns = original.output_node().meta.get("returns")
    return structure if returns is None else graph.call_function(returns, (structure,))
