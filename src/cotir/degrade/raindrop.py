"""Drops of water on the pane before the lens, each a small lens of its own, in linear light."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from cotir.degrade.base import (
    Degradation,
    Image,
    Params,
    between,
    draw_seed,
    pick,
    pixel_scale,
    register,
    to_linear,
    to_srgb,
)
from cotir.degrade.canvas import Field, clouds, soften, working_shape
from cotir.degrade.depth import ambient

_DROPS = 130
"""Drops on the wettest pane, in 512 x 512."""


@dataclass(frozen=True)
class RaindropParams(Params):
    """Drops on the pane before the lens; lengths are pixels of a picture whose short side is 512."""

    amount: float
    """Share, in [0, 1], of the wettest pane's drops."""
    radius: float
    """Radius of a middling drop."""
    bend: float
    """How far aside the rim of a drop looks, as a share of the short side."""
    blur: float
    """Sigma of the drops' own defocus: the lens looks past them."""
    rim: float
    """Share of the light lost at the rim."""
    gain: float
    """Brightness of what a drop shows: it gathers light from a wide field."""
    seed: int


@register
class Raindrop(Degradation[RaindropParams]):
    """``y = x (1 - k * m) + k * (m T(n) x(p + b n))`` in linear light: each drop is a small wide-angle lens.

    The mixing is that of Qian et al. (CVPR 2018, eq. 1), the refraction follows You et al. (Adherent Raindrop Modeling,
    TPAMI 38(9), 2016). Where the water is ``h`` high, its surface tilts by the part along the pane of its unit normal,
    ``n = grad h^2 / sqrt(4 h^2 + |grad h^2|^2)``, so a drop shows the scene upside down. ``m`` is where water stands,
    ``T = gain (1 - rim |n|^4)`` the light that gets through, to which a glint of the sky is added, and ``k`` the
    defocus of the pane. Drops merge where they touch: their ``h^2`` are joined by a polynomial smooth maximum.
    """

    name = "raindrop"
    stage = "lens"
    rank = 2
    record = RaindropParams

    def _draw(self, rng: np.random.Generator, severity: float) -> RaindropParams:
        return RaindropParams(
            amount=severity,
            radius=pick(rng, 11.0, 19.0) * between(0.75, 1.0, severity),
            bend=pick(rng, 0.3, 0.6),
            blur=pick(rng, 0.8, 3.2),
            rim=pick(rng, 0.55, 0.9),
            gain=pick(rng, 0.9, 1.35),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: RaindropParams) -> Image:
        if params.amount == 0.0:
            return image
        light = to_linear(image)
        scale = pixel_scale(image)
        water = _water(image.shape[:2], params, scale)
        # Divided by 8, Sobel's weights give a slope per pixel.
        right, down = (cv2.Sobel(water, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
        slope = right * right + down * down
        steep = np.sqrt(4.0 * np.maximum(water, 0.0) + slope) + np.float32(1e-6)
        wet = (water > 0.0).astype(np.float32)
        tilt_x, tilt_y = cast(Field, right / steep), cast(Field, down / steep)
        lost = np.square(tilt_x * tilt_x + tilt_y * tilt_y) * np.float32(params.rim)
        through = wet * np.float32(params.gain) * (1.0 - lost)
        glint = wet * cv2.exp((np.square(tilt_x + 0.45) + np.square(tilt_y + 0.5)) * np.float32(-30.0))
        glint *= np.float32(0.5 * ambient(light, (1.0, 1.0, 1.0))[0])
        seen = _refracted(light, tilt_x * np.float32(params.bend), tilt_y * np.float32(params.bend))
        # Plane by plane, which is quicker than over pixels of three.
        shown = [soften(cast(Field, plane * through + glint), params.blur * scale) for plane in cv2.split(seen)]
        clear = 1.0 - soften(cast(Field, wet), params.blur * scale)
        planes = zip(cv2.split(light), shown, strict=True)
        return to_srgb(cast(Image, cv2.merge([plane * clear + drops for plane, drops in planes])))


def _refracted(light: Image, aside_x: Field, aside_y: Field) -> Image:
    """What each pixel sees when its ray is bent aside by shares of the short side; mirrored beyond the frame."""
    height, width = light.shape[:2]
    # A drop shrinks the scene many times: it is looked up in a small copy, which needs no filter.
    small = working_shape((height, width), 96)
    copy = cv2.resize(light, small[::-1], interpolation=cv2.INTER_AREA)
    columns = np.arange(width, dtype=np.float32)[None, :] * np.float32(small[1] / width)
    rows = np.arange(height, dtype=np.float32)[:, None] * np.float32(small[0] / height)
    reach = np.float32(min(small))
    where = (columns + reach * aside_x, rows + reach * aside_y)
    return cast(Image, cv2.remap(copy, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def _water(shape: tuple[int, int], params: RaindropParams, scale: float) -> Field:
    """``h^2`` in square pixels of the water's height ``h``, negative where the pane is dry: ``float32 (H, W)``."""
    height, width = shape
    rng = np.random.default_rng(params.seed)
    most = max(2, round(_DROPS * height * width / (512 * scale) ** 2))
    kept = int(np.ceil(most * params.amount))
    size = 0.3 + np.minimum(rng.exponential(0.55, most), 2.4)
    tall = 1.0 + 0.2 * rng.random(most) + 1.2 * (rng.random(most) > 0.93)
    centre = rng.uniform(-0.02, 1.02, (most, 2)) * (width, height)
    # Every third drop leans on the one before it, so that some merge to blobs with waists.
    first, second = np.arange(0, most - 1, 3), np.arange(1, most, 3)
    size[second] = size[first] * rng.uniform(0.4, 0.9, len(first))
    around = rng.uniform(0, 2 * np.pi, len(first))
    beside = np.stack([np.cos(around), np.sin(around)], axis=1) * rng.uniform(0.8, 1.5, (len(first), 1))
    centre[second] = centre[first] + beside * params.radius * scale * size[first, None]
    wobble_x, wobble_y = (clouds(shape, 16, rng) * np.float32(0.09) for _ in "xy")
    water = np.full(shape, -1e6, np.float32)
    radii = params.radius * scale * size
    for (x, y), radius, stretch in zip(centre[:kept], radii[:kept], tall[:kept], strict=True):
        reach = int(1.5 * radius * stretch) + 2
        rows = slice(max(0, int(y) - reach), max(0, min(height, int(y) + reach)))
        columns = slice(max(0, int(x) - reach), max(0, min(width, int(x) + reach)))
        old = water[rows, columns]
        if old.size:
            down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)
            right = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(x)
            # Gravity: narrower above than below.
            waist = np.float32(1.0) + np.clip(down / np.float32(5.0 * radius), -0.3, 0.3)
            right = (right + np.float32(radius) * wobble_x[rows, columns]) / waist
            down = down / np.float32(stretch) + np.float32(radius) * wobble_y[rows, columns]
            drop = np.float32(radius**2) - right * right - down * down
            blend = np.float32(0.5 * radius**2)
            gap = np.maximum(blend - np.abs(old - drop), 0.0)
            water[rows, columns] = np.maximum(old, drop) + gap * gap / (4.0 * blend)
    return water
