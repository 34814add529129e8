"""Lossy files, through the real codec: OpenCV's libjpeg-turbo, which Pillow uses too and OpenCV calls more quickly."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

from cotir.degrade.base import Degradation, Image, Params, between, register

_SAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


@dataclass(frozen=True)
class JpegParams(Params):
    """Settings of one JPEG file."""

    quality: int
    """IJG quality, 1 to 100."""
    chroma: Literal["4:4:4", "4:2:0"]
    """Whether colour is stored at full or at half resolution."""


@register
class Jpeg(Degradation[JpegParams]):
    """``y = decode(encode(x))``, a baseline JPEG file (ITU-T T.81; IJG's quality scales the tables of its Annex K).

    Quality is ``97 - 89 severity^0.6``: 90 near severity 0.015, 50 near 0.35, 8 at 1. It falls quickly at first because
    the damage of a step grows as quality sinks. From quality 90 down, 7 files in 10 halve the colour resolution.
    """

    name = "jpeg"
    stage = "file"
    rank = 9
    record = JpegParams

    def _draw(self, rng: np.random.Generator, severity: float) -> JpegParams:
        halved = rng.random() < 0.7
        quality = round(between(97, 8, severity**0.6))
        return JpegParams(quality=quality, chroma="4:2:0" if halved and quality <= 90 else "4:4:4")

    def _damage(self, image: Image, params: JpegParams) -> Image:
        levels = cv2.cvtColor(np.rint(np.clip(image, 0.0, 1.0) * np.float32(255)).astype(np.uint8), cv2.COLOR_RGB2BGR)
        options = [cv2.IMWRITE_JPEG_QUALITY, params.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[params.chroma]]
        _, file = cv2.imencode(".jpg", levels, options)
        decoded = cast(npt.NDArray[np.uint8], cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))
        return decoded.astype(np.float32) * np.float32(1 / 255)
