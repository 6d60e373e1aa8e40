"""Exporting: the front end that asks :func:`torch.export.export` what a model does."""

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..errors import CaptureError
from ..ops.spellings import spelling
from ..ops.table import known_as, name_of
from .arguments import Arguments
from .graphs import described
from .module_tree import kept
from .returned import Returned, plain, returned
from .tokens import is_smooth_type
from .written import Constant


def export(model: nn.Module, arguments: Arguments) -> fx.Graph:
    """Export a model, with a free batch size where it allows that.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    arguments : Arguments
        With examples.

    Returns
    -------
    torch.fx.Graph
        As :func:`relfunc.graph.tracing.trace` returns it.

    Raises
    ------
    CaptureError
        If the model cannot be exported, or is no function of its input.
    """
    with _EXPORTING, kept(model):
        program, seen = _exported(model, arguments)
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise CaptureError(f"{type(model).__name__} writes to its buffers or inputs when it runs: it is no function")
    written = _Written(program, model, list(arguments.examples))
    outputs = written.through(program.graph, {})
    output = written.graph.output(mapped_leaves(seen.structure, outputs.__getitem__))
    output.meta["returns"] = seen.returns
    _drop_checks(written.graph)
    return written.graph


class _Returning(nn.Module):
    """A model that takes its tensors one by one, and returns a list of those that it returns.

    Parameters
    ----------
    model : torch.nn.Module
        Any.
    arguments : Arguments
        How its tensors are arranged.

    Attributes
    ----------
    seen : _Seen
        What it returned.
    """

    seen: "_Seen"
    arguments: Arguments

    def __init__(self, model: nn.Module, arguments: Arguments) -> None:
        super().__init__()
        self.model = model
        self.eval()
        self.__dict__.update(seen=_Seen(), arguments=arguments)

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """Call the model."""
        given = dict(zip(self.arguments.examples, tensors, strict=True))
        args, kwargs = self.arguments.placed(lambda name, _: given[name])
        output = self.model(*args, **kwargs)
        found: list[Tensor] = []

        def leaf(a: Tensor) -> _At:
            found.append(a)
            return _At(len(found) - 1)

        self.seen.structure, self.seen.returns = plain(output, leaf), returned(output)
        return found


class _Seen:
    """What a model returned, with :class:`_At` in the place of tensors, and the classes that hold them."""

    structure: Any = None
    returns: Returned | None = None


@dataclass(frozen=True)
class _At:
    """The place of a tensor among those that a model returns."""

    index: int


def mapped_leaves(structure: Any, of: Callable[[int], Any]) -> Any:
    """Put values in the places of a structure that a model returned."""
    return pytree.tree_map_only(_At, lambda place: of(place.index), structure)


