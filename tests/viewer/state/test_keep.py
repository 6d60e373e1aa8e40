import base64
import csv
import io
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import viewer
from viewer.draw.samples import mean
from viewer.loading import open_project
from viewer.opening import opened
from viewer.project.export import indices, netcdf, table
from viewer.project.order import ORDERS, ordered
from viewer.project.outcomes import outcome
from viewer.project.project import Points, ProjectError, points
from viewer.state.findings import (
    LONGEST,
    READERS,
    ViewError,
    dump,
    finding,
    findings,
    forget,
    link,
    linked,
    load,
    packed,
    save,
    unpacked,
)
from viewer.state.view import KEPT, View, choose, restore, select
from viewer.widgets import Keep

from ..conftest import close
from ..synthetic import CLASSES, write_project
from ..test_page import _says

STATE = {
    "category": "ring",
    "embedding": "spectral",
    "clustering": "hdbscan",
    "x": 2,
    "y": 1,
    "second": "tsne",
    "second_x": 1,
    "second_y": 0,
    "colour": "label",
    "cmap": "hot",
    "kinds": ["overlay"],
    "scale": "shared",
    "sampling": "smooth",
    "order": "near",
    "focus": 7,
    "hidden": [1],
    "window": (-1.5, 2.0, 0.0, 1e-3),
    "selected": np.array([0, 7, 149]),
}


def fuzzed(whole, rng, count):
    """Texts of a view in which some letters are exchanged, a value is of another type, or the end is missing."""
    other = [None, True, -1, 1e400, 10**30, "", "x" * 10_000, [], [[]], {}, [None], ["a", 1], {"a": {}}]
    for k in range(count):
        text = list(whole)
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.choice('{}[]",:0123456789-eaxyz')
        held = json.loads(whole)
        held[rng.choice(sorted(held))] = rng.choice(other)
        yield ["".join(text), json.dumps(held), whole[: rng.randrange(len(whole))]][k % 3]


@pytest.fixture
def mine(tmp_path):
    return opened(write_project(tmp_path / "mine"))


def test_what_is_exported_is_what_is_imported():
    kept = load(json.dumps(dump(STATE, project="mine", name="A", note="B")))
    assert kept["selected"].tolist() == [0, 7, 149]
    assert {key: kept[key] for key in STATE if key != "selected"} == {k: v for k, v in STATE.items() if k != "selected"}
    assert (kept["project"], kept["name"], kept["note"]) == ("mine", "A", "B")


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 2**31 - 1)))
def test_any_selection_is_packed_without_loss(positions):
    chosen = np.array(sorted(positions), np.int64)
    assert unpacked(packed(chosen)).tolist() == chosen.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no view"),
        ('{"relfunc": 99}', "no view of version"),
        ('{"relfunc": 1, "category": 3}', "'category' is int"),
        ('{"relfunc": 1, "x": -1}', "'x' is -1"),
        ('{"relfunc": 1, "window": [0, 0, 0, 0]}', "holds nothing"),
        ('{"relfunc": 1, "window": ["a"]}', "not four numbers"),
        ('{"relfunc": 1, "selected": "AAAA"}', "damaged"),
        (json.dumps({"relfunc": 1, "selected": packed(np.array([4]))[:-4]}), "damaged|cut short"),
        (json.dumps({"relfunc": 1, "selected": packed(np.array([4, 2]))}), "not in order"),
    ],
)
def test_what_is_no_view_is_said_to_be_none(text, message):
    with pytest.raises(ViewError, match=message):
        load(text)


def test_views_that_were_tampered_with_never_do_worse_than_a_message(folder):
    rng, view = random.Random(0), View()
    part = viewer.app(folder, view=view).select(Keep)[0]
    whole = json.dumps(dump(STATE, project=folder.name))
    said = []
    for text in fuzzed(whole, rng, 100):
        part.status = ""
        _says(part, {"load": text})
        said.append(part.status)
        assert part.status
        assert view.points is not None
    assert 0 < said.count("Imported") < 100


@pytest.mark.parametrize("count", [0, 3, 5_000])
def test_a_link_is_short_and_names_the_view_whatever_is_selected(mine, count):
    chosen = np.sort(np.random.default_rng(0).choice(10**7, count, replace=False))
    query = link(dump({**STATE, "selected": chosen}, project="mine"), mine)
    assert len(query) < LONGEST + 100
    kept = linked(query, {"mine": mine})
    assert kept is not None
    assert kept["selected"].tolist() == chosen.tolist()


