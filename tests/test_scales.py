"""A picture restored at several scales: their sizes, and how they become one picture."""

from itertools import pairwise

import pytest
import torch

from cotir.backbones import BACKBONES, FLUX1, FLUX2, NANO
from cotir.scales import LEAST, NEXT, Tone, reduced, sizes
from cotir.tiling import Blend, Window, windows


@pytest.mark.parametrize(
    ("shape", "backbone"),
    [((8, 8), NANO), ((248, 248), NANO), ((96, 8), NANO), ((1024, 1024), FLUX2), ((16, 64), FLUX1)],
)
def test_what_fits_into_a_window_and_is_no_larger_than_a_glance_has_one_scale(shape, backbone):
    assert sizes(*shape, backbone) == [shape]


def test_what_fits_into_a_window_gets_its_tone_at_a_glance():
    assert sizes(256, 192, NANO) == [(256, 192), (128, 96)]


@pytest.mark.parametrize("shape", [(264, 256), (512, 512), (896, 768), (3024, 4032), (16, 6000), (20_000, 20_000)])
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_scales_go_down_to_a_glance(shape, backbone):
    grid = backbone.pixels_per_token
    height, width = (side // grid * grid for side in shape)
    found = sizes(height, width, backbone)
    if max(height, width) <= backbone.window and backbone.glance == backbone.window:
        assert len(found) == 1
    assert found[0] == (height, width)
    assert max(found[-1]) <= backbone.glance or len(found) == 1
    assert all(side % grid == 0 and side > 0 for size in found for side in size)
    for finer, coarser in pairwise(found):
        factor = max(finer) / max(coarser)
        assert LEAST * 0.9 < factor < NEXT * 1.1  # within what the grid rounds


def test_coarse_scales_cost_little():
    fine, *coarse = sizes(3024, 4032, NANO)
    assert len(coarse) == 3
    assert sum(h * w for h, w in coarse) < 0.12 * fine[0] * fine[1]


def picture(seed, *shape):
    return torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def toned(coarse, fine):
    """A picture of one window in the tone of a coarser one."""
    height, width = fine.shape[-2:]
    return Tone(coarse, (height, width)).given_to(fine, Window(0, 0, height, width))


def test_where_scales_agree_nothing_changes():
    fine = picture(0, 64, 96)
    torch.testing.assert_close(toned(reduced(fine, (16, 24)), fine), fine, rtol=0, atol=1e-6)


def test_the_tone_is_the_coarse_ones_and_the_detail_the_fine_ones():
    fine, tone = picture(0, 64, 96), torch.tensor([0.3, -0.2, 0.1])
    coarse = reduced(fine, (16, 24)) + tone[:, None, None]
    torch.testing.assert_close(toned(coarse, fine) - fine, tone[:, None, None].expand(1, 3, 64, 96), rtol=0, atol=1e-5)


def test_detail_of_the_coarse_scale_stays_there():
    """A pattern finer than a cell of the tone: wrong or right, the fine scale knows better."""
    fine = picture(0, 256, 256) * 0.1
    pattern = 0.5 * (-1.0) ** torch.arange(64)
    torch.testing.assert_close(toned(reduced(fine, (64, 64)) + pattern, fine), fine, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [256, 250])
def test_windows_of_differing_tone_meet_without_a_seam(width):
    """Each takes the tone by itself, so one that is too bright and one too dark agree before they are blended."""
    true = picture(1, 64, 4 * width) * 0.1
    tone = Tone(reduced(true, (16, width)), (64, 4 * width))
    blend = Blend(1, 64, 4 * width, overlap=16)
    for number, place in enumerate(windows(64, 4 * width, size=248, overlap=16, multiple=8)):
        blend.add(place, tone.given_to(place.cut(true) + 0.4 * (-1) ** number, place))
    torch.testing.assert_close(blend.result(), true, rtol=0, atol=0.01)


def test_a_window_takes_what_lies_under_it_where_the_scales_do_not_divide():
    """Every window, to the last row and column: a coarse ramp of 96 px under 264 finer ones."""
    ramp = torch.linspace(-1, 1, 96).expand(1, 3, 72, 96)
    tone = Tone(ramp, (200, 264))
    for place in windows(200, 264, size=104, overlap=16, multiple=8):
        given = tone.given_to(torch.zeros(1, 3, place.height, place.width), place)
        wanted = torch.nn.functional.interpolate(ramp, (200, 264), mode="bilinear")
        inside = given[..., 16:-16], place.cut(wanted)[..., 16:-16]  # a cell at the border has no neighbour to lean on
        torch.testing.assert_close(*inside, rtol=0, atol=0.03)


@pytest.mark.parametrize("size", [(8, 8), (8, 256)])
def test_a_coarse_picture_of_one_cell_has_one_tone(size):
    fine = picture(2, 4 * size[0], 4 * size[1])
    assert toned(reduced(fine, size) + 0.1, fine).shape == fine.shape
