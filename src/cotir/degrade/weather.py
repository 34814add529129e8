"""Haze, rain and snow: what stands between the camera and the scene, in linear light.

A picture carries no depth, so :mod:`cotir.degrade.depth` invents a plausible one.
"""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

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
from cotir.degrade.depth import Colour, ambient, mix, scatter

Floats = npt.NDArray[np.float64]
Cover = npt.NDArray[np.uint8]

_SHIFT = 4
"""Fractional bits of the coordinates handed to OpenCV's drawing."""


@dataclass(frozen=True)
class HazeParams(Params):
    """Fog or smoke that is even in space."""

    density: float
    """Scattering coefficient times the depth of the farthest point."""
    tint: Colour
    """Colour of the airlight; its brightness comes from the picture."""
    seed: int
    """Of the depth."""


@register
class Haze(Degradation[HazeParams]):
    """``I = J t + A (1 - t)`` with ``t = exp(-density d)``, Koschmieder's law of the atmosphere.

    As in Narasimhan and Nayar (Vision and the Atmosphere, IJCV 48, 2002) and He et al. (CVPR 2009, eq. 1). ``J`` is the
    clean picture in linear light, ``d`` the depth in [0.2, 1], ``A`` the airlight: the tint times the brightness of the
    picture's brightest parts.
    """

    name = "haze"
    stage = "scene"
    rank = 2
    record = HazeParams

    def _draw(self, rng: np.random.Generator, severity: float) -> HazeParams:
        warm = pick(rng, -0.05, 0.03)
        return HazeParams(
            density=between(0.0, pick(rng, 1.6, 2.6), severity**1.7),
            tint=(1.0 + warm, 1.0, 1.0 - warm),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: HazeParams) -> Image:
        light = to_linear(image)
        return to_srgb(scatter(light, params.density, params.tint, params.seed))


@dataclass(frozen=True)
class RainParams(Params):
    """A shower; lengths are pixels of a picture whose short side is 512."""

    amount: float
    """Share, in [0, 1], of the densest shower's drops."""
    length: float
    """Streak length at middle distance: falling speed times exposure time."""
    width: float
    """Streak width at middle distance."""
    angle: float
    """Direction of fall from the vertical, in radians."""
    spread: float
    """Standard deviation of single directions (gusts), in radians."""
    opacity: float
    veil: float
    """Density of the haze that drops too far to be seen singly make."""
    seed: int


@dataclass(frozen=True)
class _Layer:
    """Particles at one distance."""

    near: float
    """Size relative to the middle distance: 1 over relative depth."""
    count: int
    """At full amount, in 512 x 512."""
    opacity: float
    softness: float
    """Blur sigma for its distance from the focal plane, as a share of the particle's width."""


_RAIN = (
    _Layer(near=0.5, count=1500, opacity=0.4, softness=0.3),
    _Layer(near=1.0, count=420, opacity=0.55, softness=0.4),
    _Layer(near=2.2, count=60, opacity=0.4, softness=0.6),
)


@register
class Rain(Degradation[RainParams]):
    """Streaks ``y = x (1 - a) + L a`` over a thin haze, in linear light.

    A falling drop blurs to a streak that hides the background for a share ``a`` of the exposure and shows light
    refracted from a wide field, mostly sky, so ``L`` is the scene's ambient light and streaks fade before a bright sky
    (Garg and Nayar, Vision and Rain, IJCV 75(1), 2007). Three depth layers: length and width go with one over depth,
    the number of drops with the volume seen; drops too far to be seen singly act as haze (Hu et al., CVPR 2019).
    """

    name = "rain"
    stage = "scene"
    rank = 4
    record = RainParams

    def _draw(self, rng: np.random.Generator, severity: float) -> RainParams:
        return RainParams(
            amount=severity,
            length=pick(rng, 20.0, 48.0) * between(0.7, 1.0, severity),
            width=pick(rng, 0.8, 1.3),
            angle=float(np.clip(rng.normal(0.0, 0.25), -0.7, 0.7)),
            spread=pick(rng, 0.01, 0.05),
            opacity=pick(rng, 0.75, 1.0) * between(0.5, 1.0, severity),
            veil=between(0.0, pick(rng, 0.1, 0.5), severity**1.4),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: RainParams) -> Image:
        light = scatter(to_linear(image), params.veil, (1.0, 1.0, 1.0), params.seed)
        rng = np.random.default_rng(params.seed)
        clear = np.ones(image.shape[:2], np.float32)
        for layer in _RAIN:
            cover = _streaks(image, layer, params, rng)
            clear *= 1.0 - cover * np.float32(layer.opacity * params.opacity / 255)
        return to_srgb(mix(light, clear, ambient(light, (0.97, 1.0, 1.03))))


def _streaks(image: Image, layer: _Layer, params: RainParams, rng: np.random.Generator) -> Cover:
    """Coverage ``uint8 (H, W)`` of one layer of streaks, tapered at both ends."""
    height, width = image.shape[:2]
    scale = pixel_scale(image) * layer.near
    drops = _scattered(image, layer, params.amount, rng)
    half = 0.5 * params.length * scale * (0.6 + 0.8 * drops.size)
    angle = params.angle + params.spread * drops.turn
    reach = np.stack([np.sin(angle), np.cos(angle)], axis=1) * half[:, None]
    canvas = np.zeros((height, width), np.uint8)
    thickness = max(1, round(params.width * scale))
    # The whole streak faintly, then its middle: a drop enters and leaves the exposure gradually.
    for share, level in ((1.0, 0.45), (0.6, 1.0)):
        ends = np.stack([drops.centre - share * reach, drops.centre + share * reach], axis=1)
        for group, strength in enumerate((0.5, 0.75, 1.0)):
            lines = _fixed_point(ends[group::3])
            cv2.polylines(canvas, lines, False, 255 * level * strength, thickness, cv2.LINE_AA, _SHIFT)
    return _soften(canvas, layer.softness * params.width * scale)