def test_a_link_to_what_is_not_open_says_so(mine):
    chosen = np.sort(np.random.default_rng(0).choice(10**7, 5_000, replace=False))
    query = link(dump({**STATE, "selected": chosen}, project="mine"), mine)
    with pytest.raises(ViewError, match="project 'mine', which is not open"):
        linked(query, {})
    assert linked("", {}) is None


@pytest.mark.parametrize(
    "query", ["view=%00", "view=AAAA", "project=mine&finding=../../etc/passwd", "project=mine&finding=0"]
)
def test_a_bad_link_is_refused(mine, query):
    with pytest.raises(ViewError):
        linked(query, {"mine": mine})


def test_findings_are_kept_listed_and_removed(mine):
    assert findings(mine) == {}
    second = save(dump(STATE, project="mine", name="Watermark"), mine)
    save(dump(STATE, project="mine", name="Aardvark"), mine)
    save(dump(STATE, project="mine"), mine)
    (mine.path / "findings" / "broken.json").write_text("{")
    assert [held["name"] for held in findings(mine).values()] == ["Aardvark", "Watermark"]
    assert finding(mine, second)["selected"].tolist() == [0, 7, 149]
    forget(mine, second)
    assert [held["name"] for held in findings(mine).values()] == ["Aardvark"]


def test_a_folder_that_cannot_be_written_is_named(mine):
    (mine.path / "findings").write_text("in the way")
    with pytest.raises(ViewError, match="findings writable"):
        save(dump(STATE, project="mine", name="A"), mine)


def test_restoring_shows_what_was_kept(folder):
    projects, view = [opened(folder)], View()
    restore(projects, view, load(json.dumps(dump(STATE, project=folder.name))))
    assert {key: getattr(view, key) for key in KEPT} == {key: STATE[key] for key in KEPT}
    assert view.selected.tolist() == [0, 7, 149]


def test_everything_that_is_kept_is_read_again():
    assert set(READERS) == set(KEPT) == set(STATE) - {"selected"}


@pytest.mark.slow
def test_an_imported_view_is_the_exported_one(folder):
    """Import and export are each other's inverse, on the page: every control, axis, zoom and selection."""
    rng, projects = random.Random(1), [opened(folder)]
    for k in range(20):
        view = View()
        part = viewer.page.page(projects, view).select(Keep)[0]
        choose(view, projects[0], category=rng.choice(CLASSES), embedding=rng.choice(("tsne", "spectral")), y=1)
        choose(view, projects[0], second=rng.choice(("", "tsne", "spectral")), second_x=1, second_y=0)
        view.param.update(
            **{name: rng.choice(view.param[name].objects) for name in ("colour", "cmap", "scale", "sampling", "order")},
            kinds=rng.sample(["input", "attribution", "overlay"], 2),
            focus=rng.choice([None, 5]),
            hidden=rng.sample(range(2), rng.randrange(2)),
            window=rng.choice([None, (-1.5, 2.0, 0.25 + k, 90.0)]),
        )
        select(view, np.array(sorted(rng.sample(range(150), rng.randrange(150))), np.int64))
        _says(part, {"json": True})
        text = base64.b64decode(part.file["data"]).decode()
        other = View()
        _says(viewer.page.page(projects, other).select(Keep)[0], {"load": text})
        for name in (*KEPT, "selected"):
            np.testing.assert_array_equal(getattr(other, name), getattr(view, name), err_msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category": "square"}, "no category 'square'; it has: ring, disc"),
        ({"embedding": "umap"}, "no embedding 'umap'; it has: tsne, spectral"),
        ({"clustering": "k"}, "no clustering 'k'; it has: kmeans-3, hdbscan"),
    ],
)
def test_a_view_of_what_does_not_exist_says_what_does(folder, changes, message):
    with pytest.raises(ProjectError, match=message):
        restore([opened(folder)], View(), load(json.dumps(dump({**STATE, **changes}, project=folder.name))))


def test_a_view_of_another_project_is_refused(folder):
    with pytest.raises(ProjectError, match="'other', which is not open; open are: shapes"):
        restore([opened(folder)], View(), load(json.dumps(dump(STATE, project="other"))))


def test_the_page_keeps_opens_exports_and_shares(tmp_path):
    view = View()
    part = viewer.app(write_project(tmp_path / "mine"), view=view).select(Keep)[0]
    select(view, np.arange(50))
    _says(part, {"save": "Watermark"})
    assert [item["name"] for item in part.items] == ["Watermark"]
    select(view, np.array([], int))
    _says(part, {"open": part.items[0]["key"]})
    assert view.selected.tolist() == list(range(50))
    _says(part, {"csv": True})
    assert part.file["name"] == "mine-ring.csv"
    _says(part, {"link": True})
    assert part.shared["query"].startswith("view=")
    _says(part, {"load": "nonsense"})
    assert "neither a view nor a link" in part.status


