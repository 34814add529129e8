"""Blank canvases and what is put on them: smooth random fields, and shapes drawn to a fraction of a pixel."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Cover = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

_SHIFT = 4
"""Fractional bits of the coordinates handed to OpenCV's drawing."""


def clouds(shape: tuple[int, int], cells: float, rng: np.random.Generator) -> Field:
    """Smooth noise ``float32 (H, W)`` of mean 0 and a spread just below 1, with ``cells`` bumps on the short side."""
    height, width = shape
    step = min(shape) / cells
    knots = (max(2, round(height / step) + 1), max(2, round(width / step) + 1))
    noise = rng.standard_normal(knots, dtype=np.float32)
    return cast(Field, cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def working_shape(shape: tuple[int, int], short: int) -> tuple[int, int]:
    """The shape ``(H, W)`` shrunk to this short side, for what is too smooth to need every pixel; never enlarged."""
    shrink = max(1.0, min(shape) / short)
    return max(2, round(shape[0] / shrink)), max(2, round(shape[1] / shrink))


def enlarge(field: Field, shape: tuple[int, int]) -> Field:
    """A field or picture carried linearly to ``shape``."""
    return cast(Field, cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def unit(canvas: Cover) -> Field:
    """A canvas of levels as ``float32`` in [0, 1]."""
    return cast(Field, np.multiply(canvas, np.float32(1 / 255), dtype=np.float32))


def soften(canvas: Field, sigma: float) -> Field:
    """Gaussian blur with mirrored edges; a sigma below a quarter of a pixel is none."""
    return cast(Field, cv2.GaussianBlur(canvas, (0, 0), sigma)) if sigma >= 0.25 else canvas


def fill(canvas: Cover, outline: Floats, level: float) -> None:
    """Fill one polygon ``(N, 2)`` of x and y on ``canvas`` with a level in [0, 1], edges antialiased."""
    cv2.fillPoly(canvas, [_fixed_point(outline)], 255 * level, cv2.LINE_AA, _SHIFT)


def stroke(canvas: Cover, paths: Sequence[Floats], level: float, thickness: int = 1) -> None:
    """Draw open paths, each ``(N, 2)``, on ``canvas`` with a level in [0, 1], edges antialiased."""
    lines = [_fixed_point(path) for path in paths]
    cv2.polylines(canvas, lines, False, 255 * level, max(1, thickness), cv2.LINE_AA, _SHIFT)


def _fixed_point(points: Floats) -> npt.NDArray[np.int32]:
    return np.rint(points * 2**_SHIFT).astype(np.int32)
