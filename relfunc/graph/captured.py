"""Captured models: a model as a value, which prints, can be saved, and takes the model's place everywhere."""

import operator
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cloudpickle
import torch
from torch import Tensor, fx, nn

from ..errors import CaptureError, SharedMemoryError, is_ours
from ..files.netcdf import replacing
from ..ops.table import OPS, Ops, name_of
from .arguments import Arguments, arguments_of, as_call
from .canonize import functional, resolved
from .checked import Checked
from .exporting import export
from .functions import compiled, lifted
from .graphs import calls, mapped
from .packing import packed, unpacked
from .passes import Pass, name_of_pass, passed
from .rehearsal import rehearse
from .returned import in_class
from .tracing import UntraceableError, trace

Via: TypeAlias = Literal["trace", "export"]


@dataclass(frozen=True, eq=False)
class Origin:
    """What a captured model was made of, and what was found.

    Parameters
    ----------
    model : torch.nn.Module
        The model itself.
    graph : torch.fx.Graph
        Its functional graph; ``get_attr`` nodes have paths of the model.
    arguments : Arguments
        What it is called with.
    ops : mapping
        The operations it was captured with.
    via : {"trace", "export"}
        The front end.
    checked : Checked
        The kinds of input for which the graph was seen to be the model.
    base : Origin, optional
        What an intervention was made on: the graph itself computes something else than the model.
    before : Origin, optional
        What a pass of the user's was run on; the graph is what it returned.
    by : str
        The name of that pass.
    """

    model: nn.Module
    graph: fx.Graph
    arguments: Arguments
    ops: Ops
    via: Via
    checked: Checked = field(default_factory=Checked)
    base: "Origin | None" = None
    before: "Origin | None" = None
    by: str = ""

    @property
    def stages(self) -> "tuple[Origin, ...]":
        """What was captured, after each of the user's passes, the last being this."""
        return (self,) if self.before is None else (*self.before.stages, self)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Any], output: Any) -> None:
        """Compare an output with the model's own, where that was not done yet; an intervention checks its base."""
        if self.base is not None and self.checked.enabled:
            self.base.check(args, kwargs, values, None)
        elif self.base is None:
            self.checked(self, args, kwargs, values, output)

    _program: list["Program"] = field(default_factory=list, init=False)

    @property
    def program(self) -> "Program":
        """The graph as a function of the model and values for the placeholders; made when it is first used."""
        if not self._program:
            self._program.append(Program(self.graph))
        return self._program[0]

    def run(self, values: Sequence[Any]) -> Any:
        """Run the graph; where it fails, and did not before one of the user's passes, that pass is named."""
        try:
            return self.program(self.model, values)
        except Exception as error:
            if self.before is None:
                raise
            self.before.run(values)
            reason = f"{type(error).__name__}: {error}"
            raise CaptureError(f"what the pass {self.by} returned does not run: {reason}") from error