def test_the_table_says_what_the_outcomes_say(project):
    held, chosen = points(project, "disc", embedding="tsne", clustering="kmeans-3"), np.array([3, 1])
    read = list(csv.DictReader(io.StringIO(table(project, held, chosen))))
    known = outcome(project, held.rows[chosen])
    assert [row["sample"] for row in read] == ["img-0153", "img-0151"] == known.ids.tolist()
    assert [row["prediction"] for row in read] == list(known.prediction)
    assert [int(row["cluster"]) for row in read] == held.cluster[chosen].tolist()
    assert np.load(io.BytesIO(indices(held, chosen))).tolist() == [153, 151]


def test_exported_samples_open_as_attributions_do(project, tmp_path):
    held, chosen = points(project, "disc", embedding="tsne", clustering="kmeans-3"), np.array([3, 1])
    (tmp_path / "attributions.nc").write_bytes(netcdf(project, held, chosen, category="disc", clustering="kmeans-3"))
    again = open_project(tmp_path)
    data, rows = again.attributions, held.rows[chosen]
    for name in ("attribution", "input", "prediction", "label"):
        np.testing.assert_array_equal(data[name].values, project.attributions[name].values[rows], err_msg=name)
    assert data["row"].values.tolist() == rows.tolist()
    assert data["cluster"].values.tolist() == held.cluster[chosen].tolist()
    np.testing.assert_array_equal(data["embedding_x"].values, held.xy[chosen, 0])
    assert (data.attrs["project"], data.attrs["category"]) == ("shapes", "disc")
    close(again)


def test_too_many_samples_are_not_exported_but_named(project, monkeypatch):
    monkeypatch.setattr("viewer.project.export.LARGEST", 1 << 10)
    with pytest.raises(ProjectError, match="select fewer samples, or export their indices"):
        netcdf(project, points(project, "disc"), np.arange(150))


@pytest.mark.parametrize("by", ORDERS)
def test_an_order_keeps_every_sample_once(project, by):
    held, chosen = points(project, "ring", embedding="tsne", clustering="hdbscan"), np.arange(0, 150, 2)
    assert sorted(ordered(project, held, chosen, by, focus=3).tolist()) == chosen.tolist()


def test_orders_put_first_what_they_promise(project):
    held, chosen = points(project, "ring", embedding="tsne", clustering="kmeans-3"), np.arange(150)
    sure = outcome(project, held.rows[ordered(project, held, chosen, "least")]).probability
    assert (np.diff(sure) >= 0).all()
    correct = outcome(project, held.rows[ordered(project, held, chosen, "wrong")]).correct
    assert not correct[0]
    assert (np.diff(correct.astype(int)) >= 0).all()
    near = ordered(project, held, chosen, "near", focus=9)
    assert near[0] == 9
    assert (np.diff(np.linalg.norm(held.xy[near] - held.xy[9], axis=1)) >= 0).all()
    assert (np.diff(held.cluster[ordered(project, held, chosen, "cluster")]) >= 0).all()


def test_the_most_typical_are_nearest_to_the_centre_of_their_cluster(project):
    xy = np.array([[0.0, 0], [1, 0], [5, 0], [np.nan, 0], [10, 0], [14, 0]])
    held = Points(np.arange(6), xy, np.array([0, 0, 0, 0, 1, 1], np.int32))
    assert ordered(project, held, np.arange(6), "centre").tolist() == [1, 0, 4, 5, 2, 3]


def test_what_is_not_known_leaves_the_file_order(project):
    for by in ("cluster", "centre", "near"):
        assert ordered(project, Points(np.arange(5)), np.array([4, 2]), by, focus=1).tolist() == [4, 2]


def test_a_mean_takes_samples_at_equal_steps_if_there_are_too_many(project):
    assert mean(project, np.arange(50))[1] == 50
    drawn, count = mean(project, np.arange(150), bytes_read=32 * 32 * 4 * 10)
    assert count == 10
    assert list(drawn) == ["input", "attribution"]


def test_choosing_a_class_forgets_which_sample_was_opened(project):
    view = View()
    choose(view, project)
    view.focus = 3
    choose(view, project, category="disc")
    assert view.focus is None
