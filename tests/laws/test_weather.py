"""What the formulas of haze, depth, rain and snow claim."""

import dataclasses

import cv2
import numpy as np
import pytest
from law_pictures import drawn, flat, textured

from cotir.degrade import kind_named, to_linear
from cotir.degrade.depth import ambient, procedural_depth
from cotir.degrade.weather import HazeParams, RainParams


def test_haze_follows_the_scattering_law():
    image = textured(96, 128, seed=6)
    params = HazeParams(density=1.5, tint=(1.0, 1.0, 0.98), seed=11)
    light = to_linear(image)
    clear = np.exp(-1.5 * procedural_depth(light, 11))[..., None]
    air = np.asarray(ambient(light, params.tint), np.float32)
    hazy = to_linear(kind_named("haze").apply(image, params))
    assert np.allclose((hazy - air * (1 - clear)) / clear, light, atol=1e-4)


def test_depth_grows_upwards_and_follows_edges():
    light = np.full((128, 128, 3), 0.05, np.float32)
    light[:, 64:] = 0.7
    depths = [procedural_depth(light, seed) for seed in range(20)]
    mean = np.mean(depths, axis=0)
    assert mean.min() >= 0.2
    assert mean.max() <= 1.0
    assert mean[:20].mean() > mean[-20:].mean() + 0.2
    across = np.abs(np.diff(mean[64]))
    assert across.argmax() == 63, "the steepest change of depth is at the picture's edge"


@pytest.mark.parametrize("angle", [-0.6, 0.0, 0.5])
def test_rain_falls_in_its_direction(angle):
    params = RainParams(amount=0.6, length=40, width=1.0, angle=angle, spread=0.0, opacity=1.0, veil=0.0, seed=4)
    streaks = kind_named("rain").apply(flat(0.2, 256, 256), params)[..., 0]
    down, right = np.gradient(streaks)
    along = np.sin(angle) * right + np.cos(angle) * down
    across = np.cos(angle) * right - np.sin(angle) * down
    assert (across**2).mean() > 8 * (along**2).mean()


def test_rain_streaks_vary_in_size_and_fade_before_a_bright_sky():
    params = RainParams(amount=0.4, length=30, width=1.0, angle=0.0, spread=0.0, opacity=1.0, veil=0.0, seed=4)
    image = flat(0.2, 256, 256)
    image[:, 128:] = 0.92
    added = np.abs(kind_named("rain").apply(image, params) - image)[..., 0]
    assert added[:, :128].mean() > 4 * added[:, 128:].mean()
    _, _, boxes, _ = cv2.connectedComponentsWithStats((added[:, :128] > 0.05).astype(np.uint8))
    heights = boxes[1:, cv2.CC_STAT_HEIGHT]
    assert len(heights) > 30
    assert np.quantile(heights, 0.95) > 2 * np.quantile(heights, 0.3)


@pytest.mark.parametrize("name", ["rain", "snow"])
def test_a_heavier_fall_contains_the_lighter_one(name):
    kind, image = kind_named(name), flat(0.2, 128, 128)
    heavy = dataclasses.replace(drawn(kind, 1.0), veil=0.0)
    light = dataclasses.replace(heavy, amount=0.4)
    many, few = kind.apply(image, heavy)[..., 0] > 0.3, kind.apply(image, light)[..., 0] > 0.3
    assert few.sum() < 0.7 * many.sum()
    assert (few & many).sum() > 0.95 * few.sum()


def test_snow_is_brighter_than_what_it_hides():
    image = flat(0.2, 128, 128)
    image[:8] = 0.8
    snowy = kind_named("snow").apply(image, drawn(kind_named("snow"), 0.8))
    assert (snowy[8:] >= image[8:] - 1e-3).all()
    assert snowy[8:].max() > 0.6
