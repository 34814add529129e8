"""Blur: a lens out of focus, a moving camera, a soft lens. Light is averaged, so all of it is in linear light."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

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

Kernel = npt.NDArray[np.float32]
_FINE = 4
"""Kernels are drawn this many times finer and averaged down, so that sizes below a pixel mean something."""


@dataclass(frozen=True)
class BlurParams(Params):
    """One point-spread function; lengths are pixels of a picture whose short side is 512."""

    shape: Literal["gaussian", "disc", "motion"]
    size: float
    """Gaussian sigma, disc radius, or length of the motion path."""
    angle: float
    """Direction of the motion in radians."""
    bend: float
    """Turn of the motion along its path, in radians."""


@register
class Blur(Degradation[BlurParams]):
    """Convolution ``y = k * x`` of linear light with a point-spread function ``k`` that sums to one.

    - ``gaussian``: a soft lens, sigma up to 4.
    - ``disc``: defocus by geometric optics, the uniform image of a round aperture (Potmesil and Chakravarty,
      SIGGRAPH 1981), radius up to 8.
    - ``motion``: the path of a hand-held camera during the exposure, nearly straight and bent a little by hand tremor
      (Levin et al., CVPR 2009), length up to 32.

    Edges are mirrored.
    """

    name = "blur"
    stage = "lens"
    rank = 9
    record = BlurParams

    def _draw(self, rng: np.random.Generator, severity: float) -> BlurParams:
        shape = ("gaussian", "disc", "motion")[int(rng.integers(3))]
        largest = {"gaussian": 4.0, "disc": 8.0, "motion": 32.0}[shape]
        return BlurParams(
            shape=shape,
            size=between(0.0, largest * pick(rng, 0.8, 1.0), severity),
            angle=pick(rng, 0.0, np.pi),
            bend=pick(rng, -0.8, 0.8),
        )

    def _damage(self, image: Image, params: BlurParams) -> Image:
        size = params.size * pixel_scale(image)
        light = to_linear(image)
        if params.shape == "gaussian":
            blurred = gaussian(light, size)
        elif params.shape == "disc":
            blurred = convolve(light, disc_kernel(size))
        else:
            blurred = convolve(light, motion_kernel(size, params.angle, params.bend))
        return to_srgb(blurred)


def gaussian(light: Image, sigma: float) -> Image:
    """Gaussian blur; a sigma below a tenth of a pixel is no blur."""
    if sigma < 0.1:
        return light
    return cast(Image, cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def convolve(light: Image, kernel: Kernel) -> Image:
    """Filter each channel with a normalised kernel of odd side, edges mirrored."""
    return cast(Image, cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def disc_kernel(radius: float) -> Kernel:
    """A uniform disc of this radius in pixels with soft rim: ``float32 (2n + 1, 2n + 1)``, sum 1."""
    reach = int(np.ceil(radius + 0.5))
    axis = (np.arange((2 * reach + 1) * _FINE, dtype=np.float32) + 0.5) / _FINE - reach - 0.5
    inside = axis[:, None] ** 2 + axis[None, :] ** 2 <= max(radius, 0.5) ** 2
    return _to_pixels(inside.astype(np.float32))


def motion_kernel(length: float, angle: float, bend: float) -> Kernel:
    """A path of this length whose direction turns by ``bend`` from end to end: ``float32 (2n + 1, 2n + 1)``, sum 1."""
    steps = max(8, int(length * _FINE))
    heading = angle + bend * np.linspace(-0.5, 0.5, steps)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * (length / steps)
    path -= (path.max(axis=0) + path.min(axis=0)) / 2
    reach = int(np.ceil(np.abs(path).max() + 0.5))
    side = (2 * reach + 1) * _FINE
    index = np.floor((path + reach + 0.5) * _FINE).astype(int).clip(0, side - 1)
    fine = np.zeros((side, side), np.float32)
    np.add.at(fine, (index[:, 1], index[:, 0]), 1.0)
    # A point falls on a spot as large as a pixel; the anchor centres the spot of an even number of cells.
    anchor = (_FINE // 2 - 1, _FINE // 2 - 1)
    fine = cv2.blur(fine, (_FINE, _FINE), anchor=anchor, borderType=cv2.BORDER_CONSTANT)
    return _to_pixels(cast(Kernel, fine))


def _to_pixels(fine: Kernel) -> Kernel:
    side = fine.shape[0] // _FINE
    kernel = fine.reshape(side, _FINE, side, _FINE).mean(axis=(1, 3))
    return cast(Kernel, kernel / kernel.sum())
