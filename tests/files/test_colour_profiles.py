"""CMYK, LAB and colour profiles: the right colours for the model, and the picture's own on the way back."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from odd_files import P3, chunk, noise, saved
from PIL import Image, ImageCms

from cotir import files
from cotir.colour import Profile, srgb
from cotir.image import Picture

SRGB = srgb()
GRAY_22 = imagecodecs.cms_profile("gray", gamma=2.2)
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
