"""Writing: kinds and endings, what is lost, names, and what a failure leaves behind."""

import errno
import os
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from odd_files import P3, WRITABLE, exif_block, noise, saved, smooth
from PIL import Image

from cotir import files
from cotir.errors import ImageError
from cotir.files.encoder import KINDS
from cotir.image import Picture


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
