import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from relfunc.errors import RelfuncError
from relfunc.heatmap.colormap import COLORMAPS, ColormapError, palette
from relfunc.heatmap.pictures import PictureError, heatmap, indices, overlay, picture, recolor, save

NAN, INF = float("nan"), float("inf")

numbers = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda value: value == 0 or abs(value) > 1e-6)
pictures = arrays(float, array_shapes(min_dims=2, max_dims=4, max_side=4), elements=numbers)


def rgb(image):
    return np.asarray(image.convert("RGB")).tolist()


INDICES = {
    "both signs": ([-2, -1, 0, 1, 2], {}, [0, 64, 128, 191, 255]),
    "only positive": ([0, 1, 4], {}, [128, 159, 255]),
    "only negative": ([0, -1, -4], {}, [128, 96, 0]),
    "all zero": ([0, 0], {}, [128, 128]),
    "negative zero": ([-0.0, 1], {}, [128, 255]),
    "constant": ([3, 3], {}, [255, 255]),
    "NaN is neutral and no bound": ([NAN, -1, 2], {}, [128, 64, 255]),
    "only NaN": ([NAN, NAN], {}, [128, 128]),
    "infinities are the ends and no bound": ([-INF, -1, 0, 2, INF], {}, [0, 64, 128, 255, 255]),
    "only infinities": ([-INF, 0, INF, NAN], {}, [0, 128, 255, 128]),
    "vmax": ([-4, -1, 1, 4], {"vmax": 2}, [0, 64, 191, 255]),
    "vmin": ([-4, -1, 1, 4], {"vmin": -2}, [0, 64, 191, 255]),
    "both": ([-4, -1, 1, 4], {"vmin": -2, "vmax": 2}, [0, 64, 191, 255]),
    "the largest floats": ([-1.7e308, 0, 1.7e308], {}, [0, 128, 255]),
    "one-sided": ([-1, 0, 3], {"symmetric": False}, [0, 64, 255]),
    "one-sided, constant": ([3, 3], {"symmetric": False}, [0, 0]),
    "one-sided, all zero": ([0, 0], {"symmetric": False}, [0, 0]),
    "one-sided, NaN": ([NAN, 1, 2], {"symmetric": False}, [0, 0, 255]),
    "one-sided, only NaN": ([NAN], {"symmetric": False}, [0]),
    "one-sided, infinities": ([-INF, 1, 2, INF], {"symmetric": False}, [0, 0, 255, 255]),
    "one-sided, only infinities": ([-INF, INF, NAN], {"symmetric": False}, [0, 255, 0]),
    "one-sided, vmin": ([-1, 0, 1], {"symmetric": False, "vmin": 0}, [0, 0, 255]),
    "one-sided, vmax": ([0, 1, 4], {"symmetric": False, "vmax": 2}, [0, 128, 255]),
    "one-sided, both": ([-9, 1, 2, 9], {"symmetric": False, "vmin": 0, "vmax": 4}, [0, 64, 128, 255]),
    "one-sided, all below vmin": ([-2, -1], {"symmetric": False, "vmin": 0}, [0, 0]),
    "one-sided, all above vmax": ([1, 2], {"symmetric": False, "vmax": 0}, [255, 255]),
    "one-sided, the largest floats": ([-1.7e308, 0, 1.7e308], {"symmetric": False}, [0, 128, 255]),
}


@pytest.mark.parametrize("case", INDICES)
def test_indices(case):
    row, options, expected = INDICES[case]
    drawn = indices([row], **options)
    assert drawn.dtype == np.uint8
    assert drawn.tolist() == [expected]


def test_each_sample_or_the_batch_sets_the_range():
    relevance = np.array([[[1.0, -1.0]], [[2.0, -4.0]]])
    assert indices(relevance).tolist() == [[[255, 0]], [[191, 0]]]
    assert indices(relevance, per="batch").tolist() == [[[159, 96]], [[191, 0]]]


def test_indices_sum_over_the_channel_axis():
    relevance = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(indices(relevance, channel=1), indices(relevance.sum(1)))
    np.testing.assert_array_equal(indices(np.moveaxis(relevance, 1, -1), channel=-1), indices(relevance.sum(1)))


