"""Arguments: how what a model is called with reaches the placeholders of its graph, and how relevance comes back."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import CaptureError
from .module_tree import wrapped


@dataclass(frozen=True)
class Argument:
    """One argument of a forward.

    Parameters
    ----------
    name : str
        Its name.
    kind : str
        As :class:`inspect.Parameter` names it.
    fixed : bool
        Whether it has the value that it had when the model was captured, so that no placeholder stands for it.
    value : Any
        That value; or, of an argument that was given as an example, its leaves, with the class ``Tensor`` for a tensor.
    spec : TreeSpec, optional
        The structure of an example. Without one, a placeholder stands for the whole argument, whatever it is.
    """

    name: str
    kind: Any
    fixed: bool = False
    value: Any = None
    spec: pytree.TreeSpec | None = None


@dataclass(frozen=True)
class Arguments:
    """The arguments of a model's forward as its graph takes them.

    Parameters
    ----------
    signature : inspect.Signature
        Of the forward.
    slots : tuple of Argument
        One for each of its arguments.
    examples : dict
        Tensors by placeholder, while the model is captured.
    """

    signature: inspect.Signature
    slots: tuple[Argument, ...]
    examples: dict[str, Tensor] = field(default_factory=dict, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "examples": {}}

    def placed(self, placeholder: Callable[[str, Tensor | None], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Build the arguments of a call from placeholders, in the order of the slots.

        What has the value that it has anyway is left out, since a decorator may give it by name; what follows is given
        by name then.

        Parameters
        ----------
        placeholder : callable
            ``(name, example) -> what stands for it``.

        Returns
        -------
        tuple
            Positional arguments and those by name.
        """
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        further = any(slot.kind is inspect.Parameter.VAR_POSITIONAL and slot.value != () for slot in self.slots)
        by_name = False
        for slot in self.slots:
            if slot.fixed:
                if slot.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and not further:
                    by_name = True
                    continue
                made = slot.value
            elif slot.spec is None:
                made = placeholder(slot.name, None)
            else:
                names = placeholder_names(slot)
                leaves = [
                    placeholder(n, self.examples.get(n)) if n else v for n, v in zip(names, slot.value, strict=True)
                ]
                made = pytree.tree_unflatten(leaves, slot.spec)
            if slot.kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(made if slot.fixed or slot.spec is not None else [made])
            elif slot.kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(made)
            elif slot.kind is inspect.Parameter.KEYWORD_ONLY or by_name:
                kwargs[slot.name] = made
            else:
                args.append(made)
        return tuple(args), kwargs

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """Arrange the arguments of a call as the placeholders take them.

        Parameters
        ----------
        args, kwargs : tuple, mapping
            As the model takes them.

        Returns
        -------
        list
            One value for each placeholder.

        Raises
        ------
        TypeError
            If the model does not take such arguments.
        CaptureError
            If an argument has another structure, or an optional one another value, than when it was captured.
        """
        if self._is_plain and not kwargs and len(args) == len(self.slots):
            return list(args)
        given = self.bound(args, kwargs)
        values: list[Any] = []
        for slot in self.slots:
            value = given[slot.name]
            if slot.fixed:
                _check_fixed(slot, value)
            elif slot.spec is None:
                values.append(value)
            else:
                leaves, spec = pytree.tree_flatten(value)
                if spec != slot.spec:
                    raise CaptureError(
                        f"the argument {slot.name} is {_described(value)}, and had another structure when the model "
                        "was captured: capture it with example_inputs of this structure"
                    )
                for is_tensor, leaf, kept in zip(placeholder_names(slot), leaves, slot.value, strict=True):
                    if is_tensor:
                        values.append(leaf)
                    else:
                        _check_fixed(Argument(slot.name, slot.kind, True, kept), leaf)
        return values

    @property
    def _is_plain(self) -> bool:
        """Whether each argument is one placeholder and has a place, so that a call need not be taken apart."""
        places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return all(slot.kind in places and not slot.fixed and slot.spec is None for slot in self.slots)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, defaults included."""
        found = self.signature.bind(*args, **kwargs)
        found.apply_defaults()
        return found.arguments

    def arranged(self, x: Any, relevances: list[Any]) -> Any:
        """Put the relevance of each placeholder where its value stands in ``x``.

        Parameters
        ----------
        x : Tensor, tuple or mapping
            What the model was called with: one argument, a tuple of them, or arguments by name.
        relevances : list
            One for each placeholder.

        Returns
        -------
        Tensor, tuple or mapping
            Of the structure of ``x``; None for what has none, such as a mask.
        """
        if isinstance(x, Tensor) and self._is_plain and len(relevances) == 1:
            return relevances[0] if _carries(relevances[0]) else None
        args, kwargs = as_call(x)
        given = self.bound(args, kwargs)
        left = iter(relevances)
        by_name: dict[str, Any] = {}
        for slot in self.slots:
            value = given[slot.name]
            if slot.fixed:
                parts = [None] * len(pytree.tree_leaves(value))
            elif slot.spec is None:
                parts = pytree.tree_leaves(next(left), is_leaf=lambda leaf: leaf is None)
            else:
                parts = [next(left) if name else None for name in placeholder_names(slot)]
            kept = [part if _carries(part) else None for part in parts]
            by_name[slot.name] = pytree.tree_unflatten(kept, pytree.tree_structure(value))
        if isinstance(x, Mapping):
            extra = next((s.name for s in self.slots if s.kind is inspect.Parameter.VAR_KEYWORD), None)
            return type(x)({name: by_name[name] if name in by_name else by_name[str(extra)][name] for name in x})  # type: ignore[call-arg]
        positional: list[Any] = []
        for slot in self.slots:
            if slot.kind is inspect.Parameter.VAR_POSITIONAL:
                positional.extend(by_name[slot.name])
            else:
                positional.append(by_name[slot.name])
        return tuple(positional[: len(args)]) if isinstance(x, tuple) else positional[0]


def as_call(x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn an input into the arguments of a call: a tuple is several, a mapping gives them by name.

    Parameters
    ----------
    x : Tensor, tuple or mapping
        An input.

    Returns
    -------
    tuple
        Positional arguments and those by name.
    """
    if isinstance(x, Mapping):
        return (), dict(x)
    return (x if isinstance(x, tuple) else (x,)), {}


