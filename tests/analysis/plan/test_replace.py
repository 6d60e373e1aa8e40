"""Plans as templates: what comes into a place gives the plan that is written by hand, key for key."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import PlanError, chain, each, place, plan, replace, run, spray, step
from analysis.engine.lineage import Node, expanded, keyed
from analysis.plan import Chain, Each, Plan, Step
from analysis.plan.tree import without_places

from ..data import attributions


def unknown(data: xr.Dataset) -> xr.Dataset:
    return data[[]]


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "by log n": {"n_neighbors": None, "tsne": False},
    "approximate": {"approximate": True, "clusters": (2, 5), "n_eigenvalues": 8, "seed": 3},
}
OTHER: dict[str, Plan] = {
    "sum_channels": step(analysis.select_channel, channel=0),
    "absolute": step(analysis.positive),
    "normalize": step(analysis.normalize, by="max"),
    "square_root": step(analysis.pool, window=3),
    "flatten": step(analysis.histogram, bins=8),
    "neighbor_graph": step(analysis.neighbor_graph, metric="cosine"),
    "approximate_neighbor_graph": step(analysis.neighbor_graph, n_neighbors=4),
    "spectral": step(analysis.pca, n_components=8, name="spectral"),
    "kmeans": step(analysis.hdbscan),
    "apart": step(analysis.apart, least=3.0),
    "chance": step(analysis.chance, surrogates=8),
    "eigengap": step(analysis.eigengap, most=4),
    "separability": step(analysis.stability),
    "silhouette": step(analysis.silhouette, of="features"),
    "size": step(analysis.purity),
    "tsne": step(analysis.umap),
}


def steps(*options: str) -> list[Any]:
    """All steps of spray, each with its options and whether it lies in the branches."""
    found = []
    for name in options:
        *before, branches = spray(**OPTIONS[name]).plans
        assert isinstance(branches, Each)
        for inside, plans in ((False, before), (True, branches.plans)):
            found += [pytest.param(name, inside, k, id=f"{name}-{one}") for k, one in enumerate(plans)]
    return found


def by_hand(name: str, inside: bool, k: int, new: tuple[Plan, ...]) -> tuple[str, Chain]:
    """Write spray down with other plans in place of its step ``k``; return that step's name, too."""
    *before, branches = spray(**OPTIONS[name]).plans
    assert isinstance(branches, Each)
    plans = list(branches.plans if inside else before)
    there = plans[k]
    assert isinstance(there, Step)
    plans[k : k + 1] = new
    return plan.name_of(there.function), chain(*before, each(*plans)) if inside else chain(*plans, branches)


def keys(plan_: Plan) -> list[str | None]:
    return [node.key for node in expanded(keyed(without_places(plan_)), (Node("the data"),))]


def assert_same(found: Plan, expected: Plan) -> None:
    assert found == expected
    assert hash(found) == hash(expected)
    assert str(found) == str(expected)
    assert plan.to_toml(found) == plan.to_toml(expected)
    assert keys(found) == keys(expected)


@pytest.mark.parametrize(("name", "inside", "k"), steps(*OPTIONS))
def test_another_step_in_each_place_of_spray(name: str, inside: bool, k: int) -> None:
    there, _ = by_hand(name, inside, k, ())
    _, expected = by_hand(name, inside, k, (OTHER[there],))
    template = spray(**OPTIONS[name])
    found = replace(template, **{there: OTHER[there]})
    assert_same(found, expected)
    assert keys(found) != keys(template)
    assert_same(template, spray(**OPTIONS[name]))


@pytest.mark.parametrize(("name", "inside", "k"), steps(*OPTIONS))
def test_nothing_in_each_place_of_spray(name: str, inside: bool, k: int) -> None:
    there, expected = by_hand(name, inside, k, ())
    assert_same(replace(spray(**OPTIONS[name]), **{there: None}), expected)


@pytest.mark.parametrize(("name", "inside", "k"), steps(*OPTIONS))
def test_a_chain_in_each_place_of_spray(name: str, inside: bool, k: int) -> None:
    there, _ = by_hand(name, inside, k, ())
    two = (step(unknown), OTHER[there])
    _, expected = by_hand(name, inside, k, (chain(*two),) if inside else two)
    assert_same(replace(spray(**OPTIONS[name]), **{there: chain(*two)}), expected)


@pytest.mark.parametrize(("name", "inside", "k"), steps("default"))
def test_branches_in_each_place_of_spray(name: str, inside: bool, k: int) -> None:
    there, _ = by_hand(name, inside, k, ())
    branches = each(OTHER[there], step(unknown))
    if there in {"sum_channels", "absolute", "normalize", "square_root", "flatten", "neighbor_graph"}:
        with pytest.raises(PlanError, match=f"the place '{there}' takes"):  # working variables end with a branch
            replace(spray(), **{there: each(OTHER[there], step(analysis.size))})
    _, expected = by_hand(name, inside, k, (branches,))
    assert_same(replace(spray(), **{there: branches}), expected)