@given(pictures, st.booleans(), st.sampled_from(["sample", "batch"]))
def test_greater_relevance_never_has_a_lower_index(relevance, symmetric, per):
    drawn = indices(relevance, symmetric=symmetric, per=per)
    groups = [...] if per == "batch" else list(np.ndindex(relevance.shape[:-2]))
    for group in groups:
        order = np.argsort(relevance[group], axis=None, kind="stable")
        assert (np.diff(drawn[group].ravel()[order].astype(int)) >= 0).all()


@given(pictures)
def test_zero_is_the_middle_and_signs_stay_on_their_side(relevance):
    drawn = indices(relevance)
    assert (drawn[relevance == 0] == 128).all()
    assert (drawn[relevance > 0] >= 128).all()
    assert (drawn[relevance < 0] <= 128).all()


@given(pictures, st.integers(-100, 100), st.booleans())
def test_scale_does_not_matter(relevance, exponent, symmetric):
    # Powers of two scale without rounding, so every index must stay.
    np.testing.assert_array_equal(
        indices(relevance * 2.0**exponent, symmetric=symmetric), indices(relevance, symmetric=symmetric)
    )


@given(pictures)
def test_the_opposite_relevance_is_the_mirrored_index(relevance):
    mirrored = 255 - indices(-relevance).astype(int)
    # Halves are rounded to even, so zero itself is 128 on both sides.
    assert np.abs(indices(relevance) - mirrored).max() <= 1


@given(pictures, st.booleans())
def test_the_bounds_given_are_the_bounds_found(relevance, symmetric):
    low, high = relevance.min(), relevance.max()
    if symmetric:
        high = np.abs(relevance).max()
        low = -high
    if low < high:
        np.testing.assert_array_equal(
            indices(relevance, symmetric=symmetric, vmin=low, vmax=high),
            indices(relevance, symmetric=symmetric, per="batch"),
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_that_require_a_gradient(dtype):
    relevance = torch.tensor([[-2.0, 0.0, 1.0, 2.0]], dtype=dtype, requires_grad=True)
    assert np.asarray(heatmap(relevance)).tolist() == [[0, 128, 191, 255]]
    assert relevance.requires_grad


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float16, np.float32])
def test_any_real_dtype(dtype):
    assert indices(np.array([[-100, 0, 100]], dtype)).tolist() == [[0, 128, 255]]


def test_half_precision_channels_are_summed_without_overflow():
    relevance = np.full((3, 1, 8), 6e4, np.float16)
    relevance[:, :, 1:] /= 2
    assert np.asarray(heatmap(relevance)).tolist() == [[255] + [191] * 7]


def test_nothing_is_written_to_the_argument():
    relevance = np.random.default_rng(0).normal(size=(2, 3, 8, 8))
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    before = relevance.copy(), image.copy()
    heatmap(relevance, grid=True)
    overlay(relevance, image, grid=True)
    picture(image, grid=True)
    np.testing.assert_array_equal(relevance, before[0])
    np.testing.assert_array_equal(image, before[1])


@pytest.mark.parametrize("cmap", [*COLORMAPS, "0f0,80:fff,f0f"])
@pytest.mark.parametrize("level", [1.0, 2.0])
def test_a_heatmap_holds_indices_and_colours_apart(cmap, level):
    relevance = np.linspace(-1, 1, 256).reshape(16, 16)
    image = heatmap(relevance, cmap=cmap, level=level)
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), indices(relevance))
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), palette(cmap, level)[indices(relevance)])


