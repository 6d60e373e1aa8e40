"""The reader: relevance of one operation as a rule's table says, and the row that all tables share.

A table (:mod:`relfunc.rules.tables`) is read literally, branch by branch: modified forward passes make the
denominators, and the transposed Jacobian with each term's weights carries the shares back. Four short cuts give the
same numbers: a term that is the operation itself has its output for a denominator, a rule and its mirror image for
negative outputs are read with one modified forward (:func:`_read_mirrored`), rows without relevance are left out
(:func:`_rows`), and what nobody else reads is overwritten (:mod:`relfunc.graph.memory`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph.affine import by_channel
from ..graph.calls import Call, Slot
from ..graph.memory import is_plain, one_sided, over, plus_product, times
from ..graph.transposes import TRANSPOSES, each_transposed
from ..ops.table import Op, Sign
from .stabilizers import Clipping, Plain, Stabilizer, quotient
from .step import PropagateError, Reads, RuleRow, Step, summed
from .tables import ALL, NONE, Branch, Part, Rule, Term, simplify


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The terms of a branch, evaluated.

    Parameters
    ----------
    parts : list of (Term, Tensor, Tensor, Tensor or None)
        Each term with its input, weight and bias.
    z : Tensor
        The sum of the terms: the branch's denominator, not yet stabilized.
    sign : {1, −1, 0}
        The sign that no ``z`` has the opposite of; 0 if unknown.
    """

    parts: list[tuple[Term, Tensor, Tensor, Tensor | None]]
    z: Tensor
    sign: int


def evaluate(
    rule: Rule, branch: Branch, call: Call, output: Tensor | None, rectified: bool, x: Tensor, *parameters: Tensor
) -> Evaluated:
    """Evaluate the terms of a branch for an affine operation.

    A term that is the operation itself costs nothing: its value is the output, which the forward has computed. What is
    the same for all samples, such as a bound, is evaluated for one and broadcast. Where the terms imply a sign of the
    denominator, rounding is cut off at zero, so that a stabilizer need not look at signs.

    Parameters
    ----------
    rule, branch : Rule, Branch
        The table and its branch.
    call : Call
        The operation.
    output : Tensor or None
        Its output; None if no branch needs it.
    rectified : bool
        Whether ``output`` is a ReLU of it.
    x, *parameters : Tensor
        The operation's input, weight and bias.

    Returns
    -------
    Evaluated
    """
    weight, bias = parameters_of(call, parameters)
    batched = x.ndim == max(weight.ndim, 2)
    inputs = [_input_part(t.x, x, rule, batched) for t in branch.terms]
    parts = [(t, xt, *_parameter_parts(rule, t, weight, bias)) for t, xt in zip(branch.terms, inputs, strict=True)]
    z = _sum(
        (t.sign, output if output is not None and rule.is_forward(t) else _affine(call, xt, wt, bt))
        for t, xt, wt, bt in parts
    )
    if z is output:
        return Evaluated(parts, z, int(rectified))
    sign = 0 if rule.zero_params or not takes_rectified(rule) else branch.sign
    return Evaluated(parts, one_sided(z, sign), sign)


def share_of(
    rule: Rule, branch: Branch, relevance: Tensor, done: Evaluated, output: Tensor | None, *, owned: bool = False
) -> Tensor:
    """Return the relevance of a branch over its stabilized denominator.

    Parameters
    ----------
    rule, branch : Rule, Branch
        The table and its branch.
    relevance : Tensor
        Of the operation's output.
    done : Evaluated
        The branch's denominator.
    output : Tensor or None
        The operation's output, for a gated branch.
    owned : bool
        Whether nobody else reads ``relevance`` and ``done``, so that they may be overwritten.

    Returns
    -------
    Tensor
    """
    share = _share(relevance, done.z, rule.stabilizer, done.sign, owned=owned, kept=output)
    if branch.gate and output is not None:
        share = _gated(share, output if branch.gate > 0 else -output)
    return share if branch.scale == 1 else branch.scale * share