def test_the_branches_themselves_are_a_place() -> None:
    assert_same(replace(spray(), each=None), Chain(spray().plans[:-1]))
    assert_same(replace(spray(), each=step(analysis.size)), Chain((*spray().plans[:-1], step(analysis.size))))


def test_several_places_at_once() -> None:
    both = each(step(analysis.kmeans, clusters=range(2, 20)), step(analysis.tsne))
    found = replace(spray(), spectral=step(analysis.spectral, n_eigenvalues=8), kmeans=both, tsne=None)
    first, (_, _, apart, branches) = spray().plans[:6], spray().plans[6:]
    assert isinstance(branches, Each)
    eight = step(analysis.spectral, n_eigenvalues=8)
    assert_same(found, chain(*first, eight, both, apart, each(*branches.plans[:-1])))


ABSOLUTE, FLATTEN, PCA, LLE = map(step, [analysis.absolute, analysis.flatten, analysis.pca, analysis.lle])
B, C, D = (step(analysis.pca, name=name) for name in "bcd")
NESTED = chain(each(chain(ABSOLUTE, FLATTEN, each(PCA, B)), chain(FLATTEN, C), FLATTEN), D)
PATHS: dict[str, Plan] = {
    "chain#1/each/pca#2": chain(each(chain(ABSOLUTE, FLATTEN, each(PCA, LLE)), chain(FLATTEN, C), FLATTEN), D),
    "chain#1/flatten": chain(each(chain(ABSOLUTE, step(unknown), each(PCA, B)), chain(FLATTEN, C), FLATTEN), D),
    "chain#2/pca": chain(each(chain(ABSOLUTE, FLATTEN, each(PCA, B)), chain(FLATTEN, LLE), FLATTEN), D),
    "/each/flatten": chain(each(chain(ABSOLUTE, FLATTEN, each(PCA, B)), chain(FLATTEN, C), step(unknown)), D),
    "/pca": chain(each(chain(ABSOLUTE, FLATTEN, each(PCA, B)), chain(FLATTEN, C), FLATTEN), LLE),
}


@pytest.mark.parametrize("path", PATHS)
def test_places_of_one_name_are_told_apart_by_their_path(path: str) -> None:
    assert_same(replace(NESTED, {path: LLE if "pca" in path else step(unknown)}), PATHS[path])


def test_all_places_of_a_plan_have_a_path() -> None:
    with pytest.raises(PlanError, match="4 places are called 'pca'") as error:
        replace(NESTED, pca=LLE)
    paths = str(error.value).partition("the path of one, ")[2].replace("'", "").split(", ")
    assert paths == ["/each/chain#1/each/pca#1", "/each/chain#1/each/pca#2", "/each/chain#2/pca", "/pca"]
    found = [replace(NESTED, {path: LLE}) for path in paths]
    assert len(set(map(str, found))) == len(paths)


def test_what_is_left_empty_goes() -> None:
    plan_ = chain(step(analysis.flatten), each(chain(step(analysis.pca)), step(analysis.lle)))
    assert_same(replace(plan_, pca=None), chain(step(analysis.flatten), each(step(analysis.lle))))
    assert_same(replace(plan_, pca=None, lle=None), chain(step(analysis.flatten)))


@pytest.mark.parametrize("make", [lambda one: one, chain, each, lambda one: place("there", one)])
def test_a_plan_of_one_step_has_a_place_and_keeps_its_form(make: Any) -> None:
    name = "there" if isinstance(make(LLE), analysis.Place) else "pca"
    assert_same(replace(make(step(analysis.pca)), **{name: LLE}), make(LLE))


# --- places with names of their own -------------------------------------------------------------------

NAMED = chain(
    step(analysis.absolute),
    place("features", chain(step(analysis.normalize), step(analysis.square_root), step(analysis.flatten))),
    each(
        place("map", step(analysis.pca), takes=("embedding", "eigenvalue")),
        place("groups", step(analysis.kmeans, embedding="features")),
    ),
)
BARE = chain(
    *(step(one) for one in (analysis.absolute, analysis.normalize, analysis.square_root, analysis.flatten)),
    each(step(analysis.pca), step(analysis.kmeans, embedding="features")),
)