LAYOUTS = {
    "(y, x)": ("yx", (8, 9), {}),
    "(channel, y, x)": ("cyx", (3, 8, 9), {}),
    "one channel": ("cyx", (1, 8, 9), {}),
    "many channels": ("cyx", (64, 8, 9), {}),
    "channels first": ("cyx", (3, 8, 4), {"channels": "first"}),
    "channels last": ("yxc", (8, 9, 3), {"channels": "last"}),
    "(sample, y, x)": ("nyx", (4, 8, 9), {"grid": True}),
    "(sample, y, x), narrow": ("nyx", (4, 8, 3), {"grid": True}),
    "(sample, channel, y, x)": ("ncyx", (4, 3, 8, 9), {"grid": True}),
    "(sample, y, x, channel)": ("nyxc", (4, 8, 9, 3), {"grid": True, "channels": "last"}),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(case):
    letters, shape, options = LAYOUTS[case]
    relevance = np.random.default_rng(0).normal(size=shape)
    order = "".join(letter for letter in "nyx" if letter in letters)
    plain = np.einsum(f"{letters}->{order}", relevance)
    drawn = np.asarray(heatmap(relevance, **options))
    if "n" in letters:
        cells = indices(plain)
        expected = np.vstack([np.hstack([cells[0], cells[1]]), np.hstack([cells[2], cells[3]])])
    else:
        expected = indices(plain)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("dims", [("sample", "channel", "y", "x"), ("y", "x", "channel", "sample")])
def test_labels_say_which_dimension_is_which(dims):
    relevance = xr.DataArray(np.random.default_rng(0).normal(size=(4, 3, 3, 3)), dims=("sample", "channel", "y", "x"))
    shuffled = relevance.transpose(*dims)
    expected = heatmap(relevance.values, grid=True, channels="first")
    np.testing.assert_array_equal(np.asarray(heatmap(shuffled, grid=True)), np.asarray(expected))
    np.testing.assert_array_equal(
        np.asarray(heatmap(shuffled.isel(sample=1, channel=2))), indices(relevance.values[1, 2])
    )
    np.testing.assert_array_equal(np.asarray(heatmap(shuffled.isel(sample=1))), indices(relevance.values[1], channel=0))


@pytest.mark.parametrize(
    ("count", "grid", "shape"),
    [
        (1, True, (1, 1)),
        (2, True, (1, 2)),
        (3, True, (2, 2)),
        (4, True, (2, 2)),
        (5, True, (2, 3)),
        (7, True, (3, 3)),
        (12, True, (3, 4)),
        (5, (1, 5), (1, 5)),
        (5, (5, 1), (5, 1)),
        (3, (2, 4), (2, 4)),
    ],
)
def test_grid_geometry(count, grid, shape):
    relevance = np.arange(1, count + 1)[:, None, None] * np.ones((count, 2, 3))
    rows, columns = shape
    image = heatmap(relevance, grid=grid, per="batch", fill=7)
    assert image.size == (columns * 3, rows * 2)
    cells = np.asarray(image).reshape(rows, 2, columns, 3).transpose(0, 2, 1, 3).reshape(rows * columns, 2, 3)
    np.testing.assert_array_equal(cells[:count], indices(relevance, per="batch"))
    assert (cells[count:] == 7).all()


def test_cells_without_a_picture_are_neutral():
    relevance = np.ones((3, 1, 1))
    assert np.asarray(heatmap(relevance, grid=True)).tolist() == [[255, 255], [255, 128]]
    assert np.asarray(heatmap(relevance, grid=True, symmetric=False)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("shape", "options", "mode"),
    [
        ((8, 9), {}, "L"),
        ((1, 8, 9), {}, "L"),
        ((3, 8, 9), {}, "RGB"),
        ((4, 8, 9), {}, "RGBA"),
        ((8, 9, 1), {}, "L"),
        ((8, 9, 3), {}, "RGB"),
        ((8, 9, 4), {}, "RGBA"),
        ((4, 9, 3), {"channels": "last"}, "RGB"),
        ((3, 9, 4), {"channels": "first"}, "RGB"),
    ],
)
def test_uint8_images_are_drawn_as_they_are(shape, options, mode):
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = picture(values, **options)
    assert image.mode == mode
    last = options.get("channels") == "last" or shape[0] == 8
    expected = values if last or values.ndim == 2 else np.moveaxis(values, 0, -1)
    np.testing.assert_array_equal(np.asarray(image).ravel(), expected.ravel())


def test_float_images_are_scaled_over_all_channels():
    values = torch.tensor([[[-1.0, 0.0]], [[1.0, 3.0]], [[NAN, -1.0]]], requires_grad=True)
    assert np.asarray(picture(values, channels="first")).tolist() == [[[0, 128, 0], [64, 255, 0]]]
    assert np.asarray(picture(np.full((2, 2), 0.5))).tolist() == [[0, 0], [0, 0]]


def test_picture_grid():
    values = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 3, 2, 5), np.uint8)
    image = picture(values, grid=(2, 2), fill=9)
    assert (image.mode, image.size) == ("RGB", (10, 4))
    np.testing.assert_array_equal(np.asarray(image)[::2, ::5, 1], [[0, 1], [2, 9]])


def test_overlay_is_the_input_at_zero_and_the_colour_at_the_strongest():
    relevance = np.array([[-2.0, -1.0, 0.0, NAN, 2.0]])
    image = overlay(relevance, np.full((1, 5), 100, np.uint8), alpha=1.0)
    assert rgb(image) == [[[0, 0, 255], [114, 114, 178], [100, 100, 100], [100, 100, 100], [255, 0, 0]]]
    faint = overlay(relevance, np.full((1, 5), 100, np.uint8), alpha=0.0)
    assert rgb(faint) == [[[100] * 3] * 5]


