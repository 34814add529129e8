"""The template writer: reasoning traces from what was measured and what was done, offline.

The scene part says only what pixels can tell: brightness, contrast, colour, texture, and where light and detail lie.
Severity becomes a word. The plan undoes the damage in the reverse of the order light took.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cotir.degrade.base import Image
from cotir.degrade.compose import Applied
from cotir.prompts import ReasoningTrace
from cotir.words import (
    SCENE_WORDS,
    Scene,
    full_degradation,
    full_plan,
    short_degradation,
    short_plan,
)


def write_trace(hq: Image, applied: Sequence[Applied]) -> ReasoningTrace:
    """Write the reasoning for a picture in a few words.

    Args:
        hq: the clean picture, float32 (H, W, 3), sRGB in [0, 1].
        applied: what damaged it, in light-path order; empty for a clean picture.

    Raises:
        ConfigError: a kind has no words in :data:`cotir.words.WORDS`.
    """
    kinds = [each.kind for each in applied]
    return ReasoningTrace(measure_scene(hq).short(), short_degradation(applied), short_plan(kinds))


def write_full_trace(hq: Image, applied: Sequence[Applied]) -> ReasoningTrace:
    """Write it with the layout of the scene, what each damage does, and why it is undone when it is.

    Arguments and errors are those of :func:`write_trace`.
    """
    kinds = [each.kind for each in applied]
    return ReasoningTrace(measure_scene(hq).full(), full_degradation(applied), full_plan(kinds))


def measure_scene(image: Image) -> Scene:
    """Brightness, contrast, dominant colour, texture and layout of a picture (float32 (H, W, 3) in [0, 1])."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    detail = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    light, texture = (cv2.resize(each, (3, 3), interpolation=cv2.INTER_AREA) for each in (gray, detail))
    # a sixth of the range is a difference that a viewer sees at a glance
    bright_all_over = np.ptp(light) < 1 / 6
    detail_all_over = float(texture.max()) <= 2 * float(texture.mean()) + 1e-3
    return Scene(
        brightness=_level("brightness", float(gray.mean()), (0.33, 0.6)),
        contrast=_level("contrast", float(gray.std()), (0.1, 0.22)),
        colour=_colour(image),
        texture=_level("texture", float(detail.mean()), (0.03, 0.1)),
        light=SCENE_WORDS["light"][0 if bright_all_over else 1 + int(light.argmax())],
        detail=SCENE_WORDS["detail"][0 if detail_all_over else 1 + int(texture.argmax())],
    )


def _colour(image: Image) -> str:
    gray, *hues = SCENE_WORDS["colour"]
    hue, saturation, _ = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    if float(saturation.mean()) < 0.12:
        return gray
    # A saturation-weighted circular mean, so that gray areas do not vote.
    x, y = cv2.polarToCart(saturation, hue, angleInDegrees=True)
    angle = np.rad2deg(np.arctan2(y.sum(), x.sum()))
    return hues[round(angle / 45) % len(hues)]


def _level(part: str, value: float, bounds: tuple[float, float]) -> str:
    return SCENE_WORDS[part][int(np.searchsorted(bounds, value))]
