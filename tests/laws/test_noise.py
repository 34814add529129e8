"""What the formulas of a sensor's noise and of impulses claim."""

import numpy as np
import pytest
from law_pictures import flat, through

from cotir.degrade import kind_named, to_linear, to_srgb
from cotir.degrade.noise import ImpulseNoiseParams, NoiseParams, demosaic


def test_gaussian_noise_has_its_sigma():
    params = NoiseParams("gaussian", sigma=0.05, shot=0, read=0, red_gain=1, blue_gain=1, seed=3)
    noise = kind_named("noise").apply(flat(0.5, 128, 128), params) - 0.5
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean()) < 1e-3


def test_raw_noise_has_the_variance_of_its_sensor():
    params = NoiseParams("raw", sigma=0, shot=2e-3, read=1e-4, red_gain=2.0, blue_gain=1.5, seed=3)
    light = 0.3
    noisy = to_linear(kind_named("noise").apply(to_srgb(flat(light, 256, 256)), params)) - light
    # Sites where a channel was measured, not interpolated: red at even-even, green at even-odd, blue at odd-odd.
    for measured, gain in ((noisy[::2, ::2, 0], 2.0), (noisy[::2, 1::2, 1], 1.0), (noisy[1::2, 1::2, 2], 1.5)):
        assert measured.var() == pytest.approx(gain * 2e-3 * light + gain**2 * 1e-4, rel=0.05)


@pytest.mark.parametrize("size", [(32, 48), (17, 31)], ids=str)
def test_demosaicing_keeps_a_flat_field(size):
    field = np.broadcast_to(np.asarray([0.2, 0.5, 0.7], np.float32), (*size, 3)).copy()
    inside = demosaic(field)[1:-1, 1:-1]
    assert np.allclose(inside, field[1:-1, 1:-1], atol=1e-6)


def test_salt_and_pepper_hit_whole_pixels_at_their_share():
    params = ImpulseNoiseParams("salt_and_pepper", share=0.2, salt=0.3, seed=1)
    image = through("impulse_noise", flat(0.5, 256, 256), params)
    assert (image.min(axis=2) == image.max(axis=2)).all()
    assert (image[..., 0] != 0.5).mean() == pytest.approx(0.2, abs=0.01)
    assert (image[..., 0] == 1).sum() / (image[..., 0] != 0.5).sum() == pytest.approx(0.3, abs=0.02)


def test_random_values_are_uniform_and_hit_channels_one_by_one():
    params = ImpulseNoiseParams("random_valued", share=0.2, salt=0.3, seed=1)
    image = through("impulse_noise", flat(0.5, 256, 256), params)
    values = image[image != 0.5]
    assert len(values) / image.size == pytest.approx(0.2, abs=0.01)
    assert values.std() == pytest.approx(1 / np.sqrt(12), rel=0.02)
    assert ((image != 0.5).sum(axis=2) == 1).any()


@pytest.mark.parametrize("model", ["salt_and_pepper", "random_valued"])
def test_more_impulses_contain_the_fewer(model):
    few = through("impulse_noise", flat(0.5), ImpulseNoiseParams(model, share=0.1, salt=0.5, seed=3))
    many = through("impulse_noise", flat(0.5), ImpulseNoiseParams(model, share=0.3, salt=0.5, seed=3))
    hit = few != 0.5
    assert hit.any()
    assert np.array_equal(few[hit], many[hit])
