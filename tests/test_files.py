"""The image contract, one odd file after another, each made here."""

import errno
import io
import os
import struct
import threading
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from cotir import files
from cotir.colour import Profile, srgb
from cotir.errors import ImageError
from cotir.files.encoder import KINDS
from cotir.image import Carried, Picture

pillow_heif.register_heif_opener()

EXACT = ("png", "tiff", "bmp")
"""Kinds that lose nothing at any quality."""
EXACT_AT_100 = (*EXACT, "webp", "heic")
WRITABLE = tuple(name for name in files.FORMATS if name not in ("keep", "jxl"))

SRGB = srgb()
# Display P3: SMPTE EG 432-1 primaries, D65
P3 = imagecodecs.cms_profile(
    "rgb", whitepoint=[0.3127, 0.3290, 1], primaries=[0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1], gamma=2.2
)
GRAY_22 = imagecodecs.cms_profile("gray", gamma=2.2)
LAB = imagecodecs.cms_profile("lab2")


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def smooth(height=24, width=32):
    """A picture that lossy kinds keep to within a few levels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], axis=-1).astype(np.uint8)


# --- any size, any depth -------------------------------------------------------------------------------------------


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


def test_limit_holds_for_a_tiff_pillow_does_not_know(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", noise((5, 6, 2), np.uint16), photometric="minisblack", extrasamples=["unassalpha"]
    )
    refused(tmp_path / "a.tif", "6 x 5 = 30 pixels is above the limit of 29", max_pixels=29)


def test_tiff_without_pixels_is_refused(tmp_path):
    data = bytearray(files.encode(Picture.of(noise((4, 4, 3), np.uint16)), format="tiff"))
    entry = data.index(struct.pack("<HHII", 256, 4, 1, 4))
    data[entry : entry + 12] = struct.pack("<HHII", 256, 4, 1, 0)
    (tmp_path / "a.tif").write_bytes(data)
    refused(tmp_path / "a.tif", "is damaged: its numbers have the shape .* no rgb picture")


# --- gray, palette, alpha ------------------------------------------------------------------------------------------


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


# --- CMYK, LAB, profiles -------------------------------------------------------------------------------------------

INKS = {"white": [0] * 4, "cyan": [255, 0, 0, 0], "red": [0, 255, 255, 0], "black": [0, 0, 0, 255]}
SHOWN = {"white": [255] * 3, "cyan": [0, 255, 255], "red": [255, 0, 0], "black": [0] * 3}


def without_adobe_marker(jpeg):
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("way", ["tiff", "deep tiff", "adobe jpeg", "plain jpeg"])
def test_cmyk_shows_the_right_colours(tmp_path, ink, way):
    values = np.full((16, 16, 4), INKS[ink], np.uint8)
    path = tmp_path / ("a.tif" if "tiff" in way else "a.jpg")
    if way == "deep tiff":
        tifffile.imwrite(path, values.astype(np.uint16) * 257, photometric="separated")
    elif way == "plain jpeg":
        # without Adobe's marker the numbers are not inverted, so a writer that inverts must be given the opposite
        path.write_bytes(
            without_adobe_marker(saved(Image.fromarray(255 - values, "CMYK"), tmp_path / "inverted.jpg").read_bytes())
        )
    else:
        saved(Image.fromarray(values, "CMYK"), path)
    picture = files.read(path)
    np.testing.assert_allclose(picture.pixels[8, 8] * 255, SHOWN[ink], atol=2)
    assert picture.carried.notes == ("CMYK converted to RGB",)
    with Image.open(files.write(picture, tmp_path / f"out{path.suffix}", format="keep")) as out:
        assert out.format == ("JPEG" if path.suffix == ".jpg" else "TIFF")
    if way != "deep tiff":
        with Image.open(tmp_path / f"out{path.suffix}") as out:
            assert out.mode == "RGB"


def cmyk_profile():
    """An ICC version 2 printer profile whose table knows two levels of each ink (ICC.1:2001-04, lut8Type)."""
    levels = np.indices((2, 2, 2, 2)).reshape(4, 16).T
    light = (1 - levels[:, :3]) * (1 - levels[:, 3:])
    lightness = (light @ [0.2126, 0.7152, 0.0722] * 100 * 2.55).round().astype(np.uint8)
    table = np.stack([lightness, np.full(16, 128, np.uint8), np.full(16, 128, np.uint8)], axis=-1)
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + table.tobytes() + ramp * 3
    lut += bytes(-len(lut) % 4)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + struct.pack(">4sII", b"A2B0", start, len(lut))
    tags += struct.pack(">4sII", b"wtpt", start + len(lut), len(white))
    size = start + len(lut) + len(white)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + lut + white


def test_cmyk_profile_is_used_and_replaced_by_srgb(tmp_path):
    values = np.zeros((4, 2, 4), np.uint8)
    values[:, 1] = [255, 0, 0, 0]
    picture = files.read(saved(Image.fromarray(values, "CMYK"), tmp_path / "a.tif", icc_profile=cmyk_profile()))
    np.testing.assert_allclose(picture.pixels[0, 0], 1, atol=0.01)
    # this made-up profile calls cyan a gray of L* 78.7; without a profile it would be a saturated colour
    np.testing.assert_allclose(picture.pixels[0, 1], 0.76, atol=0.02)
    assert picture.carried.notes == ("CMYK converted to RGB", "colour profile for cmyk replaced by sRGB")
    out = files.write(picture, tmp_path / "out.tif", format="keep")
    with Image.open(out) as image:
        assert image.mode == "RGB"
        assert image.info["icc_profile"] == SRGB


def test_lab_tiff(tmp_path):
    # sRGB red, mid gray and blue after adaptation to D50 (Lindbloom's calculator): L*, a*, b*
    lab = np.array([[[54.29, 80.81, 69.89], [53.59, 0, 0], [29.57, 68.30, -112.03]]])
    stored = np.dstack([lab[..., 0] * 2.55, lab[..., 1:]]).round().astype(np.int16).astype(np.uint8)
    image = Image.frombytes("LAB", (3, 1), stored.tobytes())
    picture = files.read(saved(image, tmp_path / "a.tif"))
    np.testing.assert_allclose(picture.pixels[0] * 255, [[255, 0, 0], [128, 128, 128], [0, 0, 255]], atol=5)
    assert picture.carried.notes == ("LAB converted to RGB",)
    with Image.open(files.write(picture, tmp_path / "b.tif", format="keep")) as out:
        assert out.mode == "RGB"


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_display_p3_comes_back_exactly_where_nothing_changed(tmp_path, kind, dtype):
    array = noise((16, 16, 3), dtype)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(files.encode(Picture.of(array), format=kind))
    path = with_profile(path, P3)
    picture = files.read(path)
    assert picture.carried.profile.data == P3
    again = files.write(picture, tmp_path / f"b.{kind}", format="keep")
    np.testing.assert_array_equal(stored_numbers(again), array)
    assert files.read(again).carried.profile.data == P3


def with_profile(path, profile):
    """The same file with a colour profile and the same numbers."""
    if path.suffix == ".tiff":
        tifffile.imwrite(path, tifffile.imread(path), photometric="rgb", iccprofile=profile)
    else:
        data = path.read_bytes()
        path.write_bytes(data[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)) + data[33:])
    return path


def stored_numbers(path):
    return tifffile.imread(path) if path.suffix == ".tiff" else imagecodecs.png_decode(path.read_bytes())


def test_display_p3_is_converted_for_the_model_and_back():
    # P3 (200, 100, 50) with gamma 2.2 is more saturated in sRGB; reference: Little CMS at 8 bits through Pillow
    array = np.full((4, 4, 3), [200, 100, 50], np.uint8)
    image = Image.fromarray(array)
    image.info["icc_profile"] = P3
    picture = Picture.of(image)
    reference = ImageCms.profileToProfile(image, io.BytesIO(P3), io.BytesIO(SRGB))
    np.testing.assert_allclose(picture.pixels * 255, np.asarray(reference), atol=0.75)
    assert picture.pixels[0, 0, 0] * 255 > 205


@pytest.mark.parametrize("profile", [P3, imagecodecs.cms_profile("adobergb")])
def test_changed_pixels_go_back_to_the_profile_within_half_a_16_bit_level(profile):
    image = Image.fromarray((noise((32, 32, 3)) // 4 + 96).astype(np.uint8))
    image.info["icc_profile"] = profile
    used = Picture.of(image).carried.profile
    srgb = used.to_srgb(np.asarray(image))
    assert 0 < srgb.min() < srgb.max() < 1
    np.testing.assert_allclose(used.from_srgb(srgb) * 255, np.asarray(image), atol=0.5 / 257)


def test_every_gray_level_makes_the_round_trip_within_a_16_bit_level():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    profile = Profile(GRAY_22)
    np.testing.assert_allclose(profile.from_srgb(profile.to_srgb(levels)) * 65535, levels, atol=0.7)


def test_gray_profile_and_colourising_it(tmp_path):
    array = noise((8, 8))
    path = saved(Image.fromarray(array), tmp_path / "a.png", icc_profile=GRAY_22)
    picture = files.read(path)
    assert np.ptp(picture.pixels, axis=-1).max() == 0
    again = files.read(files.write(picture, tmp_path / "b.png"))
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), array)
    assert again.carried.profile.data == GRAY_22
    coloured = picture.replace_pixels(noise((8, 8, 3)) / 255, colourise=True)
    with Image.open(files.write(coloured, tmp_path / "c.png")) as image:
        assert image.mode == "RGB"
        assert image.info["icc_profile"] == SRGB
    with Image.open(files.write(picture, tmp_path / "d.webp")) as image:
        assert image.info["icc_profile"] == SRGB


def test_gray_picture_with_an_rgb_profile_keeps_it(tmp_path):
    array = noise((8, 8))
    picture = files.read(saved(Image.fromarray(array), tmp_path / "a.jpg", icc_profile=P3, quality=100))
    out = files.write(picture, tmp_path / "b.png")
    with Image.open(out) as image, Image.open(tmp_path / "a.jpg") as before:
        assert image.mode == "L"
        assert image.info["icc_profile"] == P3
        np.testing.assert_array_equal(np.asarray(image), np.asarray(before))


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (b"no profile at all", "colour profile ignored: it is not readable and the picture is rgb"),
        (P3[:200], "colour profile ignored: it is for rgb and the picture is rgb"),
        (GRAY_22, "colour profile ignored: it is for gray and the picture is rgb"),
    ],
)
def test_unusable_profile_is_ignored_and_replaced(tmp_path, profile, note):
    array = noise((4, 4, 3))
    picture = files.read(saved(Image.fromarray(array), tmp_path / "a.tif", icc_profile=profile))
    assert picture.carried.notes == (note,)
    with Image.open(files.write(picture, tmp_path / "b.tif")) as image:
        np.testing.assert_array_equal(np.asarray(image), array)
        assert image.info["icc_profile"] == SRGB


def test_srgb_profile_costs_no_conversion(tmp_path):
    picture = files.read(saved(Image.fromarray(noise((4, 4, 3))), tmp_path / "a.png", icc_profile=SRGB))
    assert picture.carried.native is None
    assert files.read(files.write(picture, tmp_path / "b.png")).carried.profile.data == SRGB


# --- orientation and words -----------------------------------------------------------------------------------------


def exif_block(orientation=6):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x829A] = 0.5
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "webp", "avif", "heic"])
def test_orientation_is_applied_and_reset(tmp_path, kind, orientation):
    upright = smooth(24, 32)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    sensor = Image.fromarray(upright) if undo is None else Image.fromarray(upright).transpose(Image.Transpose(undo))
    path = tmp_path / f"a.{kind}"
    sensor.save(path, exif=exif_block(orientation))
    picture = files.read(path)
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels * 255 - upright).mean() < 4
    if kind != "heic":
        # libheif turns the picture itself and says nothing
        assert picture.carried.notes == ((f"orientation {orientation} applied",) if orientation > 1 else ())
    again = files.write(picture, tmp_path / f"b.{kind}", format="keep")
    with Image.open(again) as image:
        assert image.size == (32, 24)
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "Maker"
        assert image.getexif().get_ifd(0x8769)[0x829A] == 0.5
    assert np.abs(files.read(again).pixels * 255 - upright).mean() < 4


def test_16_bit_tiff_is_turned_once_and_keeps_its_words(tmp_path):
    array = noise((3, 5, 3), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        photometric="rgb",
        description="words",
        metadata=None,
        extratags=[(274, 3, 1, 6, True)],
    )
    picture = files.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.to_array(), np.rot90(array, -1))
    again = files.write(picture, tmp_path / "b.tif")
    with Image.open(again) as image:
        assert image.getexif()[270] == "words"
        assert image.getexif()[274] == 1
    np.testing.assert_array_equal(files.read(again).to_array(), np.rot90(array, -1))


def test_orientation_in_xmp_alone(tmp_path):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/><dc:title>T</dc:title></x:xmpmeta>'
    picture = files.read(saved(Image.fromarray(smooth(24, 32)), tmp_path / "a.jpg", xmp=xmp))
    assert picture.pixels.shape == (32, 24, 3)
    assert picture.carried.xmp == xmp.replace(b'"6"', b'"1"')
    assert files.read(files.write(picture, tmp_path / "b.jpg")).pixels.shape == (32, 24, 3)


def test_thumbnail_of_the_damaged_picture_is_unlinked(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with_thumbnail = bytearray(exif.tobytes()[6:])
    at = struct.unpack_from(">I", with_thumbnail, 4)[0] + 2 + 12
    struct.pack_into(">I", with_thumbnail, at, len(with_thumbnail))
    with_thumbnail += struct.pack(">HHHIII", 1, 0x0201, 4, 1, 0, 0)
    picture = files.read(saved(Image.new("RGB", (4, 4)), tmp_path / "a.jpg", exif=b"Exif\0\0" + bytes(with_thumbnail)))
    read = Image.Exif()
    read.load(picture.carried.exif)
    assert read[0x0112] == 1
    assert read.get_ifd(1) == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_text_xmp_and_dpi_are_kept(tmp_path, dtype):
    info = PngInfo()
    info.add_text("Title", "plain")
    info.add_text("Comment", "Größe 照片", zip=True)
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    path = saved(Image.new("RGB", (4, 3)), tmp_path / "a.png", pnginfo=info, dpi=(300, 150))
    if dtype == np.uint16:
        deep = imagecodecs.png_encode(noise((3, 4, 3), np.uint16))
        data = path.read_bytes()
        path.write_bytes(deep[:33] + data[33 : data.index(b"IDAT") - 4] + deep[33:])
    picture = files.read(path)
    assert picture.carried.text == (("Title", "plain"), ("Comment", "Größe 照片"))
    again = files.read(files.write(picture, tmp_path / "b.png"))
    assert again.carried.depth == picture.carried.depth == (16 if dtype == np.uint16 else 8)
    assert again.carried.text == picture.carried.text
    assert again.carried.xmp == b"<x:xmpmeta/>"
    assert again.carried.dpi == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize("kind", ["jpg", "webp", "tiff", "avif", "heic"])
def test_xmp_and_profile_are_kept(tmp_path, kind):
    image = Image.fromarray(smooth())
    image.info.update(icc_profile=P3, xmp=b"<x:xmpmeta/>")
    back = files.read(files.write(Picture.of(image), tmp_path / f"a.{kind}"))
    assert back.carried.xmp == b"<x:xmpmeta/>"
    assert back.carried.profile.data == P3


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "bmp"])
def test_dpi_is_kept_and_turned_with_the_picture(tmp_path, kind):
    image = Image.fromarray(smooth())
    image.info["dpi"] = (300, 150)
    back = files.read(files.write(Picture.of(image), tmp_path / f"a.{kind}"))
    assert back.carried.dpi == pytest.approx((300, 150), rel=1e-3)
    image.getexif()[0x0112] = 6
    assert Picture.of(image).carried.dpi == (150, 300)


# --- several pictures in one file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif", ".tif"])
def test_first_frame_and_a_note(tmp_path, suffix):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=100)
    picture = files.read(path)
    assert f"first of 3 {'pages' if suffix == '.tif' else 'frames'}" in picture.carried.notes
    np.testing.assert_allclose(picture.pixels[8, 8], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize(("suffix", "format"), [(".jpg", "MPO"), (".heic", "HEIF")])
def test_main_picture_and_a_note(tmp_path, suffix, format):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime")]
    path = saved(frames[0], tmp_path / f"a{suffix}", format=format, save_all=True, append_images=frames[1:])
    picture = files.read(path)
    assert picture.carried.notes == ("main picture of 2",)
    np.testing.assert_allclose(picture.pixels[8, 8], [1, 0, 0], atol=0.02)
    with Image.open(files.write(picture, tmp_path / f"b{suffix}", format="keep")) as image:
        assert image.format == ("JPEG" if format == "MPO" else "HEIF")
        assert getattr(image, "n_frames", 1) == 1


# --- files that cannot be read -------------------------------------------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(rows, *, bits, colour_type, chunks=(), size=None):
    """A PNG byte by byte; ``size`` may lie about the rows."""
    array = np.asarray(rows, f">u{bits // 8}")
    width, height = size or (array.shape[1], array.shape[0])
    pixels = b"".join(b"\0" + row.tobytes() for row in array)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    extra = b"".join(chunk(*pair) for pair in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg_bytes():
    stream = io.BytesIO()
    Image.fromarray(noise((64, 64, 3))).save(stream, "JPEG")
    return stream.getvalue()


def refused(path, message, **options):
    with pytest.raises(ImageError, match=message) as caught:
        files.read(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.png", b"", r"is empty \(0 bytes\)"),
        ("words.png", b"this is a letter, not a picture\n" * 9, "is no picture that can be read; CoTIR reads png, jpg"),
        ("one.jpg", b"\xff", "is no picture"),
        ("cut.jpg", jpeg_bytes()[:1500], "is damaged or truncated"),
        ("cut.png", raw_png(noise((64, 64)), bits=8, colour_type=0)[:500], "is damaged or truncated"),
        ("short.png", raw_png([[1, 2]], bits=16, colour_type=0, size=(2, 9)), "is damaged or truncated"),
        ("page.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture"),
        ("a.jxl", b"\xff\x0a" + bytes(30), "for JPEG XL, pip install pillow-jxl-plugin"),
    ],
)
def test_bad_bytes_are_one_clear_error(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    refused(path, message)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", [kind for kind in WRITABLE if kind != "bmp"])
def test_damage_anywhere_is_an_image_error_or_a_picture(kind):
    picture = Picture.of(np.dstack([smooth(), smooth()[..., 0]]))
    data = bytearray(files.encode(picture, format=kind))
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(60):
        bad = data.copy()
        for at in rng.integers(0, len(bad), 4):
            bad[at] = rng.integers(256)
        try:
            files.decode(bytes(bad[: rng.integers(1, len(bad) + 1)]), max_pixels=1 << 20)
        except ImageError as error:
            failures += 1
            assert str(error).startswith("the picture: ")
    assert failures > 10


def test_folder_missing_file_dangling_link_and_pipe(tmp_path):
    refused(tmp_path, "is a folder; name the pictures inside it")
    refused(tmp_path / "no.png", "does not exist; check the name")
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "gone.png")
    refused(link, r"is a link to .*gone\.png, which does not exist")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    refused(pipe, "is no regular file")
    refused(tmp_path / ("x" * 300), "cannot be opened")


def test_unreadable_file(tmp_path, monkeypatch):
    path = saved(Image.new("RGB", (4, 4)), tmp_path / "a.png")

    def forbidden(self, *_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    # root may read everything, so the permission bits alone would prove nothing
    monkeypatch.setattr(Path, "open", forbidden)
    refused(path, "may not be read; check its permissions")


def test_decompression_bomb_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(raw_png(np.zeros((1, 1)), bits=8, colour_type=0, size=(50_000, 50_000)))
    refused(path, r"50000 x 50000 = 2,500,000,000 pixels is above the limit of 300,000,000.*--max-pixels 2500000000")


def test_the_limit_is_exact_and_can_be_lifted(tmp_path):
    path = saved(Image.new("L", (10, 10)), tmp_path / "a.png")
    refused(path, "10 x 10 = 100 pixels is above the limit of 99", max_pixels=99)
    assert files.read(path, max_pixels=100).height == 10


def test_pillows_own_limit_is_neither_in_the_way_nor_left_open(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = saved(Image.new("L", (10, 10)), tmp_path / "a.png")
    readers = [threading.Thread(target=files.read, args=(path,)) for _ in range(4)]
    for reader in readers:
        reader.start()
    assert files.read(path).height == 10
    for reader in readers:
        reader.join()
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    "name",
    ["with space.png", "照片 老.png", "🙂📷.png", "100%_%d%s.png", "-o.png", "'\"$HOME`.png", ".png", "a.b.c.png",
     "x" * 246 + ".png"],
)  # fmt: skip
def test_odd_names(tmp_path, name):
    array = noise((4, 4, 3))
    path = files.write(Picture.of(array), tmp_path / name, format="png")
    assert path.name == name if name != ".png" else path.suffix == ".png"
    np.testing.assert_array_equal(files.read(path).to_array(), array)
    assert len(list(tmp_path.iterdir())) == 1


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "format", "written"),
    [("a.jpg", None, "a.jpg"), ("a.JPEG", "jpg", "a.JPEG"), ("a.jpg", "png", "a.png"), ("v1.2", "png", "v1.2.png"),
     ("a.tif", "tiff", "a.tif"), ("a", "keep", "a.png"), ("a.webp", "keep", "a.webp"), ("a.gif", None, "a.png")],
)  # fmt: skip
def test_format_and_ending_agree(tmp_path, name, format, written):
    path = files.write(Picture.of(noise((8, 8, 3))), tmp_path / name, format=format)
    assert path == tmp_path / written
    with Image.open(path) as image:
        assert path.suffix.lower() in KINDS[files.read(path).carried.format].suffixes
        assert image.size == (8, 8)


@pytest.mark.parametrize("kind", WRITABLE)
def test_keep_writes_the_same_kind(tmp_path, kind):
    picture = files.read(files.write(Picture.of(smooth()), tmp_path / f"a.{kind}"))
    out = files.write(picture, tmp_path / "b", format="keep")
    assert files.read(out).carried.format == kind
    assert files.losses(picture, "b", format="keep") == ()


def test_gif_is_kept_as_png_and_says_so(tmp_path):
    picture = files.read(saved(Image.new("P", (4, 4)), tmp_path / "a.gif"))
    assert files.write(picture, tmp_path / "b.gif", format="keep").name == "b.png"
    assert files.losses(picture, tmp_path / "b.gif", format="keep") == ("gif written as png",)


def test_heic_without_an_encoder_is_kept_as_png(tmp_path, monkeypatch):
    picture = files.read(files.write(Picture.of(smooth()), tmp_path / "a.heic"))
    monkeypatch.setattr(pillow_heif, "libheif_info", lambda: {"HEIF": ""})
    assert files.write(picture, tmp_path / "b.heic", format="keep").name == "b.png"
    assert files.losses(picture, "b.heic", format="keep") == ("heic written as png",)
    with pytest.raises(ImageError, match=r"b\.heic: pillow-heif is missing or has no HEIC encoder; write avif or png"):
        files.write(picture, tmp_path / "b.heic", format="heic")


def test_what_is_lost_is_said():
    image = Image.fromarray(noise((4, 4, 4)))
    image.info.update(icc_profile=P3, xmp=b"<x/>", dpi=(72, 72), exif=exif_block())
    assert files.losses(Picture.of(image), "a.bmp") == (
        "bmp holds no alpha: composited on white",
        "bmp holds no profile: converted to sRGB",
        "bmp holds no exif: dropped",
        "bmp holds no xmp: dropped",
    )
    assert files.losses(Picture.of(noise((4, 4), np.uint16)), "a.webp") == ("webp holds no 16-bit: rounded to 8 bits",)


@pytest.mark.parametrize("format", ["docx", "eps", "PNG"])
def test_unknown_format_is_refused(tmp_path, format):
    with pytest.raises(ImageError, match=f"'{format}' is no format CoTIR writes; choose one of keep, png, jpg, webp"):
        files.write(Picture.of(noise((4, 4, 3))), tmp_path / "a.png", format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_quality_outside_its_range_is_refused(tmp_path, quality):
    with pytest.raises(ImageError, match=f"quality is {quality}; it must lie between 1 and 100"):
        files.write(Picture.of(noise((4, 4, 3))), tmp_path / "a.jpg", quality=quality)


def test_higher_quality_is_closer():
    array = noise((32, 32, 3))
    for kind in ("jpg", "webp", "avif", "heic"):
        errors = [
            np.abs(
                files.decode(files.encode(Picture.of(array), format=kind, quality=quality)).pixels * 255 - array
            ).mean()
            for quality in (20, 80, 100)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > errors[2]


def test_too_large_for_the_kind(tmp_path):
    with pytest.raises(ImageError, match=r"a\.webp: 16384 x 1 pixels is too large for webp, which holds up to 16383"):
        files.write(Picture.of(np.zeros((1, 16384), np.uint8)), tmp_path / "a.webp")


def test_missing_folder_is_one_error(tmp_path):
    with pytest.raises(ImageError, match=r"a\.png: cannot be written \(No such file or directory\); check the folder"):
        files.write(Picture.of(noise((4, 4, 3))), tmp_path / "no" / "a.png")


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, failure):
    path = files.write(Picture.of(np.zeros((4, 4, 3), np.uint8)), tmp_path / "a.png")
    before = path.read_bytes()

    def fail(*_arguments):
        raise failure

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(ImageError if isinstance(failure, OSError) else KeyboardInterrupt):
        files.write(Picture.of(noise((4, 4, 3))), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    path = files.write(Picture.of(noise((4, 4, 3))), tmp_path / "a.png")
    assert path.stat().st_mode == plain.stat().st_mode


def test_suffixes_cover_the_kinds_and_are_lower_case():
    assert {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif", ".heic", ".bmp", ".gif"} <= set(files.SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in files.SUFFIXES)
    assert len(set(files.SUFFIXES)) == len(files.SUFFIXES)