def arguments_of(model: nn.Module, example_inputs: Any = None) -> Arguments:
    """Read which arguments a model takes.

    Parameters
    ----------
    model : torch.nn.Module
        Any.
    example_inputs : Tensor, tuple or mapping, optional
        An input. Without one, arguments that have a default keep it.

    Returns
    -------
    Arguments
    """
    inner = model
    while (further := wrapped(inner)) is not None:
        inner = further
    signature = inspect.signature(inner.forward)
    if example_inputs is None:
        return Arguments(signature, tuple(map(_without_example, signature.parameters.values())))
    args, kwargs = as_call(example_inputs)
    try:
        found = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise CaptureError(
            f"example_inputs do not fit {type(model).__name__}.forward{signature}: {error}; give a tuple of its "
            "positional arguments, or a dict of arguments by name"
        ) from error
    slots, examples = [], {}
    for name, parameter in signature.parameters.items():
        if name not in found.arguments:
            unset = parameter.kind is parameter.VAR_POSITIONAL
            slots.append(Argument(name, parameter.kind, True, ()) if unset else _without_example(parameter))
            continue
        leaves, spec = pytree.tree_flatten(found.arguments[name])
        kept = tuple(Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        slot = Argument(name, parameter.kind, value=kept, spec=spec)
        slots.append(slot)
        examples.update({n: leaf for n, leaf in zip(placeholder_names(slot), leaves, strict=True) if n})
    return Arguments(signature, tuple(slots), examples)


def placeholder_names(slot: Argument) -> list[str]:
    """Return the name of the placeholder of each leaf of an example; empty for one that is no tensor."""
    leaves = slot.value
    if len(leaves) == 1 and leaves[0] is Tensor:
        return [slot.name]
    return [f"{slot.name}_{i}" if leaf is Tensor else "" for i, leaf in enumerate(leaves)]


def _without_example(parameter: inspect.Parameter) -> Argument:
    if parameter.kind is parameter.VAR_KEYWORD:
        return Argument(parameter.name, parameter.kind, fixed=True, value={})
    if parameter.default is not parameter.empty:
        return Argument(parameter.name, parameter.kind, fixed=True, value=parameter.default)
    return Argument(parameter.name, parameter.kind)


def _check_fixed(slot: Argument, value: Any) -> None:
    same = value is slot.value or (not isinstance(value, Tensor) and bool(value == slot.value))
    if not same:
        raise CaptureError(
            f"the model was captured with {slot.name}={slot.value!r}, and got {_described(value)}: capture it with "
            "example_inputs that give this argument"
        )


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}" if isinstance(value, list | tuple | dict) else repr(value)


def _carries(a: Any) -> bool:
    return isinstance(a, Tensor) and (a.is_floating_point() or a.is_complex())
