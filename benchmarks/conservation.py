"""How much of the seed reaches the input, for every convolutional model of torchvision.

The models are made bias-free: biases and running means are zero. Their other weights are drawn with a positive mean
(mean and standard deviation both one over the fan-in) and the inputs are not negative. Both signs occur, signals keep
their size from layer to layer, and nearly every neuron that gets relevance has a positive contribution to pass it to.
z-plus loses what a neuron without any gets (its denominator is the stabilizer alone); with weights of mean zero that
hides everything else.
"""

import time
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import relfunc as rf

SEGMENTATION = tuple(torchvision.models.list_models(module=torchvision.models.segmentation))
CLASSIFICATION = tuple(
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    if not any(family in name for family in ("vit", "swin", "maxvit", "convnext"))
)
SMOOTH = ("efficientnet", "mobilenet_v3")
"""Models whose activations are no ReLUs; all others conserve relevance to 1e-3."""

COMPOSITE = rf.composites.epsilon_plus(epsilon=1e-12, stabilizer=1e-12, zero_params="bias")


def untrained(name: str) -> nn.Module:
    """Make a torchvision model without weights to fetch."""
    options: dict[str, Any] = {"weights": None}
    if name in SEGMENTATION:
        options["weights_backbone"] = None
    if name in {"googlenet", "inception_v3"}:
        options["init_weights"] = False
    return torchvision.models.get_model(name, **options)


def bias_free(name: str, *, mean: float = 1.0, std: float = 1.0, seed: int = 0) -> nn.Module:
    """Make a torchvision model without biases, in float64 and evaluation mode.

    Parameters
    ----------
    name : str
        As torchvision names it.
    mean, std : float
        Of the weights, in units of one over the fan-in.
    seed : int
        Of the weights.

    Returns
    -------
    torch.nn.Module
    """
    model = untrained(name).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, p in [*model.named_parameters(), *model.named_buffers()]:
            if p.ndim > 1:
                p.normal_(mean, std, generator=generator).div_(p[0].numel())
            else:
                p.fill_(0 if path.endswith(("bias", "running_mean", "num_batches_tracked")) else 1)
    return model


def image(name: str, *, seed: int = 0) -> Tensor:
    """Draw one image, uniform in 0 … 1, of the smallest size that a model takes.

    Parameters
    ----------
    name : str
        As torchvision names the model.
    seed : int
        Of the values.

    Returns
    -------
    Tensor
        ``(1, 3, side, side)``, float64.
    """
    side = 75 if name == "inception_v3" else 64
    return torch.rand(1, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def start(output: Any) -> Any:
    """Relevance of one at the first class, at every pixel of a segmentation on average.

    Parameters
    ----------
    output : Tensor or dict of Tensor
        What the model returns; of a dictionary, ``"out"`` is explained.

    Returns
    -------
    Tensor or dict of Tensor
    """
    if isinstance(output, dict):
        return {key: start(y) if key == "out" else torch.zeros_like(y) for key, y in output.items()}
    seeded = torch.zeros_like(output)
    seeded[:, 0] = 1 / output[0, 0].numel()
    return seeded


def conserved(name: str) -> float:
    """Return the sum of relevance at the input for a seed of one.

    Parameters
    ----------
    name : str
        As torchvision names the model.

    Returns
    -------
    float
    """
    relevance = rf.gradient(rf.lrp(bias_free(name), COMPOSITE))(image(name), start)[1]
    return float(relevance.sum())


def remark(name: str) -> str:
    """Say where the relevance went that did not reach the input.

    Parameters
    ----------
    name : str
        As torchvision names the model.

    Returns
    -------
    str
    """
    account = rf.audit(bias_free(name), COMPOSITE, image(name), start)
    operations = account.drop(index="total")
    kept_back = operations["relevance"] - operations["passed"]
    worst = kept_back.abs().idxmax()
    parts = ", ".join(f"{part} {account.loc['total', part]:.1e}" for part in ("bias", "stabilizer", "dropped"))
    return f"{parts}; most at {worst}, {operations.loc[worst, 'rule']}: {kept_back[worst]:.1e}"


def run(names: tuple[str, ...] = (*CLASSIFICATION, *SEGMENTATION)) -> list[dict[str, Any]]:
    """Tabulate conservation.

    Parameters
    ----------
    names : tuple of str
        Models, as torchvision names them.

    Returns
    -------
    list of dict
        For each model its ``name``, ``conserved`` (sum of relevance over seed), ``seconds`` (capture and one
        attribution) and a ``remark`` on what is missing, empty where that is less than 1e-6.
    """
    rows = []
    for name in names:
        model, x = bias_free(name), image(name)
        began = time.perf_counter()
        total = float(rf.gradient(rf.lrp(model, COMPOSITE))(x, start)[1].sum())
        seconds = time.perf_counter() - began
        del model  # the largest takes 5 GB, and the remark makes it again
        missing = abs(total - 1) > 1e-6
        rows.append({"name": name, "conserved": total, "seconds": seconds, "remark": remark(name) if missing else ""})
    return rows