def test_overlay_one_sided_shows_the_input_at_vmin():
    image = overlay([[0.0, 1.0, 2.0]], np.full((1, 3), 100, np.uint8), cmap="hot", alpha=1.0, symmetric=False, vmin=0)
    assert rgb(image)[0][0] == [100, 100, 100]
    assert rgb(image)[0][2] == [255, 255, 255]


@given(arrays(float, (3, 4), elements=numbers), st.floats(0, 1), st.floats(0, 1))
def test_overlay_opacity_grows_with_magnitude(relevance, alpha, other):
    low, high = sorted([alpha, other])
    grey = np.full((3, 4), 128, np.uint8)
    distance = [np.abs(np.asarray(overlay(relevance, grey, alpha=a), int) - 128).max(-1) for a in (low, high)]
    assert (distance[0] <= distance[1]).all()
    order = np.argsort(np.abs(relevance), axis=None, kind="stable")
    assert (np.diff(distance[1].ravel()[order][relevance.ravel()[order] > 0]) >= 0).all()


def test_overlay_greys_a_colour_image():
    values = np.array([255, 0, 0], np.uint8)[:, None, None] * np.ones((3, 8, 8), np.uint8)
    assert rgb(overlay(np.zeros((8, 8)), values)) == [[[76] * 3] * 8] * 8
    rgba = np.concatenate([values, np.zeros((1, 8, 8), np.uint8)])
    assert rgb(overlay(np.zeros((8, 8)), rgba)) == [[[76] * 3] * 8] * 8


def test_overlay_resizes_relevance_to_the_input():
    image = overlay(np.array([[1e300, -1e300], [0.0, 0.0]]), np.zeros((8, 12), np.uint8), alpha=1.0)
    assert image.size == (12, 8)
    corners = np.asarray(image)[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
    assert corners == [[255, 0, 0], [0, 0, 255], [0, 0, 0], [0, 0, 0]]


def test_overlay_grid():
    relevance = np.ones((3, 1, 5, 6))
    image = overlay(relevance, np.zeros((3, 3, 5, 6), np.uint8), grid=(2, 2), fill=40, alpha=1.0)
    assert (image.mode, image.size) == ("RGB", (12, 10))
    assert np.asarray(image)[::5, ::6].tolist() == [[[255, 0, 0], [255, 0, 0]], [[255, 0, 0], [40, 40, 40]]]


@pytest.mark.parametrize("cmap", ["gray", "bwr", "80:00f,80:f00"])
def test_png_keeps_indices_and_palette(tmp_path, cmap):
    image = heatmap(np.linspace(-1, 1, 256).reshape(8, 32), cmap=cmap)
    save(image, tmp_path / "new" / "a.PNG")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.PNG"]
    with Image.open(tmp_path / "new" / "a.PNG") as read:
        assert (read.format, read.mode) == ("PNG", "P")
        np.testing.assert_array_equal(np.asarray(read), np.asarray(image))
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(image.convert("RGB")))


def test_png_keeps_indices_of_few_values(tmp_path):
    # A writer that shrinks palettes would renumber these.
    save(heatmap([[-1.0, 0.0, 1.0]]), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as read:
        assert np.asarray(read).tolist() == [[0, 128, 255]]


def test_a_saved_heatmap_changes_its_colours(tmp_path):
    relevance = np.random.default_rng(0).normal(size=(16, 16))
    save(heatmap(relevance), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as read:
        changed = recolor(read, "coldnhot", level=2.0)
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), palette("bwr")[indices(relevance)])
    np.testing.assert_array_equal(np.asarray(changed), indices(relevance))
    np.testing.assert_array_equal(np.asarray(changed.convert("RGB")), palette("coldnhot", 2.0)[indices(relevance)])


