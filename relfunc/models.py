"""Models, composites, methods and transforms by name, as the command line gives them."""

import ast
import importlib
import inspect
import os
import pickle
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from . import attribution, composites
from .attribution import methods
from .attribution.explanation import Explanation
from .composites import toml
from .composites.assignment import Composite
from .errors import RelfuncError
from .relevance.function import lrp


class LoadError(RelfuncError, ValueError):
    """What a name, as the command line takes it, stands for cannot be loaded."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model found by name, and what came with its weights.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    transform : callable, optional
        From an image to the model's input.
    classes : tuple of str, optional
        Class names.
    trained : bool
        Whether its parameters are more than a random start.
    tokenizer : object, optional
        From texts to the model's arguments by name.
    example_inputs : mapping, optional
        Arguments of the model, for what cannot be captured without.
    """

    model: nn.Module
    transform: Callable[[Any], Any] | None = None
    classes: tuple[str, ...] | None = None
    trained: bool = True
    tokenizer: Any = None
    example_inputs: Mapping[str, torch.Tensor] | None = None


def load(name: str, *, weights: str | None = None, checkpoint: str | Path | None = None) -> LoadedModel:
    """Load a model by name.

    Parameters
    ----------
    name : str
        ``torchvision:resnet50``; ``transformers:FOLDER``, a classifier of texts as ``save_pretrained`` wrote it there,
        with its tokenizer; or ``module:callable``: a module that Python can import, also from the current
        folder, and in it a :class:`torch.nn.Module`, or a function without arguments that returns one.
    weights : str, optional
        Of a torchvision model, such as ``DEFAULT`` or ``IMAGENET1K_V1``.
    checkpoint : str or pathlib.Path, optional
        A file with the model's state dict, read with ``torch.load(..., weights_only=True)``.

    Returns
    -------
    LoadedModel

    Raises
    ------
    LoadError
        If there is no such model or weights, the weights cannot be downloaded, or the checkpoint is of another model.
    OSError
        If the checkpoint cannot be opened.

    Examples
    --------
    >>> load("torchvision:resnet18").trained
    False
    """
    home, _, inner = name.partition(":")
    if not inner:
        raise LoadError(f"the model is {name!r}: give torchvision:NAME, or MODULE:CALLABLE, or transformers:FOLDER")
    if home == "torchvision":
        found = _from_torchvision(inner, weights)
    elif weights is not None:
        raise LoadError(f"weights are given by name for torchvision's models, not {name}: give a checkpoint")
    else:
        found = _from_transformers(Path(inner)) if home == "transformers" else LoadedModel(_made(name))
    if checkpoint is not None:
        _fill(found.model, Path(checkpoint))
        found = replace(found, trained=True)
    found.model.eval()
    return found


def imported(name: str) -> Any:
    """Import what ``module:name`` names; modules of the current folder are found too.

    Raises
    ------
    LoadError
        If there is none, or its module raises an error.

    Examples
    --------
    >>> imported("math:tau") > 6
    True
    """
    home, _, inner = name.partition(":")
    if not inner:
        raise LoadError(f"{name!r} is no name of the form MODULE:NAME, such as my_models:network")
    find_modules_here()
    try:
        value = importlib.import_module(home)
    except Exception as error:
        near = nearest(home, [module.name for module in pkgutil.iter_modules()])
        hint = near if isinstance(error, ModuleNotFoundError) and error.name == home else ""
        raise LoadError(f"module '{home}' cannot be imported: {_said(error)}{hint}") from error
    for part in inner.split("."):
        if not hasattr(value, part):
            raise LoadError(f"module '{home}' has no {inner!r}{nearest(part, dir(value))}")
        value = getattr(value, part)
    return value


