"""Identity: what decides the results of an attribution, by value, so that the same script finds its run again."""

from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from ..attribution.explanation import Explain, Explanation
from ..graph.captured import Captured, parameter
from ..ops.table import OPS, Ops
from ..relevance.function import Relevance
from .code import declared
from .values import described, digest, key

Identity = dict[str, str]


def identity(explain: Explain) -> Identity:
    """Say what attributes: the method, the model by its code and parameters, and how relevance is propagated.

    Parameters
    ----------
    explain : callable
        What an attribution method returned; or any function, which is known by its code and by all that it captures
        and calls, models included.

    Returns
    -------
    dict
        Under ``method``, ``model`` and ``composite`` what a reader wants to know; under the other names, digests.

    Raises
    ------
    KeyingError
        If something has no value, such as an open file that a function reads.

    Examples
    --------
    >>> import torch, relfunc as rf
    >>> identity(rf.gradient(torch.nn.Linear(2, 3)))["model"]
    'torch.nn.modules.linear.Linear'
    """
    if isinstance(explain, Captured | Relevance):
        return {"method": "forward", **_of_function(explain)}
    if not isinstance(explain, Explanation):
        return {"method": _name(explain), "code": key(explain, "explain")}
    method, options = explain.method, {name: value for name, value in explain.options.items() if name != "progress"}
    name = method.__name__
    if isinstance(explain.f, Relevance):
        name = "lrp" if name == "gradient" else f"{name} of lrp"
    made = digest(key(method, "the method"), described(options, "an option of the method"))
    return {"method": name, "options": made, **_of_function(explain.f)}


def _of_function(f: Any) -> Identity:
    """Say what is attributed: a model, captured or not, and the rules of its operations."""
    if isinstance(f, Captured):
        model = f._origin.model
        return {"model": _name(type(model)), "parameters": digest(_of_graph(model, f.graph), _own(f._origin.ops))}
    if not isinstance(f, Relevance):
        return {"model": _name(type(f) if isinstance(f, nn.Module) else f), "parameters": key(f, "the model")}
    lrp = f._lrp
    rules = [(node.name, described(rule, f"the rule of '{node.name}'")) for node, rule in lrp.rules.items()]
    return {
        "model": _name(type(lrp.model)),
        "parameters": digest(_of_graph(lrp.model, lrp.graph)),
        "composite": getattr(lrp.composite, "name", "") or _name(lrp.composite),
        "rules": digest(rules, _own(lrp.captured._origin.ops)),
    }


def _own(ops: Ops) -> Any:
    """Describe the rows of a table of operations that are not relfunc's."""
    own = [(name, op) for name, op in ops.items() if OPS.get(name) is not op]
    return [(described(name, "an operation"), described(op, "ops")) for name, op in own]


def _name(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}" if isinstance(value, type) else named.__qualname__


def _of_graph(model: nn.Module, graph: fx.Graph) -> Any:
    """Describe a captured model: every operation, what its function holds, its arguments, and the model's tensors."""
    number = {node: k for k, node in enumerate(graph.nodes)}

    def argument(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return ("node", number[value])
        if isinstance(value, tuple | list):
            return (type(value).__name__, *map(argument, value))
        if isinstance(value, Mapping):
            return ("map", *((name, argument(each)) for name, each in value.items()))
        if isinstance(value, slice):
            return ("slice", *map(argument, (value.start, value.stop, value.step)))
        return described(value, "an argument of an operation")

    found = []
    for node in graph.nodes:
        target: Any = node.target
        what = described(target, f"operation '{node.name}'") if callable(target) else str(target)
        held = described(parameter(model, str(target)), str(target)) if node.op == "get_attr" else None
        found.append((node.op, what, held, argument(node.args), argument(node.kwargs)))
    return (found, declared(model))