@dataclass(frozen=True)
class SnowParams(Params):
    """A snowfall; lengths are pixels of a picture whose short side is 512."""

    amount: float
    """Share, in [0, 1], of the densest fall's flakes."""
    radius: float
    """Flake radius at middle distance."""
    angle: float
    """Direction of fall from the vertical, in radians."""
    motion: float
    """Distance moved during the exposure, in flake radii."""
    opacity: float
    veil: float
    """Density of the haze that flakes too far to be seen singly make."""
    seed: int


_SNOW = (
    _Layer(near=0.45, count=2200, opacity=0.8, softness=0.5),
    _Layer(near=1.0, count=420, opacity=0.95, softness=0.3),
    _Layer(near=3.0, count=36, opacity=0.65, softness=0.5),
)


@register
class Snow(Degradation[SnowParams]):
    """Flakes ``y = x (1 - a) + L a`` over a thin haze, in linear light.

    The formation model of Liu et al. (DesnowNet, IEEE TIP 27(6), 2018), the veil of Chen et al. (JSTASR, ECCV 2020). A
    flake is opaque and white: ``L`` is the scene's ambient light. Flakes are irregular polygons drawn out along their
    motion; three depth layers, the nearest few, large and out of focus, the farthest many and small.
    """

    name = "snow"
    stage = "scene"
    rank = 5
    record = SnowParams

    def _draw(self, rng: np.random.Generator, severity: float) -> SnowParams:
        return SnowParams(
            amount=severity,
            radius=pick(rng, 1.8, 3.0) * between(0.75, 1.0, severity),
            angle=float(np.clip(rng.normal(0.0, 0.4), -1.1, 1.1)),
            motion=pick(rng, 0.0, 2.0),
            opacity=pick(rng, 0.85, 1.0),
            veil=between(0.0, pick(rng, 0.1, 0.6), severity**1.4),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: SnowParams) -> Image:
        light = scatter(to_linear(image), params.veil, (0.98, 1.0, 1.02), params.seed)
        rng = np.random.default_rng(params.seed)
        clear = np.ones(image.shape[:2], np.float32)
        for layer in _SNOW:
            cover = _flakes(image, layer, params, rng)
            clear *= 1.0 - cover * np.float32(layer.opacity * params.opacity / 255)
        return to_srgb(mix(light, clear, ambient(light, (0.99, 1.0, 1.02))))


def _flakes(image: Image, layer: _Layer, params: SnowParams, rng: np.random.Generator) -> Cover:
    """Coverage ``uint8 (H, W)`` of one layer of flakes."""
    scale = pixel_scale(image) * layer.near * params.radius
    flakes = _scattered(image, layer, params.amount, rng)
    # A far flake is a pixel or two across: fewer corners, less time.
    corners = 5 if layer.near < 1 else 8
    around = np.linspace(0, 2 * np.pi, corners, endpoint=False) + flakes.turn[:, None]
    # Corner radii come from a hash of the flake's own numbers, so that fewer flakes are a subset of more.
    ragged = 0.75 + 0.4 * np.abs(np.modf(np.sin(around * 91.7 + flakes.size[:, None] * 47.3) * 43.7)[0])
    radius = scale * (0.5 + flakes.size)[:, None] * ragged
    fall = np.array([np.sin(params.angle), np.cos(params.angle)])
    outline = np.stack([np.cos(around) * radius, np.sin(around) * radius], axis=2)
    drawn_out = outline + (outline @ fall)[..., None] * fall * (0.5 * params.motion)
    canvas = np.zeros(image.shape[:2], np.uint8)
    for group, strength in enumerate((0.55, 0.8, 1.0)):
        polygons = _fixed_point((flakes.centre[:, None, :] + drawn_out)[group::3])
        cv2.fillPoly(canvas, polygons, 255 * strength, cv2.LINE_AA, _SHIFT)
    return _soften(canvas, layer.softness * scale)


@dataclass(frozen=True)
class _Particles:
    """N particles of one layer."""

    centre: Floats
    """``(N, 2)``, x and y in pixels."""
    size: Floats
    """``(N,)`` in [0, 1]."""
    turn: Floats
    """``(N,)``, unit normal."""


def _scattered(image: Image, layer: _Layer, amount: float, rng: np.random.Generator) -> _Particles:
    """Draw all particles of a layer and keep the first share, so that a heavier fall contains the lighter one."""
    height, width = image.shape[:2]
    most = max(1, round(layer.count * height * width / (512 * pixel_scale(image)) ** 2))
    kept = round(most * amount)
    centre = rng.uniform(-0.05, 1.05, (most, 2)) * (width, height)
    # Many small, few large, as sizes of natural drops go (Marshall and Palmer, J. Meteorology 5, 1948).
    size = np.minimum(rng.exponential(0.35, most), 1.0)
    return _Particles(centre[:kept], size[:kept], rng.standard_normal(most)[:kept])


def _fixed_point(points: Floats) -> list[npt.NDArray[np.int32]]:
    return list(np.rint(points * 2**_SHIFT).astype(np.int32))


def _soften(canvas: Cover, sigma: float) -> Cover:
    return cast(Cover, cv2.GaussianBlur(canvas, (0, 0), max(sigma, 0.3)))