def test_a_failed_save_leaves_the_old_file(tmp_path):
    save(heatmap([[1.0]]), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(OSError, match="cannot write mode"):
        save(Image.new("HSV", (1, 1)), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


SQUARE = np.zeros((8, 9))
WRONG = {
    "one axis": (lambda: heatmap(np.zeros(5)), r"shape \(5,\) is not \(y, x\)"),
    "a batch without a grid": (lambda: heatmap(np.zeros((2, 3, 8, 9))), "pass grid=True"),
    "a picture with a grid": (lambda: heatmap(SQUARE, grid=True), r"shape \(8, 9\) is not \(sample, y, x\)"),
    "channels last, unsaid": (lambda: heatmap(np.zeros((8, 9, 3))), "pass channels='first' or channels='last'"),
    "channels at both ends": (lambda: picture(np.zeros((3, 9, 3))), "pass channels='first' or channels='last'"),
    "a layout of no name": (lambda: heatmap(np.zeros((3, 8, 9)), channels="middle"), "channels='middle' is no layout"),
    "two channels": (lambda: picture(np.zeros((2, 8, 9))), "2 channels cannot be drawn"),
    "nothing": (lambda: heatmap(np.zeros((0, 3, 8, 9)), grid=True), r"\(0, 3, 8, 9\) is empty"),
    "complex numbers": (lambda: heatmap(SQUARE + 1j), "complex128 cannot be drawn"),
    "texts": (lambda: heatmap([["a"]]), "cannot be drawn: give real numbers"),
    "no rows": (lambda: indices(np.zeros(4)), "no rows and columns"),
    "no such channel axis": (lambda: indices(SQUARE, channel=2), "channel axis 2 does not exist"),
    "per": (lambda: indices(SQUARE, per="image"), "per='image'"),
    "bounds exchanged": (lambda: indices(SQUARE, vmin=1, vmax=-1), "vmin=1 is not below vmax=-1"),
    "no range": (lambda: indices(SQUARE, symmetric=False, vmin=1, vmax=1), "not below"),
    "NaN as a bound": (lambda: indices(SQUARE, vmax=NAN), "not finite"),
    "bounds not symmetric": (lambda: indices(SQUARE, vmin=-1, vmax=2), "not symmetric"),
    "no room about zero": (lambda: indices(SQUARE, vmax=0), "no room about zero"),
    "vmin above zero": (lambda: indices(SQUARE, vmin=1), "no room about zero"),
    "grid too small": (lambda: heatmap(np.zeros((5, 8, 9)), grid=(2, 2)), "2 × 2 cells cannot hold 5 pictures"),
    "grid of one number": (lambda: heatmap(np.zeros((5, 8, 9)), grid=5), r"is not \(rows, columns\)"),
    "grid of no rows": (lambda: heatmap(np.zeros((5, 8, 9)), grid=(0, 5)), r"is not \(rows, columns\)"),
    "grid of fractions": (lambda: heatmap(np.zeros((5, 8, 9)), grid=(2.5, 2)), r"is not \(rows, columns\)"),
    "fill": (lambda: heatmap(SQUARE, fill=256), "fill 256"),
    "alpha": (lambda: overlay(SQUARE, SQUARE, alpha=1.5), "alpha 1.5 is no opacity"),
    "alpha NaN": (lambda: overlay(SQUARE, SQUARE, alpha=NAN), "alpha nan is no opacity"),
    "samples differ": (
        lambda: overlay(np.zeros((2, 8, 9)), np.zeros((3, 8, 9)), grid=True),
        "2 relevances and 3 inputs",
    ),
    "a picture without a palette": (lambda: recolor(Image.new("RGB", (1, 1)), "bwr"), "mode 'RGB' has no palette"),
    "not a PNG": (lambda: save(heatmap(SQUARE), "a.jpg"), "does not end in '.png'"),
    "a dimension to select": (
        lambda: heatmap(xr.DataArray(np.zeros((2, 8, 9)), dims=("target", "y", "x"))),
        r"dimensions \['target'\] cannot be drawn",
    ),
    "labelled samples without a grid": (
        lambda: heatmap(xr.DataArray(np.zeros((2, 8, 9)), dims=("sample", "y", "x"))),
        "2 samples are no single picture",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_say_what_was_wrong(case):
    call, message = WRONG[case]
    with pytest.raises(PictureError, match=message) as error:
        call()
    assert isinstance(error.value, RelfuncError)


@pytest.mark.parametrize(
    "call",
    [
        lambda: heatmap(SQUARE, cmap="nope"),
        lambda: overlay(SQUARE, SQUARE, cmap="nope"),
        lambda: recolor(heatmap(SQUARE), "nope"),
    ],
)
def test_unknown_colour_maps(call):
    with pytest.raises(ColormapError, match="no colour map 'nope'"):
        call()


def test_drawing_does_not_import_torch_or_matplotlib():
    code = "import sys, relfunc.heatmap; print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
