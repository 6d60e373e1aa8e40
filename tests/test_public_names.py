"""What the three packages offer under which name, and what importing them costs: a change here is one to users."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

NAMES = {
    "analysis": [
        "Chain",
        "DataError",
        "Each",
        "Entry",
        "KeyingError",
        "Place",
        "PlanError",
        "Step",
        "Store",
        "StoreError",
        "absolute",
        "agglomerative",
        "apart",
        "approximate_neighbor_graph",
        "as_edges",
        "as_matrix",
        "chain",
        "chance",
        "compensate",
        "contrast",
        "dbscan",
        "duplicates",
        "each",
        "eigengap",
        "estimator",
        "findings",
        "flatten",
        "hdbscan",
        "histogram",
        "kmeans",
        "lle",
        "makes",
        "minibatch_kmeans",
        "neighbor_graph",
        "normalize",
        "pca",
        "per_sample",
        "place",
        "plan",
        "plot",
        "pool",
        "positive",
        "purity",
        "ranking",
        "replace",
        "resize",
        "run",
        "select_channel",
        "separability",
        "silhouette",
        "size",
        "slices",
        "spectral",
        "spectral_clustering",
        "spray",
        "square_root",
        "stability",
        "step",
        "sum_channels",
        "sweep",
        "text",
        "tsne",
        "umap",
        "verdict",
        "write_report",
    ],
    "relfunc": [
        "Captured",
        "activations",
        "attribute_dataset",
        "attribution",
        "audit",
        "canonize",
        "capture",
        "composites",
        "errors",
        "gradient",
        "heatmap",
        "input_x_gradient",
        "integrated_gradients",
        "intervene",
        "lrp",
        "methods",
        "occlusion",
        "open_analysis",
        "open_attributions",
        "ops",
        "per_class",
        "plan",
        "relevance_at",
        "rules",
        "schema",
        "smoothgrad",
        "storage",
        "to_virelay",
        "toml",
        "versioned",
    ],
    "relfunc.heatmap": [
        "COLORMAPS",
        "ColormapError",
        "MatplotlibMissingError",
        "PictureError",
        "heatmap",
        "indices",
        "overlay",
        "palette",
        "picture",
        "recolor",
        "register_matplotlib",
        "save",
        "tokens_html",
        "tokens_text",
    ],
    "viewer": ["View", "app", "serve"],
}
HEAVY = {"torch", "torchvision", "sklearn", "numba", "scipy", "xarray", "pandas", "holoviews", "panel", "distributed"}


@pytest.mark.parametrize("package", NAMES)
def test_the_public_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert list(module.__all__) == sorted(module.__all__) == NAMES[package]
    shown = {name for name in dir(module) if not name.startswith("_")}
    assert set(NAMES[package]) <= shown
    assert all(isinstance(getattr(module, name), ModuleType) for name in shown - set(NAMES[package]))


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, names in NAMES.items() for name in names])
def test_every_public_name_imports_and_is_documented(package: str, name: str) -> None:
    assert getattr(importlib.import_module(package), name).__doc__


@pytest.mark.parametrize("package", ["relfunc", "analysis"])
def test_the_names_of_a_lazy_package_are_known_before_any_is_imported(package: str) -> None:
    assert loaded(f"import {package} as it; names = dir(it)", "*names") == sorted(NAMES[package])


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("import relfunc", HEAVY),
        ("import analysis", HEAVY),
        ("import viewer", {"torch", "torchvision", "sklearn", "scipy.stats", "distributed"}),
        (
            "import analysis.results.rank, analysis.measures, analysis.roles",
            {"torch", "sklearn", "numba", "scipy", "holoviews"},
        ),
        ("import analysis; analysis.spray()", {"torch", "numba", "holoviews", "panel", "distributed"}),
    ],
)
def test_an_import_does_not_wait_for_what_it_does_not_need(first: str, later: set[str]) -> None:
    assert later.isdisjoint(loaded(f"import sys; {first}", "*sys.modules"))


@pytest.mark.parametrize("package", ["relfunc", "analysis"])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        importlib.import_module(package).nothing_of_that_name  # noqa: B018


@pytest.mark.parametrize("name", [name for name in NAMES["analysis"] if name not in {"compensate", "plan", "plot"}])
def test_importing_any_module_first_leaves_the_public_names_what_they_are(name: str) -> None:
    """A module of the package that had the name of a function would stand in its place."""
    analysis = importlib.import_module("analysis")
    assert not (Path(str(analysis.__file__)).parent / f"{name}.py").exists()


def loaded(program: str, words: str) -> list[str]:
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-W", "ignore", "-c", f"{program}; print({words})"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.split()
