"""Conformance: what relfunc makes of a model beside the model itself, over tables of all of torch's operations.

Run as ``python -m tests.relfunc.conformance`` it prints how many cases of each kind are equal and which are errors.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import relfunc as rf
from relfunc.errors import RelfuncError

from .reference import filled

GRADIENT: Final = rf.composites.by_type({"*": rf.rules.gradient()})
"""Each operation's own derivative: relevance must be autograd's gradient."""

COMPOSITES: Final = {
    "epsilon_plus": rf.composites.epsilon_plus(),
    "epsilon_gamma_box": rf.composites.epsilon_gamma_box(-3, 3),
}

VIA: Final = ("trace", "export")
TOLERANCE: Final = 1e-9

EQUAL, NAMED, UNNAMED, DIFFERENT = "equal", "named error", "unnamed error", "silent difference"
VERDICTS: Final = (EQUAL, NAMED, UNNAMED, DIFFERENT)

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Case:
    """A small model and its inputs.

    Parameters
    ----------
    kind, name : str
        The row of the table it counts in, and what it does, as it is written.
    forward : callable
        From the model (its ``layer``, its tensors) and its inputs to the output.
    shapes : tuple of tuple of int
        Of the inputs.
    make : callable, optional
        Makes ``layer``, and reads the first input: lazy modules take their shape from it.
    tensors : mapping
        Buffers of the model by name.
    domain : tuple of float
        Lowest and highest value of the inputs, and of what stands before the operation.
    mixed : bool
        Whether a linear layer stands before the operation, whose output it may write to.
    """

    kind: str
    name: str
    forward: Callable[..., Any]
    shapes: Shapes
    make: Callable[[], nn.Module] | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    domain: tuple[float, float] = (-2.0, 2.0)
    mixed: bool = False

    def model(self) -> nn.Module:
        """Make the model, with random weights in double precision, in evaluation mode."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated and lazy modules warn when they are made
            layer = None if self.make is None else self.make()
            model = _CLASSES[len(self.shapes)](self, layer)
            if layer is not None and any(map(nn.parameter.is_lazy, layer.parameters())):
                model(*(x.float() for x in self.inputs(0)))
        filled(model, seed=1)
        generator = torch.Generator().manual_seed(2)
        for before in model.before:
            before.weight.data = _mixing(before.in_features, generator)
        return model

    def inputs(self, seed: int) -> tuple[Tensor, ...]:
        """Draw inputs uniformly from the domain."""
        generator, (low, high) = torch.Generator().manual_seed(seed), self.domain
        return tuple(
            torch.rand(shape, dtype=torch.float64, generator=generator) * (high - low) + low for shape in self.shapes
        )


@dataclass(frozen=True)
class Outcome:
    """What relfunc made of a case, and how it said so."""

    verdict: str
    said: str = ""


@cache
def cases() -> tuple[Case, ...]:
    """Return every case: those of modules, then those of functions."""
    from .conformance_functions import FUNCTIONS
    from .conformance_losses import LOSSES
    from .conformance_modules import MODULES
    from .conformance_operators import OPERATORS
    from .conformance_products import PRODUCTS

    return (*MODULES, *LOSSES, *OPERATORS, *FUNCTIONS, *PRODUCTS)


def captured(model: nn.Module, via: str, example: tuple[Tensor, ...]) -> nn.Module:
    """Capture a model by one front end: the one place that knows how that is asked for."""
    return rf.capture(model, via=via, example_inputs=example if via == "export" else None)


@cache
def captured_of(index: int, via: str) -> tuple[nn.Module, nn.Module]:
    """Return the model of a case and what was captured of it, once: exporting takes long."""
    model = cases()[index].model()
    return model, captured(model, via, cases()[index].inputs(0))


