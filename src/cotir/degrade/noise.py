"""Noise: of the textbook (Gaussian), of a sensor (Poisson-Gaussian on a Bayer mosaic, in linear light), impulses."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np

from cotir.degrade.base import Degradation, Image, Params, between, draw_seed, pick, register, to_linear, to_srgb

_DEMOSAIC_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
_DEMOSAIC_RED_BLUE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4


@dataclass(frozen=True)
class NoiseParams(Params):
    """Noise of one exposure."""

    model: Literal["gaussian", "raw"]
    sigma: float
    """Standard deviation in sRGB units, for ``gaussian``."""
    shot: float
    """Variance per unit of linear light, for ``raw``."""
    read: float
    """Variance in the dark, for ``raw``."""
    red_gain: float
    """White-balance gain of the red channel, which also amplifies its noise; for ``raw``."""
    blue_gain: float
    seed: int


@register
class Noise(Degradation[NoiseParams]):
    """Additive noise.

    - ``gaussian``: ``y = x + sigma n`` with ``n ~ N(0, 1)`` per channel on the encoded picture, the setting of nearly
      all denoising papers. Severity 0.1 to 1 spans ``sigma = 5/255 .. 50/255``.
    - ``raw``: in linear light, before white balance, at each site of an RGGB mosaic,
      ``y = x + sqrt(shot x + read) n`` (Foi et al., IEEE TIP 17(10), 2008: the Gaussian approximation of a
      Poisson-Gaussian sensor). ``read`` follows ``shot`` as measured on real cameras,
      ``log read = 2.18 log shot + 1.20`` (Brooks et al., CVPR 2019, Unprocessing Images, section 3.1). Bilinear
      demosaicing is linear, so it is done on the noise alone: the coarse colour grain of a developed raw file.
    """

    name = "noise"
    stage = "sensor"
    rank = 5
    record = NoiseParams

    def _draw(self, rng: np.random.Generator, severity: float) -> NoiseParams:
        model = "gaussian" if rng.random() < 0.5 else "raw"
        shot = float(np.exp(between(np.log(2e-5), np.log(0.04), severity**0.5)))
        return NoiseParams(
            model=model,
            sigma=between(0.5, 50.0, severity) / 255,
            shot=shot,
            read=float(np.exp(2.18 * np.log(shot) + 1.20)),
            red_gain=pick(rng, 1.5, 2.4),
            blue_gain=pick(rng, 1.4, 1.9),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: NoiseParams) -> Image:
        rng = np.random.default_rng(params.seed)
        unit = rng.standard_normal(image.shape, dtype=np.float32)
        if params.model == "gaussian":
            return image + np.float32(params.sigma) * unit
        gains = np.array([params.red_gain, 1.0, params.blue_gain], np.float32)
        light = to_linear(image)
        deviation = np.sqrt(light * gains * np.float32(params.shot) + gains**2 * np.float32(params.read))
        return to_srgb(light + demosaic(deviation * unit))


def demosaic(field: Image) -> Image:
    """Sample a ``float32 (H, W, 3)`` field on an RGGB mosaic and interpolate it bilinearly back to three channels."""
    red, green, blue = (np.zeros(field.shape[:2], np.float32) for _ in range(3))
    red[::2, ::2] = field[::2, ::2, 0]
    green[::2, 1::2] = field[::2, 1::2, 1]
    green[1::2, ::2] = field[1::2, ::2, 1]
    blue[1::2, 1::2] = field[1::2, 1::2, 2]
    # Reflection about the edge pixel keeps the parity of the mosaic.
    border = cv2.BORDER_REFLECT_101
    planes = (
        cv2.filter2D(red, -1, _DEMOSAIC_RED_BLUE, borderType=border),
        cv2.filter2D(green, -1, _DEMOSAIC_GREEN, borderType=border),
        cv2.filter2D(blue, -1, _DEMOSAIC_RED_BLUE, borderType=border),
    )
    return cast(Image, cv2.merge(planes))


@dataclass(frozen=True)
class ImpulseNoiseParams(Params):
    """Pixels that are lost."""

    model: Literal["salt_and_pepper", "random_valued"]
    share: float
    """Probability that a pixel is hit, or a channel of it for ``random_valued``."""
    salt: float
    """Share of white among the hit pixels; for ``salt_and_pepper``."""
    seed: int


@register
class ImpulseNoise(Degradation[ImpulseNoiseParams]):
    """``y = v`` with probability ``share``, else ``y = x``: dead photosites, bits flipped in memory or on a line.

    Gonzalez and Woods, Digital Image Processing (4th edition, 2018), section 5.2, and Nikolova (JMIV 20, 2004).

    - ``salt_and_pepper``: all channels of a pixel turn white or black.
    - ``random_valued``: each channel by itself takes a value uniform in [0, 1].

    More noise contains the less: a pixel is hit where a fixed uniform field is below ``share``.
    """

    name = "impulse_noise"
    stage = "sensor"
    rank = 6
    record = ImpulseNoiseParams

    def _draw(self, rng: np.random.Generator, severity: float) -> ImpulseNoiseParams:
        return ImpulseNoiseParams(
            model="salt_and_pepper" if rng.random() < 0.5 else "random_valued",
            share=between(0.0, pick(rng, 0.2, 0.3), severity**1.5),
            salt=pick(rng, 0.3, 0.7),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: ImpulseNoiseParams) -> Image:
        rng = np.random.default_rng(params.seed)
        channels = 1 if params.model == "salt_and_pepper" else 3
        hit = rng.random((*image.shape[:2], channels), dtype=np.float32) < params.share
        value = rng.random((*image.shape[:2], channels), dtype=np.float32)
        if params.model == "salt_and_pepper":
            value = (value < params.salt).astype(np.float32)
        return np.where(hit, value, image)