class _Written:
    """The graph that is made of an exported program.

    Parameters
    ----------
    program : ExportedProgram
        Of :class:`_Returning`.
    model : torch.nn.Module
        The model itself.
    names : list of str
        Of its placeholders.
    """

    def __init__(self, program: torch.export.ExportedProgram, model: nn.Module, names: list[str]) -> None:
        self.graph = fx.Graph()
        self._program, self._model = program, model
        self._attributes = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
        self._constants = program.graph_signature.inputs_to_lifted_tensor_constants
        self._names = iter(names)
        self._sizes: dict[str, tuple[fx.Node, int]] = {}  # where each free size was met first

    def through(self, graph: fx.Graph, copies: dict[fx.Node, Any]) -> list[Any]:
        """Write down a graph; what runs without gradients within it is a graph of its own there.

        Parameters
        ----------
        graph : torch.fx.Graph
            Of the program, or within it.
        copies : dict
            What its placeholders are.

        Returns
        -------
        list
            Its outputs.
        """
        for node in graph.nodes:
            if node.op == "output":
                return list(fx.map_arg(list(node.args[0]), copies.__getitem__))
            if node in copies:
                continue
            if node.op == "placeholder":
                copies[node] = self._placeholder(node)
            elif node.op == "get_attr":
                owner = graph.owning_module
                copies[node] = operator.attrgetter(str(node.target))(owner)
            elif _runs_within(node):
                copies[node] = self._within(node, copies)
            elif node.target is operator.getitem and isinstance(items := copies[node.all_input_nodes[0]], list):
                place: Any = node.args[1]
                copies[node] = items[place]
            else:
                copies[node] = self._call(node, copies)
        return []

    def _placeholder(self, node: fx.Node) -> fx.Node:
        if node.name in self._attributes:
            copy = self.graph.get_attr(self._attributes[node.name].removeprefix("model."))
            shape, dtype = node.meta["val"].shape, node.meta["val"].dtype
            copy.meta["val"] = torch.empty(shape, dtype=dtype, device="meta")
        elif node.name in self._constants:
            constant: Any = self._program.constants[self._constants[node.name]]
            copy = self.graph.call_function(Constant(constant))
        else:
            copy = self.graph.placeholder(next(self._names))
        self._describe(copy, node)
        if copy.op != "placeholder":
            return copy
        sizes = [self._size(size, copy, axis) for axis, size in enumerate(node.meta["val"].shape)]
        checked = self.graph.call_function(of_shape, (copy, sizes))
        checked.meta = dict(copy.meta)
        return checked

    def _size(self, size: Any, copy: fx.Node, axis: int) -> Any:
        """Return what a size must be: a number, that of an input before, or None for any."""
        if isinstance(size, int):
            return size
        if str(size) not in self._sizes:
            self._sizes[str(size)] = (copy, axis)
            return None
        before, its = self._sizes[str(size)]
        made = self.graph.call_function(torch.ops.aten.sym_size.int, (before, its))
        made.meta = {"path": "", "module": nn.Module, "around": (), "line": ""}
        return made

    def _call(self, node: fx.Node, copies: dict[fx.Node, Any]) -> fx.Node:
        copy = self.graph.node_copy(node, copies.__getitem__)
        if spelling(node.target) in {"view", "_unsafe_view"}:  # strides of the example need not be those of an input
            copy.target = torch.ops.aten.reshape.default
        self._describe(copy, node)
        return copy

    def _within(self, node: fx.Node, copies: dict[fx.Node, Any]) -> list[Any]:
        """Write down a graph that another calls with gradients switched on or off, or under autocast off."""
        *_, inner = (i for i, a in enumerate(node.args) if isinstance(a, fx.Node) and a.op == "get_attr")
        owner: Any = node.args[inner]
        graph: fx.Graph = copies[owner].graph
        given = [copies[a] if isinstance(a, fx.Node) else a for a in node.args[inner + 1 :]]
        inside = dict(zip(graph.find_nodes(op="placeholder"), given, strict=True))
        return self.through(graph, inside)

    def _describe(self, copy: fx.Node, node: fx.Node) -> None:
        paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        paths = [path.removeprefix("model").removeprefix(".") for path in paths if path] or [""]
        *around, (path, module) = ((path, _class_at(self._model, path)) for path in dict.fromkeys(paths))
        kept = {"val": copy.meta["val"]} if copy.op == "get_attr" else {}
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            kept["dtype"] = value.dtype
        copy.meta = {"path": path, "module": module, "around": tuple(around), "line": _line(node.stack_trace), **kept}


def _refuse_stopped(program: torch.export.ExportedProgram, model: nn.Module) -> None:
    """Refuse what is computed of the input without gradients; of constants and integers nothing is lost."""
    given = program.graph_signature.user_inputs
    _find_stopped(
        program.graph, {n for n in program.graph.find_nodes(op="placeholder") if n.name in given}, model, False
    )


def _find_stopped(graph: fx.Graph, depends: set[fx.Node], model: nn.Module, off: bool) -> None:
    """Follow what depends on the input through a graph and those within it."""
    depends = {node for node in depends if _has_smooth(node)}
    for node in graph.nodes:
        if node.op != "call_function" or depends.isdisjoint(node.all_input_nodes) or not _has_smooth(node):
            continue
        if _runs_within(node):
            inner = next(i for i, a in enumerate(node.args) if isinstance(a, fx.Node) and a.op == "get_attr")
            name: Any = node.args[inner]
            body = operator.attrgetter(str(name.target))(graph.owning_module).graph
            pairs = zip(body.find_nodes(op="placeholder"), node.args[inner + 1 :], strict=True)
            within_off = off or ("grad_enabled" in str(node.target) and not node.args[0])
            _find_stopped(body, {inside for inside, outside in pairs if outside in depends}, model, within_off)
        elif off and spelling(node.target) not in {"detach", "getitem"}:
            line = _line(node.stack_trace)
            raise CaptureError(
                f"{type(model).__name__} switches gradients off in its forward, at '{name_of(node.target)}' ({line}), "
                "where relevance would stop: leave that out; parameters that are not to be trained take "
                "requires_grad_(False)"
            )
        depends.add(node)


