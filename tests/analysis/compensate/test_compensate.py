"""Class artifact compensation: directions, both ways to act, and what they do to accuracy and relevance."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import relfunc as rf
from analysis import DataError, compensate
from analysis.compensate import ArtifactModel

from ...relfunc.graph.test_untouched import assert_same, state

SHAPES = [(6,), (3, 4, 5)]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def activations(n=40, shape=(6,), seed=0):
    """Noise, and in every third sample a known direction on top."""
    a = torch.randn(n, *shape, generator=rng(seed), dtype=torch.float64)
    artifact = torch.arange(n) % 3 == 0
    direction = torch.randn(shape, generator=rng(seed + 1), dtype=torch.float64)
    return a + 5 * artifact.double().view(-1, *(1,) * len(shape)) * direction, artifact, direction / direction.norm()


# --- concepts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_the_signal_pattern_is_the_covariance_with_the_artifact_over_its_variance(shape):
    a, artifact, _ = activations(shape=shape)
    y = artifact.double().numpy()
    slopes = [np.cov(column, y)[0, 1] / np.var(y, ddof=1) for column in a.flatten(1).T.numpy()]
    found = compensate.signal_pattern(a, artifact)
    expected = (np.array(slopes) / np.linalg.norm(slopes)).reshape(shape)
    np.testing.assert_allclose(found.vector.numpy(), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.present, a[artifact].mean(0))
    torch.testing.assert_close(found.absent, a[~artifact].mean(0))


CONCEPTS = {
    "pattern": compensate.signal_pattern,
    **{
        name: lambda a, y, name=name: compensate.linear_probe(a, y, classifier=name)
        for name in ("svm", "logistic", "ridge")
    },
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONCEPTS)
def test_a_direction_has_unit_length_and_points_to_the_artifact(name, shape):
    a, artifact, direction = activations(n=600, shape=shape)
    concept = CONCEPTS[name](a, artifact)
    assert concept.vector.shape == shape
    assert concept.vector.norm() == pytest.approx(1)
    assert (concept.vector * (concept.present - concept.absent)).sum() > 0
    assert (concept.vector * direction).sum() > 0.9
    opposite = CONCEPTS[name](a, ~artifact)
    torch.testing.assert_close(opposite.vector, -concept.vector, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", ["svm", "logistic", "ridge"])
def test_a_distractor_turns_the_probe_and_not_the_pattern(name):
    """The example of Haufe et al. 2014, section 2: a classifier cancels noise with a channel that has no signal."""
    n = 2000
    artifact = torch.arange(n) % 2 == 0
    noise = torch.randn(n, generator=rng(), dtype=torch.float64)
    a = torch.stack([artifact.double() + noise, noise + 0.1 * torch.randn(n, generator=rng(1))], 1)
    assert abs(CONCEPTS["pattern"](a, artifact).vector[1]) < 0.1
    assert CONCEPTS[name](a, artifact).vector[1] < -0.6


def test_any_linear_classifier_can_probe():
    from sklearn.linear_model import SGDClassifier

    a, artifact, direction = activations(n=600)
    found = compensate.linear_probe(a, artifact, classifier=SGDClassifier(random_state=0))
    assert found.vector @ direction > 0.8


@pytest.mark.parametrize(
    ("a", "artifact", "message"),
    [
        (torch.ones(3, 2), [True, False], r"one bool for each of the 3 activations"),
        (torch.ones(3, 2), [1, 0, 1], "artifact is int64"),
        (torch.ones(3, 2), [True] * 3, "all of the 3 samples have the artifact"),
        (torch.ones(3, 2), [False] * 3, "none of the 3 samples have the artifact"),
        (torch.ones(3, 2), [True, False, False], "the same activations: choose another layer"),
        (torch.tensor([[1.0], [torch.nan], [2.0]]), [True, False, False], "the activation of sample 1 holds NaN"),
    ],
)
def test_what_gives_no_direction_says_so(a, artifact, message):
    with pytest.raises(DataError, match=message):
        compensate.signal_pattern(a, artifact)


def test_an_unknown_classifier_is_an_error():
    a, artifact, _ = activations()
    with pytest.raises(DataError, match="classifier='svn' is none of svm, logistic, ridge"):
        compensate.linear_probe(a, artifact, classifier="svn")


# --- the artifact model -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_every_sample_is_moved_along_the_direction_only(shape):
    a, artifact, _ = activations(shape=shape)
    concept = compensate.signal_pattern(a, artifact)
    h = ArtifactModel(concept.vector, concept.absent)
    v = concept.vector.flatten()
    moved, z = h(a).flatten(1), concept.absent.flatten()
    matrix = torch.eye(len(v), dtype=v.dtype) - torch.outer(v, v)
    torch.testing.assert_close(moved, a.flatten(1) @ matrix + v * (v @ z))
    torch.testing.assert_close(moved @ v, (v @ z).expand(len(a)))
    torch.testing.assert_close(h(h(a)), h(a))


def test_a_direction_of_channels_holds_at_every_place():
    a, artifact, _ = activations(shape=(3, 4, 5))
    concept = compensate.signal_pattern(a.mean((2, 3)), artifact)
    h = ArtifactModel(concept.vector, concept.absent)
    assert concept.vector.shape == (3,)
    for y in range(4):
        torch.testing.assert_close(h(a)[:, :, y, 2], h(a[:, :, y, 2]))


def test_a_direction_of_another_layer_is_an_error():
    h = ArtifactModel(torch.ones(3), torch.ones(3))
    with pytest.raises(DataError, match=r"the direction has shape \(3,\), and a sample's values there \(4, 2, 2\)"):
        h(torch.ones(1, 4, 2, 2))


# --- models -------------------------------------------------------------------------------------------


def network():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    return nn.Sequential(*layers).double().eval()


X = torch.rand(24, 1, 6, 6, generator=rng(), dtype=torch.float64)
HAS = torch.arange(24) % 3 == 0
PLACES = ["input", "2", "3", "5", "6"]


def concept_at(model, node):
    return compensate.signal_pattern(rf.activations(model, [node])(X)[1][node], HAS)


@pytest.mark.parametrize("node", PLACES)
def test_nothing_behind_a_projection_depends_on_the_direction(node):
    model = network()
    concept = concept_at(model, node)
    clean = compensate.projective(model, node, concept)
    pushed = rf.intervene(clean, {node: lambda a: a + 7 * concept.vector})
    torch.testing.assert_close(pushed(X), clean(X))
    assert not torch.allclose(clean(X), model(X))


@pytest.mark.parametrize("node", PLACES)
def test_augmentation_puts_every_sample_where_the_artifact_is(node):
    model = network()
    concept = concept_at(model, node)
    augmented = compensate.additive(model, node, concept)
    values = rf.activations(augmented, ["artifact_model"])(X)[1]["artifact_model"]
    along = (values * concept.vector).flatten(1).sum(1)
    torch.testing.assert_close(along, (concept.vector * concept.present).sum().expand(24))


@pytest.mark.parametrize("node", PLACES)
def test_relevance_of_a_projection_is_that_of_the_linear_map_it_is(node):
    model = network()
    concept = concept_at(model, node)
    clean = compensate.projective(model, node, concept)
    f = rf.lrp(clean, rf.composites.epsilon_plus())
    _, at = rf.relevance_at(f, [node, "artifact_model"])(X, 1)
    a, h = (rf.activations(clean, [name])(X)[1][name].flatten(1) for name in (node, "artifact_model"))
    v = concept.vector.flatten()
    matrix = torch.eye(len(v), dtype=v.dtype) - torch.outer(v, v)
    stabilized = h + 1e-6 * torch.where(h >= 0, 1.0, -1.0)
    expected = a * ((at["artifact_model"].flatten(1) / stabilized) @ matrix)
    torch.testing.assert_close(at[node].flatten(1), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon_plus", "epsilon_alpha2_beta1", "guided_backprop"])
def test_common_composites_have_a_rule_for_projections(composite):
    model = network()
    clean = compensate.projective(model, "3", concept_at(model, "3"))
    table = rf.plan(clean, getattr(rf.composites, composite)())
    assert table.loc["artifact_model", "type"] == "sum"
    assert rf.gradient(rf.lrp(clean, getattr(rf.composites, composite)()))(X, 1)[1].isfinite().all()


def test_relevance_through_a_projection_is_transformed_as_any_other():
    model = network()
    f = rf.lrp(compensate.projective(model, "3", concept_at(model, "3")), rf.composites.epsilon_plus())
    _, together = rf.per_class(f)(X)
    for c in range(3):
        torch.testing.assert_close(together[c], rf.gradient(f)(X, c)[1])
    one_by_one = torch.func.vmap(lambda x: rf.gradient(f)(x[None], 1)[1][0])(X)
    torch.testing.assert_close(one_by_one, together[1])


def test_another_direction_is_another_run_over_a_dataset(tmp_path):
    data = xr.Dataset({"input": (("sample", "channel", "y", "x"), X.float().numpy()), "label": ("sample", HAS.long())})
    model = network().float()
    for k, node in enumerate(("2", "3")):
        a = rf.activations(model, [node])(X.float())[1][node].detach()
        concepts = compensate.signal_pattern(a, HAS), compensate.signal_pattern(a, ~HAS)
        runs = [
            rf.gradient(rf.lrp(compensate.projective(model, node, concept), rf.composites.epsilon_plus()))
            for concept in concepts
        ]
        rf.attribute_dataset(runs[0], data, tmp_path / str(k))
        rf.attribute_dataset(runs[0], data, tmp_path / str(k))
        with pytest.raises(rf.errors.RelfuncError, match="parameters was "):
            rf.attribute_dataset(runs[1], data, tmp_path / str(k))


def test_acting_leaves_the_model_untouched():
    model = network()
    before = state(model)
    concept = concept_at(model, "3")
    compensate.compare({"a": model, "b": compensate.projective(model, "3", concept)}, X, HAS.long(), at=("3", concept))
    compensate.fine_tune(model, "3", concept, X, HAS.long(), epochs=2)
    assert_same(before, state(model))


# --- fine-tuning --------------------------------------------------------------------------------------


def shortcut(n=600, seed=0, *, everywhere=False):
    """Two classes, told apart by feature 0 and by an artifact in feature 1, of one class unless it is everywhere."""
    label = torch.arange(n) % 2
    noise = torch.randn(n, 4, generator=rng(seed))
    has = torch.rand(n, generator=rng(seed + 1)) < 0.7
    has = has if everywhere else has & (label == 1)
    signal = torch.zeros(n, 4)
    signal[:, 0], signal[:, 1] = 1.0 * (2.0 * label - 1), 4.0 * has
    return noise + signal, label, has


def trained(x, label):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), label).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("node", ["input", "0"])
def test_both_ways_to_act_unlearn_a_shortcut(node):
    x, label, has = shortcut()
    model = trained(x, label)
    ones = label == 1
    concept = compensate.signal_pattern(rf.activations(model, [node])(x[ones])[1][node], has[ones])
    parameters = compensate.fine_tune(model, node, concept, x, label, epochs=40, learning_rate=1e-2)
    tuned = copy.deepcopy(model)
    tuned.load_state_dict(parameters, strict=False)
    models = {"before": model, "projective": compensate.projective(model, node, concept), "additive": tuned}
    test, truth, marked = shortcut(seed=9, everywhere=True)
    groups = {"misled": marked & (truth == 0), "clean": ~marked}
    table = compensate.compare(models, test, truth, groups=groups, at=(node, concept))
    misled, contribution = table["accuracy"].sel(group="misled"), abs(table["concept_relevance"].sel(group="misled"))
    assert misled.sel(model="before") < 0.3
    for name, right in {"projective": 0.8, "additive": 0.65}.items():
        assert misled.sel(model=name) > right
        assert contribution.sel(model=name) < 0.5 * contribution.sel(model="before")
        assert table["accuracy"].sel(group="clean", model=name) > 0.8
    assert contribution.sel(model="projective") < 1e-5


def test_fine_tuning_changes_what_lies_behind_the_node_the_same_for_the_same_seed():
    x, label, has = shortcut(60)
    model = trained(x, label)
    concept = compensate.signal_pattern(rf.activations(model, ["1"])(x)[1]["1"], has)
    first, again, other = (compensate.fine_tune(model, "1", concept, x, label, seed=seed) for seed in (0, 0, 1))
    assert list(first) == ["2.weight", "2.bias"]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["2.weight"], other["2.weight"])
    assert not torch.equal(first["2.weight"], model[2].weight)


def test_nothing_to_train_is_an_error():
    x, label, has = shortcut(60)
    model = trained(x, label)
    concept = compensate.signal_pattern(rf.activations(model, ["2"])(x)[1]["2"], has)
    with pytest.raises(DataError, match="no parameter of the model acts behind '2'"):
        compensate.fine_tune(model, "2", concept, x, label)


# --- before and after ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [5, 24, 100])
def test_a_comparison_is_the_mean_over_each_group(batch_size):
    model = network()
    label = torch.arange(24) % 3
    region = torch.zeros(6, 6, dtype=torch.bool)
    region[:2, :2] = True
    concept = concept_at(model, "3")
    composite = rf.composites.epsilon_plus()
    table = compensate.compare(
        {"only": model},
        X,
        label,
        groups={"marked": HAS, "first": range(4), "picked": [2, 5]},
        region=region,
        at=("3", concept),
        composite=composite,
        batch_size=batch_size,
    ).sel(model="only")
    _, relevance = rf.gradient(rf.lrp(model, composite))(X, label)
    share = [float(r[0][:2, :2].abs().sum() / r.abs().sum()) for r in relevance]
    right = (model(X).argmax(1) == label).tolist()
    a = model[:4](X).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model[4:](a).gather(1, label[:, None]).sum(), a)
    along = ((a - concept.absent) * concept.vector).flatten(1).sum(1)
    contribution = (along * (slope * concept.vector).flatten(1).sum(1)).tolist()
    for group, members in {"marked": range(0, 24, 3), "first": range(4), "picked": [2, 5]}.items():
        row = table.sel(group=group)
        assert row["n"] == len(members)
        for name, values in {"accuracy": right, "region_relevance": share, "concept_relevance": contribution}.items():
            assert float(row[name]) == pytest.approx(np.mean([values[i] for i in members]), rel=1e-9), name


def test_a_comparison_is_labelled_and_survives_netcdf(tmp_path):
    table = compensate.compare({"before": network(), "after": network()}, X, HAS.long())
    rf.storage.save(table, tmp_path / "table.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "table.nc"), table)
    assert compensate.text(table).splitlines()[0] == "group   n  accuracy before  accuracy after"
    assert compensate.text(table).splitlines()[1].startswith("all    24")