@cache
def outcome_of(index: int, via: str) -> Outcome:
    """Compare output and gradient with the model's own: equal, an error with a name, or what must not be.

    The model is captured with other inputs than it is judged with.
    """
    case = cases()[index]
    untouched, inputs = case.model(), case.inputs(1)
    wanted, again = _by_autograd(untouched, inputs), _by_autograd(untouched, inputs)
    is_function = difference(again, wanted) == 0
    try:
        found = _explained(index, via, GRADIENT)
    except Exception as error:
        return _failed(error)
    if not is_function:
        return Outcome(DIFFERENT, "the model is no function of its inputs")
    by = map(difference, found, wanted)
    off = [f"{part} off by {d:.2g}" for part, d in zip(("output", "relevance"), by, strict=True) if d > TOLERANCE]
    model, _ = captured_of(index, via)
    if difference(dict(model.state_dict()), dict(untouched.state_dict())) or _attributes(model) != _attributes(
        untouched
    ):
        off.append("the model was changed")
    return Outcome(DIFFERENT, ", ".join(off)) if off else Outcome(EQUAL)


@cache
def agreement_of(index: int, composite: str) -> Outcome:
    """Compare the relevance of one model captured by tracing and by export, under a composite of the table."""
    try:
        traced, exported = (_explained(index, via, COMPOSITES[composite]) for via in VIA)
    except Exception as error:
        return _failed(error)
    by = difference(exported, traced)
    return Outcome(DIFFERENT, f"off by {by:.2g}") if by > TOLERANCE else Outcome(EQUAL)


