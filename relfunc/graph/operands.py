"""Operands: what an operation is, which depends on which of its operands vary with the input."""

from collections.abc import Collection
from dataclasses import replace

from torch import fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling
from ..ops.table import Op


def op_at(node: fx.Node, op: Op | None, data: Collection[fx.Node]) -> Op | None:
    """Return what an operation is for the inputs it has here: a product or sum with a constant is neither."""
    if op is None:
        return None
    operands = pytree.tree_leaves((node.args, dict(node.kwargs)))
    places = [i for i, a in enumerate(operands) if isinstance(a, fx.Node) and a in data]
    if op.kind == "static" or not places:
        return op
    if op.kind == "affine" and 1 in places and 2 not in places and spelling(node.target) is not None:
        return replace(op, kind="product", type="matrix_product", matrix=True)  # the weight is a value like another
    if len(places) == 1 and (op.alone or op.second):
        here = op.second if op.second is not None and places[0] > 0 else op.alone
        return op if here is None else replace(here, name=op.name, type=here.type or here.kind, memory=op.memory)
    if len(places) > 1 and (op.matrix or op.bilinear) and op.kind not in {"product", "other"}:
        return replace(op, kind="other", type="", refused=_NO_SUM.format(op.kind))
    if len(places) > 1 and op.kind == "scaling":
        return replace(op, kind="other", type="", refused=_NO_SCALING)
    return op


_NO_SUM = (
    "the table declares it as {}, but it multiplies two values that depend on the input, which is a product: "
    "declare it as Op('product')"
)

_NO_SCALING = (
    "the table declares it as scaling by a constant, but several of its values depend on the input: declare it as "
    "Op('product') or Op('combination')"
)
