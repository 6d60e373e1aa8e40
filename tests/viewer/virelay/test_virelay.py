"""Projects in each of the forms that ViRelAy reads or describes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import viewer
from viewer.draw.samples import thumbnails
from viewer.loading import open_project
from viewer.opening import opened
from viewer.project.outcomes import outcome, pixels
from viewer.project.project import Failure, ProjectError, categories, clustering_names, embedding_names, points
from viewer.project.scores import eigenvalues
from viewer.widgets import Gallery

from ..synthetic import spoiled

h5py = pytest.importorskip("h5py", reason="the extra 'virelay' is not installed")
yaml = pytest.importorskip("yaml", reason="the extra 'virelay' is not installed")

DATA = Path(__file__).parents[2] / "data" / "virelay"
LABELS = [{"index": k, "word_net_id": f"n{k}", "name": name} for k, name in enumerate(("cat", "dog", "owl"))]
N = 6
RNG = np.random.default_rng(0)
INPUT = RNG.integers(0, 256, (N, 3, 8, 9)).astype(np.uint8)
RELEVANCE = RNG.normal(size=(N, 3, 8, 9)).astype(np.float32)
LABEL = np.array([0, 1, 2, 0, 1, 2], np.uint16)
OUTPUT = np.where(np.eye(3)[LABEL] > 0, 4.0, 0.0).astype(np.float32)


def _write(folder: Path, *, dataset=None, attributions=None, analyses=None) -> Path:
    """Write a project; the arguments are functions that fill an HDF5 file and replace the usual contents."""
    folder.mkdir(exist_ok=True)
    for name, fill in (
        ("dataset", dataset or _dataset),
        ("attributions", attributions or _attributions),
        ("analysis", analyses or _analysis),
    ):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            fill(file)
    (folder / "labels.json").write_text(json.dumps(LABELS))
    content = {
        "name": "shapes",
        "model": "net",
        "label_map": "labels.json",
        "dataset": {"name": "d", "type": "hdf5", "path": "dataset.h5"},
        "attributions": {
            "attribution_method": "m",
            "attribution_strategy": "true_label",
            "sources": ["attributions.h5"],
        },
        "analyses": [{"analysis_method": "spectral", "sources": ["analysis.h5"]}],
    }
    (folder / "project.yaml").write_text(yaml.safe_dump({"project": content}))
    return folder / "project.yaml"


def _dataset(file):
    file["data"], file["label"] = INPUT, LABEL


def _attributions(file):
    file["attribution"], file["prediction"], file["label"] = RELEVANCE, OUTPUT, LABEL


def _analysis(file):
    for word in ("n0", "mixed"):
        file[f"{word}/index"] = np.array([0, 3], np.uint32)
        file[f"{word}/embedding/tsne"] = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
        spectral = file.create_dataset(f"{word}/embedding/spectral", data=np.arange(6.0).reshape(2, 3))
        spectral.attrs["eigenvalue"] = np.array([0.0, 0.1, 0.9])
        file[f"{word}/cluster/kmeans-02"] = np.array([1, -1], np.int32)


def _last(file):
    file["data"], file["label"] = np.moveaxis(INPUT, 1, -1), LABEL


def _groups(file):
    for k in range(N):
        file[f"data/img-{k}"], file[f"label/img-{k}"] = INPUT[k, :, : 5 + k % 3], np.uint8(LABEL[k])


def _attribution_groups(file):
    for k in range(N):
        file[f"attribution/img-{k}"] = RELEVANCE[k, :, : 5 + k % 3]
        file[f"prediction/img-{k}"] = OUTPUT[k]


def _documented_attributions(file):
    file["data"], file["prediction"] = RELEVANCE, OUTPUT


def _documented_analysis(file):
    file["n0/index"] = np.array([0, 3], np.uint32)
    file["n0/embedding/tsne/root"] = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    file["n0/clustering/kmeans-02/root"] = np.array([1, -1], np.int32)


def _hot(file):
    file["data"] = INPUT
    file["label"] = np.eye(3, dtype=bool)[LABEL] | (np.arange(3) == 2)


def test_a_project_has_what_its_files_have(tmp_path):
    held = open_project(_write(tmp_path))
    assert (held.name, held.attributions.attrs["model"]) == ("shapes", "net")
    assert categories(held) == ("mixed", "cat (n0)")
    assert embedding_names(held, "mixed") == ("tsne", "spectral")
    assert clustering_names(held, "mixed") == ("kmeans-02",)
    assert eigenvalues(held, "mixed").tolist() == [0.0, 0.1, 0.9]
    found = points(held, "cat (n0)", embedding="tsne", clustering="kmeans-02")
    assert (found.rows.tolist(), found.xy.tolist(), found.cluster.tolist()) == ([0, 3], [[0, 1], [2, 3]], [1, -1])
    known = outcome(held, np.arange(N))
    assert known.label == known.prediction == ("cat", "dog", "owl", "cat", "dog", "owl")


@pytest.mark.parametrize("form", [{}, {"dataset": _last}, {"attributions": _documented_attributions}])
def test_inputs_and_attributions_come_channels_first(tmp_path, form):
    attributions, inputs = pixels(open_project(_write(tmp_path, **form)), np.array([4, 1]))
    np.testing.assert_array_equal(attributions, RELEVANCE[[4, 1]])
    np.testing.assert_array_equal(inputs, INPUT[[4, 1]])


def test_samples_in_groups_may_differ_in_size(tmp_path):
    held = open_project(_write(tmp_path, dataset=_groups, attributions=_attribution_groups))
    attributions, inputs = pixels(held, np.arange(N))
    assert [picture.shape for picture in inputs] == [(3, 5 + k % 3, 9) for k in range(N)]
    np.testing.assert_array_equal(attributions[1], RELEVANCE[1, :, :6])
    assert len(thumbnails(held, np.arange(N))) == N
    assert outcome(held, np.arange(N)).label == ("cat", "dog", "owl", "cat", "dog", "owl")


def test_the_layout_of_the_documentation_opens(tmp_path):
    held = open_project(_write(tmp_path, analyses=_documented_analysis))
    found = points(held, "cat (n0)", embedding="tsne", clustering="kmeans-02")
    assert (found.xy.tolist(), found.cluster.tolist()) == ([[0, 1], [2, 3]], [1, -1])


def test_attributions_split_over_files_are_found_by_their_index(tmp_path):
    for name, rows in (("a", [5, 0]), ("b", [0, 2])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["attribution"] = RELEVANCE[rows] + (name == "b")
            file["prediction"], file["label"] = OUTPUT[rows], LABEL[rows]
            file["index"] = np.array(rows, np.uint32)
    sources = {"attribution_method": "m", "attribution_strategy": "true_label", "sources": ["a.h5", "b.h5"]}
    held = open_project(_with(tmp_path, attributions=sources))
    attributions, _ = pixels(held, np.array([0, 2, 5]))
    np.testing.assert_array_equal(attributions, [RELEVANCE[0], RELEVANCE[2] + 1, RELEVANCE[5]])
    known = outcome(held, np.array([1, 2]))
    assert known.prediction == ("none", "owl")
    assert known.correct.tolist() == [False, True]
    assert len(thumbnails(held, np.array([1]))) == 1


def test_several_labels_are_kept(tmp_path):
    known = outcome(open_project(_write(tmp_path, dataset=_hot)), np.arange(3))
    assert known.label == ("cat, owl", "dog, owl", "owl")


@pytest.mark.parametrize(("by", "pattern"), [("index", r".*/(\d)-"), ("word_net_id", r".*-(n\d)\.png")])
def test_a_folder_of_images_opens(tmp_path, by, pattern):
    (tmp_path / "images").mkdir()
    for k in range(N):
        picture = Image.fromarray(np.moveaxis(INPUT[k], 0, -1))
        picture.save(tmp_path / "images" / f"{LABEL[k]}-{k}-n{LABEL[k]}.png")
    dataset = {"name": "d", "type": "image_directory", "path": "images"}
    patterns = {"label_index_regex": None, "label_word_net_id_regex": None, f"label_{by}_regex": pattern}
    held = open_project(_with(tmp_path, dataset=dataset | patterns))
    order = np.argsort(LABEL, kind="stable")
    assert outcome(held, np.arange(N)).label == tuple(LABELS[k]["name"] for k in LABEL[order])
    np.testing.assert_array_equal(pixels(held, np.arange(N))[1], INPUT[order])


def _with(folder: Path, **changes) -> Path:
    """Write a project whose YAML says something else."""
    path = _write(folder)
    content = yaml.safe_load(path.read_text())
    content["project"] |= changes
    path.write_text(yaml.safe_dump(content))
    return path


def test_inputs_are_read_as_the_reference_reads_them(tmp_path):
    known, golden = json.loads((DATA / "gray.json").read_text()), np.load(DATA / "gray.npz")

    def dataset(file):
        file["data"], file["label"] = golden["data"], golden["label"]

    def attributions(file):
        file["attribution"], file["prediction"] = golden["data"], golden["prediction"]

    path = _write(tmp_path, dataset=dataset, attributions=attributions)
    (tmp_path / "labels.json").write_text(json.dumps(known["label_map"]))
    held, rows = open_project(path), np.arange(len(golden["data"]))
    np.testing.assert_array_equal(np.moveaxis(pixels(held, rows)[1], 1, -1), golden["expected"])
    assert list(outcome(held, rows).label) == known["names"]


def test_opening_reads_nothing_that_grows_with_the_samples(tmp_path):
    held = open_project(_write(tmp_path))
    assert not any(held.attributions[name]._in_memory for name in ("sample", "label", "prediction"))
    node = held.analysis["mixed"]
    assert not any(node[name]._in_memory for name in ("index", "embedding/tsne", "cluster/kmeans-02"))


def test_images_have_the_size_that_the_project_says(tmp_path):
    (tmp_path / "images").mkdir()
    for k in range(N):
        Image.fromarray(np.moveaxis(INPUT[k, :, : 4 + k], 0, -1)).save(tmp_path / "images" / f"{LABEL[k]}-{k}.png")
    dataset = {"name": "d", "type": "image_directory", "path": "images", "label_index_regex": r".*/(\d)-"}
    size = {"input_width": 9, "input_height": 8, "up_sampling_method": "edge_repeat", "down_sampling_method": "none"}
    held = open_project(_with(tmp_path, dataset=dataset | size))
    assert {picture.shape for picture in pixels(held, np.arange(N))[1]} == {(3, 8, 9)}
    size["up_sampling_method"] = "guess"
    with pytest.raises(ProjectError, match="sampling 'guess'"):
        open_project(_with(tmp_path / "other", dataset=dataset | size))


def test_of_several_methods_every_category_says_which_it_is_of(tmp_path):
    def other(file):
        file["n1/index"] = np.array([1], np.uint32)
        file["n1/embedding/pca"] = np.zeros((1, 1), np.float32)
        file["n1/cluster/split"] = np.array([True])

    with h5py.File(tmp_path / "other.h5", "w") as file:
        other(file)
    methods = [
        {"analysis_method": "spectral", "sources": ["analysis.h5"]},
        {"analysis_method": "my_method", "sources": ["other.h5"]},
        {"analysis_method": "spectral", "sources": ["analysis.h5"]},
    ]
    held = open_project(_with(tmp_path, analyses=methods))
    assert categories(held) == ("spectral: mixed", "spectral: cat (n0)", "my_method: dog (n1)")
    assert held.analysis["my_method: dog (n1)"].attrs == {
        "method": "my_method",
        "category": "my_method: dog (n1)",
        "virelay": "n1",
    }
    found = points(held, "my_method: dog (n1)", embedding="pca", clustering="split")
    assert (found.xy.tolist(), found.cluster.tolist()) == ([[0, 0]], [1])
    assert embedding_names(held, "spectral: mixed") == ("tsne", "spectral")


def test_a_column_of_labels_is_no_vector_of_them(tmp_path):
    def column(file):
        file["data"], file["label"] = INPUT, LABEL[:, None].astype(np.int64)

    assert outcome(open_project(_write(tmp_path, dataset=column)), np.arange(3)).label == ("cat", "dog", "owl")


def test_an_analysis_of_other_samples_is_named(tmp_path):
    def analysis(file):
        _analysis(file)
        file["mixed/index"][1] = 77

    held = open_project(_write(tmp_path, analyses=analysis))
    with pytest.raises(ProjectError, match="has sample 77, the attributions have 6"):
        points(held, "mixed")


def test_the_page_shows_a_project(tmp_path):
    page = viewer.app(_write(tmp_path))
    assert len(page.select(Gallery)[0].items) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is this a project of ViRelAy"),
        ("a: [", "cannot be read"),
        ("project: {name: a}", "'label_map' is missing"),
        ("project: {name: a, label_map: none.json}", "none.json"),
        ("[1, 2]", "is this a project of ViRelAy"),
    ],
)
def test_what_is_no_project_is_said_to_be_none(tmp_path, content, message):
    (tmp_path / "project.yaml").write_text(content)
    with pytest.raises(ProjectError, match=message):
        open_project(tmp_path / "project.yaml")
    assert isinstance(opened(tmp_path / "project.yaml"), Failure)


@pytest.mark.parametrize("name", ["dataset.h5", "attributions.h5", "analysis.h5"])
@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_damaged_file_is_an_error_not_a_crash(tmp_path, name, keep):
    path = _write(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ProjectError, match=r"project\.yaml"):
        open_project(path)


def test_damaged_projects_show_what_they_have_or_say_why_not(tmp_path):
    for seed in range(10):
        rng, view = np.random.default_rng(seed), viewer.View()
        path = _write(tmp_path / str(seed))
        for name in ("dataset.h5", "attributions.h5", "analysis.h5"):
            if rng.random() < 0.5:
                file = path.parent / name
                file.write_bytes(spoiled(file.read_bytes(), rng))
        viewer.app(path, view=view)
        assert (view.points is None) == bool(view.trouble)
