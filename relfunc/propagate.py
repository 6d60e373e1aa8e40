r"""Propagate relevance through one operation: the reader of rule tables, and the rules that are no tables.

Each function takes the relevance of an operation's output and returns that of its tensors; all are made of ordinary
differentiable torch operations, so that relevance can be vmapped, compiled and differentiated again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from .calls import Call, Slot, sum_to
from .errors import RelfuncError
from .ops import name_of
from .stabilizers import Clipping, Plain, Stabilizer
from .tables import ALL, NONE, AnyRule, Branch, Elementary, Part, Rule, Term
from .transposes import TRANSPOSES, each


class PropagateError(RelfuncError, ValueError):
    """A rule does not fit the tensors it met."""


@dataclass(frozen=True, eq=False)
class Propagate:
    """Backward of one operation under a rule: ``(relevance, output, *values) -> relevance of each data slot``.

    Parameters
    ----------
    rule : Rule, Elementary or callable
        As the composite gave it, simplified.
    call : Call
        The operation.
    receivers : tuple of int
        The data slots that get relevance, for rules that choose.
    rectified : bool
        Whether ``output`` is a ReLU of the output, equal wherever relevance is not zero.
    node : str
        The operation's name in the forward graph.
    """

    rule: AnyRule
    call: Call
    receivers: tuple[int, ...]
    rectified: bool
    node: str = ""

    @property
    def __name__(self) -> str:
        return f"{getattr(self.rule, 'name', getattr(self.rule, '__name__', 'custom'))}_{name_of(self.call.target)}"

    def __call__(self, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
        """Return the relevance of each data slot."""
        output, rectified = self.as_read(output, *values)
        if isinstance(self.rule, Rule):
            if self.call.is_combination:
                return _read_linear(self.rule, self.call, relevance, output, rectified, *values)
            return (_read(self.rule, self.call, relevance, output, rectified, *values),)
        if isinstance(self.rule, Elementary):
            return _ELEMENTARY[self.rule.name](self, relevance, *values, **dict(self.rule.options))
        return _custom(self.rule, self.call, relevance, output, *values)

    def as_read(self, output: Any, *values: Any) -> tuple[Any, bool]:
        """Return the output as the rule takes it, and whether that is a ReLU of it."""
        if self.rectified and output is not None and not _reads_rectified(self.rule):
            return self.call(*values), False
        return output, self.rectified


def needs_output(rule: AnyRule) -> bool:
    """Whether a rule reads the operation's output, so that it has to be kept."""
    if isinstance(rule, Elementary):
        return False
    return not isinstance(rule, Rule) or any(b.gate or rule.is_forward(b) for b in rule.branches)


def _reads_rectified(rule: AnyRule) -> bool:
    """Whether a rule gives the same relevance if the output's negative values, where relevance is zero, read zero.

    A stabilizer that looks at several values does not, nor one that leaves zero as it is.
    """
    return isinstance(rule, Rule) and isinstance(rule.stabilizer, Plain | Clipping) and rule.stabilizer.epsilon > 0


# --- the reader ---------------------------------------------------------------------------------------


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
    weight, bias = _parameters(call, parameters)
    batched = x.ndim == max(weight.ndim, 2)
    inputs = [_input_part(t.x, x, rule, batched) for t in branch.terms]
    parts = [(t, xt, *_parameter_parts(rule, t, weight, bias)) for t, xt in zip(branch.terms, inputs, strict=True)]
    if rule.is_forward(branch) and output is not None:
        return Evaluated(parts, output, int(rectified))
    z = _sum((t.sign, _affine(call, xt, wt, bt)) for t, xt, wt, bt in parts)
    sign = 0 if rule.zero_params or not _reads_rectified(rule) else branch.sign
    return Evaluated(parts, z.clamp(min=0) if sign > 0 else z.clamp(max=0) if sign < 0 else z, sign)


def share_of(rule: Rule, branch: Branch, relevance: Tensor, z: Tensor, sign: int, output: Tensor | None) -> Tensor:
    """Return the relevance of a branch over its stabilized denominator.

    Parameters
    ----------
    rule, branch : Rule, Branch
        The table and its branch.
    relevance : Tensor
        Of the operation's output.
    z, sign : Tensor, int
        As :class:`Evaluated` has them.
    output : Tensor or None
        The operation's output, for a gated branch.

    Returns
    -------
    Tensor
    """
    share = _share(relevance, z, rule.stabilizer, sign)
    if branch.gate and output is not None:
        share = _gated(share, output if branch.gate > 0 else -output)
    return share if branch.scale == 1 else branch.scale * share