def test_named_places_run_as_if_they_had_no_name() -> None:
    assert keys(NAMED) == keys(BARE)
    assert plan.to_toml(NAMED) != plan.to_toml(BARE)
    trees = [run(one, attributions(), by=None, progress=False) for one in (NAMED, BARE)]
    assert [tree.attrs["plan"] for tree in trees] == [plan.to_toml(NAMED), plan.to_toml(BARE)]
    assert trees[0].children["all"].identical(trees[1].children["all"])


def test_named_places_print_and_round_trip() -> None:
    assert str(NAMED) == (
        "chain\n"
        "├─ absolute()\n"
        "├─ features: chain\n"
        "│  ├─ normalize()\n"
        "│  ├─ square_root()\n"
        "│  └─ flatten()\n"
        "└─ each\n"
        "   ├─ map [embedding or eigenvalue]: pca()\n"
        "   └─ groups: kmeans(embedding='features')"
    )
    for one in (NAMED, chain(place("a", place("b", each(LLE)))), chain(each(place("a", chain(LLE)), LLE))):
        assert plan.from_toml(plan.to_toml(one)) == one


def test_a_named_place_keeps_its_name() -> None:
    found = replace(NAMED, groups=step(analysis.hdbscan), map=place("picture", LLE), features=step(analysis.flatten))
    assert_same(
        found,
        chain(
            step(analysis.absolute),
            place("features", step(analysis.flatten)),
            each(place("picture", LLE), place("groups", step(analysis.hdbscan))),
        ),
    )
    assert_same(
        replace(NAMED, {"features/square_root": None}, groups=None, map=None),
        chain(step(analysis.absolute), place("features", chain(step(analysis.normalize), step(analysis.flatten)))),
    )


@pytest.mark.parametrize("role", ["clustering", "embedding"])
def test_a_step_of_ones_own_is_put_where_what_it_declares_fits(role: str) -> None:
    @analysis.makes(role)
    def own(data: xr.Dataset) -> xr.Dataset:
        return data[[]]

    if role == "clustering":
        assert replace(chain(step(analysis.kmeans), LLE), kmeans=step(own)) == chain(step(own), LLE)
    else:
        with pytest.raises(PlanError, match="'kmeans' takes 'clustering', and own\\(\\) makes 'embedding'"):
            replace(chain(step(analysis.kmeans), LLE), kmeans=step(own))


KMEANS, HDBSCAN = step(analysis.kmeans), step(analysis.hdbscan)
IN_PLACES: dict[str, tuple[Plan, dict[str, Plan | None], Plan]] = {
    "the inner": (place("a", place("b", KMEANS)), {"b": HDBSCAN}, place("a", place("b", HDBSCAN))),
    "the inner by its path": (place("a", place("b", KMEANS)), {"/a/b": HDBSCAN}, place("a", place("b", HDBSCAN))),
    "the outer": (place("a", place("b", KMEANS)), {"a": HDBSCAN}, place("a", HDBSCAN)),
    "another name for the inner": (
        place("a", place("b", KMEANS)),
        {"b": place("c", HDBSCAN)},
        place("a", place("c", HDBSCAN)),
    ),
    "the innermost of three": (
        chain(LLE, place("a", place("b", place("c", KMEANS)))),
        {"c": HDBSCAN},
        chain(LLE, place("a", place("b", place("c", HDBSCAN)))),
    ),
    "the middle of three": (
        place("a", place("b", place("c", KMEANS))),
        {"b": HDBSCAN},
        place("a", place("b", HDBSCAN)),
    ),
    "a step of a chain in the inner": (
        each(LLE, place("a", place("b", chain(LLE, KMEANS)))),
        {"b/lle": None, "kmeans": HDBSCAN},
        each(LLE, place("a", place("b", chain(HDBSCAN)))),
    ),
    "nothing": (chain(LLE, place("a", place("b", KMEANS))), {"b": None}, chain(LLE)),
    "one name for both": (place("a", place("a", KMEANS)), {"a/a": HDBSCAN}, place("a", place("a", HDBSCAN))),
}


@pytest.mark.parametrize("kind", IN_PLACES)
def test_a_place_directly_in_a_place_is_found(kind: str) -> None:
    template, new, expected = IN_PLACES[kind]
    assert_same(replace(template, new), expected)


PCA_KMEANS = chain(step(analysis.pca), step(analysis.kmeans, embedding="pca"))
AROUND: dict[str, Plan] = {
    "around a chain": place("a", PCA_KMEANS, takes="clustering"),
    "around branches": place("a", each(step(analysis.pca), step(analysis.kmeans)), takes="clustering"),
    "around a branch": place("a", each(step(analysis.pca), PCA_KMEANS), takes="clustering"),
    "around another": place("a", chain(step(analysis.pca), place("b", PCA_KMEANS)), takes="clustering"),
}


