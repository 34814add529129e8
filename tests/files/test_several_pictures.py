"""Files that hold several pictures: one is taken, and a note says which."""

import numpy as np
import pytest
from odd_files import saved
from PIL import Image

from cotir import files


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
