"""Too few pixels: shrink, then enlarge back to the same size."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np

from cotir.degrade.base import Degradation, Image, Params, between, register

_DOWN = {"area": cv2.INTER_AREA, "bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
_UP = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


@dataclass(frozen=True)
class LowResolutionParams(Params):
    """A picture kept at a fraction of its size."""

    factor: float
    """Original side divided by the kept side, at least 1."""
    down: Literal["area", "bicubic", "lanczos"]
    up: Literal["bilinear", "bicubic", "lanczos"]


@register
class LowResolution(Degradation[LowResolutionParams]):
    """``y = up(down(x, 1 / factor))`` with factor 1 to 4, the classical super-resolution setting.

    Kernels vary as in Real-ESRGAN's second-order model (Wang et al., ICCVW 2021, section 3.1). OpenCV's bicubic and
    Lanczos do not widen when shrinking, so a Gaussian of ``sigma = 0.35 sqrt(factor^2 - 1)`` precedes them against
    aliasing. Software resizes encoded values, so this one is not in linear light.
    """

    name = "low_resolution"
    stage = "processing"
    record = LowResolutionParams

    def _draw(self, rng: np.random.Generator, severity: float) -> LowResolutionParams:
        return LowResolutionParams(
            factor=between(1.0, 4.0, severity),
            down=("area", "bicubic", "lanczos")[int(rng.integers(3))],
            up=("bilinear", "bicubic", "lanczos")[int(rng.integers(3))],
        )

    def _damage(self, image: Image, params: LowResolutionParams) -> Image:
        height, width = image.shape[:2]
        small = (max(1, round(width / params.factor)), max(1, round(height / params.factor)))
        sigma = 0.35 * float(np.sqrt(max(params.factor**2 - 1.0, 0.0)))
        if params.down != "area" and sigma > 0.1:
            image = cast(Image, cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))
        kept = cv2.resize(image, small, interpolation=_DOWN[params.down])
        return cast(Image, cv2.resize(kept, (width, height), interpolation=_UP[params.up]))
