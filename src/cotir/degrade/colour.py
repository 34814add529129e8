"""Colour that ageing or a phone's processor took away."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np

from cotir.degrade.base import (
    Degradation,
    Image,
    Params,
    between,
    pick,
    pixel_scale,
    register,
    to_linear,
    to_srgb,
)
from cotir.degrade.depth import Colour, Field

_PRINT_BLACK = 10**-2.2
"""Reflectance of a fresh print's black, density 2.2."""

_SEPIA = (-0.28, 0.05, 0.38)
"""Exponents that full toning adds to red, green and blue."""

_REC_709 = np.array([0.2126, 0.7152, 0.0722])
_BLUE_AND_GREEN = np.array([0.03, 0.52, 0.45])
"""What an orthochromatic emulsion sees."""


@dataclass(frozen=True)
class LostColourParams(Params):
    """An old print."""

    model: Literal["faded", "monochrome"]
    fading: Colour
    """Share of the cyan, magenta and yellow dye that is gone, which shows in red, green and blue; for ``faded``."""
    paper: Colour
    """Linear reflectance of the yellowed paper; for ``faded``."""
    loss: float
    """Share of the colour that is gone, in [0, 1]; for ``monochrome``."""
    orthochromatic: float
    """0 sees red, green and blue as the eye does, 1 as early film that was blind to red; for ``monochrome``."""
    sepia: float
    """Strength of the brown toning; for ``monochrome``."""


@register
class LostColour(Degradation[LostColourParams]):
    """Dyes that fade toward the paper, or a black-and-white picture, in linear light.

    - ``faded``: a dye of density ``D = -log10 r`` that lost a share ``f`` leaves ``r' = r^(1 - f)`` (Beer's law) on
      paper of reflectance ``p``: ``y = p r'``. The three dyes of a chromogenic print fade unequally; cyan goes first in
      the dark, magenta in light (Wilhelm and Brower, The Permanence and Care of Color Photographs, 1993, ch. 5). Print
      black has density 2.2, and the scan is set so that a fresh print is the identity.
    - ``monochrome``: ``y = (1 - loss) x + loss Y^e`` with ``Y`` a weighted sum of the channels, between the weights of
      the eye (ITU-R BT.709) and those of orthochromatic film; sepia toning is an exponent ``e`` per channel, which
      leaves black and white as they are and turns the greys brown.
    """

    name = "lost_colour"
    stage = "processing"
    rank = 3
    record = LostColourParams

    def _draw(self, rng: np.random.Generator, severity: float) -> LostColourParams:
        model = "faded" if rng.random() < 0.5 else "monochrome"
        strongest = int(rng.choice(3, p=(0.5, 0.35, 0.15)))
        fading = [pick(rng, 0.5, 0.68) if dye == strongest else pick(rng, 0.25, 0.45) for dye in range(3)]
        yellow = pick(rng, 0.05, 0.3)
        toned = rng.random() < 0.5
        return LostColourParams(
            model=model,
            fading=(fading[0] * severity, fading[1] * severity, fading[2] * severity),
            paper=(1.0 - 0.1 * yellow * severity, 1.0 - 0.3 * yellow * severity, 1.0 - yellow * severity),
            loss=min(1.0, 1.25 * severity),
            orthochromatic=pick(rng, 0.0, 1.0),
            sepia=between(0.0, pick(rng, 0.6, 1.0), severity) if toned else 0.0,
        )

    def _damage(self, image: Image, params: LostColourParams) -> Image:
        light = to_linear(image)
        if params.model == "faded":
            return to_srgb(_fade(light, params))
        weights = _REC_709 + (_BLUE_AND_GREEN - _REC_709) * params.orthochromatic
        grey = cv2.transform(light, weights.astype(np.float32)[None, :])
        toned = [cv2.pow(grey, 1.0 + params.sepia * shift) if params.sepia else grey for shift in _SEPIA]
        return to_srgb(np.float32(1.0 - params.loss) * light + np.float32(params.loss) * cast(Image, cv2.merge(toned)))


def _fade(light: Image, params: LostColourParams) -> Image:
    black = np.float32(_PRINT_BLACK)
    planes = []
    for plane, lost, paper in zip(cv2.split(light), params.fading, params.paper, strict=True):
        reflectance = cv2.pow(black + (1 - black) * plane, 1.0 - lost) * np.float32(paper)
        planes.append((reflectance - black) / (1 - black))
    return cast(Image, cv2.merge(planes))


