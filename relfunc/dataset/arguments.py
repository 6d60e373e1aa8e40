"""Arguments: samples that are a model's arguments by name, such as token ids and their mask; the text of tokens."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, KeyingError
from ..keys.values import digest, key

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
LABELS: Final = ("label", "labels")


def count(x: Any) -> int:
    """Return how many samples a batch has: a tensor, or a mapping of tensors.

    Raises
    ------
    DataError
        If the entries of a mapping are not of one length.

    Examples
    --------
    >>> count({"input_ids": torch.zeros(3, 7), "attention_mask": torch.ones(3, 7)})
    3
    """
    if not isinstance(x, Mapping):
        return len(x)
    sizes = {name: len(value) for name, value in x.items()}
    if len(set(sizes.values())) != 1:
        raise DataError(f"a batch's entries have {sizes or 'no'} samples: give each as many")
    return next(iter(sizes.values()))


def of_batch(x: Any, i: int) -> Any:
    """Return one sample of a batch."""
    return {name: value[i] for name, value in x.items()} if isinstance(x, Mapping) else x[i]


def arranged(item: Mapping[str, Any], where: str) -> tuple[str, Tensor, dict[str, Tensor], Any]:
    """Tell the argument that is explained from the others, and the label from both.

    Explained is the entry in floating point, such as embeddings, if there is one, or else the token ids; of a mask,
    which is whatever is called so, never.

    Parameters
    ----------
    item : mapping
        A sample: numbers by the names under which the model takes them, and perhaps ``label`` or ``labels``.
    where : str
        What messages call it.

    Returns
    -------
    name : str
        Of the argument that is explained.
    x : Tensor
        Its value.
    others : dict
        The other arguments by name.
    label : object
        None if there is none.

    Raises
    ------
    DataError
        If an entry is no array of numbers, or none or several could be meant.

    Examples
    --------
    >>> arranged({"input_ids": [5, 6], "attention_mask": [1, 1], "labels": 1}, "sample '0'")
    ('input_ids', tensor([5, 6]), {'attention_mask': tensor([1, 1])}, 1)
    """
    labels = [item[name] for name in LABELS if name in item]
    if len(labels) > 1:
        raise DataError(f"{where} has a 'label' and 'labels': give one")
    values = {str(name): _tensor(value, name, where) for name, value in item.items() if name not in LABELS}
    explained = [name for name, value in values.items() if not name.endswith("mask") and value.is_floating_point()]
    if not explained:
        explained = [name for name in values if name == IDS] or [name for name in values if not name.endswith("mask")]
    if len(explained) != 1:
        raise DataError(
            f"{where} has {', '.join(map(repr, values)) or 'no entries'}, and which is explained is not known: give "
            f"one in floating point, or token ids as '{IDS}'"
        )
    (name,) = explained
    return name, values.pop(name), values, labels[0] if labels else None


def _tensor(value: Any, name: Any, where: str) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"entry '{name}' of {where} is a {type(value).__name__}, not an array of numbers: leave it out, as a "
            "transform can"
        ) from error


# --- text ---------------------------------------------------------------------------------------------

Tokens = Callable[[list[int]], Any]


def texts(ids: np.ndarray, tokens: Any) -> np.ndarray:
    """Return the text of every token.

    Parameters
    ----------
    ids : numpy.ndarray
        ``(sample, token)`` integers.
    tokens : callable
        From the ids of one sample, a list, to as many texts; or a tokenizer with ``convert_ids_to_tokens``.

    Returns
    -------
    numpy.ndarray
        ``(sample, token)`` of str.

    Raises
    ------
    DataError
        If it returns something else.

    Examples
    --------
    >>> texts(np.array([[0, 1]]), lambda ids: [("the", "film")[i] for i in ids]).tolist()
    [['the', 'film']]
    """
    convert: Tokens = getattr(tokens, "convert_ids_to_tokens", tokens)
    found = np.empty(ids.shape, object)
    for row, each in enumerate(ids.tolist()):
        said = list(convert(each))
        wrong = next((k for k, text in enumerate(said) if not isinstance(text, str)), None)
        if wrong is not None:
            raise DataError(f"tokens= gave {said[wrong]!r} for the id {each[wrong : wrong + 1]}: give its text")
        if len(said) != len(each):
            raise DataError(f"tokens= gave {len(said)} texts for {len(each)} ids: give one for each")
        found[row] = said
    return found


def key_of(tokens: Any) -> str:
    """Return a digest that tells what gives tokens their text: a tokenizer's vocabulary, or a function's code.

    Raises
    ------
    KeyingError
        If it has no value.
    """
    vocabulary = getattr(tokens, "get_vocab", None)
    if callable(vocabulary) and hasattr(tokens, "convert_ids_to_tokens"):
        held = vocabulary()
        if not isinstance(held, Mapping):
            raise KeyingError(f"the vocabulary of tokens= is a {type(held).__name__}, not a mapping")
        return digest("vocabulary", sorted((str(text), int(number)) for text, number in held.items()))
    return key(tokens, "tokens")
