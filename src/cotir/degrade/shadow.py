"""The shadow of something outside the frame, cast into the scene, in linear light."""

from dataclasses import dataclass
from typing import Literal

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
from cotir.degrade.canvas import Cover, Field, Floats, enlarge, fill, soften, stroke, unit, working_shape

_PENUMBRAS = 4
"""Widths of penumbra that are made; those between are interpolated."""

Caster = Literal["wall", "figure", "leaves", "bars"]
_CASTERS: tuple[Caster, ...] = ("wall", "figure", "leaves", "bars")


@dataclass(frozen=True)
class ShadowParams(Params):
    """A shadow of something outside the frame; lengths are pixels of a picture whose short side is 512."""

    caster: Caster
    depth: float
    """Share of the green light lost in the umbra."""
    sky: float
    """How blue what is left is: a share of the sun's stops that red loses more and blue loses less."""
    angle: float
    """Direction from the caster into the picture, in radians."""
    near: float
    """Sigma of the penumbra at the side of the caster."""
    far: float
    """Sigma of the penumbra at the other side."""
    seed: int
    """Of the shape."""


@register
class Shadow(Degradation[ShadowParams]):
    """``y = x (1 - m (1 - t))`` in linear light: in the umbra, ``m = 1``, only a share ``t`` of the light arrives.

    The multiplicative shadow of Le and Samaras (Shadow Removal via Shadow Image Decomposition, ICCV 2019). The sun is
    hidden and the blue sky is not: ``t = (1 - depth)^(1 + sky, 1, 1 - sky)`` for red, green and blue. The sun is a disc
    of half a degree, so the penumbra is as wide as the caster is far (Inoue and Yamasaki, Learning from Synthetic
    Shadows, IEEE TCSVT 31(11), 2021): its sigma grows exponentially from ``near`` to ``far`` along ``angle``.
    """

    name = "shadow"
    stage = "scene"
    rank = 1
    record = ShadowParams

    def _draw(self, rng: np.random.Generator, severity: float) -> ShadowParams:
        near = pick(rng, 0.8, 2.5)
        return ShadowParams(
            caster=_CASTERS[int(rng.integers(len(_CASTERS)))],
            depth=between(0.0, pick(rng, 0.8, 0.93), severity**0.7),
            sky=pick(rng, 0.05, 0.2),
            angle=pick(rng, 0.0, 2 * np.pi),
            near=near,
            far=near * pick(rng, 2.0, 7.0),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: ShadowParams) -> Image:
        shade = shade_of(image.shape[:2], params, pixel_scale(image))
        left = np.float32(1.0 - params.depth) ** np.array([1 + params.sky, 1.0, 1 - params.sky], np.float32)
        return to_srgb(to_linear(image) * (1.0 - shade[..., None] * (1.0 - left)))


def shade_of(shape: tuple[int, int], params: ShadowParams, scale: float) -> Field:
    """The share of sun that is hidden at each pixel: ``float32 (H, W)`` in [0, 1]."""
    small = working_shape(shape, 640)
    rng = np.random.default_rng(params.seed)
    along = np.array([np.cos(params.angle), np.sin(params.angle)])
    canvas = np.zeros(small, np.uint8)
    {"wall": _wall, "figure": _figure, "leaves": _leaves, "bars": _bars}[params.caster](canvas, along, rng)
    umbra = unit(canvas)
    rows = np.linspace(-0.5, 0.5, small[0], dtype=np.float32)[:, None] * np.float32(along[1])
    columns = np.linspace(-0.5, 0.5, small[1], dtype=np.float32)[None, :] * np.float32(along[0])
    distance = (rows + columns) / np.float32(abs(along).sum()) + 0.5
    shade = np.zeros(small, np.float32)
    scale *= min(small) / min(shape)
    for step in range(_PENUMBRAS):
        sigma = params.near * (params.far / params.near) ** (step / (_PENUMBRAS - 1))
        weight = np.maximum(1.0 - np.abs(distance * (_PENUMBRAS - 1) - step), 0.0)
        shade += weight * soften(umbra, sigma * scale)
    return np.clip(enlarge(shade, shape), 0.0, 1.0)


def _frame(canvas: Cover, along: Floats) -> tuple[Floats, Floats, Floats, float]:
    """The middle of the frame, the unit vectors along and across the cast, and the short side, in pixels."""
    height, width = canvas.shape
    return np.array([width, height]) / 2, along, np.array([-along[1], along[0]]), float(min(height, width))


