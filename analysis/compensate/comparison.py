"""Models compared, such as before and after a compensation: accuracy, and relevance of the artifact."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from relfunc import composites, gradient, lrp, relevance_at, rules
from relfunc.composites.assignment import AnyComposite
from relfunc.relevance.interventions import activations

from ..results.table import GROUP, MODEL
from .concepts import ArtifactModel, Concept


def compare(
    models: Mapping[str, nn.Module],
    x: Tensor,
    label: Tensor,
    *,
    groups: Mapping[str, Any] | None = None,
    region: Any = None,
    at: tuple[str, Concept] | None = None,
    composite: AnyComposite | None = None,
    batch_size: int = 256,
    example_inputs: tuple[Any, ...] | None = None,
) -> xr.Dataset:
    """Compare models, such as before and after a compensation, by their accuracy and by the artifact's relevance.

    Parameters
    ----------
    models : mapping
        From name to model, in evaluation mode, with output ``(sample, class)``.
    x : Tensor
        Inputs, ``(sample, …)``.
    label : Tensor
        Their classes, ``(sample,)``, which are also what is explained.
    groups : mapping, optional
        From name to an index of samples, such as one bool for each; by default one group, "all".
    region : array-like of bool, optional
        Where the artifact is in an input, in a shape that broadcasts to that of ``x``.
    at : tuple of str and Concept, optional
        A node and a concept there.
    composite : callable, optional
        The rules of relevance in the region; :func:`relfunc.composites.epsilon_plus_flat`, if not given.
    batch_size : int
        Samples explained at once.
    example_inputs : tuple, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    xarray.Dataset
        Over ``group`` and ``model``: ``accuracy`` in [0, 1]; with a region, ``region_relevance``, the mean share of a
        sample's absolute relevance that lies there, in [0, 1]; with a concept, ``concept_relevance``, the mean of
        vᵀ(a − z) · vᵀ ∂f/∂a at the node, with z of the samples without the artifact: how much of the class's score f
        comes from the artifact, to first order. And ``n(group)``.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.eye(2))
    >>> table = compare({"before": model}, torch.eye(2), torch.tensor([0, 1]), region=[True, False])
    >>> table["accuracy"].item(), table["region_relevance"].item()
    (1.0, 0.5)
    """
    groups = groups or {"all": np.ones(len(x), bool)}
    members = {name: np.arange(len(x))[np.asarray(index)] for name, index in groups.items()}
    columns: dict[str, list[list[float]]] = {}
    for model in models.values():
        measures = _measures(model, region, at, composite or composites.epsilon_plus_flat(), example_inputs)
        for name, measure in measures.items():
            batches = zip(x.split(batch_size), label.split(batch_size), strict=True)
            values = torch.cat([measure(*batch) for batch in batches]).detach().cpu().double().numpy()
            columns.setdefault(name, []).append([float(values[index].mean()) for index in members.values()])
    return xr.Dataset(
        {
            "n": (GROUP, [len(index) for index in members.values()]),
            **{name: ((MODEL, GROUP), values) for name, values in columns.items()},
        },
        coords={MODEL: list(models), GROUP: list(members)},
    )


Measure: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def _measures(
    model: nn.Module,
    region: Any,
    at: tuple[str, Concept] | None,
    composite: AnyComposite,
    example_inputs: tuple[Any, ...] | None,
) -> dict[str, Measure]:
    """Return functions from inputs and their classes to a number for each sample."""
    measures: dict[str, Measure] = {"accuracy": lambda x, y: _output(model, x).argmax(1) == y}
    if region is not None:
        explain = gradient(lrp(model, composite, example_inputs=example_inputs))

        def share(x: Tensor, y: Tensor) -> Tensor:
            size = explain(x, y)[1].abs()
            inside = torch.where(torch.as_tensor(region, device=x.device), size, 0)
            return inside.flatten(1).sum(1) / size.flatten(1).sum(1)

        measures["region_relevance"] = share
    if at is not None:
        node, concept = at
        values = activations(model, [node], example_inputs=example_inputs)
        slopes = relevance_at(lrp(model, _GRADIENT, example_inputs=example_inputs), [node])

        def contribution(x: Tensor, y: Tensor) -> Tensor:
            with torch.no_grad():
                moved = ArtifactModel(concept.vector, concept.absent)
                a = values(x)[1][node]
                away = a - moved(a)  # v vᵀ (a − z)
            return (away * slopes(x, y)[1][node]).flatten(1).sum(1)

        measures["concept_relevance"] = contribution
    return measures


_GRADIENT = composites.by_type({"*": rules.gradient()})


def _output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)