def _has_smooth(node: fx.Node) -> bool:
    values = pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(value, Tensor) and is_smooth_type(value.dtype) for value in values)


def _runs_within(node: fx.Node) -> bool:
    """Whether a node calls a graph of its own, with gradients or autocast switched."""
    name = str(node.target)
    if name == "wrap_with_autocast" and (node.args[2] is not None and node.args[2]):
        raise CaptureError(
            f"the model switches autocast on in its forward, at {described(node)}, which no graph of functions holds: "
            "leave it out, and call the result under torch.autocast"
        )
    return name in {"wrap_with_set_grad_enabled", "wrap_with_autocast"}


_EXPORTING = threading.Lock()


def _class_at(model: nn.Module, path: str) -> type[nn.Module]:
    """Class of the module at a path, of which export tells no more than the name."""
    try:
        return type(model.get_submodule(path))
    except AttributeError:
        return nn.Module


def _exported(model: nn.Module, arguments: Arguments) -> tuple[torch.export.ExportedProgram, _Seen]:
    """Export with free sizes where the model allows it.

    Those are the first of every tensor, and all of what can only index or mask others, such as token ids. Export takes
    a size of one as fixed, so that a single example is doubled.
    """
    returning = _Returning(model, arguments)
    attempts: tuple[tuple[bool, Callable[[Tensor], Any] | None], ...] = (
        (True, lambda x: range(x.ndim if not is_smooth_type(x.dtype) else min(x.ndim, 1))),
        (True, lambda x: range(min(x.ndim, 1))),
        (False, None),
    )
    failure: Exception = CaptureError()
    for doubled, free in attempts:
        examples = [_batch_of_two(x) if doubled else x for x in arguments.examples.values()]
        shapes = free and (tuple(dict.fromkeys(free(x), torch.export.Dim.AUTO) or None for x in examples),)
        try:
            program = torch.export.export(returning, tuple(examples), dynamic_shapes=shapes, strict=False)
            _refuse_stopped(program, model)
            return program.run_decompositions({}), returning.seen
        except CaptureError:
            raise
        except Exception as error:  # that size cannot be free, or the model cannot be exported at all
            failure = error
    reason = (str(failure) or type(failure).__name__).strip().splitlines()[0].rstrip(".")
    raise CaptureError(
        f"{type(model).__name__} cannot be exported: {reason}. Rewrite that line, or explain the part of the model "
        "behind it"
    ) from failure


def _batch_of_two(x: Tensor) -> Tensor:
    return torch.cat([x, x]) if x.ndim and len(x) == 1 else x


@known_as("of_shape")
def of_shape(x: Tensor, sizes: list[int | None]) -> Tensor:
    """Check that an input has the shape that its model was exported with; None leaves a size free.

    Parameters
    ----------
    x : Tensor
        The input.
    sizes : list of int or None
        What its shape must be.

    Returns
    -------
    Tensor
        ``x``.

    Raises
    ------
    CaptureError
        If it has another shape.
    """
    if x.ndim != len(sizes) or any(
        free is not None and size != free for size, free in zip(x.shape, sizes, strict=True)
    ):
        raise CaptureError(
            f"the model was exported for inputs of shape {tuple(sizes)} (None: any size; one that it shares with "
            f"another input, such as ids and their mask, is that one's), and got {tuple(x.shape)}: "
            "give inputs that fit each other, or capture it with example_inputs of this shape"
        )
    return x


def _drop_checks(graph: fx.Graph) -> None:
    """Erase what export adds to check that arguments and sizes are as they were."""
    for node in list(graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "").startswith("_assert"):
            conditions = node.all_input_nodes
            graph.erase_node(node)
            for condition in conditions:
                if not condition.users and condition.op == "call_function":
                    graph.erase_node(condition)


def _line(trace: str | None) -> str:
    """Source line of the innermost frame outside torch, as ``file.py:41``."""
    frames = [line.strip() for line in (trace or "").splitlines() if line.strip().startswith("File ")]
    own = [frame for frame in frames if "/torch/" not in frame] or frames
    if not own:
        return ""
    _, path, rest = own[-1].split('"', 2)
    return f"{path.rpartition('/')[2]}:{rest.split('line ')[1].split(',')[0]}"