def find_modules_here() -> None:
    """Let Python import modules of the current folder, as it does for scripts."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    if here not in sys.path:
        sys.path.insert(0, here)


def composite_of(name: str) -> Composite:
    """Make a composite from its name, its name with options, or a TOML file.

    Parameters
    ----------
    name : str
        ``epsilon_plus_flat``, ``epsilon_gamma_box(low=-2, high=2)`` or ``rules.toml``.

    Raises
    ------
    LoadError
        If there is none of that name, or it has no such options.
    CompositeError
        If the file holds no composite.

    Examples
    --------
    >>> composite_of("epsilon_plus(epsilon=0.1)").name
    'epsilon_plus'
    """
    if name.endswith(".toml"):
        return toml.from_toml(Path(name).read_text(encoding="utf-8"))
    return called(name, {key: getattr(composites, key) for key in COMPOSITES}, "composite")


def method_of(name: str, model: nn.Module, composite: Composite | None, example_inputs: Any = None) -> Explanation:
    """Make an attribution method from its name, or its name with options.

    Parameters
    ----------
    name : str
        ``lrp``, ``gradient`` or ``smoothgrad(samples=10)``.
    model : torch.nn.Module
        What to explain.
    composite : Composite or None
        With one, methods other than ``lrp`` work on its relevance in place of the gradient.
    example_inputs : Tensor, tuple or mapping, optional
        As for :func:`relfunc.lrp`.

    Raises
    ------
    LoadError
        If there is none of that name, or it has no such options.
    """
    table = {key: getattr(methods if hasattr(methods, key) else attribution, key) for key in METHODS if key != "lrp"}
    if name == "lrp":
        return attribution.gradient(
            lrp(model, composite or composites.epsilon_plus_flat(), example_inputs=example_inputs)
        )
    f = model if composite is None else lrp(model, composite, example_inputs=example_inputs)
    return called(name, {**table, "lrp": None}, "method", f)


COMPOSITES = (
    "epsilon_plus_flat",
    "epsilon_plus",
    "epsilon_gamma_box",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "excitation_backprop",
    "guided_backprop",
    "deconvnet",
    "beta_smooth",
    "attnlrp",
    "cp_lrp",
)
METHODS = ("lrp", "gradient", "input_x_gradient", "smoothgrad", "integrated_gradients", "occlusion")


def nearest(name: str, names: Iterable[str]) -> str:
    """Ask whether one of the nearest names was meant; nothing if none is near.

    Examples
    --------
    >>> nearest("resnet5", ["resnet50", "vgg16"])
    ": did you mean 'resnet50'?"
    """
    close = get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f": did you mean {' or '.join(map(repr, close))}?" if close else ""


# --- models -------------------------------------------------------------------------------------------


def _from_torchvision(name: str, weights: str | None) -> LoadedModel:
    import torchvision

    names = torchvision.models.list_models()
    if name not in names:
        raise LoadError(f"torchvision has no model {name!r}{nearest(name, names)}")
    if weights is None:
        return LoadedModel(torchvision.models.get_model(name, weights=None), trained=False)
    known = torchvision.models.get_model_weights(name)
    inner = weights.rpartition(".")[2]
    if inner not in known.__members__:
        raise LoadError(f"{name} has no weights {weights!r}: it has {', '.join(known.__members__)}")
    entry = known[inner]
    try:
        model = torchvision.models.get_model(name, weights=entry)
    except (OSError, RuntimeError) as error:
        raise LoadError(
            f"the weights {entry} cannot be loaded from {entry.url} ({error}): connect this machine, or fetch that "
            "file on another and give it as checkpoint"
        ) from error
    return LoadedModel(model, entry.transforms(), tuple(entry.meta["categories"]))


def _from_transformers(folder: Path) -> LoadedModel:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise LoadError(
            f'models of transformers need that package ({error}): pip install "relfunc[packages]"'
        ) from error
    if not (folder / "config.json").is_file():
        raise LoadError(f"{folder} has no config.json: give a folder that a model's save_pretrained wrote")
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **here)
        kind = next(iter(config.architectures or ()), "of no known architecture")
        if not kind.endswith("ForSequenceClassification"):
            raise LoadError(f"the model in {folder} is {kind}: give one for sequence classification")
        family = transformers.AutoModelForSequenceClassification
        model, said = family.from_pretrained(folder, **here, output_loading_info=True)
        has_tokenizer = any((folder / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **here) if has_tokenizer else None
    except LoadError:
        raise
    except Exception as error:
        reason = " ".join(_said(error).split())
        raise LoadError(f"{folder} cannot be loaded: {reason}") from error
    if said["missing_keys"]:
        raise LoadError(
            f"the weights in {folder} lack {_some(sorted(said['missing_keys']))}, which would be random: save a model "
            "that was trained as a classifier"
        )
    if tokenizer is None:
        example = {name: torch.ones(2, 5, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    else:
        example = dict(tokenizer(["one text of some words"] * 2, return_tensors="pt"))
    classes = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    return LoadedModel(model, classes=classes, tokenizer=tokenizer, example_inputs=example)


def _made(name: str) -> nn.Module:
    value = imported(name)
    if not isinstance(value, nn.Module) and callable(value):
        try:
            value = value()
        except Exception as error:
            raise LoadError(f"{name} could not be called without arguments: {_said(error)}") from error
    if not isinstance(value, nn.Module):
        raise LoadError(f"{name} is a {type(value).__name__}, not a torch.nn.Module or a function that returns one")
    return value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip(": ")


def _fill(model: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().split("\n")[0]
        raise LoadError(
            f"{path} holds no state dict of tensors ({reason}): write one with torch.save(model.state_dict(), …)"
        ) from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict):
        raise LoadError(f"{path} holds a {type(state).__name__}, not a state dict")
    state = dict(state)
    consume_prefix_in_state_dict_if_present(state, "module.")
    if wrong := _difference(state, model.state_dict()):
        raise LoadError(f"{path} is of another model: {wrong}")
    model.load_state_dict(state)


def _difference(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    missing, further = [k for k in wanted if k not in state], [k for k in state if k not in wanted]
    shaped = [
        f"'{key}' is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and getattr(state[key], "shape", None) != getattr(wanted[key], "shape", None)
    ]
    said = [
        f"it lacks {_some(missing)}" if missing else "",
        f"it has also {_some(further)}" if further else "",
        shaped[0] + (f", and {len(shaped) - 1} more" if len(shaped) > 1 else "") if shaped else "",
    ]
    return "; ".join(part for part in said if part)


def _some(names: Sequence[str]) -> str:
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


# --- calls --------------------------------------------------------------------------------------------


def called(text: str, table: Mapping[str, Callable[..., Any] | None], kind: str, *args: Any) -> Any:
    """Call what a name, or a name with options in parentheses, names."""
    name, options = _parsed(text, kind)
    make = table.get(name)
    if make is None:
        raise LoadError(f"there is no {kind} {text!r}{nearest(name, table) or ': there are ' + ', '.join(table)}")
    try:
        inspect.signature(make).bind(*args, **options)
    except TypeError as error:
        raise LoadError(f"{kind} {name}: {error}; its options are {_options(make)}, as in '{name}(…=…)'") from error
    try:
        return make(*args, **options)
    except (TypeError, ValueError) as error:
        if isinstance(error, RelfuncError):
            raise
        raise LoadError(f"{kind} {text!r}: {_said(error)}") from error


def _parsed(text: str, kind: str) -> tuple[str, dict[str, Any]]:
    try:
        match ast.parse(text.strip(), mode="eval").body:
            case ast.Name(name):
                return name, {}
            case ast.Call(ast.Name(name), [], keywords):
                return name, {str(each.arg): ast.literal_eval(each.value) for each in keywords}
    except (SyntaxError, ValueError) as error:
        raise LoadError(f"the {kind} {text!r} cannot be read: give NAME or 'NAME(option=value)'") from error
    raise LoadError(f"the {kind} {text!r} cannot be read: give NAME or 'NAME(option=value)'")


def _options(make: Callable[..., Any]) -> str:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [key for key, each in inspect.signature(make).parameters.items() if each.kind not in kinds and key != "f"]
    return ", ".join(names) or "none"
