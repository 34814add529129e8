"""Gray, palettes and alpha: what they become as a picture, and what is written of them."""

import numpy as np
import pytest
from odd_files import noise, raw_png, saved, smooth
from PIL import Image

from cotir import files
from cotir.image import Picture


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "jpg", "avif", "heic"])
def test_gray_stays_gray(tmp_path, kind):
    path = files.write(Picture.of(smooth()[..., 0]), tmp_path / f"a.{kind}")
    assert files.read(path).carried.gray
    with Image.open(path) as image:
        assert image.mode == "L"


def test_one_bit_becomes_gray(tmp_path):
    picture = files.read(saved(Image.fromarray(noise((8, 8)) > 127), tmp_path / "a.png"))
    assert picture.carried.gray
    assert set(np.unique(picture.to_array())) == {0, 255}
    assert picture.carried.notes == ("1 bit widened to 8-bit gray",)


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    picture = files.read(saved(image, tmp_path / "a.png", transparency=bytes([0, 128, 255])))
    assert picture.to_array().tolist() == [[[255, 0, 0, 0], [0, 255, 0, 128], [0, 0, 255, 255]]]
    assert picture.carried.notes == ("palette expanded",)
    again = files.write(picture, tmp_path / "b.png", format="keep")
    np.testing.assert_array_equal(files.read(again).to_array(), picture.to_array())


def test_transparent_colour_of_gray_rgb_and_16_bit(tmp_path):
    gray = np.array([[5, 6]], np.uint8)
    picture = files.read(saved(Image.fromarray(gray), tmp_path / "l.png", transparency=5))
    assert picture.to_array().tolist() == [[[5, 0], [6, 255]]]
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    picture = files.read(saved(Image.fromarray(rgb), tmp_path / "rgb.png", transparency=(1, 2, 3)))
    assert picture.to_array()[..., 3].tolist() == [[0, 255]]
    (tmp_path / "deep.png").write_bytes(raw_png([[500, 600]], bits=16, colour_type=0, chunks=[(b"tRNS", b"\x01\xf4")]))
    picture = files.read(tmp_path / "deep.png")
    assert picture.to_array().tolist() == [[[500, 0], [600, 65535]]]


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "avif", "heic"])
def test_alpha_passes_unchanged(tmp_path, kind):
    array = np.dstack([smooth(), np.arange(24 * 32).reshape(24, 32) % 256]).astype(np.uint8)
    picture = files.read(files.write(Picture.of(array), tmp_path / f"a.{kind}", quality=100))
    bound = 1 if kind == "heic" else 0
    np.testing.assert_allclose(picture.to_array()[..., 3].astype(int), array[..., 3], atol=bound)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_gray_with_alpha(tmp_path, kind):
    array = noise((4, 5, 2))
    picture = files.read(saved(Image.fromarray(array), tmp_path / f"a.{kind}"))
    again = files.read(files.write(picture, tmp_path / f"b.{kind}"))
    np.testing.assert_array_equal(again.to_array(), array)


@pytest.mark.parametrize("kind", ["jpg", "bmp"])
def test_alpha_is_composited_on_white_where_it_cannot_be_held(tmp_path, kind):
    array = np.zeros((8, 16, 4), np.uint8)
    array[:, 8:, 3] = 255
    picture = Picture.of(array)
    notes = files.losses(picture, tmp_path / f"a.{kind}")
    assert notes == (f"{kind} holds no alpha: composited on white",)
    out = files.read(files.write(picture, tmp_path / f"a.{kind}")).to_array()
    np.testing.assert_allclose(out[:, 0].astype(int), 255, atol=2)
    np.testing.assert_allclose(out[:, -1].astype(int), 0, atol=2)
