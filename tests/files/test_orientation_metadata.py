"""Orientation, EXIF, XMP, text and resolution: turned or reset with the picture, and kept."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from odd_files import P3, exif_block, noise, saved, smooth
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cotir import files
from cotir.image import Picture


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
