"""Sharing: which tensors of a graph are names of one memory, and what the latest value of each is.

A tensor is a *name* of memory, and several tensors may be names of one: a view, such as ``x[:, 1:]`` or
``x.transpose(0, 1)``, of what it was made of. The graph is gone through once, in the order in which it runs, and knows
the latest value of each name:

- A write ``f_(x)`` becomes ``f(x)``, which is the latest value of ``x``. What ``x`` is a view of has the new value put
  in the place of the view (:func:`written_through`), and so on up to the tensor that owns the memory.
- Who reads a name behind a write reads its latest value; another view of the same memory is made again, of the latest
  value of what it is a view of.

Some operations return a view or a copy, as the strides of an input decide (``reshape``, ``contiguous``, ``to``), a view
in which one number stands in several places (``expand``), or nobody knows what (a function that is not torch's). What
they return gets memory of its own here, and reading one of the two behind a write to the other is refused. The memory
of inputs and parameters is read by the caller, behind everything: writing to any name of it is refused.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

import torch
from torch import Tensor, fx

from ..errors import CanonizeError, SharedMemoryError
from ..ops.spellings import may_share, spelling, words
from ..ops.table import Op, find
from .graphs import described, identity, mapped, origin_of
from .standins import reversed_axes, swapped_last_axes
from .written import Constant, written, written_through


@dataclass(eq=False)
class _Owned:
    """Memory: how often it was written to, and other memory that may be the same."""

    owner: fx.Node
    version: int = 0
    linked: "list[_Owned]" = field(default_factory=list)
    lost: str = ""

    def together(self) -> "list[_Owned]":
        """Return this and all that may be the same memory."""
        found: list[_Owned] = [self]
        for memory in found:
            found += [other for other in memory.linked if other not in found]
        return found


@dataclass(frozen=True)
class _View:
    """How a name is made of another; of what returns several, which ``part`` it is."""

    view: Any
    args: tuple[Any, ...]
    options: dict[str, Any]
    part: int | None = None


@dataclass(eq=False)
class _Name:
    """A tensor: what it is a view of, and its value since the last write that it has seen."""

    node: fx.Node
    memory: _Owned
    value: fx.Node
    version: int = 0
    parent: "_Name | None" = None
    view: _View | None = None

    @property
    def above(self) -> "list[_Name]":
        """What it is a view of, from the next to the owner of the memory."""
        return [] if self.parent is None else [self.parent, *self.parent.above]


class Memory:
    """All names of a graph.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    numbers : set of torch.fx.Node
        Sizes, which are no memory.
    """

    def __init__(self, graph: fx.Graph, rows: Mapping[Any, Op], numbers: set[fx.Node]) -> None:
        self._graph, self._rows, self._numbers = graph, rows, numbers
        self._names: dict[fx.Node, _Name] = {}
        self._items: dict[tuple[fx.Node, Any], _Name] = {}
        self._constants: dict[Any, _Owned] = {}

    def read(self, node: fx.Node) -> None:
        """Let a call read the latest values of its arguments, and see whether what it returns shares their memory."""
        name = self._named(node)
        latest = self._last if spelling(node.target) in SIZES else lambda a: self._latest(a, node)
        before = node.all_input_nodes
        node.args, node.kwargs = mapped(latest, (node.args, dict(node.kwargs)))
        if node.all_input_nodes != before:
            node.target = _of_any_strides(node.target, node.args)
        if name is not None:
            name.version = name.memory.version

    def write(self, node: fx.Node) -> None:
        """Make the result of a call the latest value of what it writes to."""
        given: Any = written_by(node)
        name = self._names[given]
        self._refuse_own(name.memory, node)
        view = _View(node.target, node.args[1:], dict(node.kwargs))
        before = self._latest(given, node)
        node.args, node.kwargs = mapped(lambda a: self._latest(a, node), (node.args, dict(node.kwargs)))
        if spelling(node.target) in _SHAPES:  # no memory is written to: the tensor becomes a view of what it was
            self._names[given] = self._names[node] = _Name(node, name.memory, node, name.memory.version, name, view)
            return
        above = [(parent, self._value(parent, node)) for parent in name.above]
        value = self._of_type(node, before)
        for memory in name.memory.together()[1:]:
            memory.lost = memory.lost or f"{described(node)} writes to a view of"
        name.memory.version += 1
        self._names[node] = name
        self._set(name, value)
        child = name
        for parent, old in above:
            value = self._put(child, parent, old, value)
            self._set(parent, value)
            child = parent

    # --- values ---------------------------------------------------------------------------------------

    def _last(self, a: fx.Node) -> fx.Node:
        """Value of a name for who reads its size only."""
        return self._names[a].value if a in self._names else a

    def _latest(self, a: fx.Node, reader: fx.Node) -> fx.Node:
        return self._value(self._names[a], reader) if a in self._names else a

    def _value(self, name: _Name, reader: fx.Node) -> fx.Node:
        """Latest value of a name, made again before who reads it if what it is a view of was written to."""
        if name.memory.lost:
            raise SharedMemoryError(
                f"{name.memory.lost} '{name.node}', which is read later: clone it first, or capture with via='export', "
                "which sees the strides that decide whether they share memory"
            )
        if name.version < name.memory.version and name.parent is not None and name.view is not None:
            parent, view = self._value(name.parent, reader), name.view
            with self._graph.inserting_before(reader):
                target = _of_any_strides(view.view, view.args)
                made = self._graph.call_function(target, (parent, *view.args), view.options)
                if view.part is not None:
                    made.meta = origin_of(name.node)
                    made = self._graph.call_function(operator.getitem, (made, view.part))
                made.meta = {**origin_of(name.node), **_kind_of(name.node)}
            self._set(name, made)
        return name.value

    def _set(self, name: _Name, value: fx.Node) -> None:
        name.value, name.version = value, name.memory.version

    def _put(self, child: _Name, parent: _Name, old: fx.Node, value: fx.Node) -> fx.Node:
        """Write a value in the place of a view into what that is a view of."""
        view: Any = child.view
        name = spelling(view.view) or ""
        options: dict[str, Any] = {}
        if view.view is identity or name == "alias":
            return value
        if name in _RESHAPING and not any(isinstance(a, torch.dtype) for a in view.args):
            call, args = Tensor.reshape_as, (value, old)
        elif view.view in _SELF_INVERSE:
            call, args = view.view, (value,)
        elif name == "transpose":
            call, args, options = view.view, (value, *view.args), view.options
        elif name == "getitem" and view.part is None:
            call, args = written, (old, view.args[0], value)
        else:
            call, args = written_through, (old, value, name, view.args, view.options, view.part)
        with self._graph.inserting_after(value):
            made = self._graph.call_function(call, args, options)
        made.meta = {**origin_of(value), **_kind_of(parent.node)}
        return made

    def _of_type(self, node: fx.Node, before: fx.Node) -> fx.Node:
        """Give what is written the type of what it is written to, where the operation would return another."""
        kept, others = _kind_of(before).get("dtype"), [_kind_of(a).get("dtype") for a in node.all_input_nodes]
        known = [kind for kind in others if kind is not None]
        promoted = kept is not None and reduce(torch.promote_types, known, kept) is not kept
        if not promoted and spelling(node.target) not in _COMPARING:
            return node
        with self._graph.inserting_after(node):
            made = self._graph.call_function(Tensor.type_as, (node, before))
        made.meta = {**origin_of(node), **_kind_of(before)}
        return made

    def _refuse_own(self, memory: _Owned, node: fx.Node) -> None:
        for other in memory.together():
            if other.owner.op in _OWN:
                raise CanonizeError(
                    f"{described(node)} writes to the model's own {_OWN[other.owner.op]} '{other.owner}': "
                    "clone it first"
                )

    # --- who shares memory with whom ------------------------------------------------------------------

    def _named(self, node: fx.Node) -> _Name | None:
        """Find out what a node is a name of; before it reads its arguments, which are names as the model has them."""
        if node.op == "output" or node in self._numbers:
            return None
        args: Any = node.args
        of = args[0] if node.op == "call_function" and args else None
        parent = self._names.get(of) if isinstance(of, fx.Node) else None
        item = (parent.node, args[1]) if parent is not None and self._is_item(node, parent) else None
        name = self._items.get(item) if item is not None else None
        if name is None and item is None and parent is not None and (view := self._view(node, parent)) is not None:
            above = parent.parent if view.part is not None else parent
            name = _Name(node, parent.memory, node, 0, above, view)
        if name is None:
            name = _Name(node, _Owned(node), node)
            for other in [] if item is not None else self._shared(node, name.memory):
                name.memory.linked.append(other)
                other.linked.append(name.memory)
        if item is not None:
            self._items[item] = name
        self._names[node] = name
        return name

    def _is_item(self, node: fx.Node, parent: _Name) -> bool:
        """Whether a node reads one of several tensors that an operation returned, each with memory of its own."""
        op = find(parent.node.target, self._rows) if parent.node.op == "call_function" else None
        several = op is not None and op.returns in {"several", "over an axis"} and op.memory != "shared"
        return several and all(
            user.target is operator.getitem and isinstance(user.args[1], int) for user in (node, *parent.node.users)
        )

    def _view(self, node: fx.Node, parent: _Name) -> _View | None:
        """How a node is a view of its first argument; None if it is none, or need not be one."""
        args: Any = node.args[1:]
        name, options = spelling(node.target) or "", dict(node.kwargs)
        of = parent.view
        if of is not None and of.part is None and spelling(of.view) in _SEVERAL:
            first = name == "getitem" and isinstance(args[0], int)
            return _View(of.view, of.args, of.options, args[0]) if first else None
        if name == "getitem" and not self._is_basic(args[0]):
            return None
        return _View(node.target, args, options) if name in _VIEWS or node.target in _ITSELF else None

    def _is_basic(self, index: Any) -> bool:
        """Whether an index takes a view: numbers and slices do, tensors and lists do not."""
        if isinstance(index, tuple):
            return all(map(self._is_basic, index))
        if isinstance(index, fx.Node):
            return index in self._numbers
        return index is None or index is Ellipsis or type(index) in {int, slice}

    def _shared(self, node: fx.Node, own: _Owned) -> list[_Owned]:
        """Memory that a node may share, or not, as far as can be told."""
        if isinstance(node.target, Constant):
            first = self._constants.setdefault(node.meta.get("storage", node), own)
            if first.version:  # what the forward wrote to it is in the graph, not in the constant
                own.lost = f"something writes to a view of '{first.owner}', which is a view of"
            return [] if first is own else [first]
        if node.op != "call_function" or (node.target is operator.getitem and _copies(node.args[1])):
            return []
        op, name = find(node.target, self._rows), spelling(node.target)
        unsure = name is None or may_share(name) if op is None else op.memory == "shared" or _may_move(op)
        of = node.all_input_nodes if name is None or name in _OF_SEVERAL else node.all_input_nodes[:1]
        return [self._names[a].memory for a in of if a in self._names] if unsure else []


def written_by(node: fx.Node) -> Any:
    """Return what an in-place call writes to."""
    return node.args[0] if node.args else node.kwargs.get("input")


def _may_move(op: Op) -> bool:
    return not op.memory and op.kind in {"move", "other"}


def _copies(index: Any) -> bool:
    """Whether an index surely copies: a list, or a tensor that is no number, is in it."""
    if isinstance(index, fx.Node):
        known = index.meta.get("val")
        return isinstance(known, Tensor) and (known.ndim > 0 or known.dtype is torch.bool)
    return isinstance(index, list | bool) or (isinstance(index, tuple) and any(map(_copies, index)))


def _of_any_strides(target: Any, args: tuple[Any, ...]) -> Any:
    """Let a view be of what is arranged in another way in memory than in the model."""
    return _RESHAPES.get(target, target) if not any(isinstance(a, torch.dtype) for a in args) else target


_RESHAPES: Final[dict[Any, Any]] = {
    Tensor.view: Tensor.reshape,
    Tensor.view_as: Tensor.reshape_as,
    torch.ops.aten.view.default: torch.ops.aten.reshape.default,
}


def _kind_of(node: fx.Node) -> dict[str, Any]:
    """Return what is known of the shape and type of a node."""
    known = {key: node.meta[key] for key in ("val", "dtype") if key in node.meta}
    value = known.get("val")
    return {"dtype": value.dtype, **known} if isinstance(value, Tensor) else known


SIZES: Final = words("size dim ndimension numel getattr len stride sym_size sym_numel")
"""What is read of a tensor that is no memory."""
_OWN: Final = {"placeholder": "input", "get_attr": "parameter or buffer"}
_SELF_INVERSE: Final = (reversed_axes, swapped_last_axes)
_ITSELF: Final = (identity, *_SELF_INVERSE)
_SEVERAL: Final = words("chunk split tensor_split hsplit vsplit dsplit unbind split_with_sizes")
_VIEWS: Final = _SEVERAL | words(
    "view transpose permute movedim t squeeze unsqueeze adjoint unflatten view_as alias narrow select slice diagonal "
    "getitem view_as_real atleast_1d atleast_2d atleast_3d"
)
_RESHAPING: Final = words("view unflatten squeeze unsqueeze view_as")
_OF_SEVERAL: Final = words("broadcast_tensors meshgrid atleast_1d atleast_2d atleast_3d")
_SHAPES: Final = words("transpose t squeeze unsqueeze as_strided detach")
_COMPARING: Final = words("gt ge lt le eq ne logical_and logical_or logical_not logical_xor")
