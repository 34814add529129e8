"""The before | after picture."""

import numpy as np
import pytest
from PIL import Image

from cotir.image import Picture
from cotir.interfaces.compare import LARGEST_SIDE, before_and_after


def plain(width, height, value):
    return Picture.of(np.full((height, width, 3), value, np.uint8))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (100, 80), (997, 50), (1100, 400), (30, 2500), (2100, 2000)])
def test_size_and_content(width, height):
    sheet = before_and_after(plain(width, height, 0), plain(width, height, 200))
    assert sheet.width <= LARGEST_SIDE and sheet.height <= LARGEST_SIDE
    values = sheet.to_array()
    assert (values[-1, 0] == 0).all() and (values[-1, sheet.width // 2 + 2] == 200).all()
    if 2 * width + 4 <= LARGEST_SIDE and width > 40 and height < 1900:
        assert (sheet.width, sheet.height) == (2 * width + 4, height + 18)
    assert len(np.unique(values[:18, : sheet.width // 2])) > 2  # a label


def test_proportions_are_kept():
    wide = before_and_after(plain(4000, 1000, 0), plain(4000, 1000, 0))
    assert (wide.width, wide.height - 18) == (2000, 249)


def test_transparency_is_shown_on_white():
    clear = Picture.of(np.zeros((50, 60, 4), np.uint8))
    assert (before_and_after(clear, clear).to_array()[18:] == 255).all()


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3), (60, 80, 4)])
def test_the_command_writes_it_beside_the_result(restore, photo, tmp_path, shape):
    source = photo(tmp_path / "a.png", shape)
    assert restore(source, "-o", tmp_path / "out" / "new.webp", "--compare").code == 0
    with Image.open(tmp_path / "out" / "new_compare.png") as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (2 * 80 + 4, 60 + 18))


def test_gray_of_16_bits_is_not_cut_off():
    deep = Picture.of(np.full((50, 60), 2**15, np.uint16))
    assert (before_and_after(deep, deep).to_array()[-1, 0] == 128).all()