def _read(rule: Rule, call: Call, relevance: Tensor, output: Tensor | None, rectified: bool, *values: Tensor) -> Tensor:
    """Relevance of an affine operation's input, as the rule's table says."""
    transpose = TRANSPOSES[name_of(call.target)]
    x, contributions = values[0], []
    if output is not None and (strength := _mirrored(rule)):
        return _read_mirrored(rule, strength, call, relevance, output, *values)
    for branch in rule.branches:
        done = evaluate(rule, branch, call, output, rectified, *values)
        parts, share = done.parts, share_of(rule, branch, relevance, done.z, done.sign, output)
        del done  # a denominator is as large as the output, and not needed any more
        for term, xt, wt, _ in parts:
            contribution = transpose(share, x, wt, **call.kwargs)
            contributions.append((term.sign, contribution if term.x == "one" else contribution.mul_(xt)))
    return _sum(contributions) if contributions else torch.zeros_like(x)


def _mirrored(rule: Rule) -> tuple[float, float] | None:
    """Factors of W and |W|, if the rule is one branch for positive outputs and its mirror image for negative ones."""
    match [(branch.gate, branch.scale, branch.terms) for branch in rule.branches]:
        case [(1, 1.0, (Term(x=(1.0, 1.0), sign=1) as up,)), (-1, 1.0, (Term(x=(1.0, 1.0), sign=1) as down,))]:
            p, n = up.weight if isinstance(up.weight, tuple) else (0.0, 0.0)
            same = up.weight == up.bias and down.weight == down.bias == (n, p)
            return (
                ((p + n) / 2, (p - n) / 2)
                if same and p > n and not rule.zero_params and _reads_rectified(rule)
                else None
            )
    return None


def _read_mirrored(
    rule: Rule, strength: tuple[float, float], call: Call, relevance: Tensor, z: Tensor, x: Tensor, *parameters: Tensor
) -> Tensor:
    r"""Read two mirrored branches with one modified forward instead of two.

    With :math:`a = f(x; |W|, |b|)` the part :math:`(p, n)` of the weights is
    :math:`\frac{p + n}{2} W + \frac{p - n}{2} |W|`, so that both denominators are
    :math:`\mathrm{sgn}(z) (\frac{p + n}{2} |z| + \frac{p - n}{2} a)`.
    """
    weight, bias = _parameters(call, parameters)
    even, odd = strength
    a = _affine(call, x, weight.abs(), None if bias is None else bias.abs())
    denominator = a.mul_(odd).add_(z.abs(), alpha=even)
    sign = z.sign()
    share = _share(relevance, denominator, rule.stabilizer, 1) * sign
    transpose = TRANSPOSES[name_of(call.target)]
    total = transpose(share, x, weight, **call.kwargs).mul_(even)
    return total.add_(transpose(share * sign, x, weight.abs(), **call.kwargs), alpha=odd).mul_(x)


def _read_linear(
    rule: Rule, call: Call, relevance: Any, output: Tensor | None, rectified: bool, *values: Any
) -> tuple[Any, ...]:
    """Relevance of the inputs of a linear operation without parameters, in proportion to their contributions."""
    if output is None or any(not rule.is_forward(b) or b.gate for b in rule.branches):
        raise PropagateError(f"{rule} needs an operation with weights: give '{name_of(call.target)}' the rule norm()")
    share = _share(relevance, output, rule.stabilizer, int(rectified))
    grads = call.transpose(share, *values)
    return tuple(pytree.tree_map(torch.mul, values[slot], grad) for slot, grad in zip(call.data, grads, strict=True))


def _share(relevance: Tensor, z: Tensor, stabilizer: Stabilizer, sign: int) -> Tensor:
    if sign and isinstance(stabilizer, Plain):
        return relevance / stabilizer.signed(z, sign)
    return relevance / stabilizer(z)


def _gated(share: Tensor, z: Tensor) -> Tensor:
    """Keep what lies where ``z`` is positive, whatever else there is; several times as fast as ``where``."""
    return torch.ops.aten.threshold_backward(share, z, 0)


def _input_part(part: Part, x: Tensor, rule: Rule, batched: bool) -> Tensor:
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
        return positive * a.clamp(min=0)
    if positive == 0:
        return negative * a.clamp(max=0)
    stronger = a.clamp(min=0) if positive > negative else a.clamp(max=0)
    base = min(positive, negative)
    return torch.add(a if base == 1 else base * a, stronger, alpha=abs(positive - negative))


# --- affine operations --------------------------------------------------------------------------------


