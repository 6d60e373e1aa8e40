"""The command report: where it writes, what it says, and that its errors are one line."""

import xarray as xr

from relfunc import storage

from ...analysis.report.made import run as made
from .given import run


def folder(path, *, analysed=True, **options):
    """Write a run's folder."""
    tree, data = made("tables", **options)
    storage.save(data, path / "attributions.nc")
    if analysed:
        storage.save(tree, path / "analysis.nc")
    return path


def fails(capsys, *argv):
    assert run("report", *argv) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("relfunc: error: ")
    return said


def test_a_report_stands_in_the_folder_with_its_numbers(tmp_path, capsys):
    assert run("report", folder(tmp_path)) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"report {tmp_path / 'report.html'}, ")
    assert said.err == ""
    with xr.open_dataset(tmp_path / "report.nc", group="files") as files:
        assert files["file"].values.tolist() == ["attributions.nc", "analysis.nc"]
    assert f"relfunc report {tmp_path}" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_shards_and_names_of_ones_own(tmp_path):
    tree, data = made("tables")
    for k in range(2):
        storage.save(data.isel(sample=slice(30 * k, 30 * k + 30)), tmp_path / "run" / f"attributions-{k}.nc")
    storage.save(tree, tmp_path / "other.nc")
    options = ("--analysis", tmp_path / "other.nc", "--out", tmp_path / "sent" / "page.html", "--split", "train")
    assert run("report", tmp_path / "run", *options) == 0
    assert {path.name for path in (tmp_path / "sent").iterdir()} == {"page.html", "page.nc"}


def test_a_folder_without_an_analysis_says_how_to_make_one(tmp_path, capsys):
    said = fails(capsys, folder(tmp_path, analysed=False))
    assert f"first run relfunc analyze spray {tmp_path} --out {tmp_path / 'analysis.nc'}" in said
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert "there is no folder" in fails(capsys, tmp_path / "nowhere")


def test_an_analysis_of_other_data(tmp_path, capsys):
    folder(tmp_path)
    storage.save(made("tables", per_class=20)[1], tmp_path / "attributions.nc")
    assert "the analysis is not of these data" in fails(capsys, tmp_path)


def test_an_analysis_without_scores_says_which_step_is_missing(tmp_path, capsys):
    tree, _ = made("tables")
    for node in tree.children.values():
        del node["score"]
    storage.save(tree, folder(tmp_path) / "analysis.nc")
    assert "has no score 'cluster_separability': add that step to the plan" in fails(capsys, tmp_path)


def test_a_split_that_is_not_there(tmp_path, capsys):
    assert "split='fold' is no variable" in fails(capsys, folder(tmp_path), "--split", "fold")
