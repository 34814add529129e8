"""What the formulas of blur kernels, exposure and low resolution claim."""

import dataclasses

import numpy as np
import pytest
from law_pictures import flat, psnr, textured

from cotir.degrade import kind_named, to_linear
from cotir.degrade.blur import BlurParams, disc_kernel, motion_kernel
from cotir.degrade.light import LowLightParams, OverExposureParams
from cotir.degrade.resolution import LowResolutionParams


@pytest.mark.parametrize("radius", [1.7, 3.2, 8.0])
def test_a_disc_kernel_is_a_disc(radius):
    kernel = disc_kernel(radius)
    axis = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(kernel, kernel.T)
    # The variance of a uniform disc along an axis is r^2 / 4; the pixel that samples it adds 1 / 12.
    assert (kernel.sum(axis=0) * axis**2).sum() == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.1)


def test_blur_kernels_of_no_size_do_nothing():
    for kernel in (disc_kernel(0.0), motion_kernel(0.0, angle=0.7, bend=0.3)):
        assert kernel[len(kernel) // 2, len(kernel) // 2] == pytest.approx(1.0)


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.4, 2.5])
def test_a_motion_kernel_has_its_length_and_direction(angle):
    kernel = motion_kernel(20.0, angle, 0.3)
    axis = np.arange(len(kernel)) - len(kernel) // 2
    x, y = np.meshgrid(axis, axis)
    spread = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=kernel.ravel())
    values, vectors = np.linalg.eigh(spread)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.sqrt(12 * values[1]) == pytest.approx(20.0, rel=0.06), "a uniform path of length L has variance L^2 / 12"
    assert abs(vectors[:, 1] @ (np.cos(angle), np.sin(angle))) > 0.99
    assert values[1] > 15 * values[0]


@pytest.mark.parametrize("shape", ["gaussian", "disc", "motion"])
def test_blur_keeps_the_light(shape):
    image = np.zeros((128, 128, 3), np.float32)
    image[62:66, 62:66] = 0.9
    blurred = kind_named("blur").apply(image, BlurParams(shape, size=8.0, angle=0.5, bend=0.2))
    assert to_linear(blurred).sum() == pytest.approx(to_linear(image).sum(), rel=2e-3)
    assert blurred.max() < 0.9


def test_low_light_is_a_gain_and_a_gamma_on_linear_light():
    image = textured(32, 32, seed=5)
    params = LowLightParams(stops=2.0, gamma=1.2, shot=0.0, read=0.0, seed=0)
    dark = kind_named("low_light").apply(image, params)
    assert np.allclose(to_linear(dark), to_linear(image) ** 1.2 / 4, atol=1e-5)
    noisy = kind_named("low_light").apply(image, dataclasses.replace(params, shot=1e-3, read=1e-6))
    assert (noisy - dark).std() > 0.005


def test_over_exposure_rises_to_white_without_a_step():
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 16, axis=0).repeat(3, axis=2)
    bright = kind_named("over_exposure").apply(ramp, OverExposureParams(stops=2.0, knee=0.7))
    steps = np.diff(bright[0, :, 0])
    assert (steps >= 0).all()
    assert steps[30:].max() < 0.02
    assert np.allclose(to_linear(bright)[:, :80], 4 * to_linear(ramp)[:, :80], atol=1e-5)
    assert bright[:, -1].min() > 0.99


def test_low_resolution_removes_fine_detail_and_keeps_coarse():
    fine = flat(0.5)
    fine[::2] = 0.2
    coarse = flat(0.5)
    coarse[32:] = 0.2
    params = LowResolutionParams(factor=4.0, down="area", up="bicubic")
    kind = kind_named("low_resolution")
    assert kind.apply(fine, params).std() < 0.01
    assert psnr(kind.apply(coarse, params), coarse) > 30
