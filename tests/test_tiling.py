from itertools import pairwise

import pytest
import torch

from cotir.errors import ConfigError
from cotir.tiling import Blend, windows

SIZES = [(8, 8), (256, 256), (264, 8), (512, 256), (1000, 3000), (257 * 8, 264)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_windows_cover_the_canvas_on_the_grid(height, width):
    places = windows(height, width, size=256, overlap=32, multiple=8)
    covered = torch.zeros(height, width)
    for place in places:
        assert place.top % 8 == place.left % 8 == 0
        assert place.height <= 256
        assert place.width <= 256
        cut = place.cut(covered)
        assert cut.shape == (place.height, place.width)
        cut += 1
    assert covered.min() >= 1


def test_neighbours_share_the_overlap():
    for extent in range(264, 2000, 8):
        for size, overlap in ((256, 32), (256, 0), (256, 248), (64, 20)):
            places = windows(extent, 64, size, overlap, multiple=8)
            for above, below in pairwise(places):
                assert above.top + above.height - below.top >= overlap
            assert places[-1].top + places[-1].height == extent


def test_windows_are_no_larger_than_they_need_be():
    """At 1000 px five windows of 256 would compute 1.64 times the canvas."""
    places = windows(1000, 1000, size=256, overlap=32, multiple=8)
    assert len(places) == 25
    assert {(place.height, place.width) for place in places} == {(232, 232)}


def test_a_small_canvas_is_one_window():
    (place,) = windows(64, 248, size=256, overlap=32, multiple=8)
    assert (place.height, place.width) == (64, 248)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_blend_of_untouched_windows_is_the_canvas(height, width):
    canvas = torch.rand(2, 3, height, width)
    blend = Blend(2, height, width, overlap=32)
    for place in windows(height, width, size=256, overlap=32, multiple=8):
        blend.add(place, place.cut(canvas))
    torch.testing.assert_close(blend.result(), canvas, rtol=0, atol=1e-6)


def test_blend_hides_a_step_between_windows():
    """Two windows that disagree by 1 meet in a ramp, not in a jump."""
    left, right = windows(8, 480, size=256, overlap=32, multiple=8)
    assert (left.width, right.width) == (256, 256)
    blend = Blend(1, 8, 480, overlap=32)
    blend.add(left, torch.zeros(1, 3, 8, 256))
    blend.add(right, torch.ones(1, 3, 8, 256))
    line = blend.result()[0, 0, 4]
    assert line[0] == 0
    assert line[-1] == 1
    assert line.diff().max() < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 64, 64, 8, 8), "a height of 100 px does not lie on the latent grid; use a multiple of 8"),
        ((64, 64, 60, 8, 8), "a size of 60 px does not lie on the latent grid"),
        ((64, 64, 64, 64, 8), "an overlap of 64 px does not fit windows of 64 px; use 0 to 56"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        windows(*arguments)
