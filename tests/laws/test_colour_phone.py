"""What the formulas of faded and lost colour and of a phone's processing claim."""

import dataclasses

import cv2
import numpy as np
import pytest
from law_pictures import flat, noisy, ramp, through

from cotir.degrade import to_linear
from cotir.degrade.colour import LostColourParams, SmartphoneParams

PHONE = SmartphoneParams(
    denoising=0.0, smear=0.0, lift=0.0, contrast=0.0, sharpening=0.0, radius=1.5, saturation=1.0, warmth=0.0
)
PRINT = LostColourParams(
    model="faded", fading=(0.6, 0.3, 0.2), paper=(0.99, 0.95, 0.85), loss=1.0, orthochromatic=0.0, sepia=0.0
)


# Colour


def test_dyes_fade_in_density_towards_the_paper():
    image = noisy(32, 32, seed=3)
    black = 10**-2.2

    def density(picture, paper):
        return -np.log10((to_linear(picture) * (1 - black) + black) / np.asarray(paper))

    faded = density(through("lost_colour", image, PRINT), PRINT.paper)
    assert np.allclose(faded, density(image, (1, 1, 1)) * (0.4, 0.7, 0.8), atol=2e-3)
    paper = to_linear(through("lost_colour", flat(1.0), PRINT))[0, 0]
    assert np.allclose(paper, PRINT.paper, atol=2e-3)


def test_a_print_without_cyan_turns_red():
    red, green, blue = through("lost_colour", flat(0.4), PRINT)[0, 0]
    assert red > green + 0.1
    assert red > blue + 0.1


def test_monochrome_is_the_luminance_of_linear_light():
    image = noisy(32, 32, seed=4)
    grey = through("lost_colour", image, dataclasses.replace(PRINT, model="monochrome"))
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert np.allclose(to_linear(grey)[..., 1], to_linear(image) @ (0.2126, 0.7152, 0.0722), atol=1e-4)


def test_orthochromatic_film_is_blind_to_red():
    red = flat(0.0) + np.asarray([0.9, 0.05, 0.05], np.float32)
    film = dataclasses.replace(PRINT, model="monochrome", orthochromatic=1.0)
    assert through("lost_colour", red, film).max() < 0.25
    assert through("lost_colour", red, dataclasses.replace(film, orthochromatic=0.0)).min() > 0.4


def test_sepia_is_brown_between_black_and_white():
    toned = through("lost_colour", ramp(), dataclasses.replace(PRINT, model="monochrome", sepia=1.0))[0]
    assert np.allclose(toned[[0, -1]], [[0] * 3, [1] * 3], atol=1e-4)
    red, green, blue = toned[128]
    assert red > green + 0.05
    assert green > blue + 0.05


# Phones


def test_a_phone_that_does_nothing_changes_nothing():
    image = noisy(48, 64, seed=5)
    assert np.allclose(through("smartphone", image, PHONE), image, atol=2e-3)


def test_sharpening_leaves_halos():
    image = flat(0.3)
    image[:, 32:] = 0.6
    row = through("smartphone", image, dataclasses.replace(PHONE, sharpening=1.5))[32, :, 1]
    assert row[31] < 0.25
    assert row[32] > 0.65
    assert np.allclose(row[[4, 60]], [0.3, 0.6], atol=5e-3)


def test_colour_smears_and_brightness_stays_sharp():
    image = flat(0.5)
    image[:, 32:] += np.asarray([0.2, 0.0, -0.2], np.float32)
    before = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    after = cv2.cvtColor(through("smartphone", image, dataclasses.replace(PHONE, smear=8.0)), cv2.COLOR_RGB2YCrCb)
    assert np.allclose(after[..., 0], before[..., 0], atol=3e-3)
    assert np.abs(np.diff(after[32, :, 1])).max() < 0.25 * np.abs(np.diff(before[32, :, 1])).max()


def test_denoising_wipes_out_weak_texture_and_keeps_edges():
    image = flat(0.4)
    image[::2] += np.float32(0.01)
    image[:, 32:] += np.float32(0.4)
    smooth = through("smartphone", image, dataclasses.replace(PHONE, denoising=0.08))
    assert smooth[:, :30].std() < 0.5 * image[:, :30].std()
    assert smooth[32, 40, 0] - smooth[32, 20, 0] == pytest.approx(0.4, abs=0.02)


def test_local_tone_mapping_draws_to_the_middle_and_leaves_black_and_white():
    phone = dataclasses.replace(PHONE, lift=0.3)
    assert through("smartphone", flat(0.2), phone).mean() > 0.25
    assert through("smartphone", flat(0.8), phone).mean() < 0.75
    for end in (0.0, 1.0):
        assert np.allclose(through("smartphone", flat(end), phone), end, atol=1e-4)
