"""The command line: what it does, and that a user's errors end in one line without a traceback."""

import numpy as np
import pytest
import xarray as xr

from relfunc import schema, storage
from relfunc.command.cli import main


def test_demo_trains_a_good_network(demo):
    from relfunc.demo import accuracy

    assert accuracy(xr.load_dataset(demo / "attributions.nc")) >= 0.97


def test_demo_finds_the_planted_cluster(demo):
    import analysis
    from relfunc.demo import Setting, suspect, verdict

    with storage.open_attributions(demo) as data, storage.open_analysis(demo) as tree:
        table = analysis.ranking(tree)
        found = suspect(table, tree)
        said = verdict(found, data)
    assert found.category == str(Setting().planted)
    assert float(said.rpartition(" ")[2]) >= 0.9


def test_demo_draws_the_heatmaps(demo):
    from PIL import Image

    with Image.open(demo / "heatmaps.png") as image:
        assert image.width > image.height
        assert len(np.unique(np.asarray(image))) > 50


def test_demo_says_of_every_class_whether_it_is_more_than_chance(demo, capsys):
    assert main(["demo", "--no-serve", "--out", str(demo)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Class '")]
    assert len(said) == 10
    assert said[0].startswith("Class '3': 61 of 183 samples stand apart, which chance would do in fewer than 1 of ")
    assert "no cluster stands apart by more than chance" in said[-1]


def test_demo_writes_a_report(demo):
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "61 of 183 samples stand apart" in page
    assert len(page) < 1_000_000
    with xr.open_dataset(demo / "report.nc", group="findings") as found:
        assert found["category"].values[0] == "3"
        assert 0.005 < found["region_area"].values[0] < 0.05


def test_demo_takes_the_watermark_away(demo):
    import analysis
    from relfunc.demo import Setting, act, attributions, suspect

    model, data = attributions(demo, Setting())
    with storage.open_analysis(demo) as tree:
        found = suspect(analysis.ranking(tree), tree)
        table = act(model, found, data, Setting())
    marked, others = table.sel(group="class 3, watermark"), table.sel(group="others, watermark")
    before, after = marked["region_relevance"].values
    assert before > 0.1
    assert after < 0.2 * before
    assert np.diff(others["accuracy"]) > 0.03
    assert (table["accuracy"].sel(model="after") - table["accuracy"].sel(model="before")).min() > -0.03


def test_a_network_that_is_not_that_of_the_attributions_is_not_used(demo, tmp_path, capsys):
    from relfunc.demo import Setting, attributions

    for name in ("attributions.nc", "network.pt"):
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    (tmp_path / "network.pt").write_bytes(b"of another run")
    model, data = attributions(tmp_path, Setting(epochs=1))
    assert "reused" not in capsys.readouterr().out
    again, _ = attributions(tmp_path, Setting(epochs=1))
    assert "reused" in capsys.readouterr().out
    assert all((a == b).all() for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert data.attrs["network"]


def test_second_demo_reuses_the_first_ones_files(demo, capsys):
    before = {path: path.stat().st_mtime_ns for path in [demo / "attributions.nc", *(demo / "store").rglob("*.nc")]}
    assert main(["demo", "--no-serve", "--out", str(demo)]) == 0
    assert "reused" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def fails(capsys, *argv):
    """Run a command that fails, and return its one line."""
    assert main([*map(str, argv)]) == 1
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "Traceback" not in captured
    return captured


def test_output_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in fails(capsys, "demo", "--no-serve", "--out", tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "in the way"


def test_attributions_that_are_cut_short(demo, tmp_path, capsys):
    whole = (demo / "attributions.nc").read_bytes()
    (tmp_path / "attributions.nc").write_bytes(whole[: len(whole) // 2])
    message = fails(capsys, "demo", "--no-serve", "--out", tmp_path)
    assert "attributions.nc cannot be read" in message
    assert "truncated or not netCDF-4" in message
    assert (tmp_path / "attributions.nc").stat().st_size == len(whole) // 2


def test_view_of_a_folder_that_does_not_exist(tmp_path, capsys):
    assert "nowhere" in fails(capsys, "view", "--no-browser", tmp_path / "nowhere")


def test_label_that_names_no_class(demo):
    with storage.open_attributions(demo) as data:
        wrong = data.assign(label=data["label"] + 5)
        with pytest.raises(ValueError, match=r"label 10 of sample .* names none of the 10 classes: labels are 0 … 9"):
            schema.check_attributions(wrong, "it")


@pytest.mark.parametrize("argv", [[], ["explain"], ["demo", "--seed", "x"], ["view"]])
def test_arguments_that_do_not_parse(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: relfunc" in capsys.readouterr().err
