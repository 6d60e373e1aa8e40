"""The check: what was captured is compared with the model itself, once for each kind of input."""

import operator
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..errors import CaptureError, warn
from .graphs import mapped
from .memory import is_transformed
from .module_tree import ModuleTree, kept
from .rehearsal import Tensors
from .returned import leaves

if TYPE_CHECKING:
    from .captured import Origin


class Checked:
    """Kinds of input (structure, dtypes and devices) for which a captured model was seen to be the model.

    Parameters
    ----------
    enabled : bool
        Whether to compare at all.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._seen: set[Any] = set()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "_seen": set(self._seen)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __call__(
        self,
        origin: "Origin",
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        values: Sequence[Any],
        output: Any = None,
        *,
        once: bool = True,
    ) -> None:
        """Compare an output with the model's own, unless that was done for such an input, or a transform is at work.

        Parameters
        ----------
        origin : Origin
            The captured model.
        args, kwargs : tuple, mapping
            As the model takes them.
        values : sequence
            The same as the graph takes them.
        output : Any
            What was computed from them; None to compute it.
        once : bool
            Whether such an input need not be compared again; an example may be all zeros.

        Raises
        ------
        CaptureError
            If they differ; the message names the first module that returned something else.
        """
        if not self.enabled or is_transformed():
            return
        key = (*_kind(values, shapes=bool(origin.by)), _shape_of(origin.model))
        if key in self._seen:
            return
        with self._lock, torch.no_grad():
            if key not in self._seen:
                found = origin.run(values) if output is None else output
                _compare(origin, args, kwargs, values, found)
                if once:
                    self._seen.add(key)


def _kind(values: Sequence[Any], shapes: bool) -> tuple[Any, ...]:
    """Tell kinds of input apart; a user's pass may be right for some shapes only."""
    leaves, spec = values, ""
    if not all(isinstance(value, Tensor) for value in values):
        leaves, structure = pytree.tree_flatten(list(values))
        spec = str(structure)
    kinds = tuple(
        (a.shape if shapes else a.ndim, a.dtype, a.device) if isinstance(a, Tensor) else type(a) for a in leaves
    )
    return spec, kinds, torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def _shape_of(model: nn.Module) -> int:
    """Digest what a model is made of, so that one with another module, hook or mode is compared anew."""
    return hash(tuple((type(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()))


def _compare(
    origin: "Origin", args: tuple[Any, ...], kwargs: Mapping[str, Any], values: Sequence[Any], output: Any
) -> None:
    with kept(origin.model):
        expected = origin.model(*args, **kwargs)
    loose = _difference(expected, output, exact=False)
    if loose is None:
        _warn_of_nan(expected)
    if loose is None and _difference(expected, output, exact=True) is None:
        return
    # folded batch norms round differently: the graph before folding has to be the model to the last digits
    unfolded = origin.run(values)
    difference = loose or _difference(expected, unfolded, exact=True)
    if difference is not None:
        _refuse_pass(origin, values, expected)
        with kept(origin.model):
            first = _first_module(origin, args, kwargs, values)
        raise CaptureError(
            f"what was captured is not the model: its output {difference}{first}. Does its forward do something that "
            "depends on more than its input, such as noise, global state, types or values of tensors? Capture it with "
            "via='export', or change that; check=False switches this comparison off"
        )


def _warn_of_nan(output: Any) -> None:
    """Warn of samples for which the model itself returns NaN."""
    for part in leaves(output):
        if isinstance(part, Tensor) and part.ndim and bool(part.isnan().any()):
            rows = part.isnan().reshape(len(part), -1).any(1).nonzero()[:, 0].tolist()
            named = ", ".join(map(str, rows[:8])) + (", …" if len(rows) > 8 else "")
            warn(
                f"the model's own output of shape {tuple(part.shape)} is NaN in sample{'s' * (len(rows) > 1)} {named}, "
                "where its relevance says nothing: see which input makes it so, such as a mask that hides all that a "
                "token may see, as padding on the left does to some causal models (pad on the right then)",
                UserWarning,
            )


def _difference(expected: Any, found: Any, *, exact: bool) -> str | None:
    """Describe how two outputs differ beyond rounding; None if they do not."""
    wanted, given = leaves(expected), leaves(found)
    if len(wanted) != len(given):
        return f"has {len(given)} parts instead of {len(wanted)}"
    for a, b in zip(wanted, given, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            if type(a) is not type(b) or (a is not b and a != b and not (a != a and b != b)):
                return f"has {b!r} in place of {a!r}"
            continue
        if a.shape != b.shape:
            return f"has shape {tuple(b.shape)} instead of {tuple(a.shape)}"
        if a.dtype != b.dtype:
            return f"is {b.dtype} instead of {a.dtype}"
        off = _off(a, b)
        if off > _tolerance(a, exact):
            return f"is off by {off:.2g} of its largest value"
    return None


def _off(a: Tensor, b: Tensor) -> float:
    """Greatest difference relative to the greatest value; infinite where only one of the two is finite."""
    a, b = a.detach(), b.detach()
    if not a.numel() or torch.equal(a, b):
        return 0.0
    if not a.is_floating_point() and not a.is_complex():
        return float("inf")
    difference = greatest = a.new_zeros((), dtype=a.abs().dtype if a.is_complex() else a.dtype)
    for one, other in zip(a.reshape(-1).split(_PIECE), b.reshape(-1).split(_PIECE), strict=True):
        differing = ~((one == other) | (one.isnan() & other.isnan()))
        one, other = one[differing], other[differing]
        if not bool(one.isfinite().all() and other.isfinite().all()):
            return float("inf")
        if one.numel():
            difference = torch.maximum(difference, (one - other).abs().max())
            greatest = torch.maximum(greatest, one.abs().max())
    return float(difference / greatest.clamp(min=torch.finfo(a.dtype).tiny))


_PIECE: Final = 2**20
"""How many numbers are compared at once, so that comparing large outputs takes little memory."""


def _tolerance(a: Tensor, exact: bool) -> float:
    device = a.device.type
    if torch.is_autocast_enabled(device) or a.dtype in {torch.float16, torch.bfloat16}:
        return 0.02 if exact else 0.1
    digits = 100 * torch.finfo(a.dtype).eps if a.is_floating_point() or a.is_complex() else 0.0
    return digits if exact else 1000 * digits


# --- naming the culprit -----------------------------------------------------------------------------


def _refuse_pass(origin: "Origin", values: Sequence[Any], expected: Any) -> None:
    """Refuse the first of the user's passes behind which the graph is no longer the model."""
    for stage in origin.stages:
        difference = _difference(expected, stage.run(values), exact=True)
        if difference is not None:
            if stage.by:
                raise CaptureError(
                    f"the pass {stage.by} changes what the model computes: its output {difference}. A pass returns a "
                    "graph with the same outputs; check=False switches this comparison off"
                )
            return


class _Returns(Tensors):
    """What the modules of a model return, one after the other."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int, int], Tensor] = {}
        self._runs: dict[str, int] = {}

    def left(self, path: str, depth: int, given: Any, output: Any) -> Any:
        run = self._runs[path] = self._runs.get(path, -1) + 1
        for i, part in enumerate(leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)):
            self.found[path, run, i] = part.clone()
        return output


def _first_module(origin: "Origin", args: Any, kwargs: Mapping[str, Any], values: Sequence[Any]) -> str:
    """Name the first module whose value differs, if any is left in the graph."""
    returns = _Returns()
    ModuleTree(origin.model, returns).root(*args, **kwargs)
    named = {key: node for node in origin.graph.nodes for key in node.meta.get("returned", ())}
    if not named:  # an exported graph only says where its operations come from
        named = {(node.meta.get("path", ""), 0, 0): node for node in origin.graph.nodes if node.op == "call_function"}
    computed = _computed(origin, values)
    paths = {path for path, _, _ in named}
    for (path, run, i), expected in returns.found.items():
        if not path:
            continue
        if origin.via == "trace" and path not in paths:
            return f", and of the module '{path}' nothing was captured"
        node = named.get((path, run, i))
        if node is not None and _difference(expected, computed[node], exact=True) is not None:
            line = node.meta.get("line")
            return f", and the first module that returns another value is '{path}'{f' ({line})' if line else ''}"
    return ""


def _computed(origin: "Origin", values: Sequence[Any]) -> dict[fx.Node, Any]:
    """Run a graph node by node and keep every value."""
    computed: dict[fx.Node, Any] = {}
    left = iter(values)
    for node in origin.graph.nodes:
        if node.op == "placeholder":
            computed[node] = next(left)
        elif node.op == "get_attr":
            computed[node] = operator.attrgetter(str(node.target))(origin.model)
        elif node.op == "call_function":
            args, kwargs = mapped(computed.__getitem__, (node.args, dict(node.kwargs)))
            target: Any = node.target
            computed[node] = target(*args, **kwargs)
    return computed
