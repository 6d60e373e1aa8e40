"""Images of a folder come out as ViRelAy 1.0 shows them: tests/data/virelay/images.npz holds its own answers."""

from pathlib import Path

import numpy as np
import pytest

from viewer.virelay.images import DOWN, PADDED, UP, fitted, label_of, listed

DATA = Path(__file__).parents[2] / "data" / "virelay" / "images.npz"


@pytest.mark.parametrize("up", ["none", *PADDED])
def test_images_are_padded_and_cropped_as_the_reference_does(up):
    with np.load(DATA) as known:
        cases = [name for name in known.files if name.split("/")[2:3] == [up]]
        for name in cases:
            width, height, _, down, k = name.split("/")
            made = fitted(known[f"image-{k}"], int(width), int(height), up=up, down=down, turned=True)
            np.testing.assert_array_equal(made, known[name], err_msg=name)
    assert len(cases) == 28


@pytest.mark.parametrize("up", UP[1:])
@pytest.mark.parametrize("down", DOWN[1:])
@pytest.mark.parametrize("shape", [(3, 4), (9, 20), (20, 3), (12, 8)])
def test_images_have_the_size_of_the_model_s_input(up, down, shape):
    assert fitted(np.zeros((*shape, 3), np.uint8), 12, 8, up=up, down=down).shape == (8, 12, 3)


def test_a_list_of_paths_beside_the_folder_is_followed(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    for name in ("a/2.png", "a/1.png", "a/3.png"):
        (tmp_path / "images" / name).touch()
    assert [file.name for file in listed(tmp_path / "images")] == ["1.png", "2.png", "3.png"]
    (tmp_path / "images_paths.txt").write_text("images/a/3.png\nimages/a/1.png\n")
    assert [file.name for file in listed(tmp_path / "images")] == ["1.png", "3.png"]


def test_a_pattern_that_does_not_match_is_named():
    assert label_of(Path("x/n7/a.png"), r".*/(n\d)/") == "n7"
    with pytest.raises(ValueError, match=r"pattern 'y\(\.\)' does not match"):
        label_of(Path("x"), "y(.)")
