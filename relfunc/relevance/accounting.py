"""Accounts of relevance: which rule each operation has (:func:`plan`), and where relevance went (:func:`audit`)."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, fx, nn

from ..composites.assignment import AnyComposite, matched
from ..composites.operation import operations
from ..graph.arguments import as_call
from ..graph.calls import Call, is_smooth
from ..graph.tokens import Moved
from ..ops.table import OPS, Ops
from ..rules.dead import dead_below_zero
from ..rules.propagate import Propagate
from ..rules.step import summed
from .function import Relevance, lrp
from .inputs import Inputs
from .rewrite import Seeding, propagation
from .target import Target, seed


def plan(model: nn.Module, composite: AnyComposite, *, ops: Ops = OPS, example_inputs: Any = None) -> pd.DataFrame:
    """List the rule of every operation of a model, before anything runs.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    composite : callable
        The rule of each operation.
    ops : mapping
        The operations, as for :func:`relfunc.lrp`.
    example_inputs : Tensor, tuple or mapping, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    pandas.DataFrame
        One row for each operation that carries relevance, in the order in which they run, indexed by ``node``:
        ``module`` (its path), ``operation``, ``type``, ``rule``, ``matched`` (the row of the composite that gave it),
        ``forwards`` (how many modified forward passes the rule costs, after simplification by what the graph proves)
        and ``line`` of source.

    Raises
    ------
    CaptureError, CanonizeError, CompositeError
        As :func:`relfunc.lrp`.

    Examples
    --------
    >>> from relfunc import composites
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> plan(model, composites.epsilon_plus())[["operation", "rule"]]
             operation                    rule
    node
    linear      linear  epsilon(epsilon=1e-06)
    relu          relu                  pass()
    linear_1    linear  epsilon(epsilon=1e-06)
    """
    f = lrp(model, composite, ops=ops, example_inputs=example_inputs)._lrp
    dead = dead_below_zero(f.graph, f.known, f.rules)
    rows = []
    for node, operation in operations(f.graph, f.known).items():
        step, _ = propagation(node, f.known, f.rules[node], node in dead)
        rows.append(
            {
                "node": node.name,
                "module": operation.path,
                "operation": operation.name,
                "type": operation.type,
                "rule": str(f.rules[node]),
                "matched": matched(composite, operation),
                "forwards": step.row.forwards(step),
                "line": operation.line,
            }
        )
    return pd.DataFrame(rows, columns=_PLAN_COLUMNS).set_index("node")


_PLAN_COLUMNS = ["node", "module", "operation", "type", "rule", "matched", "forwards", "line"]


def audit(
    model: nn.Module,
    composite: AnyComposite,
    x: Inputs,
    target: Target = None,
    *,
    ops: Ops = OPS,
    example_inputs: Any = None,
) -> pd.DataFrame:
    """Account for the relevance entering and leaving every operation.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    composite : callable
        The rule of each operation.
    x : Tensor, tuple or mapping
        The input, as :func:`relfunc.gradient` takes it.
    target : int, Tensor, callable or None
        As :func:`relfunc.gradient` takes it.
    ops, example_inputs
        As for :func:`relfunc.lrp`.

    Returns
    -------
    pandas.DataFrame
        Sums over all samples, one row for each operation from the output to the input, indexed by ``node``: ``rule``;
        ``relevance`` that arrived; and where it went: ``passed`` on to inputs, absorbed by the ``bias`` or by the
        ``stabilizer``, by the constant of the expansion of a ``softmax``, by ``tables`` (the model's own values that
        stand beside the input: positions that are added, class tokens that are joined to it, paddings), or ``dropped``
        (by a rule that does not conserve relevance, or at outputs that no branch of the rule explains). The last row,
        ``total``, has the seed as ``relevance``, what reached the model's inputs as ``passed``, and the sums of the
        other columns; in every row the parts sum to the relevance.

    Examples
    --------
    >>> from relfunc import composites
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> table = audit(model, composites.epsilon_plus(), torch.rand(4, 2), 1)
    >>> total = table.loc["total"]
    >>> bool(abs(total["relevance"] - total[["passed", "bias", "stabilizer", "softmax", "tables"]].sum()) < 1e-5)
    True
    """
    f = lrp(model, composite, ops=ops, example_inputs=example_inputs)
    ledger = _Ledger(f)
    with torch.no_grad():
        args, kwargs = as_call(x)
        values = f._lrp.values(args, kwargs)
        output, relevances = ledger.run(*values, *f._lrp.parameters(), seed(target))
        f._lrp.check(args, kwargs, values, output)
    rows = [entry.row() for entry in ledger.entries]
    absorbed = {column: sum(row[column] for row in rows) for column in _ABSORBED}
    total = {"node": "total", "rule": "", "relevance": ledger.seeded, "passed": summed(relevances), **absorbed}
    total["dropped"] = total["relevance"] - total["passed"] - sum(absorbed.values())
    return pd.DataFrame(
        [*rows, total], columns=["node", "rule", "relevance", "passed", *_ABSORBED, "dropped"]
    ).set_index("node")


_ABSORBED = ("bias", "stabilizer", "softmax", "tables")


@dataclass
class _Entry:
    """What one operation did with its relevance."""

    node: str
    rule: str
    relevance: float
    passed: float
    bias: float = 0.0
    stabilizer: float = 0.0
    softmax: float = 0.0
    tables: float = 0.0

    def row(self) -> dict[str, Any]:
        absorbed = sum(getattr(self, column) for column in _ABSORBED)
        return {**vars(self), "dropped": self.relevance - self.passed - absorbed}


class _Ledger(fx.Interpreter):
    """Runs a program and writes down what each of its propagations does."""

    def __init__(self, f: Relevance) -> None:
        super().__init__(f._lrp.program.run)
        self.entries: list[_Entry] = []
        self.seeded = 0.0

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(target, Propagate):
            target = replace(target, owned=False)
        result = super().call_function(target, args, kwargs)
        if isinstance(target, Propagate):
            self.entries.append(_entry(target, result, *args))
        elif isinstance(target, Moved):
            arrived, passed = summed(args[0]), summed(result)
            self.entries.append(_Entry(target.call.name, "", arrived, passed, tables=arrived - passed))
        elif isinstance(target, Seeding):
            self.seeded = summed(result)
        return result


def _entry(step: Propagate, sent: tuple[Any, ...], relevance: Any, output: Any, *values: Any) -> _Entry:
    passed = summed([part for slot, part in zip(step.call.data, sent, strict=True) if slot in step.receivers])
    absorbed = step.absorbed(passed, relevance, output, *values)
    entry = _Entry(step.node, str(step.rule), summed(relevance), passed, **absorbed)
    if _adds_table(step.call, values):
        entry.tables, entry.bias = entry.bias, 0.0
    return entry


def _adds_table(call: Call, values: tuple[Any, ...]) -> bool:
    """Whether an operation adds a tensor of the model's own that differs from place to place, unlike a bias."""
    if call.op is None or call.op.type != "shift":
        return False
    return any(is_smooth(value) and _varies(value) > 1 for i, value in enumerate(values) if i not in call.data)


def _varies(value: Tensor) -> int:
    """Count the axes along which a tensor is not the same."""
    return sum(bool((value != value.narrow(axis, 0, 1)).any()) for axis in range(value.ndim) if value.shape[axis])
