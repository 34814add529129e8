"""Depth for a picture that has none, and light scattered along it.

The invented depth is far at the top, far where it is bright, varies slowly, and has edges that follow the picture.
"""

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from cotir.degrade.base import Image

Field = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

_COARSE = 64
"""Short side at which depth is thought up."""


def procedural_depth(light: Image, seed: int) -> Field:
    """A plausible depth ``float32 (H, W)`` in [0.2, 1], 1 the farthest, for ``light`` ``float32 (H, W, 3)``.

    A vertical ramp, smoothed luminance and low-frequency noise, made coarsely and carried to full size by a fast guided
    filter (He and Sun, arXiv 1505.00996) so that its edges follow the picture's.
    """
    height, width = light.shape[:2]
    shrink = max(1.0, min(height, width) / _COARSE)
    small = (max(2, round(width / shrink)), max(2, round(height / shrink)))
    luminance = cast(Field, np.sqrt(cv2.cvtColor(light, cv2.COLOR_RGB2GRAY)))
    guide = cv2.resize(luminance, small, interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(seed)
    horizon = rng.uniform(0.0, 0.6)
    slope = rng.uniform(-0.3, 0.3) * np.linspace(-0.5, 0.5, small[0], dtype=np.float32)
    rows = np.linspace(0.0, 1.0, small[1], dtype=np.float32)
    ramp = np.clip((1.0 - rows) / (1.0 - horizon), 0.0, 1.0)[:, None] + slope[None, :]
    clouds = cv2.resize(rng.random((4, 4), dtype=np.float32), small, interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(guide, (0, 0), 2.0)
    depth = np.asarray(0.55 * ramp + 0.3 * smooth + 0.15 * clouds, np.float32)
    return np.clip(0.2 + 0.8 * _enlarge(depth, cast(Field, guide), luminance), 0.2, 1.0, dtype=np.float32)


def _enlarge(depth: Field, guide: Field, luminance: Field) -> Field:
    """Fast guided filter: where coarse depth is locally linear in ``guide``, fine depth is so in ``luminance``."""
    window = (9, 9)
    mean_guide, mean_depth = cv2.blur(guide, window), cv2.blur(depth, window)
    variance = cv2.blur(guide * guide, window) - mean_guide * mean_guide
    gain = (cv2.blur(guide * depth, window) - mean_guide * mean_depth) / (variance + np.float32(0.01))
    offset = mean_depth - gain * mean_guide
    fine = luminance.shape[1], luminance.shape[0]
    full_gain = cv2.resize(cv2.blur(cast(Field, gain), window), fine, interpolation=cv2.INTER_LINEAR)
    full_offset = cv2.resize(cv2.blur(cast(Field, offset), window), fine, interpolation=cv2.INTER_LINEAR)
    return cast(Field, full_gain * luminance + full_offset)


def scatter(light: Image, density: float, tint: Colour, seed: int) -> Image:
    """Koschmieder's law ``I = J t + A (1 - t)``, ``t = exp(-density d)``, on the procedural depth; all linear light."""
    clear = cv2.exp(procedural_depth(light, seed) * np.float32(-density))
    return mix(light, cast(Field, clear), ambient(light, tint))


def ambient(light: Image, tint: Colour) -> Colour:
    """Colour of the light that air, drops and flakes throw: the tint, as bright as the picture's brightest parts."""
    small = cv2.resize(light, (32, 32), interpolation=cv2.INTER_AREA)
    brightest = float(np.quantile(small.max(axis=2), 0.97))
    # A dull day still has a sky: half way, in stops, between what is seen and white.
    level = float(np.sqrt(np.clip(brightest, 0.1, 0.9)))
    return (tint[0] * level, tint[1] * level, tint[2] * level)


def mix(light: Image, clear: Field, colour: Colour) -> Image:
    """``light clear + colour (1 - clear)``, plane by plane, which is quicker than over pixels of three."""
    pairs = zip(cv2.split(light), np.asarray(colour, np.float32), strict=True)
    return cast(Image, cv2.merge([(plane - level) * clear + level for plane, level in pairs]))
