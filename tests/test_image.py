"""Pictures from arrays, tensors and PIL images, and the canvas they are laid on."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cotir.colour import luma
from cotir.errors import ImageError
from cotir.image import Canvas, Carried, Picture, quantise


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_integer_array_comes_back_exactly(shape, dtype):
    array = noise(shape, dtype)
    picture = Picture.of(array)
    assert picture.pixels.shape == (5, 7, 3)
    assert picture.pixels.dtype == np.float32
    assert picture.to_array().dtype == dtype
    np.testing.assert_array_equal(picture.to_array(), array)


def test_every_16_bit_level_survives_the_way_through_the_canvas():
    array = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = Picture.of(array)
    canvas = Canvas.fit(picture, 48)
    np.testing.assert_array_equal(picture.replace_pixels(canvas.crop(canvas.tensor)).to_array(), array)


def test_trailing_single_channel_is_gray():
    assert Picture.of(noise((5, 7, 1))).carried.gray


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_array(dtype):
    array = np.linspace(0, 1, 24, dtype=dtype).reshape(2, 3, 4)
    picture = Picture.of(array)
    np.testing.assert_allclose(picture.pixels, array[..., :3], atol=1e-7)
    np.testing.assert_allclose(picture.carried.alpha, array[..., 3], atol=1e-7)
    assert picture.to_array().dtype == np.uint8


def test_a_float_array_may_leave_its_range_by_rounding():
    array = np.float32([[0.0, 1.0]]) + np.float32([[-1e-6, 1e-6]])
    assert Picture.of(array).pixels.tolist() == [[[0.0] * 3, [1.0] * 3]]


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 3, 5, 7)])
def test_tensor(shape):
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(Picture.of(tensor).pixels, tensor.reshape(3, 5, 7).permute(1, 2, 0).numpy())


def test_a_picture_is_itself():
    picture = Picture.of(noise((2, 2, 3)))
    assert Picture.of(picture) is picture


def test_array_is_copied():
    array = np.zeros((2, 2, 3), np.float32)
    picture = Picture.of(array)
    array[:] = 1
    assert picture.pixels.max() == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 2, 5), np.uint8), r"shape \(2, 2, 5\) is no picture; give \(H, W\)"),
        (np.zeros((0, 2, 3), np.uint8), r"shape \(0, 2, 3\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((2, 2), np.int32), "array of int32.*uint8, uint16 or float"),
        (np.full((2, 2), 255.0), "spans 255 to 255; divide"),
        (np.full((2, 2), np.nan), "spans nan"),
        (torch.zeros(2, 4, 4), r"tensor of shape \(2, 4, 4\).*\(3, H, W\)"),
        (torch.zeros(2, 3, 4, 4), r"tensor of shape \(2, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "tensor of torch.uint8.*float in"),
        (42, "cannot be made of int; give a path"),
    ],
)
def test_what_is_no_picture_is_refused_with_reasons(value, message):
    with pytest.raises(ImageError, match=message):
        Picture.of(value)


@pytest.mark.parametrize(
    ("mode", "back"),
    [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "L"), ("LA", "LA"), ("1", "L"), ("P", "RGB"), ("I;16", "I;16")],
)
def test_pil_modes_go_in_and_come_out(mode, back):
    deep = mode == "I;16"
    image = Image.fromarray(noise((6, 5), np.uint16) if deep else noise((6, 5, 4 if "A" in mode else 3)))
    image = image if deep else image.convert(mode)
    out = Picture.of(image).to_pil()
    assert out.mode == back
    np.testing.assert_array_equal(np.asarray(out), np.asarray(image if mode == back else image.convert(back)))


def test_16_bit_colour_becomes_8_bit_pil_to_nearest():
    array = np.array([[[0, 128, 129], [65535, 65406, 65407]]], np.uint16)
    assert np.asarray(Picture.of(array).to_pil()).tolist() == [[[0, 0, 1], [255, 254, 255]]]


def test_32_bit_pil_beyond_16_bits_is_refused():
    with pytest.raises(ImageError, match="the PIL image holds integers from 70000 to 70000; CoTIR reads up to 16"):
        Picture.of(Image.new("I", (2, 2), 70000))


def test_float_pil_beyond_one_is_refused():
    with pytest.raises(ImageError, match="the PIL image holds floats from 2 to 2"):
        Picture.of(Image.new("F", (2, 2), 2.0))


def test_new_pixels_keep_what_is_carried_and_are_clamped():
    picture = Picture.of(noise((4, 4, 4)))
    new = picture.replace_pixels(np.full((4, 4, 3), 1.5))
    assert new.pixels.max() == 1
    np.testing.assert_array_equal(new.to_array()[..., 3], picture.to_array()[..., 3])


def test_gray_stays_gray_unless_colourised():
    picture = Picture.of(noise((4, 4)))
    colour = noise((4, 4, 3)).astype(np.float32) / 255
    gray = picture.replace_pixels(colour)
    assert gray.to_array().shape == (4, 4)
    np.testing.assert_array_equal(gray.pixels, luma(colour))
    coloured = picture.replace_pixels(colour, colourise=True)
    assert coloured.to_array().shape == (4, 4, 3)
    np.testing.assert_array_equal(coloured.pixels, colour)


def test_new_pixels_of_another_size_or_not_finite_are_refused():
    picture = Picture.of(noise((4, 4, 3)))
    with pytest.raises(ImageError, match=r"\(4, 5, 3\), but the picture is \(4, 4, 3\)"):
        picture.replace_pixels(np.zeros((4, 5, 3)))
    with pytest.raises(ImageError, match="48 values of the new pixels are not finite"):
        picture.replace_pixels(np.full((4, 4, 3), np.nan))


def test_blend_ends_are_exact_and_the_middle_is_between():
    before = Picture.of(noise((4, 4, 3)))
    after = before.replace_pixels(noise((4, 4, 3), seed=1) / 255)
    assert before.blend(after, 0).pixels is before.pixels
    assert before.blend(after, 1).pixels is after.pixels
    np.testing.assert_allclose(before.blend(after, 0.5).pixels, (before.pixels + after.pixels) / 2, atol=1e-6)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_outside_its_range_is_refused(strength):
    picture = Picture.of(noise((4, 4, 3)))
    with pytest.raises(ImageError, match=f"strength is {strength}; it must lie between 0"):
        picture.blend(picture, strength)


@pytest.mark.parametrize("depth", [8, 16])
def test_quantise_rounds_to_nearest_and_clamps(depth):
    top = 2**depth - 1
    values = np.array([-1, 0.4 / top, 0.6 / top, (top - 0.4) / top, 2], np.float32)
    assert quantise(values, depth).tolist() == [0, 0, 1, top, top]


@pytest.mark.parametrize("multiple", [1, 8, 16, 48])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 16), (17, 31), (1, 40)])
def test_canvas_pads_to_the_grid_and_crops_back(size, multiple):
    picture = Picture.of(noise((*size, 3)))
    canvas = Canvas.fit(picture, multiple)
    height, width = canvas.tensor.shape[2:]
    assert canvas.tensor.dtype == torch.float32
    assert canvas.tensor.shape[:2] == (1, 3)
    assert height % multiple == width % multiple == 0
    assert 0 <= height - size[0] < multiple
    assert 0 <= width - size[1] < multiple
    assert -1 <= canvas.tensor.min() <= canvas.tensor.max() <= 1
    np.testing.assert_array_equal(picture.replace_pixels(canvas.crop(canvas.tensor)).to_array(), picture.to_array())


def test_padding_mirrors_and_repeats_the_edge_of_a_short_side():
    ramp = np.repeat(np.linspace(0, 1, 5, dtype=np.float32)[None, :, None], 3, axis=-1)
    row = (Canvas.fit(ramp, 8).tensor[0, 0] + 1) / 2
    np.testing.assert_allclose(row[0], [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25], atol=1e-6)
    np.testing.assert_allclose(row, row[:1].repeat(8, 1))
    row = (Canvas.fit(ramp[:, :3], 8).tensor[0, 0, 0] + 1) / 2
    np.testing.assert_allclose(row, [0, 0.25] + [0.5] * 6, atol=1e-6)


def test_hidden_colour_does_not_reach_the_model_and_comes_back():
    array = np.zeros((9, 11, 4), np.uint8)
    array[..., :3] = [255, 0, 255]
    array[2:5, 3:6] = [10, 200, 30, 255]
    picture = Picture.of(array)
    canvas = Canvas.fit(picture, 16)
    seen = quantise(((canvas.tensor[0].permute(1, 2, 0) + 1) / 2).numpy(), 8)
    assert (seen == [10, 200, 30]).all()
    np.testing.assert_array_equal(picture.replace_pixels(canvas.crop(canvas.tensor)).to_array(), array)
    restored = picture.replace_pixels(canvas.crop(torch.zeros_like(canvas.tensor))).to_array()
    assert (restored[2:5, 3:6] == [128, 128, 128, 255]).all()
    assert (restored[0, 0] == [255, 0, 255, 0]).all()


def test_wholly_transparent_picture_still_has_pixels():
    picture = Picture.of(np.zeros((4, 4, 4), np.uint8))
    assert Canvas.fit(picture, 8).tensor.shape == (1, 3, 8, 8)


def test_canvas_refuses_a_tensor_of_another_size_and_an_impossible_grid():
    canvas = Canvas.fit(np.zeros((4, 4, 3), np.float32), 8)
    with pytest.raises(ImageError, match=r"the tensor is \(1, 3, 8, 16\), but the canvas is \(1, 3, 8, 8\)"):
        canvas.crop(torch.zeros(1, 3, 8, 16))
    with pytest.raises(ImageError, match="grid is 0 pixels wide; it must be at least 1"):
        Canvas.fit(np.zeros((4, 4, 3), np.float32), 0)


def test_crop_takes_half_precision_and_clamps():
    canvas = Canvas.fit(np.zeros((4, 4, 3), np.float32), 8)
    pixels = canvas.crop(torch.full((1, 3, 8, 8), 3, dtype=torch.bfloat16))
    assert pixels.dtype == np.float32
    assert (pixels == 1).all()


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        Picture.of(noise((2, 2))).pixels = None  # pyright: ignore[reportAttributeAccessIssue]
    assert replace(Carried(), gray=True).gray


def test_importing_pictures_loads_no_model_library():
    heavy = "print([m for m in ('torch', 'diffusers', 'imagecodecs', 'tifffile', 'pillow_heif') if m in sys.modules])"
    code = f"import sys, cotir.image, cotir.files; {heavy}"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
