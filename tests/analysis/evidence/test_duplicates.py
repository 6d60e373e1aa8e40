"""Duplicates: planted copies are found, also across splits; independent samples are not called so."""

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

import analysis
from analysis._kernels.near import CLUMP, near_pairs
from analysis.errors import DataError


def _images(n: int, seed: int = 0, size: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(n, 3, size, size)), (0, 0, 2, 2))
    return (128 + 200 * smooth).clip(0, 255)


def _data(images: np.ndarray, **columns: np.ndarray) -> xr.Dataset:
    values = {name: ("sample", column) for name, column in columns.items()}
    coords = {"sample": [f"s{k}" for k in range(len(images))]}
    return xr.Dataset({"input": (("sample", "channel", "y", "x"), images.astype(np.uint8)), **values}, coords)


def _groups(found: xr.Dataset) -> list[list[int]]:
    position, of = found["position"].values, found["group_of_member"].values
    return [position[of == k].tolist() for k in range(found.sizes["group"])]


def test_identical_near_and_leaked_samples_are_found():
    rng = np.random.default_rng(0)
    images = _images(300)
    images[[20, 30]] = images[10]  # three of one
    images[41] = images[40] + rng.normal(scale=3, size=images[40].shape)  # stored again
    images[61] = 1.15 * (images[60] - 128) + 120  # in other light
    data = _data(images, label=np.zeros(300, int), part=np.where(np.arange(300) < 41, "train", "test"))
    found = analysis.duplicates(data, split="part")
    assert _groups(found) == [[10, 20, 30], [40, 41], [60, 61]]
    assert found["kind"].values.tolist() == ["identical", "near", "near"]
    assert found["across_split"].values.tolist() == [False, True, False]
    assert found["distance"].values[0] == 0 < found["distance"].values[1]
    assert found["sample"].values[:3].tolist() == ["s10", "s20", "s30"]
    assert found.attrs["copies"] == 4


def test_identical_samples_are_found_across_classes_and_near_ones_within():
    images = _images(120)
    images[100], images[101] = images[0], images[1] + 1
    data = _data(images, label=np.repeat([0, 1], 60))
    found = analysis.duplicates(data)
    assert _groups(found) == [[0, 100]]
    assert found["across_category"].values.tolist() == [True]
    assert _groups(analysis.duplicates(data, by=None)) == [[0, 100], [1, 101]]


def test_attributions_are_compared_as_distributions():
    rng = np.random.default_rng(0)
    heat = rng.exponential(size=(200, 1, 20, 20))
    heat[7] = 5 * heat[3] * rng.uniform(0.98, 1.02, size=heat[3].shape)
    data = xr.Dataset({"attribution": (("sample", "channel", "y", "x"), heat)}, {"sample": np.arange(200)})
    found = analysis.duplicates(data, variable="attribution", by=None)
    assert _groups(found) == [[3, 7]]


def _white(rng, n):
    return rng.normal(size=(n, 100))


def _smooth(rng, n):
    return ndimage.gaussian_filter(rng.normal(size=(n, 12, 12)), (0, 3, 3)).reshape(n, -1)


def _continuum(rng, n):
    y, x = np.mgrid[:12, :12]
    centre, width = rng.uniform(2, 10, (2, n, 1, 1)), rng.uniform(1, 3, (n, 1, 1))
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2)).reshape(n, -1)


