import base64
import io

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from relfunc.heatmap import heatmap
from viewer.project import open_project
from viewer.samples import KINDS, thumbnails

from .conftest import close
from .synthetic import WATERMARK, write_project


def test_a_thumbnail_is_the_heatmap_of_its_row(project):
    drawn = thumbnails(project, np.array([7]), cmap="bwr")[0]
    expected = heatmap(project.attributions["attribution"].values[7], cmap="bwr", channels="first").convert("RGB")
    np.testing.assert_array_equal(_decoded(drawn["attribution"]), np.asarray(expected))
    np.testing.assert_array_equal(_decoded(drawn["input"]), project.attributions["input"].values[7, 0])


def test_the_watermark_is_the_brightest_of_a_planted_sample(project):
    planted, other = thumbnails(project, np.array([0, 120]), cmap="gray")
    assert _decoded(planted["attribution"])[WATERMARK].min() == 255
    assert _decoded(other["attribution"])[WATERMARK].mean() < 160


def test_only_the_kinds_asked_for_are_drawn(project):
    assert list(thumbnails(project, np.array([0]))[0]) == list(KINDS)
    assert list(thumbnails(project, np.array([0]), kinds=["overlay"])[0]) == ["overlay"]
    assert thumbnails(project, np.array([], int)) == []


def test_without_inputs_there_are_only_attributions(tmp_path):
    held = open_project(write_project(tmp_path, inputs=False, analysis=False))
    assert list(thumbnails(held, np.array([0]))[0]) == ["attribution"]
    close(held)


def test_large_pictures_are_reduced(project):
    assert _decoded(thumbnails(project, np.array([0]), largest=16)[0]["input"]).shape == (16, 16)


def test_a_vector_is_a_row_of_pixels(project):
    flat = project.attributions.drop_vars(["attribution", "input"]).assign(
        attribution=(("sample", "feature"), np.ones((300, 9), np.float32))
    )
    held = type(project)("flat", project.path, flat)
    assert _decoded(thumbnails(held, np.array([0]))[0]["attribution"]).shape == (1, 9, 3)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, np.nan])
def test_constant_attributions_give_a_picture(project, value):
    constant = project.attributions.assign(
        attribution=xr.full_like(project.attributions["attribution"].compute(), value)
    )
    held = type(project)("constant", project.path, constant)
    assert np.unique(_decoded(thumbnails(held, np.array([0]))[0]["attribution"]).reshape(-1, 3), axis=0).shape == (1, 3)


def _decoded(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
