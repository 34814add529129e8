"""What the formulas of patchy haze and of water claim."""

import dataclasses

import cv2
import numpy as np
import pytest
from law_pictures import flat, noisy, through

from cotir.degrade import to_linear
from cotir.degrade.depth import ambient, procedural_depth
from cotir.degrade.medium import (
    ATTENUATION,
    NonhomogeneousHazeParams,
    UnderwaterParams,
    metres_of_water,
    patches,
    veiling_light,
)

SMOKE = NonhomogeneousHazeParams(density=1.5, contrast=0.8, patch=0.4, stretch=1.0, tint=(1.0, 1.0, 0.98), seed=11)
DIVE = UnderwaterParams(water="II", distance=6.0, sunk=3.0, backscatter=0.5, forward=2.0, seed=5)


# Patchy haze


def test_patchy_haze_follows_the_scattering_law():
    image = noisy(96, 128, seed=6)
    light = to_linear(image)
    clear = np.exp(-1.5 * patches((96, 128), SMOKE) * procedural_depth(light, 11))[..., None]
    air = np.asarray(ambient(light, SMOKE.tint), np.float32)
    hazy = to_linear(through("nonhomogeneous_haze", image, SMOKE))
    assert np.allclose(hazy, light * clear + air * (1 - clear), atol=1e-4)


@pytest.mark.parametrize("contrast", [0.3, 0.9])
def test_patches_are_log_normal_about_one(contrast):
    density = patches((150, 190), dataclasses.replace(SMOKE, contrast=contrast))
    assert density.min() > 0
    assert density.mean() == pytest.approx(1.0, abs=1e-4)
    assert np.log(density).std() == pytest.approx(contrast, rel=0.01)


def test_patches_look_alike_at_any_size():
    small = patches((192, 288), SMOKE)
    large = cv2.resize(patches((576, 864), SMOKE), (288, 192), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.97


def test_patches_have_their_size_and_stretch():
    def steepness(**change):
        down, across = np.gradient(np.log(patches((160, 160), dataclasses.replace(SMOKE, **change))))
        return float(np.abs(down).mean()), float(np.abs(across).mean())

    small, large, wide = steepness(patch=0.2), steepness(patch=0.8), steepness(stretch=2.5)
    assert min(small) > 1.5 * max(large)
    assert wide[0] > 1.5 * wide[1]


# Under water


@pytest.mark.parametrize("water", ATTENUATION)
def test_water_follows_the_formation_model(water):
    # A flat picture: forward scattering changes nothing, so only the law is left.
    params = dataclasses.replace(DIVE, water=water)
    light = to_linear(flat(0.7))
    metres = metres_of_water(light, params)
    assert metres.min() > 0 and metres.max() <= params.distance
    beta = np.asarray(ATTENUATION[water])
    clear = np.exp(-beta * metres[..., None])
    daylight = np.exp(-beta * params.sunk) / np.exp(-beta * params.sunk).max()
    expected = light * daylight * clear + np.asarray(veiling_light(light, params)) * (1 - clear)
    assert np.allclose(to_linear(through("underwater", flat(0.7), params)), expected, atol=1e-4)


@pytest.mark.parametrize(("water", "strongest"), [("I", 2), ("II", 2), ("1C", 1), ("3C", 1), ("5C", 1)])
def test_the_ocean_is_blue_and_the_coast_green(water, strongest):
    colour = through("underwater", flat(0.7), dataclasses.replace(DIVE, water=water)).mean(axis=(0, 1))
    assert colour.argmax() == strongest
    assert colour.argmin() == 0 or water == "5C"


def test_water_deflects_light_forward():
    image = noisy(128, 128, seed=2)
    sharp, soft = (
        through("underwater", image, dataclasses.replace(DIVE, forward=sigma)).std(axis=(0, 1)) for sigma in (0.3, 4.0)
    )
    assert (soft < 0.9 * sharp).all()
