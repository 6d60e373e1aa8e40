"""Class artifact compensation: a model that no longer uses what a cluster of samples has and the rest has not.

A cluster against the rest of its class gives a *concept*: a direction v in the space of some layer's values, and where
the samples with and without the artifact lie along it. The artifact model of [1]_,

    h(x) = x − v vᵀ (x − z),

moves every sample along v to where z is. With the z of samples without the artifact it takes the artifact away
(:func:`projective`, P-ClArC); with that of samples that have it, it adds it to all, so that fine-tuning makes the
layers behind indifferent to it (:func:`additive` and :func:`fine_tune`, A-ClArC).

References
----------
.. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77 (arXiv 1912.11425).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relfunc.graph.captured import Captured
from relfunc.relevance.interventions import intervene, parameters_behind

from ..errors import DataError
from ..results.table import text
from .comparison import compare
from .concepts import ArtifactModel, Concept, linear_probe, signal_pattern

__all__ = [
    "ArtifactModel",
    "Concept",
    "additive",
    "compare",
    "fine_tune",
    "linear_probe",
    "projective",
    "signal_pattern",
    "text",
]


def projective(model: nn.Module, node: str, concept: Concept, *, example_inputs: Any = None) -> Captured:
    """Return a model in which every sample lies where those without the artifact do: P-ClArC [1]_.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. It is not changed, and shares its parameters with the result.
    node : str
        Where the concept was found: an operation as :func:`relfunc.plan` lists them, the path of a module, or the
        model's argument.
    concept : Concept
        From :func:`signal_pattern` or :func:`linear_probe`.
    example_inputs : tuple, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    torch.nn.Module
        For anything that takes a model, such as :func:`relfunc.lrp`.

    References
    ----------
    .. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> concept = Concept(torch.tensor([1.0, 0.0]), torch.zeros(2), torch.ones(2))
    >>> clean = projective(model, "input", concept)
    >>> bool((clean(torch.tensor([[5.0, 1.0]])) == clean(torch.tensor([[0.0, 1.0]]))).all())
    True
    """
    return intervene(model, {node: ArtifactModel(concept.vector, concept.absent)}, example_inputs=example_inputs)


def additive(model: nn.Module, node: str, concept: Concept, *, example_inputs: Any = None) -> Captured:
    """Return a model in which every sample lies where those with the artifact do: the augmentation of A-ClArC [1]_.

    Parameters
    ----------
    model, node, concept, example_inputs
        As :func:`projective` takes them.

    Returns
    -------
    torch.nn.Module

    References
    ----------
    .. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> concept = Concept(torch.tensor([1.0, 0.0]), torch.zeros(2), torch.ones(2))
    >>> x = torch.tensor([[0.0, 3.0]])
    >>> bool(additive(model, "input", concept)(x) == model(torch.tensor([[1.0, 3.0]])))
    True
    """
    return intervene(model, {node: ArtifactModel(concept.vector, concept.present)}, example_inputs=example_inputs)


def fine_tune(
    model: nn.Module,
    node: str,
    concept: Concept,
    x: Tensor,
    label: Tensor,
    *,
    epochs: int = 5,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    example_inputs: Any = None,
) -> dict[str, Tensor]:
    """Train the layers behind a node while a random half of each batch has the artifact added to it: A-ClArC [1]_.

    As the artifact then tells nothing about the class, they learn to do without it. The model stays in evaluation
    mode: statistics of batch norms and what lies before the node remain as they are.

    Parameters
    ----------
    model, node, concept, example_inputs
        As :func:`projective` takes them.
    x : Tensor
        Inputs of all classes, ``(sample, …)``.
    label : Tensor
        Their classes, ``(sample,)``, for the cross entropy with the model's output.
    epochs, batch_size : int
        Passes over the samples, and how many at a time.
    learning_rate : float
        Of Adam.
    seed : int
        Of the order of samples and of who gets the artifact.

    Returns
    -------
    dict
        From name to new parameter, of those behind the node; the model itself is not changed. They are for
        ``torch.func.functional_call(model, parameters, x)``, or a copy's ``load_state_dict(parameters, strict=False)``.

    Raises
    ------
    DataError
        If no parameter acts behind the node.

    References
    ----------
    .. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    >>> concept = Concept(torch.tensor([1.0, 0.0]), torch.zeros(2), torch.ones(2))
    >>> list(fine_tune(model, "1", concept, torch.rand(8, 2), torch.arange(8) % 2))
    ['2.weight', '2.bias']
    """
    names = parameters_behind(model, node, example_inputs=example_inputs)
    if not names:
        raise DataError(f"no parameter of the model acts behind '{node}': choose an earlier node")
    fixed = {name: parameter.detach() for name, parameter in model.named_parameters()}
    new = {name: fixed[name].clone().requires_grad_() for name in names}
    optimizer = torch.optim.Adam(new.values(), lr=learning_rate)
    forwards = (model, additive(model, node, concept, example_inputs=example_inputs))
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.randperm(len(x), generator=generator).split(batch_size):
                halves = batch.chunk(2)
                outputs = [
                    torch.func.functional_call(forward, fixed | new, (x[half],))
                    for forward, half in zip(forwards, halves, strict=False)
                ]
                optimizer.zero_grad()
                F.cross_entropy(torch.cat(outputs), label[batch.to(label.device)]).backward()
                optimizer.step()
    return {name: parameter.detach() for name, parameter in new.items()}
