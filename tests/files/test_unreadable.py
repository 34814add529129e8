"""Files that cannot be read, or are too large to be: one clear error each, whatever is wrong with them."""

import errno
import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from odd_files import WRITABLE, noise, raw_png, saved, smooth
from PIL import Image

from cotir import files
from cotir.errors import ImageError
from cotir.image import Picture


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


def test_tiff_without_pixels_is_refused(tmp_path):
    data = bytearray(files.encode(Picture.of(noise((4, 4, 3), np.uint16)), format="tiff"))
    entry = data.index(struct.pack("<HHII", 256, 4, 1, 4))
    data[entry : entry + 12] = struct.pack("<HHII", 256, 4, 1, 0)
    (tmp_path / "a.tif").write_bytes(data)
    refused(tmp_path / "a.tif", "is damaged: its numbers have the shape .* no rgb picture")


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


def test_limit_holds_for_a_tiff_pillow_does_not_know(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", noise((5, 6, 2), np.uint16), photometric="minisblack", extrasamples=["unassalpha"]
    )
    refused(tmp_path / "a.tif", "6 x 5 = 30 pixels is above the limit of 29", max_pixels=29)


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
