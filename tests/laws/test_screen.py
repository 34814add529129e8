"""What the formulas of moire, banding and scan lines claim."""

import dataclasses

import cv2
import numpy as np
import pytest
from law_pictures import flat, noisy, ramp, through

from cotir.degrade import to_linear, to_srgb
from cotir.degrade.screen import BandingParams, MoireParams, ScanLinesParams

SCREEN = MoireParams(
    order=1, contrast=0.3, beat=32, angle=0.0, perspective_x=0.0, perspective_y=0.0, bend=0.0, phase=0.2
)
TUBE = ScanLinesParams(period=0.5, depth=0.6, edge=1.0, phase=0.0, line=4.0, gap=0.0, comb=0.0)


def test_a_screen_without_stripes_changes_nothing():
    image = noisy(48, 65, seed=8)
    assert np.allclose(through("moire", image, dataclasses.replace(SCREEN, contrast=0.0)), image, atol=1e-5)


@pytest.mark.parametrize("beat", [16, 32])
def test_moire_bands_have_the_difference_frequency_and_a_third_of_a_turn_between_colours(beat):
    screen = dataclasses.replace(SCREEN, beat=beat)
    # 512 pixels, so that lengths in the record are those of the picture.
    light = to_linear(through("moire", flat(0.5, 512, 512), screen)) / to_linear(flat(0.5, 1, 1))
    waves = np.fft.rfft(light.mean(axis=0) - light.mean(), axis=0)
    peak = 512 // beat
    assert np.abs(waves).argmax(axis=0).tolist() == [peak] * 3
    assert np.allclose(2 * np.abs(waves[peak]) / 512, 0.3, rtol=0.05)
    red, green, blue = np.angle(waves[peak])
    for turn in (green - red, blue - green):
        assert np.exp(1j * turn) == pytest.approx(np.exp(2j * np.pi / 3), abs=0.15)
    assert light.mean() == pytest.approx(1.0, abs=0.01)


def test_perspective_changes_the_distance_of_moire_bands():
    screen = dataclasses.replace(SCREEN, beat=40, perspective_x=0.02)
    bands = through("moire", flat(0.5, 512, 512), screen)[256, :, 1]
    crossings = [np.count_nonzero(np.diff(np.sign(half - half.mean()))) for half in (bands[:256], bands[256:])]
    assert crossings[1] > crossings[0] + 3


def test_banding_leaves_so_many_levels():
    assert len(np.unique(through("banding", ramp(), BandingParams(9, "rgb")))) == 9
    luma = cv2.cvtColor(through("banding", ramp(), BandingParams(9, "luma_chroma")), cv2.COLOR_RGB2YCrCb)[..., 0]
    assert len(np.unique(np.rint(luma * 1000))) == 9


@pytest.mark.parametrize("space", ["rgb", "luma_chroma"])
def test_grain_does_not_dither_the_bands(space):
    grain = np.random.default_rng(9).normal(0, 0.01, (32, 256, 1)).astype(np.float32)
    image = np.clip(ramp(0.3, 0.5) + grain, 0, 1)

    def edges(picture):
        return np.count_nonzero(np.abs(np.diff(picture[..., 1], axis=1)) > 0.02, axis=1).mean()

    rounded = np.rint(image * 15) / 15
    assert edges(through("banding", image, BandingParams(16, space))) < 0.5 * edges(rounded)


def test_banding_shows_in_smooth_areas_and_keeps_edges():
    image = ramp(0.3, 0.4)
    image[16:] += np.float32(0.4)
    banded = through("banding", image, BandingParams(16, "rgb"))
    assert np.count_nonzero(np.diff(banded[4, :, 0])) <= 3, "a ramp of a tenth has at most three steps of 1 / 15"
    assert np.abs((banded[16] - banded[15]) - 0.4).max() <= 1 / 15 + 1e-4


def test_rolling_bands_multiply_linear_light_by_rows():
    image = noisy(64, 48, seed=10)
    gain = to_linear(through("scan_lines", image, TUBE)) / to_linear(image)
    assert np.allclose(gain, gain.mean(axis=(1, 2), keepdims=True), atol=1e-3)
    profile = gain.mean(axis=(1, 2))
    assert profile.max() == pytest.approx(1.0, abs=1e-3)
    assert profile.min() == pytest.approx(0.4, abs=1e-3)
    assert np.allclose(profile[:32], profile[32:], atol=1e-3), "two bands in a picture of period one half"


def test_a_raster_darkens_between_its_lines():
    lines = dataclasses.replace(TUBE, depth=0.0, gap=0.5)
    profile = (
        to_linear(through("scan_lines", flat(0.6, 512, 512), lines))[:, 0, 0] / to_linear(flat(0.6, 1, 1))[0, 0, 0]
    )
    spectrum = np.abs(np.fft.rfft(profile - profile.mean()))
    assert spectrum.argmax() == 128, "a line every four rows of 512"
    assert profile.mean() == pytest.approx(0.75, abs=0.01)


def test_interlacing_shifts_every_other_row():
    image = noisy(512, 512, seed=11)
    woven = through("scan_lines", image, dataclasses.replace(TUBE, depth=0.0, comb=3.0))
    assert np.allclose(woven[::2], image[::2], atol=1e-5)
    assert np.allclose(woven[1::2, 3:], image[1::2, :-3], atol=1e-5)


def test_screens_in_the_dark_stay_dark():
    assert through("moire", flat(0.0), SCREEN).max() == 0
    assert to_srgb(flat(0.0)).max() == through("scan_lines", flat(0.0), TUBE).max() == 0