class Captured(nn.Module):
    """A model as a graph of functions, made by :func:`capture` or :func:`relfunc.intervene`.

    It shares its parameters, buffers and submodules with the model, takes what the model takes, and returns what the
    model returns. All that is its own is one private attribute, so that a model's children may have any name.

    Parameters
    ----------
    origin : Origin
        What it was made of.
    """

    _origin: Origin

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        share(self, origin.model)
        self.__dict__["_origin"] = origin

    @property
    def graph(self) -> fx.Graph:
        """The graph, with the values of all modules: batch norms are not folded."""
        return self._origin.graph

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (_packed(self._origin),)

    def __str__(self) -> str:
        columns = [
            (node.name, name_of(node.target), node.meta["path"], node.meta["line"]) for node in calls(self.graph)
        ]
        rows = [f"{name:<24}{operation:<18}{path:<24}{line}".rstrip() for name, operation, path, line in columns]
        inputs = ", ".join(str(node.target) for node in self.graph.find_nodes(op="placeholder"))
        passes = ", ".join(stage.by for stage in self._origin.stages[1:])
        how = f"captured by {self._origin.via}{f', then {passes}' if passes else ''}"
        return "\n".join([f"{type(self._origin.model).__name__}({inputs}), {how}", *rows])

    __repr__ = __str__

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns."""
        values = self._origin.arguments.values(args, kwargs)
        output = self._origin.run(values)
        self._origin.check(args, kwargs, values, output)
        return output

    def save(self, path: str | Path) -> None:
        """Write graph, parameters and buffers to a file, from which :meth:`load` makes the model again.

        The file holds pickled code: load only what you trust.

        Parameters
        ----------
        path : str or Path
            It is written whole or not at all.
        """
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            alone = replace(
                self._origin, model=_Tensors(self._origin), checked=Checked(enabled=False), base=None, before=None
            )
            cloudpickle.dump(_packed(alone), file)

    @staticmethod
    def load(path: str | Path) -> "Captured":
        """Read what :meth:`save` wrote; the model's class is not needed.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        Captured
        """
        with Path(path).open("rb") as file:
            return _restored(cloudpickle.load(file))


def capture(
    model: nn.Module,
    *,
    via: Via = "trace",
    example_inputs: Any = None,
    ops: Ops = OPS,
    passes: Sequence[Pass] = (),
    check: bool = True,
) -> Captured:
    """Turn a model into a graph of functions, without changing it.

    On the first call for each structure, dtype and device of inputs (and here, if there are example inputs) what was
    captured is compared with the model itself, at the cost of one forward without gradients; with passes of your own,
    for each shape. Under the transforms of :mod:`torch.func` and :func:`torch.compile` values cannot be looked at, and
    nothing is compared: call it once without, or give example inputs.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. Data parallel and compiled models are captured as what they wrap. One that is captured
        already stays as it is, but for operations, passes and ``check=False`` that are given here.
    via : {"trace", "export"}
        ``trace`` runs the model on stand-ins for tensors, and keeps batch and image size free; ``export`` asks
        :func:`torch.export.export`, needs example inputs, and keeps the batch size free where it can.
    example_inputs : Tensor, tuple or mapping, optional
        An input: one tensor, a tuple of positional arguments, or arguments by name; each may be nested. With it,
        control flow on sizes can be traced, and is checked whenever the graph runs.
    ops : mapping
        The operations, :data:`relfunc.ops.OPS` or a table made from it.
    passes : sequence of callable
        Canonical forms of your own, from a :class:`torch.fx.Graph` to one that computes the same. They run in order
        once the graph is functional, before relfunc's own forms are found and batch norms are folded;
        :mod:`relfunc.graph.passes` says what holds then, and has a whole example.
    check : bool
        Whether to compare with the model.

    Returns
    -------
    Captured
        A module that computes what the model does, for everything that takes a model.

    Raises
    ------
    CaptureError
        If the model is in training mode, is no function of its inputs, or cannot be captured; or if the example shows
        that what was captured is something else; or if a pass fails or changes what is computed, which is named.
    CanonizeError
        If it writes to memory that is read later under another name.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    >>> print(capture(model))
    Sequential(input), captured by trace
    linear                  linear            0                       ...
    relu                    relu              1                       ...
    """
    if callable(passes) or not all(map(callable, passes)):
        raise TypeError("passes are a sequence of functions from graph to graph: give passes=(my_pass,)")
    if isinstance(model, Captured):
        if via == "export" != model._origin.via:
            raise CaptureError("the model is captured already, by trace: give the module itself to have it exported")
        again = _again(model, ops, check)._origin
        if example_inputs is not None:
            args, kwargs = as_call(example_inputs)
            again.check(args, kwargs, again.arguments.values(args, kwargs), None)
        return _after(again, passes, compare=bool(passes and again.arguments.examples))
    if not isinstance(model, nn.Module):
        raise TypeError(f"capture takes a torch.nn.Module, not {type(model).__name__}: wrap the function in one")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"{f'module {name!r}' if name else 'the model'} is scripted, which hides what it computes: pass the "
                "module it was scripted from"
            )
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        raise CaptureError(
            f"the model is in training mode ({training[0]}), where dropout and batch norm make relevance random: "
            "call model.eval() first"
        )
    arguments = arguments_of(model, example_inputs)
    if example_inputs is not None:
        rehearse(model, arguments)
    if via == "export":
        if example_inputs is None:
            raise CaptureError("export needs an input: give example_inputs")
        graph = export(model, arguments)
    elif via == "trace":
        graph = _traced(model, arguments)
    else:
        raise CaptureError(f"via is {via!r}: give 'trace' or 'export'")
    origin = Origin(model, functional(graph, ops), arguments, ops, via, Checked(check))
    return _after(origin, passes, compare=example_inputs is not None)


def _after(origin: Origin, passes: Sequence[Pass], *, compare: bool) -> Captured:
    """Run the user's passes, and compare what they made with the model on the example inputs."""
    if passes and origin.base is not None:
        raise CaptureError("passes run before interventions: give them to capture, and intervene on what it returns")
    if passes and isinstance(origin.model, _Tensors):
        raise CaptureError(
            "a loaded model has no code to compare the result of a pass with: give passes to capture before it is saved"
        )
    arguments = origin.arguments
    for function in passes:
        graph = passed(function, origin.graph, origin.model, arguments, origin.ops)
        checked = Checked(origin.checked.enabled)  # what was seen of one graph is not known of another
        origin = replace(origin, graph=graph, checked=checked, before=origin, by=name_of_pass(function))
    if compare:
        args, kwargs = arguments.placed(lambda _, example: example)
        with torch.no_grad():
            origin.checked(origin, args, kwargs, arguments.values(args, kwargs), once=False)
    return Captured(origin)