def _parameters(call: Call, parameters: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    weight, bias = call.args[1], call.args[2]
    return (
        parameters[weight.index - 1] if isinstance(weight, Slot) else weight,
        parameters[bias.index - 1] if isinstance(bias, Slot) else bias,
    )


def _affine(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None and name_of(call.target) == "scale_shift":
        bias = torch.zeros_like(weight)
    return call.target(x, weight, bias, **call.kwargs)


def bias_of(call: Call, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return what a bias adds to an affine operation's output ``z``, broadcast to its shape."""
    channel = z.ndim - 1 if name_of(call.target) == "linear" else z.ndim - weight.ndim + 1
    channel = 1 if name_of(call.target) == "scale_shift" else channel
    return bias.view(-1, *(1,) * (z.ndim - channel - 1)).expand(z.shape)


# --- rules that are no tables -------------------------------------------------------------------------


def _pass(step: Propagate, relevance: Any, *values: Any) -> tuple[Any, ...]:
    slot, *others = step.call.data
    if others:
        raise PropagateError(f"pass() is for operations of one tensor, not '{name_of(step.call.target)}'")
    return (sum_to(relevance, values[slot].shape),)


def _gradient(step: Propagate, relevance: Any, *values: Any) -> tuple[Any, ...]:
    name = name_of(step.call.target)
    if name in TRANSPOSES:
        weight, _ = _parameters(step.call, values[1:])
        return (TRANSPOSES[name](relevance, values[0], weight, **step.call.kwargs),)
    return step.call.transpose(relevance, *values)


def _guided_backprop(step: Propagate, relevance: Tensor, *values: Any) -> tuple[Tensor, ...]:
    return _gradient(step, relevance.clamp(min=0), *values)


def _deconvnet(step: Propagate, relevance: Tensor, *values: Any) -> tuple[Tensor, ...]:
    return (relevance.clamp(min=0),)


def _beta_smooth(step: Propagate, relevance: Tensor, x: Tensor, *values: Any, beta: float) -> tuple[Tensor, ...]:
    return (torch.sigmoid(beta * x) * relevance,)


def _proportional(
    step: Propagate, relevance: Tensor, x: Tensor, *values: Any, stabilizer: Stabilizer
) -> tuple[Tensor, ...]:
    """Spread over each window of a max pooling, as its sum pooling would: the average's factor cancels."""
    name = name_of(step.call.target)
    average = getattr(F, name.replace("max", "avg"), None)
    if average is None or "max" not in name:
        raise PropagateError(f"proportional() is for max pooling, not '{name}'")
    names = _ADAPTIVE_POOL if name.startswith("adaptive") else _MAX_POOL
    options = dict(zip(names, step.call.args[1:], strict=False)) | step.call.kwargs
    dilation = options.pop("dilation", 1)
    if options.pop("return_indices", False) or any(d != 1 for d in each(dilation, 1)):
        raise PropagateError(f"proportional() takes a '{name}' without indices and dilation")
    if not name.startswith("adaptive"):
        options["count_include_pad"] = True
    z, vjp = torch.func.vjp(lambda a: average(a, **options), x)[:2]
    return (x * vjp(relevance / stabilizer(z))[0],)


_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ADAPTIVE_POOL = ("output_size", "return_indices")


def _signal(step: Propagate, relevance: Tensor, *values: Any) -> tuple[Any, ...]:
    """Give all relevance of a product to its signal, or equal shares to its factors."""
    part = relevance / len(step.receivers)
    shares = []
    for slot in step.call.data:
        summed = sum_to(part, values[slot].shape) if slot in step.receivers else torch.zeros_like(values[slot])
        shares.append(summed)
    return tuple(shares)


def _custom(rule: Callable[..., Any], call: Call, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    returned = rule(call, values, output, relevance)
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(call.data):
        raise PropagateError(
            f"the rule {getattr(rule, '__name__', rule)} returned {len(returned)} relevances for "
            f"'{name_of(call.target)}', which has {len(call.data)} inputs that carry relevance"
        )
    return returned


_ELEMENTARY: dict[str, Callable[..., tuple[Any, ...]]] = {
    "pass": _pass,
    "gradient": _gradient,
    "guided_backprop": _guided_backprop,
    "deconvnet": _deconvnet,
    "beta_smooth": _beta_smooth,
    "proportional": _proportional,
    "signal": _signal,
}


def _sum(signed: Iterable[tuple[int, Tensor]]) -> Tensor:
    (sign, first), *rest = signed
    total = first if sign > 0 else -first
    for sign, tensor in rest:
        total = torch.add(total, tensor, alpha=sign)
    return total