def _wall(canvas: Cover, along: Floats, rng: np.random.Generator) -> None:
    """Roofs and chimneys: everything on the caster's side of a stepped line."""
    middle, along, across, short = _frame(canvas, along)
    reach = rng.uniform(-0.25, 0.2)
    steps = np.sort(rng.uniform(-1.6, 1.6, 7))
    heights = reach + rng.choice([0.0, 0.05, 0.12, 0.2], 8)
    slopes = rng.choice([0.0, 0.0, -0.1, 0.12], 8)
    edges = np.concatenate([[-2.5], np.repeat(steps, 2), [2.5]])
    rise = np.repeat(heights, 2) + np.stack([np.zeros(8), slopes], axis=1).ravel()
    outline = middle + short * (edges[:, None] * across + rise[:, None] * along)
    fill(canvas, np.concatenate([outline, middle + short * (np.array([[2.5], [-2.5]]) * across - 3 * along)]), 1.0)


def _figure(canvas: Cover, along: Floats, rng: np.random.Generator) -> None:
    """One to three rounded things, drawn out along the cast by a low sun."""
    middle, along, across, short = _frame(canvas, along)
    around = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    for _ in range(int(rng.integers(1, 4))):
        centre = middle + short * (rng.uniform(-0.45, 0.05) * along + rng.uniform(-0.45, 0.45) * across)
        radius = np.ones_like(around)
        for waves in range(2, 7):
            radius += rng.uniform(-0.5, 0.5) / waves * np.cos(waves * around + rng.uniform(0, 2 * np.pi))
        size = short * rng.uniform(0.12, 0.22)
        cast_out = size * rng.uniform(1.4, 2.6)
        sideways, onwards = radius * np.cos(around) * size, radius * np.sin(around) * cast_out
        fill(canvas, centre + sideways[:, None] * across + onwards[:, None] * along, 1.0)


def _leaves(canvas: Cover, along: Floats, rng: np.random.Generator) -> None:
    """Twigs that reach in from the caster's side, with pointed leaves."""
    middle, along, across, short = _frame(canvas, along)
    half = np.linspace(0, np.pi, 9)
    leaf = np.concatenate(
        [np.stack([half / np.pi, 0.2 * np.sin(half)], 1), np.stack([1 - half / np.pi, -0.2 * np.sin(half)], 1)]
    )
    size = short * rng.uniform(0.06, 0.13)
    for _ in range(int(rng.integers(5, 10))):
        place = middle + short * (-0.8 * along + rng.uniform(-0.9, 0.9) * across)
        heading = np.arctan2(along[1], along[0]) + rng.normal(0, 0.35)
        path = [place]
        for turn in rng.normal(0, 0.12, int(rng.integers(14, 26))):
            heading += turn
            place = place + 0.045 * short * np.array([np.cos(heading), np.sin(heading)])
            path.append(place)
            for side in (-1, 1):
                angle = heading + side * rng.uniform(0.4, 1.3)
                turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
                fill(canvas, place + leaf @ turned * size * rng.uniform(0.6, 1.3), 1.0)
        stroke(canvas, [np.array(path)], 1.0, max(1, round(0.008 * short)))


def _bars(canvas: Cover, along: Floats, rng: np.random.Generator) -> None:
    """A railing or a blind: parallel slats, some with a rail across."""
    middle, along, across, short = _frame(canvas, along)
    turn = rng.uniform(-0.5, 0.5)
    slat = np.cos(turn) * along + np.sin(turn) * across
    side = -np.sin(turn) * along + np.cos(turn) * across
    gap, share = rng.uniform(0.06, 0.16), rng.uniform(0.3, 0.55)
    for place in np.arange(-1.6, 1.6, gap):
        # Perspective: slats fan out as they go away.
        ends = ((-1.6, 0.75), (1.6, 1.25))
        left = [middle + short * (reach * slat + place * fan * side) for reach, fan in ends]
        right = [middle + short * (reach * slat + (place + gap * share) * fan * side) for reach, fan in ends]
        fill(canvas, np.array([*left, *right[::-1]]), 1.0)
    if rng.random() < 0.6:
        reach = rng.uniform(-0.3, 0.3)
        corners = [(reach, -2), (reach, 2), (reach + gap * share, 2), (reach + gap * share, -2)]
        fill(canvas, middle + short * np.array([a * slat + b * side for a, b in corners]), 1.0)