@pytest.mark.parametrize("kind", AROUND)
def test_a_place_around_keeps_what_it_takes(kind: str) -> None:
    template = chain(step(analysis.flatten), AROUND[kind])
    with pytest.raises(PlanError, match="place 'a' takes 'clustering', and its plan makes 'embedding': put a step"):
        replace(template, kmeans=None)
    for fits in (step(analysis.hdbscan), step(unknown), each(step(analysis.hdbscan), LLE)):
        found = replace(template, kmeans=fits)
        assert plan.from_toml(plan.to_toml(found)) == found


ERRORS: dict[str, tuple[Any, str]] = {
    "an unknown name": (lambda: replace(spray(), kmean=None), "no place 'kmean'; there are 'kmeans'$"),
    "a name like none": (lambda: replace(chain(LLE, step(analysis.pca)), xyzw=None), "there are 'lle', 'pca'$"),
    "a number that is none": (lambda: replace(spray(), {"kmeans#2": None}), "no place 'kmeans#2'; there are 'kmeans'"),
    "a path that is none": (lambda: replace(NESTED, {"chain#3/pca": None}), "no place 'chain#3/pca'"),
    "an embedding for a clustering": (
        lambda: replace(spray(), kmeans=step(analysis.tsne)),
        "'kmeans' takes 'clustering', and tsne\\(\\) makes 'embedding': these steps fit: agglomerative, apart, dbscan,",
    ),
    "branches that make something else": (
        lambda: replace(spray(), kmeans=each(LLE, step(analysis.size))),
        "and what was given, each, makes 'embedding', 'score'",
    ),
    "a role that a named place refuses": (
        lambda: replace(NAMED, map=step(analysis.kmeans)),
        "'map' takes 'embedding', 'eigenvalue', and kmeans\\(\\) makes 'clustering': these steps fit: estimator, lle,",
    ),
    "a function": (lambda: replace(spray(), kmeans=analysis.hdbscan), "is not a plan: wrap the function"),
    "no template": (lambda: replace(analysis.pca), "is not a plan: make one"),
    "one in the other": (lambda: replace(spray(), each=None, size=None), "'each' and 'size' are one place"),
    "a place and that directly in it": (
        lambda: replace(place("a", place("b", KMEANS)), a=HDBSCAN, b=HDBSCAN),
        "'a' and 'b' are one place, or one is in the other",
    ),
    "one name for a place and that directly in it": (
        lambda: replace(place("a", place("a", KMEANS)), a=HDBSCAN),
        "2 places are called 'a': give the path of one, '/a', '/a/a'",
    ),
    "one place twice": (lambda: replace(spray(), {"/kmeans": None}, kmeans=None), "'/kmeans' and 'kmeans' are one"),
    "nothing is left": (lambda: replace(chain(LLE), lle=None), "without 'lle' nothing is left"),
    "a name that is a path": (lambda: place("a/b", LLE), "'a/b' names no place"),
    "no name": (lambda: place("", LLE), "'' names no place"),
    "a role that is none": (lambda: place("a", LLE, takes="map"), "steps make .*, not 'map'"),
    "a plan that does not fit its own place": (lambda: place("a", LLE, takes="score"), "its plan makes 'embedding'"),
    "a place without a plan": (lambda: place("a", analysis.lle), "is not a plan: wrap"),
    "a place made without place()": (lambda: analysis.Place("a", LLE, ("score",)), "its plan makes 'embedding'"),
    "TOML with more": (
        lambda: plan.from_toml("[[chain]]\nplace = 'a'\nx = 1\n[chain.plan]\nstep = 'analysis.pca'"),
        "'place', 'x', 'plan'",
    ),
    "TOML without a plan": (lambda: plan.from_toml("place = 'a'"), "'place' and its 'plan', not 'place'"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_say_what_to_do(kind: str) -> None:
    make, message = ERRORS[kind]
    with pytest.raises(PlanError, match=message):
        make()


def test_the_plan_of_the_paper_runs() -> None:
    found = replace(
        spray(tsne=False),
        spectral=step(analysis.spectral, n_eigenvalues=8),
        kmeans=each(step(analysis.kmeans, clusters=range(2, 5)), step(analysis.tsne)),
    )
    tree = run(found, attributions(), by="label", categories=["class 1"], progress=False)["class 1"]
    assert tree["eigenvalue"].size == 8
    assert list(tree["cluster"].data_vars) == ["kmeans-02", "kmeans-03", "kmeans-04", "apart"]
    assert list(tree["embedding"].data_vars) == ["spectral", "tsne"]
    assert np.isfinite(tree["score/silhouette"].values).all()
