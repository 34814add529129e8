"""What is measured of a picture: the same number of statistics for every size, and what each kind of damage moves."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cotir.evidence import LOOKS, looks, measure
from cotir.evidence.detail import floor, outliers
from cotir.evidence.light import tone
from cotir.evidence.numbers import correlation, quantiles, residual, running
from cotir.evidence.period import grids, spectra
from cotir.evidence.things import lines, small_things


def picture(seed=0, side=128, smooth=True):
    """(3, H, W) in [-1, 1]."""
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    if smooth:
        noise = torch.nn.functional.interpolate(noise[..., ::8, ::8], (side, side), mode="bicubic").clamp(0, 1)
    return noise[0] * 2 - 1


def levels(pixels):
    return (pixels + 1) * 127.5


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8), (63, 65), (64, 64), (300, 90)])
def test_every_size_has_as_many_finite_statistics(size):
    wanted = measure(picture()).shape
    for pixels in (torch.zeros(3, *size), torch.ones(3, *size), torch.rand(3, *size) * 2 - 1):
        told = measure(pixels)
        assert told.shape == wanted and told.dtype == torch.float32 and bool(told.isfinite().all())


def test_a_picture_is_measured_the_same_whatever_its_dtype():
    pixels = picture().double()
    torch.testing.assert_close(measure(pixels), measure(pixels.float()))


@pytest.mark.parametrize(("size", "count"), [((5, 5), 1), ((256, 256), 1), ((256, 300), 2), ((900, 700), LOOKS)])
def test_a_large_picture_is_looked_at_in_parts(size, count):
    assert looks(torch.rand(3, *size) * 2 - 1).shape == (count, len(measure(picture())))


def test_quantiles_are_those_of_a_sort():
    values = torch.rand(5000, generator=torch.Generator().manual_seed(1)) * 200
    at = (0.01, 0.25, 0.5, 0.99)
    torch.testing.assert_close(quantiles(values, at), values.quantile(torch.tensor(at)), atol=0.3, rtol=0)


def test_a_running_maximum_is_that_of_a_pool():
    planes = torch.rand(2, 20, 30)
    for size in (1, 3, 7, 15):
        torch.testing.assert_close(running(planes, size), torch.nn.functional.max_pool2d(planes, size, 1))


def test_the_median_is_that_of_a_sort():
    from cotir.evidence.detail import _median

    planes = torch.rand(2, 9, 11)
    patches = torch.nn.functional.unfold(planes[:, None], 3).median(dim=1)[0].view(2, 7, 9)
    torch.testing.assert_close(_median(planes), patches)


def test_correlation_is_one_of_equals_and_none_of_a_constant():
    values = torch.randn(40, 40)
    assert correlation(values, 3 * values + 2) == pytest.approx(1, abs=1e-3)
    assert correlation(values, torch.ones(40, 40)) == 0


def test_noise_raises_the_floor():
    planes = levels(picture())
    noisy = planes + 10 * torch.randn(planes.shape, generator=torch.Generator().manual_seed(2))
    quiet, loud = (floor(each)[4] for each in (planes, noisy))  # the median of the first plane, a logarithm
    assert loud - quiet > 1
    assert residual(noisy[0]).std() == pytest.approx(10 * (1 + 1 / 4) ** 0.5, rel=0.1)


def test_jpeg_leaves_its_grid_and_blur_does_not():
    pixels = levels(picture(smooth=False)).clamp(0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).byte().numpy()).save(file, "JPEG", quality=10)
    compressed = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()
    blurred = torch.nn.functional.avg_pool2d(pixels, 3, 1, 1)
    at_eight = 4  # of the first plane, across: four numbers for each of the periods 4, 8 and 16
    assert grids(compressed)[at_eight] > 0.2 > grids(blurred)[at_eight].abs()


def test_blur_takes_high_frequencies_away():
    pixels = levels(picture(smooth=False))
    sharp, soft = (spectra(each)[11] for each in (pixels, torch.nn.functional.avg_pool2d(pixels, 3, 1, 1)))
    assert sharp - soft > 1


def test_darkness_and_clipping_show_in_the_histogram():
    planes = levels(picture())[:1]
    dark, bright = tone(planes / 4), tone((planes * 3).clamp(max=255))
    assert dark[4] < tone(planes)[4] < bright[4]  # medians
    assert bright[12] - dark[12] > 3  # the share of the highest level, a logarithm


def test_specks_are_outliers_and_small():
    rgb = levels(picture() / 4)
    specked = rgb.clone()
    specked[:, ::8, ::8] = 255
    assert outliers(specked)[3] > outliers(rgb)[3] + 1  # the 0.99 quantile, a logarithm
    assert small_things(specked[0], specked)[2] > small_things(rgb[0], rgb)[2] + 1


def test_streaks_are_lines_in_one_direction():
    luma = levels(picture() / 8)[0]
    streaked = luma.clone()
    streaked[:, ::12] += 60
    assert lines(streaked)[0] > lines(luma)[0] + 0.2
