"""What is exported to ViRelAy comes back the same through our own reader, in the layout that ViRelAy reads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import relfunc as rf
from relfunc.files import virelay
from relfunc.files.virelay import ExportError, to_virelay
from relfunc.schema import check_analysis, check_attributions
from relfunc.text import group_names

h5py = pytest.importorskip("h5py", reason="the extra 'virelay' is not installed")
yaml = pytest.importorskip("yaml", reason="the extra 'virelay' is not installed")

N, CLASSES = 12, ("cat", "dog/wolf", "owl")


def attributions(channels=3, *, n=N, seed=0):
    rng = np.random.default_rng(seed)
    dims = ("sample", "channel", "y", "x")
    return xr.Dataset(
        {
            "input": (dims, rng.integers(0, 256, (n, channels, 6, 5)).astype(np.uint8)),
            "attribution": (dims, rng.normal(size=(n, channels, 6, 5)).astype(np.float32)),
            "prediction": (("sample", "class"), rng.normal(size=(n, 3)).astype(np.float32)),
            "label": ("sample", np.arange(n) % 3),
        },
        {"sample": [f"image-{k}" for k in range(n)], "class": list(CLASSES)},
        {"model": "net", "composite": "epsilon_plus"},
    )


def tree(data, *, lacking=""):
    """Analyse without analysis: categories as it writes them."""
    rng, nodes = np.random.default_rng(1), {}
    for k, name in enumerate(CLASSES):
        index = np.flatnonzero(data["label"].values == k)
        values = {
            "spectral": (("sample", "eigen"), rng.normal(size=(len(index), 3))),
            "tsne": (("sample", "component"), rng.normal(size=(len(index), 2))),
        }
        clusters = {f"kmeans-{c}": ("sample", rng.integers(-1, c, len(index)).astype(np.int32)) for c in (2, 3)}
        if name == lacking:
            del clusters["kmeans-3"]
        coords = {"sample": data["sample"].values[index], "eigen": np.arange(3), "component": np.arange(2)}
        (key,) = group_names([name])
        top = {"index": ("sample", index), "eigenvalue": ("eigen", rng.random(3))}
        nodes[key] = xr.Dataset(top, coords, {"category": name})
        nodes[f"{key}/embedding"], nodes[f"{key}/cluster"] = xr.Dataset(values), xr.Dataset(clusters)
    return check_analysis(xr.DataTree.from_dict({f"/{name}": node for name, node in nodes.items()}))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(virelay, "_BYTES_AT_ONCE", 5 * 4 * (2 * 3 * 6 * 5 + 3))


@pytest.mark.usefixtures("small_blocks")
def test_a_project_comes_back_through_the_viewer(tmp_path):
    from viewer.loading import open_project
    from viewer.project.outcomes import outcome, pixels
    from viewer.project.project import categories, clustering_names, embedding_names, points
    from viewer.project.scores import eigenvalues

    data = attributions()
    analysed = tree(data)
    held = open_project(to_virelay(data, tmp_path, analysis=analysed, name="shapes"))
    assert (held.name, held.attributions.attrs["model"]) == ("shapes", "net")
    relevance, inputs = pixels(held, np.arange(N))
    np.testing.assert_array_equal(relevance, data["attribution"])
    np.testing.assert_array_equal(inputs, data["input"])
    np.testing.assert_array_equal(held.attributions["prediction"], data["prediction"])
    assert outcome(held, np.arange(N)).label == tuple(CLASSES[k] for k in data["label"].values)
    assert categories(held) == ("cat (0)", "dog/wolf (1)", "owl (2)")
    for name, node in zip(categories(held), analysed.children.values(), strict=True):
        assert set(embedding_names(held, name)) == {"spectral", "tsne"}
        assert set(clustering_names(held, name)) == {"kmeans-2", "kmeans-3"}
        np.testing.assert_allclose(eigenvalues(held, name), node["eigenvalue"], rtol=1e-6)
        for embedding in ("spectral", "tsne"):
            found = points(held, name, embedding=embedding, clustering="kmeans-3")
            np.testing.assert_array_equal(found.rows, node["index"])
            np.testing.assert_array_equal(found.cluster, node["cluster/kmeans-3"])
            np.testing.assert_allclose(found.xy, node[f"embedding/{embedding}"].values[:, :2], rtol=1e-6)


def test_files_have_the_layout_that_virelay_reads(tmp_path):
    data = attributions()
    path = to_virelay(data, tmp_path, analysis=tree(data), word_net_ids=["n1", "n0", "n2"])
    project = yaml.safe_load(path.read_text())["project"]
    assert {key: type(value) for key, value in project.items()} == {
        "name": str,
        "model": str,
        "label_map": str,
        "dataset": dict,
        "attributions": dict,
        "analyses": list,
    }
    assert project["dataset"] | {"name": ""} == {"name": "", "type": "hdf5", "path": "dataset.h5"}
    assert project["attributions"]["attribution_strategy"] in {"true_label", "predicted_label"}
    assert json.loads((tmp_path / "labels.json").read_text())[1] == {
        "index": 1,
        "word_net_id": "n0",
        "name": "dog/wolf",
    }
    with h5py.File(tmp_path / "dataset.h5") as file:
        assert {key: (value.shape, value.dtype) for key, value in file.items()} == {
            "data": ((N, 3, 6, 5), np.uint8),
            "label": ((N,), np.uint32),
        }
        assert file["data"].chunks == (1, 3, 6, 5)
    with h5py.File(tmp_path / "attributions.h5") as file:
        assert {key: (value.shape, value.dtype) for key, value in file.items()} == {
            "attribution": ((N, 3, 6, 5), np.float32),
            "prediction": ((N, 3), np.float32),
            "label": ((N,), np.uint32),
        }
    with h5py.File(tmp_path / "analysis.h5") as file:
        assert list(file) == ["n0", "n1", "n2"]
        for category in file.values():
            assert set(category) == {"index", "embedding", "cluster"}
            assert category["index"].dtype == np.uint32
            assert category["embedding/spectral"].attrs["eigenvalue"].shape == (3,)
            assert "eigenvalue" not in category["embedding/tsne"].attrs
            assert set(category["cluster"]) == {"kmeans-2", "kmeans-3"}


def test_numbers_of_classes_sort_as_text_as_the_classes_do():
    data = xr.Dataset(coords={"class": [f"class {k}" for k in range(101)]})
    ids = virelay._identifiers(data, None)
    assert ids == sorted(ids)
    assert ids[7] == "007"


def test_grey_pictures_get_three_channels(tmp_path):
    data = attributions(1)
    to_virelay(data, tmp_path)
    with h5py.File(tmp_path / "dataset.h5") as inputs, h5py.File(tmp_path / "attributions.h5") as relevance:
        np.testing.assert_array_equal(inputs["data"], np.repeat(data["input"].values, 3, 1))
        np.testing.assert_array_equal(relevance["attribution"][:].sum(1, keepdims=True), data["attribution"])
    assert "analyses" not in yaml.safe_load((tmp_path / "project.yaml").read_text())["project"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, (0, 255)), (-2.0, 2.0, (0, 255)), (0.0, 0.5, (0, 128)), (0.0, 255.0, (0, 255))],
)
def test_inputs_that_are_no_bytes_keep_their_contrast(tmp_path, low, high, expected):
    data = attributions()
    ramp = np.linspace(low, high, 90, dtype=np.float32).reshape(3, 6, 5)
    to_virelay(data.assign(input=(data["input"].dims, np.stack([ramp] * N))), tmp_path)
    with h5py.File(tmp_path / "dataset.h5") as file:
        assert (file["data"][:].min(), file["data"][:].max()) == expected


def test_several_labels_stay_several(tmp_path):
    data = attributions()
    several = np.random.default_rng(2).random((N, 3)) > 0.5
    to_virelay(data.assign(label=(("sample", "class"), several)), tmp_path)
    with h5py.File(tmp_path / "dataset.h5") as file:
        np.testing.assert_array_equal(file["label"], several)


@pytest.mark.parametrize(
    ("target", "strategy"), [(None, "true_label"), ("label", "true_label"), ("other", "predicted_label")]
)
def test_the_strategy_says_which_class_was_explained(tmp_path, target, strategy):
    data = attributions()
    if target is not None:
        data = data.assign(target=data["label"] if target == "label" else (data["label"] + 1) % 3)
    content = yaml.safe_load(to_virelay(data, tmp_path).read_text())["project"]
    assert content["attributions"]["attribution_strategy"] == strategy


def test_what_some_category_lacks_is_left_out_for_all(tmp_path):
    """ViRelAy offers the first category's names for every category, and fails where one is missing."""
    data = attributions()
    to_virelay(data, tmp_path, analysis=tree(data, lacking="owl"))
    with h5py.File(tmp_path / "analysis.h5") as file:
        assert {tuple(category["cluster"]) for category in file.values()} == {("kmeans-2",)}


