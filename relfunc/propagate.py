r"""Propagate relevance through one operation: the reader of rule tables, and the rules that are no tables.

Each function takes the relevance of an operation's output and returns that of its tensors; all are made of ordinary
differentiable torch operations, so that relevance can be vmapped, compiled and differentiated again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from .affine import by_channel
from .calls import Call, Slot
from .errors import RelfuncError
from .memory import one_sided, over, plus_product, times
from .stabilizers import Clipping, Plain, Stabilizer
from .tables import ALL, NONE, AnyRule, Branch, Elementary, Part, Rule, Term
from .transposes import TRANSPOSES, each, each_transposed, sum_to


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
    owned : bool
        Whether nobody else reads ``relevance``, so that it may be overwritten.
    """

    rule: AnyRule
    call: Call
    receivers: tuple[int, ...]
    rectified: bool
    node: str = ""
    owned: bool = False

    @property
    def __name__(self) -> str:
        return f"{getattr(self.rule, 'name', getattr(self.rule, '__name__', 'custom'))}_{self.call.name}"

    def __call__(self, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
        """Return the relevance of each data slot; in single precision where the model runs in half by autocast."""
        device = next(leaf for leaf in pytree.tree_leaves(relevance) if isinstance(leaf, Tensor)).device.type
        if not torch.is_autocast_enabled(device):
            return self._propagated(relevance, output, *values)
        with torch.autocast(device, enabled=False):
            return self._propagated(*pytree.tree_map_only(Tensor, _at_least_single, (relevance, output, *values)))

    def _propagated(self, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
        output, rectified = self.as_read(output, *values)
        if isinstance(self.rule, Rule):
            if not self.call.transposed:
                return _read_linear(self, self.rule, relevance, output, rectified, *values)
            return (_read(self, self.rule, relevance, output, rectified, *values),)
        if isinstance(self.rule, Elementary):
            return _ELEMENTARY[self.rule.name](self, relevance, *values, **dict(self.rule.options))
        return _custom(self.rule, self.call, relevance, output, *values)

    def as_read(self, output: Any, *values: Any) -> tuple[Any, bool]:
        """Return the output as the rule takes it, and whether that is a ReLU of it."""
        if self.rectified and output is not None and not _reads_rectified(self.rule):
            return self.call(*values), False
        return output, self.rectified


def _at_least_single(a: Tensor) -> Tensor:
    return a.float() if a.dtype in {torch.float16, torch.bfloat16} else a


def needs_output(rule: AnyRule) -> bool:
    """Whether a rule reads the operation's output, so that it has to be kept."""
    if isinstance(rule, Elementary):
        return False
    return not isinstance(rule, Rule) or any(b.gate or any(map(rule.is_forward, b.terms)) for b in rule.branches)


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
    z = _sum(
        (t.sign, output if output is not None and rule.is_forward(t) else _affine(call, xt, wt, bt))
        for t, xt, wt, bt in parts
    )
    if z is output:
        return Evaluated(parts, z, int(rectified))
    sign = 0 if rule.zero_params or not _reads_rectified(rule) else branch.sign
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


def _read(
    step: Propagate, rule: Rule, relevance: Tensor, output: Tensor | None, rectified: bool, *values: Tensor
) -> Tensor:
    """Relevance of an affine operation's input, as the rule's table says."""
    x, call, contributions = values[0], step.call, []
    if output is not None and (strength := _mirrored(rule)):
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
                if same and p > n >= 0 and not rule.zero_params and _reads_rectified(rule)
                else None
            )
    return None


def _read_mirrored(
    step: Propagate,
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
    :math:`\mathrm{sgn}(z) \frac{p + n}{2} (|z| + a)`, and the factor cancels but for the stabilizer's.
    """
    call, (scale, odd) = step.call, strength
    weight, bias = _parameters(call, parameters)
    strong = weight.abs().mul_(odd)
    denominator = _affine(call, x, strong, None if bias is None else bias.abs().mul_(odd))
    sign = z.sign()
    stabilizer: Any = rule.stabilizer
    stabilizer = replace(stabilizer, epsilon=stabilizer.epsilon / scale)
    share = _share(relevance, plus_product(denominator, z, sign), stabilizer, 1, owned=step.owned, kept=None)
    del denominator
    transpose = TRANSPOSES[call.transposed]
    total = transpose(share, x, strong, **call.kwargs)
    return total.add_(transpose(times(share, sign), x, weight, **call.kwargs)).mul_(x)


def _read_linear(
    step: Propagate, rule: Rule, relevance: Any, output: Tensor | None, rectified: bool, *values: Any
) -> tuple[Any, ...]:
    """Relevance of the inputs of a linear operation without parameters, in proportion to their contributions."""
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
    if not sign or not isinstance(stabilizer, Plain):
        denominator = stabilizer(z)
    else:
        denominator = stabilizer.signed(z, sign, in_place=owned and z is not kept)
    return over(relevance, denominator) if owned else relevance / denominator


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
        kept, factor = a.clamp(min=0), positive
    elif positive == 0:
        kept, factor = a.clamp(max=0), negative
    else:
        kept, factor = F.leaky_relu(a, negative / positive), positive
    return kept if factor == 1 else kept.mul_(factor)


# --- affine operations --------------------------------------------------------------------------------


def _parameters(call: Call, parameters: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    weight, bias = call.args[1], call.args[2]
    return (
        parameters[weight.index - 1] if isinstance(weight, Slot) else weight,
        parameters[bias.index - 1] if isinstance(bias, Slot) else bias,
    )


def _affine(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return call.target(x, weight, bias, **call.kwargs)


def bias_of(call: Call, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return what a bias adds to an affine operation's output ``z``, broadcast to its shape."""
    if call.transposed == "scale_shift":
        return by_channel(bias, z, **call.kwargs).expand(z.shape)
    channel = z.ndim - 1 if call.transposed == "linear" else z.ndim - weight.ndim + 1
    return bias.view(-1, *(1,) * (z.ndim - channel - 1)).expand(z.shape)


# --- rules that are no tables -------------------------------------------------------------------------


def _pass(step: Propagate, relevance: Any, *values: Any) -> tuple[Any, ...]:
    slot, *others = step.call.data
    if others:
        raise PropagateError(f"pass() is for operations of one tensor, not '{step.call.name}'")
    return (sum_to(relevance, values[slot].shape),)


def _gradient(step: Propagate, relevance: Any, *values: Any) -> tuple[Any, ...]:
    name = step.call.transposed
    if name:
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
    name = step.call.known
    average = getattr(F, name.replace("max", "avg"), None)
    if average is None or "max" not in name:
        raise PropagateError(f"proportional() is for max pooling, not '{step.call.name}'")
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
    if step.call.op is not None and step.call.op.matrix:
        return _bilinear(step, relevance, *values, stabilizer=Plain())
    part = relevance / len(step.receivers)
    shares = []
    for slot in step.call.data:
        summed = sum_to(part, values[slot].shape) if slot in step.receivers else torch.zeros_like(values[slot])
        shares.append(summed)
    return tuple(shares)


def _bilinear(step: Propagate, relevance: Tensor, *values: Any, stabilizer: Stabilizer) -> tuple[Any, ...]:
    """Share relevance among the factors of a sum of products, and within each in proportion to its products."""

    def product(*data: Any) -> Any:
        filled = list(values)
        for slot, value in zip(step.call.data, data, strict=True):
            filled[slot] = value
        return step.call(*filled)

    factors = tuple(values[slot] for slot in step.call.data)
    z, vjp = torch.func.vjp(product, *factors)[:2]
    grads = vjp(relevance / (len(factors) * stabilizer(z)))
    return tuple(pytree.tree_map(torch.mul, factor, grad) for factor, grad in zip(factors, grads, strict=True))


def _custom(rule: Callable[..., Any], call: Call, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    returned = rule(call, values, output, relevance)
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(call.data):
        raise PropagateError(
            f"the rule {getattr(rule, '__name__', rule)} returned {len(returned)} relevances for "
            f"'{call.name}', which has {len(call.data)} inputs that carry relevance"
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
    "bilinear": _bilinear,
}


def _sum(signed: Iterable[tuple[int, Tensor]]) -> Tensor:
    (sign, first), *rest = signed
    total = first if sign > 0 else -first
    for sign, tensor in rest:
        total = torch.add(total, tensor, alpha=sign)
    return total
