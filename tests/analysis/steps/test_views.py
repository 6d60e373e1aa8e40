"""What groups are sought in: whole maps, windows, spectra. Marks that only one of them shows, and a slow oracle."""

from typing import Final

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist
from sklearn.metrics import f1_score

import analysis
from analysis._kernels.views import laid_out, pooled, views

from .test_chance import by_refitting


def features(maps: NDArray, **clusterings: NDArray) -> xr.Dataset:
    dims = ("sample", "z", "y", "x")[:1] + ("z", "y", "x")[-(maps.ndim - 1) :]
    found = analysis.flatten(xr.Dataset({"attribution": (dims, maps)}))
    return found.assign({name: ("sample", label, {"role": "clustering"}) for name, label in clusterings.items()})


def bent(n: int, size: int = 32) -> NDArray:
    """Maps with a stroke that varies much, which rules all distances."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:size, :size] / size
    slope, at, width = rng.normal(0, 1, n), rng.normal(0.5, 0.1, n), rng.uniform(0.05, 0.1, n)
    lines = [np.exp(-((x - a - s * (y - 0.5) ** 2) ** 2) / 2 / w**2) for s, a, w in zip(slope, at, width, strict=True)]
    return np.array(lines) + 0.02 * np.abs(ndimage.gaussian_filter(rng.normal(size=(n, size, size)), (0, 1, 1)))


def _spot(maps: NDArray) -> None:
    maps[:, 25:28, 2:5] += 0.5


def _texture(maps: NDArray) -> None:
    maps += 0.006 * (np.indices(maps.shape[1:]).sum(0) % 4 < 2)


MARKS: Final = {"spot": _spot, "texture": _texture}


def marked(n: int, every: int, mark: str) -> tuple[NDArray, NDArray]:
    """Maps, and which of them have the mark."""
    maps, planted = bent(n), np.arange(n) % every == 0
    changed = maps[planted]
    MARKS[mark](changed)
    maps[planted] = changed
    return maps, planted


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_is_found_that_whole_maps_do_not_show(mark: str) -> None:
    maps, planted = marked(150, 10, mark)
    data = features(maps)
    label = analysis.apart(data)["apart"].values
    assert max(f1_score(planted, label == k) for k in range(1, label.max() + 1)) >= 0.95
    # the negative control: features that are not known to be maps have neither windows nor spectra
    bare = analysis.apart(data.drop_attrs())["apart"].values
    assert max((f1_score(planted, bare == k) for k in range(1, bare.max() + 1)), default=0) < 0.5


@pytest.mark.parametrize("mark", MARKS)
def test_the_margin_of_a_cluster_is_the_largest_of_all_views(mark: str) -> None:
    maps, inside = bent(40, 12), np.arange(40) < 12
    changed = np.pad(maps[inside], ((0, 0), (0, 20), (0, 20)))
    MARKS[mark](changed)
    maps[inside] = changed[:, -12:, :12] + maps[inside] if mark == "spot" else changed[:, :12, :12]
    given = features(maps, given=inside.astype(int))
    found = analysis.chance(given, surrogates=0, subsamples=0)["margin"].values[0, 1]
    spectrum = np.abs(np.fft.fftshift(np.fft.rfft2(maps), axes=1))
    mean_variance = np.square(maps - maps.mean(0)).sum(0).mean()
    expected = [by_refitting(maps.reshape(40, -1), inside, 1.0)]
    for y in (0, 4):
        for x in (0, 4):
            window = maps[:, y : y + 8, x : x + 8].reshape(40, -1)
            more = max(1.0, mean_variance / np.square(window - window.mean(0)).sum(0).mean())
            expected.append(by_refitting(window, inside, more))
        expected.append(by_refitting(spectrum[:, y : y + 8].reshape(40, -1), inside, 1.0))
    assert found == pytest.approx(max(expected), rel=5e-3)


SHAPES: Final = [(32, 32), (30, 17), (3, 32, 32), (7,), (100,), (2, 2), (1, 40), (16, 16, 16), (5, 9, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_windows_cover_every_feature(shape: tuple[int, ...]) -> None:
    maps = laid_out(np.random.default_rng(0).normal(size=(12, int(np.prod(shape)))), shape)
    for view in views(maps):
        assert np.unique(view.windows).tolist() == list(range(view.values.shape[1]))
        assert all(np.unique(window).size == window.size for window in view.windows)
        np.testing.assert_allclose(view.values.mean(0), 0, atol=1e-6)


BLOCKS: Final = {(64, 64): (2, 2), (5000,): (5,), (3, 96, 40): (1, 3, 2), (70, 17, 32): (5, 2, 2)}


@pytest.mark.parametrize("shape", BLOCKS, ids=str)
def test_where_neighbours_agree_averaging_keeps_distances(shape: tuple[int, ...]) -> None:
    sizes = [-(-length // block) for length, block in zip(shape, BLOCKS[shape], strict=True)]
    fine = np.random.default_rng(0).normal(size=(4, *sizes))
    for axis, block in enumerate(BLOCKS[shape], start=1):
        fine = np.repeat(fine, block, axis=axis)
    # what is cut off from the last block is zero
    whole = [length // block * block for length, block in zip(shape, BLOCKS[shape], strict=True)]
    fine[np.any([np.indices(fine.shape)[1 + at] >= end for at, end in enumerate(whole)], axis=0)] = 0
    flat = fine[(slice(None), *map(slice, shape))].reshape(4, -1)
    maps = laid_out(flat, shape)
    assert maps.shape[2:] == tuple(sizes)
    np.testing.assert_allclose(pdist(maps.reshape(4, -1)), pdist(flat))


@pytest.mark.parametrize("shape", [(64, 40, 40), (9, 9, 9, 9), (9999,), (3, 200, 200)], ids=str)
def test_large_maps_are_searched_in_a_few_thousand_features(shape: tuple[int, ...]) -> None:
    maps = laid_out(np.random.default_rng(0).normal(size=(3, int(np.prod(shape)))), shape)
    assert maps[0].size <= 4096
    assert sum(view.windows.size for view in views(maps)) <= 1e5


@pytest.mark.parametrize("shape", [(8, 8), (33, 33), (3, 70, 50), (1500,), (40, 18, 5), (9000,)], ids=str)
def test_rounding_errors_are_nothing_in_maps_of_any_size(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    map_ = rng.normal(size=int(np.prod(shape))) + 3
    same = (map_ * (1 + 1e-7 * rng.normal(size=(40, 1)))).astype(np.float32)
    assert not any(view.values.any() for view in views(laid_out(same, shape)))
    # the negative control: in double precision these are differences
    double = map_ * (1 + 1e-7 * rng.normal(size=(40, 1)))
    assert all(view.values.any() for view in views(laid_out(double, shape)))


def test_half_precision_does_not_overflow_where_neighbours_are_averaged() -> None:
    assert np.isfinite(laid_out(np.full((2, 90 * 90), 6e4, np.float16), (90, 90))).all()


def test_neighbours_that_have_no_order_are_averaged_alike() -> None:
    flat = np.repeat(np.random.default_rng(0).normal(size=(4, 3000)), 3, axis=1)
    np.testing.assert_allclose(pdist(pooled(flat)), pdist(flat))
    assert pooled(flat).shape == (4, 3000)


def test_other_samples_are_seen_as_the_first_ones_are() -> None:
    maps = laid_out(bent(30, 16).reshape(30, -1), (16, 16))
    for own, again in zip(views(maps), views(maps[5:9], like=views(maps)), strict=True):
        np.testing.assert_array_equal(own.values[5:9], again.values)


@pytest.mark.parametrize("mark", MARKS)
def test_samples_that_were_not_drawn_are_assigned_in_the_same_view(mark: str) -> None:
    maps, planted = marked(400, 5, mark)
    label = analysis.apart(features(maps), most=150)["apart"].values
    assert max(f1_score(planted, label == k) for k in range(1, label.max() + 1)) >= 0.95