def _explained(index: int, via: str, composite: Any) -> tuple[Any, tuple[Tensor, ...]]:
    inputs = cases()[index].inputs(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", rf.composites.CompositeWarning)  # most have no linear layer or convolution
        f = rf.lrp(captured_of(index, via)[1], composite)
        y, relevance = rf.gradient(f)(inputs if len(inputs) > 1 else inputs[0], cotangents)
    return y, relevance if isinstance(relevance, tuple) else (relevance,)


def _failed(error: Exception) -> Outcome:
    line = (str(error) or type(error).__name__).splitlines()[0]
    return (
        Outcome(NAMED, line) if isinstance(error, RelfuncError) else Outcome(UNNAMED, f"{type(error).__name__}: {line}")
    )


def cotangents(output: Any) -> Any:
    """Start with normal noise at every floating-point part of an output, the same each time."""
    generator = torch.Generator().manual_seed(3)

    def noise(y: Tensor) -> Tensor:
        if not y.is_floating_point():
            return torch.zeros_like(y)
        return torch.randn(y.shape, dtype=y.dtype, generator=generator)

    return pytree.tree_map_only(Tensor, noise, output)


def _by_autograd(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    output = model(*leaves)
    pairs = zip(pytree.tree_leaves(output), pytree.tree_leaves(cotangents(output)), strict=True)
    ys, starts = zip(*((y, start) for y, start in pairs if isinstance(y, Tensor) and y.requires_grad), strict=True)
    gradients = torch.autograd.grad(ys, leaves, starts, allow_unused=True, materialize_grads=True)
    if not all(g.isfinite().all() for g in gradients) or not any(g.any() for g in gradients):
        raise ValueError("the case is void: its gradient is zero or not finite")
    return pytree.tree_map_only(Tensor, torch.Tensor.detach, output), gradients


def difference(found: Any, wanted: Any) -> float:
    """Greatest difference of nested tensors, relative to the greatest value wanted; infinite for another structure.

    A graph holds a tuple in the place of torch's own sequences, such as what topk returns.
    """
    (a, spec_a), (b, spec_b) = pytree.tree_flatten(found), pytree.tree_flatten(wanted)
    if spec_a != spec_b and not (hasattr(wanted, "n_sequence_fields") and len(a) == len(b)):
        return float("inf")
    return max((_apart(u, v) for u, v in zip(a, b, strict=True)), default=0.0)


def _apart(found: Any, wanted: Any) -> float:
    if not isinstance(wanted, Tensor):
        return 0.0 if found is wanted or found == wanted else float("inf")
    if not isinstance(found, Tensor) or found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if not wanted.numel():
        return 0.0
    found, wanted = found.detach().double(), wanted.detach().double()
    by = (found - wanted).abs().max() / wanted.abs().max().clamp_min(1)
    return float(by) if by == by else float("inf")


def _attributes(model: nn.Module) -> list[tuple[str, str, str]]:
    return [(path, name, type(value).__name__) for path, m in model.named_modules() for name, value in vars(m).items()]


def _mixing(n: int, generator: torch.Generator) -> Tensor:
    """Weight whose output is a mean of the inputs, so that it lies where they do."""
    mean = torch.randn(n, n, dtype=torch.float64, generator=generator).softmax(1)
    return 0.7 * torch.eye(n, dtype=torch.float64) + 0.3 * mean


class _Of(nn.Module):
    """What the models of all cases share; one class for each number of inputs, as models are written."""

    def __init__(self, case: Case, layer: nn.Module | None) -> None:
        super().__init__()
        self.before = nn.ModuleList(nn.Linear(s[-1], s[-1], bias=False) for s in case.shapes if case.mixed)
        if layer is not None:
            self.layer = layer
        for name, tensor in case.tensors.items():
            self.register_buffer(name, tensor.clone())
        self.function = case.forward


class _OfOne(_Of):
    def forward(self, x):
        return self.function(self, self.before[0](x) if len(self.before) else x)


class _OfTwo(_Of):
    def forward(self, x, y):
        if len(self.before):
            x, y = self.before[0](x), self.before[1](y)
        return self.function(self, x, y)


class _OfThree(_Of):
    def forward(self, x, y, z):
        if len(self.before):
            x, y, z = self.before[0](x), self.before[1](y), self.before[2](z)
        return self.function(self, x, y, z)


_CLASSES: Final = {1: _OfOne, 2: _OfTwo, 3: _OfThree}


Table = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Group:
    """Functions of one kind that take inputs of the same shapes and domain."""

    kind: str
    table: Table
    shapes: Shapes = ((2, 3, 4),)
    domain: tuple[float, float] = (-2.0, 2.0)

    def cases(self) -> list[Case]:
        return [
            Case(self.kind, name, f, self.shapes, None, TENSORS, self.domain, mixed=True)
            for name, f in self.table.items()
        ]


def _noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(6)) + 0.2


TENSORS: Final[Mapping[str, Tensor]] = {
    "c": torch.tensor([0.5, -1.5, 2.0, 0.7]),  # of the last dimension, as w is a matrix of it and u one of the middle
    "positive": torch.tensor([0.5, 1.5, 2.0, 0.7]),
    "w": _noise(4, 4),
    "u": _noise(3, 3),
    "full": _noise(2, 3, 4),
    "kernel": _noise(5, 3, 2),
    "image_kernel": _noise(5, 3, 2, 2),
    "volume_kernel": _noise(2, 3, 2, 2, 2),
    "scale": _noise(3),
    "mask": torch.tensor([True, False, True, True]),
    "rows": torch.tensor([[True, False, True, True], [False] * 4, [True] * 4]),
    "ids": torch.tensor([2, 0, 0, 1]),
    "negative_ids": torch.tensor([-1, 0]),
    "places": torch.tensor([[[2, 0, 1, 3], [1, 1, 0, 2], [0, 3, 3, 1]]] * 2),
}


# --- the table of the report ------------------------------------------------------------------------


def counts(which: Iterable[int], via: str) -> dict[str, Counter[str]]:
    """Count the verdicts of each kind."""
    found: dict[str, Counter[str]] = {}
    for index in which:
        found.setdefault(cases()[index].kind, Counter())[outcome_of(index, via).verdict] += 1
    return found


def table(vias: Iterable[str] = VIA) -> str:
    """Markdown: how many cases of each kind have which outcome, and what is not equal, with what was said."""
    lines = []
    for via in vias:
        counted = counts(range(len(cases())), via)
        lines += [f"\n### {via}\n", f"| kind | {' | '.join(VERDICTS)} |", "|---|" + "---:|" * len(VERDICTS)]
        for kind, count in [*counted.items(), ("**all**", sum(counted.values(), Counter()))]:
            lines.append(f"| {kind} | {' | '.join(str(count[v]) for v in VERDICTS)} |")
        outcomes = [(case, outcome_of(index, via)) for index, case in enumerate(cases())]
        for verdict in reversed(VERDICTS[1:]):
            lines.append(f"\n#### {via}: {verdict}\n")
            lines += [f"- {c.kind}: `{c.name}`: {o.said}" for c, o in outcomes if o.verdict == verdict]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(sys.argv[1:] or VIA))  # noqa: T201