def test_files_are_read_and_the_demo_opens(demo, tmp_path):
    from viewer.loading import open_project
    from viewer.project.project import categories

    held = open_project(to_virelay(demo, tmp_path, analysis=demo))
    assert len(categories(held)) == 10
    assert held.name == tmp_path.name


def without(name):
    return lambda data: (data.drop_vars(name), None, {})


def of_features(data):
    return data.isel(channel=0, y=0, drop=True).rename(x="feature"), None, {}


def of_others(data):
    return data.assign_coords(sample=np.arange(N)), tree(data), {}


def of_fewer(data):
    return data.isel(sample=slice(4)), tree(data), {}


def not_a_number(data):
    analysed = tree(data)
    analysed["owl/embedding/tsne"].values[1, 0] = np.nan
    return data, analysed, {}


def nothing_common(data):
    analysed = tree(data)
    analysed["owl/cluster"] = xr.DataTree(xr.Dataset({"dbscan": analysed["owl/cluster/kmeans-2"].variable}))
    return data, analysed, {}


def options(**given):
    return lambda data: (data, None, given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("input"), "keep_input='uint8'"),
        (without("prediction"), "no variable 'prediction'"),
        (of_features, "shows pictures"),
        (lambda data: (data.isel(y=slice(2)), None, {}), "at least 3×3"),
        (lambda data: (data.isel(channel=slice(2)), None, {}), "2 channels"),
        (of_others, "samples of other names"),
        (of_fewer, "of which this is the analysis"),
        (not_a_number, "'tsne' of category 'owl'"),
        (nothing_common, "no cluster that every category has"),
        (options(method="k-means"), "cannot load names with '-'"),
        (options(word_net_ids=["a", "a", "b"]), "2 different identifiers for 3 classes"),
    ],
)
def test_what_virelay_could_not_show_is_an_error(tmp_path, change, message):
    data, analysed, given = change(attributions())
    with pytest.raises(rf.errors.RelfuncError, match=message):
        to_virelay(data, tmp_path / "out", analysis=analysed, **given)
    assert not (tmp_path / "out" / "project.yaml").exists()


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    data = attributions()
    to_virelay(data, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(virelay, "_relevance", lambda values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_virelay(attributions(seed=3), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ExportError, match=r'pip install "relfunc\[virelay\]"'):
        to_virelay(attributions(), tmp_path)


PEAK = """
import sys, relfunc as rf
rf.to_virelay(sys.argv[1], sys.argv[2])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
"""Prints the peak in kB. (ru_maxrss would be no less than that of the process that started this one.)"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples(tmp_path):
    peaks = []
    for n in (100, 4000):
        dims = ("sample", "channel", "y", "x")
        data = (
            attributions(n=n)
            .drop_dims("y")
            .assign(
                input=(dims, np.zeros((n, 3, 96, 96), np.uint8)),
                attribution=(dims, np.zeros((n, 3, 96, 96), np.float32)),
            )
        )
        path = tmp_path / f"{n}.nc"
        rf.storage.save(check_attributions(data), path)
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / str(n))]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] - peaks[0] < 50_000, peaks  # the large one has 440 MB of attributions
