"""The zoo: models of torchvision, timm and transformers, captured and explained by AttnLRP in double precision.

Weights are random. Of torchvision every model for classification, segmentation and video that fits into memory, of timm
the smallest of each family, of transformers tiny configurations. What is not installed is left out, and said so.
"""

import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module, util
from typing import Any, Final

import torch
import torchvision
from torch import Tensor, nn

import relfunc as rf
from relfunc.graph.returned import leaves

from .conservation import untrained
from .families import FAMILIES
from .families import made as made_of_family

SECONDS: Final = 240
"""For one model."""
PARAMETERS: Final = 150_000_000
"""More take more memory than the machines that this is run on have."""
FORWARD_AT_MOST: Final = 1e-9
ACCOUNTED_AT_MOST: Final = 1e-8
SINGLE_AT_MOST: Final = 1e-4
"""Of models that compute in single precision somewhere."""

Made = tuple[nn.Module, Any]


def run(quick: bool) -> list[dict[str, Any]]:
    rows = []
    for library, made in _models(quick):
        for name, make in made.items():
            row = {"library": library, "model": name, **_row(make)}
            print(f"{library} {name}: {row['remark'] or 'accounted for'}", flush=True)  # noqa: T201  (takes an hour)
            rows.append(row)
    return rows


def _models(quick: bool) -> Iterator[tuple[str, dict[str, Callable[[], Made]]]]:
    yield "torchvision", {name: partial(_of_torchvision, name) for name in _names_of_torchvision(quick)}
    if util.find_spec("timm") is not None:
        yield "timm", {family: partial(_of_timm, name) for family, name in _smallest_of_timm().items()}
    if util.find_spec("transformers") is not None:
        yield "transformers", {name: partial(made_of_family, name) for name in FAMILIES}


def _row(make: Callable[[], Made]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), _at_most(SECONDS):
            warnings.simplefilter("ignore")  # of the libraries, when they are imported and used
            found = _explained(*make())
    except Exception as error:  # whatever it is, it is the row's remark
        found = {"remark": f"{type(error).__name__}: {error}".splitlines()[0].replace("|", "/")[:200]}
    return {**found, "s": time.perf_counter() - began}


def _explained(model: nn.Module, inputs: Any) -> dict[str, Any]:
    if sum(p.numel() for p in model.parameters()) > PARAMETERS:
        return {"remark": "too large for the machine"}
    model.requires_grad_(False)
    composite = rf.composites.attnlrp()
    with torch.no_grad():  # before it is captured, so that what the model keeps between calls is there
        expected = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    captured = rf.lrp(model, composite, example_inputs=inputs)._lrp.captured
    with torch.no_grad():
        output = captured(**inputs) if isinstance(inputs, dict) else captured(inputs)
    pairs = [(y, w) for y, w in zip(leaves(output), leaves(expected), strict=True) if isinstance(y, Tensor)]
    off = max(float((y - w).abs().max() / w.abs().max().clamp_min(1)) for y, w in pairs if y.is_floating_point())
    table: Any = rf.audit(captured, composite, inputs, _first_place)
    total = table.loc["total"]
    size = max(abs(total["relevance"]), float(table["relevance"].abs().max()))
    dropped = float(abs(total["dropped"])) / size
    single = "float32" in str(pairs[0][0].dtype) or off > FORWARD_AT_MOST
    met = off <= (SINGLE_AT_MOST if single else FORWARD_AT_MOST) and dropped <= (1e-4 if single else ACCOUNTED_AT_MOST)
    return {
        "captured by": captured._origin.via,
        "operations": len(table) - 1,
        "rules": len({str(rule).partition("(")[0] for rule in table["rule"][:-1]}),
        "forward differs by": off,
        "of the seed, inputs": float(total["passed"] / total["relevance"]),
        "not accounted for": dropped,
        "remark": "" if met else "not within the tolerance",
    }


def _first_place(output: Any) -> Any:
    """Seed one number of each sample with its value, or 1 for 0; of several outputs, of the first of floats."""
    found = leaves(output)
    first = next(i for i, y in enumerate(found) if isinstance(y, Tensor) and y.is_floating_point())
    y = found[first]
    weights = torch.zeros(y.shape, dtype=y.dtype)
    value = y.reshape(len(y), -1)[:, 1 % y[0].numel()]
    weights.view(len(y), -1)[:, 1 % y[0].numel()] = torch.where(value == 0, 1, value)
    return weights if isinstance(output, Tensor) else [weights if i == first else None for i in range(len(found))]


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- libraries ----------------------------------------------------------------------------------------


def _names_of_torchvision(quick: bool) -> list[str]:
    modules = (torchvision.models, torchvision.models.segmentation, torchvision.models.video)
    names = [name for module in modules for name in torchvision.models.list_models(module=module)]
    return [name for name in names if "resnet18" in name or name.endswith(("_t", "tiny"))] if quick else names


def _of_torchvision(name: str) -> Made:
    torch.manual_seed(0)
    model = untrained(name)
    video = name in torchvision.models.list_models(module=torchvision.models.video)
    size = (3, 16, 224, 224) if name.startswith(("mvit", "s3d")) else (3, 8, 64, 64) if video else (3, *_side(name))
    return _filled(model), torch.randn(1, *size, dtype=torch.float64)


def _side(name: str) -> tuple[int, int]:
    fixed = {"vit": 224, "maxvit": 224, "inception_v3": 299}
    side = next((side for start, side in fixed.items() if name.startswith(start)), 128)
    return side, side


def _smallest_of_timm() -> dict[str, str]:
    """Choose the model of each family whose name says that it is small."""
    timm: Any = import_module("timm")
    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        families.setdefault(timm.models._registry._model_to_module[name], []).append(name)
    small = (
        "test_ atto femto pico nano xxs xxt _xt tiny _mini _xs _s0 _050 18 _s1 m0 _t0 _b0 _s_ _s small _f0 _14 26 42 _1"
    )

    def rank(name: str) -> tuple[int, int]:
        return next((i for i, word in enumerate(small.split()) if word in name), 99), len(name)

    return {family: min(names, key=rank) for family, names in families.items()}


def _of_timm(name: str) -> Made:
    timm: Any = import_module("timm")
    torch.manual_seed(0)
    model = timm.create_model(name)
    return _filled(model), torch.randn(1, *model.default_cfg["input_size"], dtype=torch.float64)


def _filled(model: nn.Module) -> nn.Module:
    """Draw what is zero until it is trained."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.eval().double()