@dataclass(frozen=True)
class SmartphoneParams(Params):
    """Settings of a phone's image processor; lengths are pixels of a picture whose short side is 512."""

    denoising: float
    """Luma contrast below which texture is wiped out, in sRGB units."""
    smear: float
    """Sigma of the blur of colour."""
    lift: float
    """Local tone mapping: share by which coarse brightness is drawn to middle grey, in the mid-tones."""
    contrast: float
    """Strength of the S-shaped tone curve that follows, in [0, 1]."""
    sharpening: float
    """Amount of the unsharp mask."""
    radius: float
    """Sigma of the unsharp mask."""
    saturation: float
    """Gain of the colour difference."""
    warmth: float
    """Relative error of the white balance: red up and blue down where positive."""


@register
class Smartphone(Degradation[SmartphoneParams]):
    """The gap between a phone's picture and a DSLR's: ``y = sharpen(tone(denoise(x)))`` on luma, colour smeared.

    Why phone pictures look as they do is told by Ignatov et al. (DPED, ICCV 2017); the steps and their order are those
    of a camera's processor (Karaimer and Brown, ECCV 2016), in sRGB as there. Luma ``Y``: a bilateral filter wipes fine
    texture out; coarse brightness ``B`` is compressed as exposure fusion does (Hasinoff et al., HDR+, SIGGRAPH Asia
    2016), here by ``Y - 4 lift (B - 1/2) Y (1 - Y)``, which leaves black and white; ``Y + contrast (3 Y^2 - 2 Y^3 -
    Y)``; unsharp mask ``Y + a (Y - G * Y)``, whose overshoot is the halo. Colour: Gaussian blur and a gain. White
    balance: gains on linear light, here as powers ``gain^(1 / 2.2)`` on sRGB.
    """

    name = "smartphone"
    stage = "processing"
    rank = 2
    record = SmartphoneParams

    def _draw(self, rng: np.random.Generator, severity: float) -> SmartphoneParams:
        return SmartphoneParams(
            denoising=between(0.0, pick(rng, 0.05, 0.12), severity),
            smear=between(0.0, pick(rng, 2.0, 4.5), severity),
            lift=between(0.0, pick(rng, 0.1, 0.35), severity),
            contrast=between(0.0, pick(rng, 0.1, 0.5), severity),
            sharpening=between(0.0, pick(rng, 1.0, 2.2), severity),
            radius=pick(rng, 0.9, 1.8),
            saturation=1.0 + pick(rng, -0.2, 0.25) * severity,
            warmth=float(rng.choice((-1.0, 1.0))) * pick(rng, 0.04, 0.12) * severity,
        )

    def _damage(self, image: Image, params: SmartphoneParams) -> Image:
        scale = pixel_scale(image)
        luma, *colour = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
        luma = _develop(cast(Field, luma), params, scale)
        if params.smear * scale >= 0.1:
            colour = [cv2.GaussianBlur(plane, (0, 0), params.smear * scale) for plane in colour]
        colour = [(plane - np.float32(0.5)) * np.float32(params.saturation) + np.float32(0.5) for plane in colour]
        developed = cv2.cvtColor(cv2.merge([luma, *colour]), cv2.COLOR_YCrCb2RGB)
        gains = np.asarray([1.0 + params.warmth, 1.0, 1.0 - params.warmth]) ** (1 / 2.2)
        return cast(Image, developed * gains.astype(np.float32))


def _develop(luma: Field, params: SmartphoneParams, scale: float) -> Field:
    """Denoise, tone-map and sharpen luma ``float32 (H, W)``."""
    if params.denoising > 1e-3:
        luma = cast(Field, cv2.bilateralFilter(luma, 5, params.denoising, 2.0))
    height, width = luma.shape
    shrink = max(1.0, min(height, width) / 64)
    small = cv2.resize(luma, (round(width / shrink), round(height / shrink)), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(cv2.GaussianBlur(small, (0, 0), 4.0), (width, height), interpolation=cv2.INTER_LINEAR)
    luma = luma - np.float32(4 * params.lift) * (coarse - np.float32(0.5)) * luma * (1 - luma)
    luma += np.float32(params.contrast) * (luma * luma * (3 - 2 * luma) - luma)
    soft = cv2.GaussianBlur(luma, (0, 0), max(params.radius * scale, 0.3))
    return cast(Field, luma + np.float32(params.sharpening) * (luma - soft))
