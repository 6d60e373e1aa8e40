"""Nodes by name: what operations, modules and arguments of a model are called."""

from collections.abc import Iterable
from difflib import get_close_matches

from torch import fx

from ..errors import RelfuncError
from .facts import Facts


class UnknownNodeError(RelfuncError, KeyError):
    """A model has no operation or module of that name, or several."""

    def __str__(self) -> str:
        return str(self.args[0])


def find_node(graph: fx.Graph, known: Facts, name: str) -> fx.Node:
    """Return the data node that a name means.

    Paths of modules and names of operations are two namespaces, and no operation gets the name of a module: a path
    means what the module at that path returns, in its last run if it runs several times.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.
    name : str
        The path of a module, the name of an operation as :func:`relfunc.plan` lists them, or an argument of the model.

    Returns
    -------
    torch.fx.Node

    Raises
    ------
    UnknownNodeError
        If there is none; or if several are meant, which the message names.
    """
    data = [node for node in graph.nodes if node in known.data]
    returned = [(run, i, node) for node in data for path, run, i in node.meta.get("returned", ()) if path == name]
    last = [(i, node) for run, i, node in returned if run == max(run for run, _, _ in returned)]
    arguments = [node for node in data if node.op == "placeholder" and node.target == name]
    meant = [*arguments, *dict.fromkeys(node for _, node in sorted(last, key=lambda found: found[0]))]
    if len(meant) > 1:
        choices = ", ".join(f"'{node.name}'" for node in meant)
        raise UnknownNodeError(
            f"'{name}' means several values (of an argument and a module, or of a module that returns several): name "
            f"one of {choices}"
        )
    if meant:
        return meant[0]
    exact = [node for node in data if node.name == name]
    merged = [node for node in data if any(path == name for path, _, _ in node.meta.get("merged", ()))]
    if merged and not exact:
        raise UnknownNodeError(
            f"what the module '{name}' returns is no value of its own: what follows it is one linear operation with "
            f"it, '{merged[-1].name}', whose value that name gives"
        )
    named = any("returned" in node.meta for node in data)
    inside = [] if named else [n for n in data if f"{n.meta.get('path', '')}.".startswith(f"{name}.")]
    if not exact and not inside:
        close = get_close_matches(name, _names(data))
        raise UnknownNodeError(
            f"no operation or module '{name}'{f': did you mean {close[0]!r}?' if close else ''} "
            "(relfunc.plan lists them)"
        )
    return (exact or inside)[-1]


def _names(data: Iterable[fx.Node]) -> list[str]:
    names = dict.fromkeys(node.name for node in data)
    names.update(dict.fromkeys(node.meta.get("path", "") for node in data))
    names.update(dict.fromkeys(path for node in data for path, _, _ in node.meta.get("returned", ())))
    return list(names)