def _of_two_dimensions(rng, n):
    return np.concatenate([_white(rng, n // 2), np.pad(_smooth(rng, n - n // 2), ((0, 0), (0, 0)))[:, :100]])


@pytest.mark.parametrize("draw", [_white, _smooth, _continuum, _of_two_dimensions])
def test_independent_samples_are_not_called_near(draw):
    rng = np.random.default_rng(0)
    named = [len(near_pairs(draw(rng, n), level=0.05)[0]) > 0 for n in (20, 60, 300) for _ in range(8)]
    assert np.mean(named) <= 0.1


def test_a_dense_cluster_is_no_copy():
    """A threshold for the whole set would take all of it for one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10))
    x[:60] = 0.01 * x[:60] + 3
    assert len(near_pairs(x, level=0.05)[0]) == 0
    x[1] = x[0] + 1e-6
    assert near_pairs(x, level=0.05)[0].tolist() == [[0, 1]]


def _grouped_with(first: np.ndarray) -> list[list[int]]:
    """Return the groups found where these images are the first of 150."""
    images = _images(150)
    images[: len(first)] = first
    return _groups(analysis.duplicates(_data(images.clip(0, 255), label=np.zeros(150, int))))


@pytest.mark.parametrize("noise", [1, 5])
@pytest.mark.parametrize("size", [2, 3, 7, 10, 11, 12, 15, 20, 21, 40, CLUMP])
def test_however_many_copies_are_found_as_one_group(size, noise):
    """Such as the frames of a video, which are each other's neighbours and hide what is around them."""
    rng = np.random.default_rng(size)
    one = _images(1, seed=1)
    assert _grouped_with(one + rng.normal(scale=noise, size=(size, *one.shape[1:]))) == [list(range(size))]


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("size", [12, 20, 40])
def test_a_tight_cluster_of_different_samples_is_no_copy(size, share):
    """They have most of a picture in common, and are pictures of their own beside that."""
    different = share * (_images(size, seed=2) - 128)
    assert _grouped_with(_images(1, seed=1) + different) == []


@pytest.mark.parametrize("size", [12, 25, 40])
def test_heatmaps_on_the_same_mark_are_no_copies(size):
    heat = np.random.default_rng(0).exponential(size=(150, 1, 20, 20))
    heat[:size, 0, :4, :4] += 100 * np.random.default_rng(1).uniform(0.5, 1.5, size=(size, 4, 4))
    data = xr.Dataset({"attribution": (("sample", "channel", "y", "x"), heat)})
    assert _groups(analysis.duplicates(data, variable="attribution", by=None)) == []


@pytest.mark.parametrize(("videos", "frames"), [(12, 12), (9, 30), (40, 3), (200, 1)])
def test_groups_are_found_where_all_others_are_groups_too(videos, frames):
    """No neighbour outside a group is a single sample, of which a distance between samples could be told."""
    images = np.repeat(_images(videos), frames, axis=0)
    images += np.random.default_rng(0).normal(scale=3, size=images.shape)
    found = _groups(analysis.duplicates(_data(images.clip(0, 255)), by=None))
    expected = np.arange(videos * frames).reshape(videos, frames).tolist() if frames > 1 else []
    assert sorted(found) == expected


def test_where_copies_leave_too_few_samples_none_is_near():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(18, 10))
    x[:12] = x[0] + 1e-3 * rng.normal(size=(12, 10))
    assert len(near_pairs(x, level=0.05)[0]) == 0


@pytest.mark.parametrize("size", [CLUMP + 1, 80])
def test_more_than_a_clump_are_a_dense_part(size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10))
    x[:size] = x[0] + 0.01 * rng.normal(size=(size, 10))
    assert len(near_pairs(x, level=0.05)[0]) == 0


def test_a_threshold_can_be_given():
    data = _data(_images(60), label=np.zeros(60, int))
    assert analysis.duplicates(data, threshold=2.0)["size"].values.tolist() == [60]
    assert analysis.duplicates(data, threshold=0.0).sizes["group"] == 0


def test_of_ids_and_small_classes_only_identical_ones_are_named():
    ids = np.random.default_rng(0).integers(0, 9, (30, 5))
    ids[4] = ids[2]
    data = xr.Dataset({"input": (("sample", "token"), ids)}, {"sample": np.arange(30)})
    assert _groups(analysis.duplicates(data, by=None)) == [[2, 4]]
    few = _data(_images(9), label=np.array([0, 0, 0, 1, 1, 1, 1, 1, 1]))
    assert analysis.duplicates(few).attrs["not_judged"] == "0, 1"


def test_lazily_opened_data_give_the_same_and_a_file_holds_it(tmp_path, monkeypatch):
    images = _images(80)
    images[5], images[9] = images[2], images[8] + 1
    data = _data(images, label=np.zeros(80, int))
    whole = analysis.duplicates(data)
    data.to_netcdf(tmp_path / "data.nc")
    monkeypatch.setattr("relfunc.keys.blocks.BYTES", 20_000)
    with xr.open_dataset(tmp_path / "data.nc") as opened:
        found = analysis.duplicates(opened)
    xr.testing.assert_identical(found, whole)
    for part in (found, analysis.duplicates(data.isel(sample=slice(10, None)))):
        part.to_netcdf(tmp_path / "found.nc")
        with xr.open_dataset(tmp_path / "found.nc") as again:
            xr.testing.assert_equal(again.load(), part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variable": "heat"}, "variable='heat' is none over 'sample' and more; there are 'input', 'label'"),
        ({"split": "part"}, "split='part' is none over 'sample'; there are 'label', and None"),
        ({"by": "prediction"}, "by='prediction' is none over 'sample'"),
    ],
)
def test_what_is_wrong_is_said(change, message):
    with pytest.raises(DataError, match=message):
        analysis.duplicates(_data(_images(10), label=np.zeros(10, int)), **change)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_images_with_a_lost_pixel_are_not_copies_of_each_other(lost: float):
    images = _images(100)
    images[::8, 0, 3, 4] = lost
    images[9] = images[17]
    images[17, 0, 3, 4] = lost  # a copy nonetheless
    data = xr.Dataset({"input": (("sample", "channel", "y", "x"), images)})
    assert _groups(analysis.duplicates(data, by=None)) == [[9, 17]]


def test_relevance_that_is_no_number_is_refused():
    heat = np.random.default_rng(0).exponential(size=(40, 8, 8))
    heat[[3, 9], 0, 0] = np.nan
    data = xr.Dataset({"attribution": (("sample", "y", "x"), heat)})
    with pytest.raises(DataError, match="holds NaN or infinity"):
        analysis.duplicates(data, variable="attribution", by=None)


def test_zeros_of_either_sign_are_the_same_across_categories():
    signals = np.random.default_rng(0).normal(size=(20, 30))
    signals[[3, 4], :10], signals[4, 10:] = [[0.0], [-0.0]], signals[3, 10:]
    data = xr.Dataset({"input": (("sample", "time"), signals), "label": ("sample", np.arange(20) % 2)})
    found = analysis.duplicates(data)
    assert (_groups(found), found["kind"].values.tolist()) == ([[3, 4]], ["identical"])
    assert found["across_category"].values.tolist() == [True]