def read(step: Step, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    """Propagate by a table: relevance of an affine operation's input, or of a linear operation's inputs."""
    rule: Any = step.rule
    rectified = step.rectified and takes_rectified(rule)
    if not step.call.transposed:
        return _read_linear(step, rule, relevance, output, rectified, *values)
    rows = _rows(step, rule, relevance, values[0])
    if rows is None:
        return (_read_affine(step, rule, relevance, output, rectified, *values),)
    x, *parameters = values
    of_rows = None if output is None else output[rows]
    read_rows = _read_affine(replace(step, owned=True), rule, relevance[rows], of_rows, rectified, x[rows], *parameters)
    full = read_rows.new_zeros(x.shape)
    full[rows] = read_rows
    return (full,)


def _rows(step: Step, rule: Rule, relevance: Tensor, x: Tensor) -> tuple[Tensor, ...] | None:
    """Find the few rows of a linear layer that have relevance; None if many have, or values cannot be looked at.

    All relevance may begin at one token of a sequence, or arrive at one that stands for the whole. A row of zeros gives
    zeros wherever the stabilizer looks at one denominator at a time, and keeps also zero off zero.
    """
    sizes = relevance.shape[:-1]
    by_row = step.call.transposed == "linear" and x.shape[:-1] == sizes and rule.bounds is None
    if not by_row or sizes.numel() < _MANY or not takes_rectified(rule) or not is_plain(relevance):
        return None
    few = sizes.numel() // 2
    if int(relevance[..., 0].count_nonzero()) > few:  # a quick look
        return None
    rows = relevance.any(-1).nonzero(as_tuple=True)
    return rows if len(rows[0]) <= few else None


_MANY: Final = 16


def _read_affine(
    step: Step, rule: Rule, relevance: Tensor, output: Tensor | None, rectified: bool, *values: Tensor
) -> Tensor:
    """Sum the contributions of all terms of all branches.

    A branch's share, its relevance over its denominator, goes back through the transposed Jacobian with each term's
    weight, all terms of a branch together, and is multiplied by the term's input in the memory that this makes.
    """
    x, call, contributions = values[0], step.call, []
    if output is not None and output.dtype.itemsize > 2 and (strength := _mirrored(rule)):
        return _read_mirrored(step, rule, strength, relevance, output, *values)
    for branch in rule.branches:
        done = evaluate(rule, branch, call, output, rectified, *values)
        parts = done.parts
        share = share_of(rule, branch, relevance, done, output, owned=step.owned and len(rule.branches) == 1)
        del done  # a denominator is as large as the output, and not needed any more
        grads = each_transposed(call.transposed, share, x, [weight for _, _, weight, _ in parts], call.kwargs)
        for (term, xt, _, _), grad in zip(parts, grads, strict=True):
            contributions.append((term.sign, grad if term.x == "one" else grad.mul_(xt)))
    return _sum(contributions) if contributions else torch.zeros_like(x)


def _mirrored(rule: Rule) -> tuple[float, float] | None:
    """Factors for :func:`_read_mirrored`, if a rule is one branch and its mirror image for negative outputs."""
    match [(branch.gate, branch.scale, branch.terms) for branch in rule.branches]:
        case [(1, 1.0, (Term(x=(1.0, 1.0), sign=1) as up,)), (-1, 1.0, (Term(x=(1.0, 1.0), sign=1) as down,))]:
            p, n = up.weight if isinstance(up.weight, tuple) else (0.0, 0.0)
            same = up.weight == up.bias and down.weight == down.bias == (n, p)
            return (
                ((p + n) / 2, (p - n) / (p + n))
                if same and p > n >= 0 and not rule.zero_params and takes_rectified(rule)
                else None
            )
    return None


def _read_mirrored(
    step: Step,
    rule: Rule,
    strength: tuple[float, float],
    relevance: Tensor,
    z: Tensor,
    x: Tensor,
    *parameters: Tensor,
) -> Tensor:
    r"""Read two mirrored branches with one modified forward instead of two.

    The part :math:`(p, n)` of the weights is :math:`\frac{p + n}{2} (W + V)` with
    :math:`V = \frac{p - n}{p + n} |W|`, so that with :math:`a = f(x; V, c)` both denominators are
    :math:`\mathrm{sgn}(z) \frac{p + n}{2} (|z| + a)`, and the factor cancels but for the stabilizer's. That would be
    below what 16 bits can tell from zero, so there the table is read as it is written. Where ``z`` is zero, neither
    branch is on.
    """
    call, (scale, odd) = step.call, strength
    weight, bias = parameters_of(call, parameters)
    strong = weight.abs().mul_(odd)
    denominator = _affine(call, x, strong, None if bias is None else bias.abs().mul_(odd))
    sign = z.sign()
    stabilizer: Any = rule.stabilizer
    stabilizer = replace(stabilizer, epsilon=stabilizer.epsilon / scale)
    share = _share(relevance, plus_product(denominator, z, sign), stabilizer, 1, owned=step.owned, kept=None)
    del denominator
    share = times(times(share, sign), sign)
    transpose = TRANSPOSES[call.transposed]
    total = transpose(share, x, strong, **call.kwargs)
    return total.add_(transpose(times(share, sign), x, weight, **call.kwargs)).mul_(x)


def _read_linear(
    step: Step, rule: Rule, relevance: Any, output: Tensor | None, rectified: bool, *values: Any
) -> tuple[Any, ...]:
    """Relevance of the inputs of a linear operation without parameters, in proportion to their contributions.

    Contributions are what each input adds to the output: with the transposed Jacobian ``J`` of the operation itself,
    the relevance of ``x`` is ``x * J(share)``. The last product may overwrite the share, which is not read any more.
    """
    if output is None or any(b.terms != (Term(),) or b.gate for b in rule.branches) or rule.zero_params:
        raise PropagateError(f"{rule} needs an operation with weights: give '{step.call.name}' the rule norm()")
    share = _share(relevance, output, rule.stabilizer, int(rectified), owned=step.owned, kept=output)
    *grads, last = step.call.transpose(share, *values)
    *slots, final = step.call.data
    products = [pytree.tree_map(torch.mul, values[slot], grad) for slot, grad in zip(slots, grads, strict=True)]
    return *products, times(share, values[final]) if last is share else pytree.tree_map(torch.mul, values[final], last)


def _share(
    relevance: Tensor, z: Tensor, stabilizer: Stabilizer, sign: int, *, owned: bool, kept: Tensor | None
) -> Tensor:
    """Divide by the stabilized ``z``, in the memory of both if relevance is owned and ``z`` is not to be kept."""
    if sign and isinstance(stabilizer, Plain):
        denominator = stabilizer.signed(z, sign, in_place=owned and z is not kept)
        return over(relevance, denominator) if owned else relevance / denominator
    return quotient(relevance, z, stabilizer, owned=owned)


def _gated(share: Tensor, z: Tensor) -> Tensor:
    """Keep what lies where ``z`` is positive, whatever else there is; several times as fast as ``where``."""
    return torch.ops.aten.threshold_backward(share, z, 0)


def _input_part(part: Part, x: Tensor, rule: Rule, batched: bool) -> Tensor:
    """Return the part of an input that enters a term; for one sample only, where all samples have the same."""
    shape = (1, *x.shape[1:]) if batched else x.shape  # what is the same for all samples is computed once
    if part == "one":
        return torch.ones(shape, dtype=x.dtype, device=x.device)
    if part in {"low", "high"}:
        low, high = rule.bounds or (0, 0)
        bound = torch.tensor(low if part == "low" else high, dtype=x.dtype, device=x.device)
        try:
            return bound.expand(x.shape if bound.ndim == x.ndim and len(bound) > 1 else shape)
        except RuntimeError as error:
            raise PropagateError(
                f"zbox: a bound of shape {tuple(bound.shape)} does not broadcast to an input of shape "
                f"{tuple(x.shape)}: a bound per channel of an image has shape (channel, 1, 1)"
            ) from error
    return _part(part, x)


def _parameter_parts(rule: Rule, term: Term, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the parts of weight and bias that enter a term; None for a bias that does not, which costs nothing."""
    weight = torch.zeros_like(weight) if "weight" in rule.zero_params else _part(term.weight, weight)
    if bias is None or "bias" in rule.zero_params or term.bias == NONE:
        return weight, None
    return weight, _part(term.bias, bias)


def _part(part: Part, a: Tensor) -> Tensor:
    """Return ``positive * max(a, 0) + negative * min(a, 0)``, or what the part's name says."""
    if part == ALL:
        return a
    if part == "one":
        return torch.ones_like(a)
    if part == "square":
        return a.square()
    if not isinstance(part, tuple):
        raise PropagateError(f"a weight or bias has no part {part!r}")
    positive, negative = part
    if positive == negative:
        return positive * a
    if negative == 0:
        kept, factor = a.clamp(min=0), positive
    elif positive == 0:
        kept, factor = a.clamp(max=0), negative
    else:
        kept, factor = F.leaky_relu(a, negative / positive), positive
    return kept if factor == 1 else kept.mul_(factor)


# --- affine operations --------------------------------------------------------------------------------


def parameters_of(call: Call, parameters: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    """Return the weight and bias of an affine call, of which some may be constants of its own."""
    weight, bias = call.args[1], call.args[2]
    return (
        parameters[weight.index - 1] if isinstance(weight, Slot) else weight,
        parameters[bias.index - 1] if isinstance(bias, Slot) else bias,
    )


def _affine(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return call.target(x, weight, bias, **call.kwargs)


def _bias_of(call: Call, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return what a bias adds to an affine operation's output ``z``, broadcast to its shape."""
    if call.transposed == "scale_shift":
        return by_channel(bias, z, **call.kwargs).expand(z.shape)
    channel = z.ndim - 1 if call.transposed == "linear" else z.ndim - weight.ndim + 1
    return bias.view(-1, *(1,) * (z.ndim - channel - 1)).expand(z.shape)


def _sum(signed: Iterable[tuple[int, Tensor]]) -> Tensor:
    (sign, first), *rest = signed
    total = first if sign > 0 else -first
    for sign, tensor in rest:
        total = torch.add(total, tensor, alpha=sign)
    return total


# --- what is known of tables --------------------------------------------------------------------------


def takes_rectified(rule: Rule) -> bool:
    """Whether a rule gives the same relevance if the output's negative values, where relevance is zero, read zero.

    A stabilizer that looks at several values does not, nor one that leaves zero as it is.
    """
    return isinstance(rule.stabilizer, Plain | Clipping) and rule.stabilizer.epsilon > 0


def _reads(step: Any) -> Reads:
    """Ask for the output where a branch is gated by it, or has a term that is the operation itself."""
    branches = step.rule.branches
    needed = any(b.gate or any(map(step.rule.is_forward, b.terms)) for b in branches)
    return ("values", "output") if needed else ("values",)


def _vanishes(rule: Rule, op: Op | None) -> Sign:
    return "always" if rule.multiplies_input else "unknown"


def _simplified(rule: Rule, nonnegative: bool, dead: bool) -> Rule:
    return simplify(rule, nonnegative=nonnegative, dead_below_zero=dead)


def _forwards(step: Step) -> int:
    """Count the terms that are evaluated: all but the operation itself."""
    rule: Any = step.rule
    terms = [term for branch in rule.branches for term in branch.terms] if step.call.transposed else []
    return sum(not rule.is_forward(term) for term in terms)


def _absorbs(step: Step, passed: float, relevance: Any, output: Any, *values: Any) -> dict[str, float]:
    r"""Sum what stays with the biases, :math:`s_b\, c_t`, and in the stabilizers, :math:`s_b (\mathrm{st}(z_b) - z_b)`.

    Of a linear operation without weights, what is neither passed nor in the stabilizer belongs to its constants.
    """
    rule: Any = step.rule
    if not step.call.transposed:
        finite = output.masked_fill(output.isinf(), 0)  # such as what a mask rules out, where no relevance arrives
        stabilized = summed(relevance - relevance / rule.stabilizer(output) * finite)
        return {"stabilizer": stabilized, "bias": summed(relevance) - passed - stabilized}
    absorbed = {"bias": 0.0, "stabilizer": 0.0}
    for branch in rule.branches:
        done = evaluate(rule, branch, step.call, output, step.rectified and takes_rectified(rule), *values)
        share = share_of(rule, branch, relevance, done, output)
        absorbed["stabilizer"] += summed(share * (rule.stabilizer(done.z) - done.z))
        for term, _, weight, bias in done.parts:
            if bias is not None:
                absorbed["bias"] += term.sign * summed(share * _bias_of(step.call, done.z, weight, bias))
    return absorbed


def _meant_for(rule: Rule) -> str:
    """Name the kinds of operation with weights; and those without, if it shares in proportion to contributions."""
    in_proportion = all(branch.terms == (Term(),) for branch in rule.branches)
    return "affine combination" if in_proportion else "affine"


TABLE: Final = RuleRow(
    "table",
    propagate=read,
    reads=_reads,
    vanishes=_vanishes,
    absorbs=_absorbs,
    memory="own",
    meant_for=_meant_for,
    constant_weights=True,
    takes_rectified=takes_rectified,
    simplify=_simplified,
    forwards=_forwards,
)
"""What is known of any table, those of users included."""
