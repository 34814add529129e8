"""Pictures of any size and depth: each comes back as large, as deep and as exact as its kind allows."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from odd_files import WRITABLE, noise

from cotir import files
from cotir.errors import ImageError
from cotir.image import Carried, Picture

EXACT = ("png", "tiff", "bmp")
"""Kinds that lose nothing at any quality."""
EXACT_AT_100 = (*EXACT, "webp", "heic")


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3), (2, 1)])
@pytest.mark.parametrize("kind", WRITABLE)
def test_any_size_keeps_its_size(tmp_path, size, kind):
    narrow = kind == "heic" and max(size) > 4096
    picture = Picture(Picture.of(noise((*size, 3))).pixels, Carried(format=kind))
    back = files.read(files.write(picture, tmp_path / f"a.{kind}", format="keep"))
    assert back.pixels.shape == (*size, 3)
    # the HEIC encoder refuses long thin pictures
    assert back.carried.format == ("png" if narrow else kind)


@pytest.mark.parametrize("kind", EXACT_AT_100)
def test_8_bit_round_trip_is_exact(tmp_path, kind):
    array = noise((9, 13, 3))
    path = files.write(Picture.of(array), tmp_path / f"a.{kind}", quality=100)
    np.testing.assert_array_equal(files.read(path).to_array(), array)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 2), (6, 5, 3), (6, 5, 4)])
def test_16_bit_is_read_and_written_at_full_depth(tmp_path, kind, shape):
    array = noise(shape, np.uint16)
    path = tmp_path / f"in.{kind}"
    if kind == "png":
        path.write_bytes(imagecodecs.png_encode(array))
    else:
        extra = {"extrasamples": ["unassalpha"]} if shape[2:] in ((2,), (4,)) else {}
        gray = len(shape) == 2 or shape[2] == 2
        tifffile.imwrite(path, array, photometric="minisblack" if gray else "rgb", planarconfig="contig", **extra)
    picture = files.read(path)
    assert picture.carried.depth == 16
    np.testing.assert_array_equal(picture.to_array(), array)
    again = files.write(picture, tmp_path / "out", format="keep")
    assert again.suffix in (".png", ".tif")
    np.testing.assert_array_equal(files.read(again).to_array(), array)
    # another program sees the same numbers
    other = imagecodecs.png_decode(again.read_bytes()) if kind == "png" else tifffile.imread(again)
    np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize(
    "options", [{"compression": "zlib", "predictor": True}, {"byteorder": ">"}, {"tile": (16, 16)}]
)
def test_16_bit_tiff_layouts(tmp_path, options):
    array = noise((20, 18, 3), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", **options)
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").to_array(), array)


def test_16_bit_tiff_in_planes_white_at_zero_and_premultiplied(tmp_path):
    array = noise((3, 20, 18), np.uint16)
    tifffile.imwrite(tmp_path / "planes.tif", array, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(files.read(tmp_path / "planes.tif").to_array(), array.transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "white.tif", array[0], photometric="miniswhite")
    np.testing.assert_array_equal(files.read(tmp_path / "white.tif").to_array(), 65535 - array[0])
    half = np.full((2, 2, 4), [10000, 20000, 30000, 32768], np.uint16)
    tifffile.imwrite(tmp_path / "alpha.tif", half, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(
        files.read(tmp_path / "alpha.tif").to_array()[0, 0], [20000, 40000, 59999, 32768], atol=1
    )


def test_float_tiff_is_read_within_one_and_refused_beyond(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 0.25, 1]], np.float32))
    picture = files.read(tmp_path / "a.tif")
    assert picture.to_array().tolist() == [[0, 16384, 65535]]
    assert picture.carried.notes == ("float converted to 16 bits",)
    tifffile.imwrite(tmp_path / "hdr.tif", np.array([[0, 7]], np.float32))
    with pytest.raises(ImageError, match=r"hdr\.tif: holds floats from 0 to 7; CoTIR reads floats in \[0, 1\]"):
        files.read(tmp_path / "hdr.tif")


def test_tiff_that_is_no_picture_of_8_or_16_bits_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 3), np.float32), photometric="rgb")
    with pytest.raises(
        ImageError, match=r"a\.tif: is a TIFF of float32 rgb; CoTIR reads 8 and 16 bits of gray, RGB and"
    ):
        files.read(tmp_path / "a.tif")
