"""Exposure: too little light and too much of it, both in linear light."""

from dataclasses import dataclass

import numpy as np

from cotir.degrade.base import Degradation, Image, Params, between, draw_seed, pick, register, to_linear, to_srgb


@dataclass(frozen=True)
class LowLightParams(Params):
    """An exposure that is too short."""

    stops: float
    """Exposure lost, in powers of two."""
    gamma: float
    """Exponent on linear light, at least 1: shadows sink more than highlights."""
    shot: float
    """Noise variance per unit of linear light."""
    read: float
    """Noise variance in the dark."""
    seed: int


@register
class LowLight(Degradation[LowLightParams]):
    """``y = 2^-stops x^gamma + sqrt(shot y + read) n`` in linear light.

    Scaling by a gain and a gamma is the synthesis of Lore et al. (LLNet, Pattern Recognition 61, 2017) and Lv et al.
    (AgLLNet, IJCV 2021), here on linear light where an exposure acts; the noise is the Gaussian approximation of
    a Poisson-Gaussian sensor (Foi et al., IEEE TIP 17(10), 2008).
    """

    name = "low_light"
    stage = "sensor"
    rank = 2
    record = LowLightParams

    def _draw(self, rng: np.random.Generator, severity: float) -> LowLightParams:
        return LowLightParams(
            stops=between(0.0, pick(rng, 3.8, 4.8), severity),
            gamma=between(1.0, pick(rng, 1.0, 1.35), severity),
            shot=between(1e-6, pick(rng, 2e-4, 8e-4), severity),
            read=between(1e-8, pick(rng, 5e-7, 2.5e-6), severity),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: LowLightParams) -> Image:
        unit = np.random.default_rng(params.seed).standard_normal(image.shape, dtype=np.float32)
        light = np.power(to_linear(image), np.float32(params.gamma)) * np.float32(2.0**-params.stops)
        return to_srgb(light + np.sqrt(light * np.float32(params.shot) + np.float32(params.read)) * unit)


@dataclass(frozen=True)
class OverExposureParams(Params):
    """An exposure that is too long."""

    stops: float
    """Exposure gained, in powers of two."""
    knee: float
    """Linear light above which the response bends towards white."""


@register
class OverExposure(Degradation[OverExposureParams]):
    """``y = f(2^stops x)`` in linear light, per channel, with a shoulder towards white.

    ``f(v) = v`` up to the knee ``k``, then ``k + (1 - k)(1 - exp(-(v - k) / (1 - k)))``: continuous with its slope, the
    exponential tone curve of a saturating medium (Tumblin and Rushmeier, IEEE CG&A 1993). Channels clip one by
    one, so a bright colour shifts in hue before it turns white, as on a camera.
    """

    name = "over_exposure"
    stage = "sensor"
    rank = 3
    record = OverExposureParams

    def _draw(self, rng: np.random.Generator, severity: float) -> OverExposureParams:
        stops = between(0.0, pick(rng, 2.2, 3.2), severity)
        # No gain, no shoulder: the record of severity 0 is the identity.
        return OverExposureParams(stops=stops, knee=1.0 - pick(rng, 0.15, 0.45) * (1.0 - 2.0**-stops))

    def _damage(self, image: Image, params: OverExposureParams) -> Image:
        light = to_linear(image) * np.float32(2.0**params.stops)
        room = np.float32(max(1.0 - params.knee, 1e-6))
        excess = np.maximum(light - np.float32(params.knee), 0.0)
        return to_srgb(np.minimum(light, np.float32(params.knee)) + room * -np.expm1(-excess / room))