def _traced(model: nn.Module, arguments: Arguments) -> fx.Graph:
    try:
        return trace(model, arguments)
    except UntraceableError as error:
        way = (
            "capture it with via='export'"
            if arguments.examples
            else "pass example_inputs=(x,), whose sizes it may ask for"
        )
        raise UntraceableError(f"{type(model).__name__} cannot be traced: {error}. Or {way}") from error
    except CaptureError:
        raise
    except Exception as error:
        raise UntraceableError(
            f"{type(model).__name__} cannot be traced: {_first_line(error)}{_where(error)}. Pass example_inputs=(x,), "
            "of which it sees the sizes, or capture it with via='export'"
        ) from error


def captured_for(model: nn.Module, example_inputs: Any, ops: Ops, check: bool = True) -> Captured:
    """Capture a model as :func:`relfunc.lrp` and its relatives do: traced, or exported if only that can be done.

    Parameters
    ----------
    model : torch.nn.Module
        A model, or a captured one, whose operations are looked up anew if ``ops`` are others.
    example_inputs, ops, check
        As for :func:`capture`.

    Returns
    -------
    Captured
    """
    if isinstance(model, Captured):
        return _again(model, ops, check)
    try:
        return capture(model, example_inputs=example_inputs, ops=ops, check=check)
    except (UntraceableError, SharedMemoryError) as untraceable:
        if example_inputs is None:
            raise
        try:
            return capture(model, via="export", example_inputs=example_inputs, ops=ops, check=check)
        except CaptureError as error:
            raise CaptureError(
                f"{type(model).__name__} can be neither traced nor exported: {untraceable}; {error}"
            ) from error


def _again(captured: Captured, ops: Ops, check: bool) -> Captured:
    """Return a captured model with other operations, or without comparing; as it is without such wishes."""
    origin = captured._origin
    changes: dict[str, Any] = {}
    if ops is not OPS and ops is not origin.ops:
        changes |= {"graph": functional(origin.graph, ops), "ops": ops}
    if not check and origin.checked.enabled:
        changes["checked"] = Checked(enabled=False)
    return Captured(replace(origin, **changes)) if changes else captured


def share(module: nn.Module, model: nn.Module) -> None:
    """Let a module have the parameters, buffers and submodules of a model, in evaluation mode."""
    module.__dict__.update(_parameters=model._parameters, _buffers=model._buffers, _modules=model._modules)
    module.__dict__.update(training=False)


def parameter(model: nn.Module, path: str) -> Tensor:
    """Read an attribute by its path; a parametrised one is computed.

    Parameters
    ----------
    model : torch.nn.Module
        The root of the path.
    path : str
        Such as ``"layer1.0.conv1.weight"``.

    Returns
    -------
    torch.Tensor
    """
    return operator.attrgetter(path)(model)


class Program:
    """Runs a graph with the parameters that a model has at the time.

    Parameters
    ----------
    graph : torch.fx.Graph
        Functional.
    further : sequence of torch.fx.Node, optional
        Nodes of it whose values the program returns beside the output.
    """

    def __init__(self, graph: fx.Graph, further: Sequence[fx.Node] | None = None) -> None:
        self.paths = tuple(dict.fromkeys(node.target for node in graph.find_nodes(op="get_attr")))
        copy, copies = lifted(graph, self.paths)
        output = in_class(copy, graph, mapped(copies.__getitem__, graph.output_node().args[0]))
        copy.output(output if further is None else (output, [copies[node] for node in further]))
        self.function = compiled(copy)

    def __call__(self, model: nn.Module, values: Sequence[Any]) -> Any:
        """Run it on values for the placeholders."""
        return self.function(*values, *(parameter(model, path) for path in self.paths))


# --- keeping ------------------------------------------------------------------------------------------


def _packed(origin: Origin) -> dict[str, Any]:
    """Turn an origin into what pickles."""
    kept = {name: getattr(origin, name) for name in ("model", "arguments", "via", "checked", "by")}
    ops = None if origin.ops is OPS else dict(origin.ops)
    others = {name: each and _packed(each) for name, each in (("base", origin.base), ("before", origin.before))}
    return {**kept, **others, "graph": packed(origin.graph), "ops": ops}


def _restored(kept: dict[str, Any]) -> Captured:
    ops = OPS if kept["ops"] is None else kept["ops"]
    graph = resolved(unpacked(kept["graph"], kept["model"]), ops)
    others = {name: kept[name] and _restored(kept[name])._origin for name in ("base", "before")}
    return Captured(Origin(**{**kept, **others, "graph": graph, "ops": ops}))


class _Tensors(nn.Module):
    """The parameters and buffers that a captured graph reads, under their paths, without the model's code."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        for node in origin.graph.find_nodes(op="get_attr"):
            path = str(node.target)
            *modules, name = path.split(".")
            home: nn.Module = self
            for module in modules:
                if module not in home._modules:
                    home.add_module(module, nn.Module())
                home = home.get_submodule(module)
            tensor = parameter(origin.model, path)
            if isinstance(tensor, nn.Parameter):
                home._parameters[name] = tensor
            else:
                home._buffers[name] = tensor.detach()


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/torch/" not in f.filename]
    frames = [f for f in frames if not is_ours(f.filename)]
    return f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
