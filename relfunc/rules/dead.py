"""Dead relevance: where none can arrive at a negative value, so that rules may drop what they do to those."""

from collections.abc import Mapping

from torch import fx

from ..graph.facts import Facts
from ..ops.spellings import spelling
from . import row_of
from .tables import AnyRule


def dead_below_zero(graph: fx.Graph, known: Facts, rules: Mapping[fx.Node, AnyRule]) -> dict[fx.Node, fx.Node]:
    """Find the nodes at which relevance vanishes wherever their value is not positive.

    That holds where every reader is a ReLU whose own relevance vanishes where its output is zero, because every
    operation behind it multiplies by its input.

    Parameters
    ----------
    graph : torch.fx.Graph
        A canonical graph.
    known : Facts
        Its facts.
    rules : mapping
        The rule of every operation.

    Returns
    -------
    dict
        From such a node to one ReLU of it, whose values equal the node's wherever relevance arrives.
    """
    vanishing: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node in known.data and node.users and all(_vanishes(u, known, rules, vanishing) for u in node.users):
            vanishing.add(node)
    found: dict[fx.Node, fx.Node] = {}
    for node in known.data:
        users = list(node.users)
        if users and all(_is_passed_relu(user, rules) and user in vanishing for user in users):
            found[node] = users[0]
    return found


def _vanishes(user: fx.Node, known: Facts, rules: Mapping[fx.Node, AnyRule], vanishing: set[fx.Node]) -> bool:
    """Whether the relevance that one reader of a value sends to it is zero where the value is zero."""
    if user.op == "output":
        return False
    if user not in known.data:
        return True
    rule = rules[user]
    said = row_of(rule).vanishes(rule, known.ops.get(user))
    return said == "always" or (said == "kept" and user in vanishing)


def _is_passed_relu(node: fx.Node, rules: Mapping[fx.Node, AnyRule]) -> bool:
    return spelling(node.target) == "relu" and row_of(rules[node]).unchanged
