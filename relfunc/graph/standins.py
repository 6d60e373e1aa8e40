"""Stand-ins: what a model is given while it is traced, so that what it does can be written down.

A :class:`Value` is a tensor, so that type checks, hooks and torch's own functions treat it as one. A :class:`Number` is
a size, or anything else that is no tensor. Neither knows how to compute: each operator and method asks the recorder.
"""

import dis
import operator
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, Protocol

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..ops.spellings import words
from ..ops.table import known_as

UNKNOWN: Final = object()
"""What is known of a stand-in of which nothing is known."""


class Recorder(Protocol):
    """What writes down what is done to stand-ins."""

    def record(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Write down a call, and return what stands for its result."""
        ...

    def unpacked(self, standin: Any, length: int) -> None:
        """Write down that a forward takes something to be so long."""
        ...

    def answer(self, standin: Any, question: str, *, tried: bool = False) -> Any:
        """Return a value that the forward needs to go on, or refuse; ``tried`` if torch asks, and can do without."""
        ...


class Number:
    """Stands for a size, or anything else that is no tensor.

    Parameters
    ----------
    recorder : Recorder
        Who writes down what is done to it.
    node : torch.fx.Node
        Where it was computed.
    known : Any
        What it is for the example, or ``UNKNOWN``.
    """

    def __init__(self, recorder: Recorder, node: fx.Node, known: Any = UNKNOWN) -> None:
        self._recorder, self._node, self._known = recorder, node, known

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]  (object's can be set as well)
        """The type of what it stands for, so that ``isinstance(x.shape[0], int)`` is right."""
        return Number if self._known is UNKNOWN else type(self._known)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = pytree.tree_leaves((args, kwargs))
        recorder = next(leaf._recorder for leaf in leaves if type(leaf) is Number or isinstance(leaf, Value))
        return recorder.record(func, args, kwargs or {})

    def known(self) -> Any:
        """Return what it is for the example, or ``UNKNOWN``."""
        return self._known

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._recorder.record(getattr, (self, name), {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it stands for, such as a method of a size."""
        return self._recorder.record(called, (self, *args), kwargs)

    def __bool__(self) -> bool:
        return bool(self._recorder.answer(self, "a condition"))

    def __int__(self) -> int:
        return int(self._recorder.answer(self, "int()"))

    def __float__(self) -> float:
        return float(self._recorder.answer(self, "float()"))

    def __index__(self) -> int:
        return operator.index(self._recorder.answer(self, "a range or an index", tried=True))

    def __len__(self) -> int:
        if self._known is UNKNOWN:
            return len(self._recorder.answer(self, "len()"))
        self._recorder.unpacked(self, len(self._known))
        return len(self._known)

    def __str__(self) -> str:
        return str(self._answer_but_samples("str()"))

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(self._answer_but_samples("format()"), spec)

    def __hash__(self) -> int:
        return hash(self._recorder.answer(self, "a key"))

    def __contains__(self, item: Any) -> bool:
        return item in self._recorder.answer(self, "in")

    def __iter__(self) -> Iterator[Any]:
        return _items(self, _unpacked(sys._getframe(1)) if self._known is UNKNOWN else None)

    def _answer_but_samples(self, question: str) -> Any:
        """Return what text is made of: of a shape, as in the message of an assertion, the samples stay free."""
        if not isinstance(self._known, torch.Size):
            return self._recorder.answer(self, question)
        self._recorder.answer(self._recorder.record(operator.getitem, (self, slice(1, None)), {}), question)
        return self._known


def called(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what was read from a stand-in, such as a method of its dtype."""
    return function(*args, **kwargs)


class Value(Tensor):
    """Stands for a tensor; its memory is empty. Each recorder has a subclass with itself as ``_recorder``."""

    _recorder: Recorder
    _made: fx.Node | Callable[[], fx.Node]
    _known: Any

    @property
    def _node(self) -> fx.Node:
        """Where it was computed; of what the model holds, where it was read first."""
        if not isinstance(self._made, fx.Node):
            self._made = self._made()
        return self._made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return cls._recorder.record(func, args, kwargs or {})

    def known(self) -> Any:
        """Return a tensor of this shape, type and device without values, or ``UNKNOWN``."""
        if callable(self._known) and not isinstance(self._known, Tensor):
            self._known = self._known()
        return self._known

    def __bool__(self) -> bool:
        return bool(self._recorder.answer(self, "a condition"))

    def __float__(self) -> float:
        return float(self._recorder.answer(self, "float()"))

    def __int__(self) -> int:
        return int(self._recorder.answer(self, "int()"))

    def __index__(self) -> int:
        return operator.index(self._recorder.answer(self, "a range or an index"))

    def __len__(self) -> int:
        return int(self.shape[0])

    def __contains__(self, item: Any) -> bool:
        return item in self._recorder.answer(self, "in")

    def __iter__(self) -> Iterator[Any]:
        return _items(self, _unpacked(sys._getframe(1)) if self.known() is UNKNOWN else None)

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: Any) -> "Value":
        return self

    def __repr__(self, **_: Any) -> str:
        return f"Value({self._node})"

    def __setitem__(self, index: Any, value: Any) -> None:
        self._recorder.record(operator.setitem, (self, index, value), {})


def value(kind: type[Value], node: fx.Node | Callable[[], fx.Node], known: Any = UNKNOWN) -> Value:
    """Make a stand-in for a tensor.

    Parameters
    ----------
    kind : type
        The recorder's subclass of :class:`Value`.
    node : torch.fx.Node or callable
        Where it was computed, or a function that adds the node once it is needed.
    known : Any
        A tensor of its shape without values, a function that makes one when it is asked for, or ``UNKNOWN``.

    Returns
    -------
    Value
    """
    made: Any = Tensor._make_subclass(kind, torch.empty(0, device="meta"))
    made._made, made._known = node, known
    return made


def known_of(a: Any) -> Any:
    """Replace stand-ins by what is known of them; ``UNKNOWN`` if that is nothing of one."""
    if isinstance(a, Value) or type(a) is Number:
        return a.known()
    if isinstance(a, Tensor):
        return without_values(a)
    if isinstance(a, tuple | list):
        items = [known_of(item) for item in a]
        return UNKNOWN if any(item is UNKNOWN for item in items) else like(a, items)
    if isinstance(a, dict):
        items = {key: known_of(item) for key, item in a.items()}
        return UNKNOWN if any(item is UNKNOWN for item in items.values()) else items
    if isinstance(a, slice):
        bounds = [known_of(bound) for bound in (a.start, a.stop, a.step)]
        return UNKNOWN if any(bound is UNKNOWN for bound in bounds) else slice(*bounds)
    return a


def without_values(tensor: Tensor) -> Any:
    """Return a tensor of the same shape and type that has no values; ``UNKNOWN`` for one that is not dense."""
    return tensor.detach().to("meta") if tensor.layout is torch.strided and not tensor.is_quantized else UNKNOWN


def like(a: Any, items: list[Any]) -> Any:
    """Put items in a tuple or list like ``a``."""
    if hasattr(a, "_fields"):
        return type(a)(*items)
    return items if isinstance(a, list) else tuple(items)


def _items(standin: Any, length: int | None) -> Iterator[Any]:
    """Go through a stand-in, of which the running line may say how long it is."""
    recorder: Recorder = standin._recorder
    if length is None:
        length = len(standin)
    else:
        recorder.unpacked(standin, length)
    return iter([recorder.record(operator.getitem, (standin, i), {}) for i in range(length)])


def _unpacked(frame: FrameType) -> int | None:
    """Count the names that the running line unpacks into, as in ``n, c = x.shape``; None if it does not."""
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset == frame.f_lasti:
            return instruction.argval if instruction.opname == "UNPACK_SEQUENCE" else None
    return None


@known_as("permute")
def reversed_axes(x: Tensor) -> Tensor:
    """Return ``x.T``."""
    return x.permute(*range(x.ndim - 1, -1, -1))


@known_as("transpose")
def swapped_last_axes(x: Tensor) -> Tensor:
    """Return ``x.mT``."""
    return x.transpose(-2, -1)


# --- operators and methods --------------------------------------------------------------------------


def _recorder(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    def record(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._recorder.record(function, (*args, self) if swapped else (self, *args), kwargs)

    return record


def _reader(name: str) -> Callable[[Any], Any]:
    return lambda self: self._recorder.record(getattr, (self, name), {})


def _question(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: self._recorder.answer(self, f"{name}()")


_BINARY: Final = words("add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift")
_OTHERS: Final = words("neg pos invert abs getitem eq ne lt le gt ge")
_READ: Final = words(
    "shape dtype device ndim layout requires_grad is_leaf grad_fn is_cuda is_meta is_cpu is_mps is_sparse is_quantized "
    "is_nested itemsize nbytes names grad"
)
_TENSORS_READ: Final = {
    "T": reversed_axes,
    "mT": swapped_last_axes,
    "H": torch.adjoint,
    "mH": torch.adjoint,
    "real": torch.real,
    "imag": torch.imag,
    "data": torch.detach,
}
_QUESTIONS: Final = {"item", "tolist", "numpy", "__array__", "__complex__"}

for _name in [*_BINARY, *_OTHERS]:
    for _kind in (Number, Value):
        setattr(_kind, f"__{_name.rstrip('_')}__", _recorder(getattr(operator, _name)))
for _name in _BINARY:
    for _kind in (Number, Value):
        setattr(_kind, f"__r{_name.rstrip('_')}__", _recorder(getattr(operator, _name), swapped=True))
    setattr(Value, f"__i{_name.rstrip('_')}__", _recorder(getattr(operator, f"i{_name.rstrip('_')}")))
for _name in dir(Tensor):
    if _name in _QUESTIONS:
        setattr(Value, _name, _question(_name))
    elif _name in _TENSORS_READ:
        setattr(Value, _name, property(_recorder(_TENSORS_READ[_name])))
    elif _name in _READ:
        setattr(Value, _name, property(_reader(_name)))
    elif not _name.startswith("_") and _name != "as_subclass" and callable(getattr(Tensor, _name)):
        setattr(Value, _name, _recorder(getattr(Tensor, _name)))
