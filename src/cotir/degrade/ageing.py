"""What years do to a print: scratches, dust and creases in its surface, stains and yellowing in its paper."""

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
from cotir.degrade.canvas import Cover, Field, Floats, clouds, enlarge, fill, soften, stroke, unit, working_shape
from cotir.degrade.depth import Colour, mix

_PAPER: Colour = (0.94, 0.91, 0.84)
"""Encoded colour of bared paper."""
_DIRT: Colour = (0.13, 0.11, 0.09)


@dataclass(frozen=True)
class ScratchesParams(Params):
    """Wear of a print or a film; every count is that of the most worn picture, of which ``amount`` is a share."""

    amount: float
    lines: int
    """Long near-vertical lines, as a projector or a scanner's rollers leave."""
    curves: int
    """Short scratches in any direction."""
    specks: int
    """Dust and pinholes."""
    hairs: int
    creases: int
    width: float
    """Of a scratch, in pixels of a picture whose short side is 512."""
    opacity: float
    bright: float
    """Share of the marks that bare the paper; the others are dirt."""
    seed: int


@register
class Scratches(Degradation[ScratchesParams]):
    """``y = (x (1 - b) + paper b) (1 - d) + dirt d`` on encoded values, as a scanner sees a surface.

    ``b`` covers where the emulsion is gone, ``d`` where dirt lies; both are thin. Line scratches and dirt are those of
    Kokaram (Motion Picture Restoration, Springer 1998): near-vertical, thin, nearly constant along their length. The
    mix with curved scratches, hairs and creases follows Wan et al. (Bringing Old Photos Back to Life, CVPR 2020). A
    crease bares a ragged thread of paper and tilts the print's surface, bright on one side and dark on the other.
    """

    name = "scratches"
    stage = "processing"
    rank = 6
    record = ScratchesParams

    def _draw(self, rng: np.random.Generator, severity: float) -> ScratchesParams:
        return ScratchesParams(
            amount=severity,
            lines=int(rng.integers(3, 18)),
            curves=int(rng.integers(30, 100)),
            specks=int(rng.integers(150, 500)),
            hairs=int(rng.integers(1, 10)),
            creases=int(rng.integers(0, 3)),
            width=pick(rng, 0.7, 1.6),
            opacity=pick(rng, 0.75, 1.0) * between(0.6, 1.0, severity),
            bright=pick(rng, 0.6, 0.95),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: ScratchesParams) -> Image:
        if params.amount == 0.0:
            return image
        wear = _Wear(image, params)
        wear.lines()
        wear.curves()
        wear.specks()
        wear.hairs()
        shading = wear.creases()
        whole, clean = (1.0 - mask * np.float32(params.opacity) for mask in wear.masks())
        tilted = image if shading is None else mix(image, 1.0 + shading, (0.0, 0.0, 0.0))
        return mix(mix(tilted, whole, _PAPER), clean, _DIRT)


class _Wear:
    """Two canvases, bared paper and dirt, and the marks drawn on them.

    Each family draws from its own generator, and always all its marks, so that more wear contains the less.
    """

    def __init__(self, image: Image, params: ScratchesParams) -> None:
        self.params = params
        self.size = np.array([image.shape[1], image.shape[0]], float)
        self.short = float(min(image.shape[:2]))
        self.scale = pixel_scale(image)
        self.canvases: tuple[Cover, Cover] = (np.zeros(image.shape[:2], np.uint8), np.zeros(image.shape[:2], np.uint8))

    def masks(self) -> list[Field]:
        """The canvases in [0, 1], worn through in places: nothing scratches evenly."""
        shape = self.canvases[0].shape
        patchy = np.clip(0.85 + 0.35 * clouds((shape[0], shape[1]), 40, self._rng(9)), 0.2, 1.0)
        return [soften(cast(Field, unit(canvas) * patchy), 0.45 * self.scale) for canvas in self.canvases]

    def lines(self) -> None:
        """Lines from near the top to near the bottom, that waver by a pixel or two."""
        rng = self._rng(0)
        for keep in self._kept(self.params.lines):
            top, bottom = (0.0, 1.0) if rng.random() < 0.5 else np.sort(rng.uniform(-0.1, 1.1, 2))
            at = np.linspace(top, bottom, 24)
            drift = np.cumsum(rng.normal(0, 0.0012, 24)) + rng.uniform(-0.03, 0.03) * at
            path = np.stack([(rng.uniform(0, 1) + drift) * self.size[0], at * self.size[1]], axis=1)
            self._scratch([path], keep, rng, rng.uniform(0.35, 1.0))

    def curves(self) -> None:
        """Bent strokes, some as bundles of parallel ones, where a print was rubbed."""
        rng = self._rng(1)
        for keep in self._kept(self.params.curves):
            start = rng.uniform(0, 1, 2) * self.size
            heading, length = rng.uniform(0, np.pi), self.short * min(0.03 + rng.exponential(0.1), 0.7)
            turns = heading + rng.uniform(-1.0, 1.0) * np.linspace(0, 1, 16) ** 2
            steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * length / 16
            path = start + np.cumsum(steps, axis=0)
            beside = rng.normal(0, 0.008 * self.short, (int(rng.choice([1, 1, 1, 2, 5])), 2))
            beside[0] = 0.0
            self._scratch([path + aside for aside in beside], keep, rng, rng.uniform(0.3, 1.0))

    def specks(self) -> None:
        """Dust: ragged dots, many small and few large."""
        rng = self._rng(2)
        around = np.linspace(0, 2 * np.pi, 6, endpoint=False)
        corners = np.stack([np.cos(around), np.sin(around)], axis=1)
        for keep in self._kept(self.params.specks):
            centre = rng.uniform(0, 1, 2) * self.size
            radius = self.scale * min(0.5 + rng.exponential(0.5), 4.0)
            reach = radius * rng.uniform(0.5, 1.3, (6, 1))
            canvas, level = self._canvas(rng), rng.uniform(0.5, 1.0)
            if keep:
                fill(canvas, centre + corners * reach, level)

    def hairs(self) -> None:
        """Fibres that lay on the scanner's glass: thin, curling, of one length."""
        rng = self._rng(3)
        for keep in self._kept(self.params.hairs):
            heading = rng.uniform(0, 2 * np.pi) + np.cumsum(np.cumsum(rng.normal(0, 0.05, 40)))
            step = self.short * rng.uniform(0.08, 0.3) / 40
            path = (
                rng.uniform(0, 1, 2) * self.size + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0) * step
            )
            canvas, level = self._canvas(rng, 0.35), rng.uniform(0.5, 0.9)
            if keep:
                stroke(canvas, [path], level, round(self.scale))

    def creases(self) -> Field | None:
        """Folds across the print; returns their shading, if any: a relative change of brightness ``float32 (H, W)``."""
        shading = None
        rng = self._rng(4)
        for keep in self._kept(self.params.creases):
            upright, place = rng.random() < 0.5, rng.uniform(0.12, 0.88)
            ends = np.array([[place, -0.05], [place + rng.uniform(-0.25, 0.25), 1.05]])
            ends = (ends if upright else ends[:, ::-1]) * self.size
            at = np.linspace(0, 1, 90)[:, None]
            ragged = np.stack([rng.normal(0, 0.0016, 90), rng.normal(0, 0.0016, 90)], axis=1) * self.short
            path = ends[0] + at * (ends[1] - ends[0]) + ragged
            chips, depth = rng.random(89) < 0.2, rng.uniform(0.04, 0.1) * rng.choice([-1, 1])
            if keep:
                stroke(self.canvases[0], [path], 0.4, round(self.scale))
                # Flakes come off along the fold.
                for first in np.flatnonzero(chips):
                    stroke(self.canvases[0], [path[first : first + 2]], 0.95, round(2.2 * self.scale))
                tilt = np.float32(depth) * self._tilt(ends)
                shading = tilt if shading is None else shading + tilt
        return shading

    def _tilt(self, ends: Floats) -> Field:
        """An odd profile about the line through ``ends``: -1 to 1, dying off within a fiftieth of the short side."""
        normal = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]])
        normal /= np.linalg.norm(normal) * 0.012 * self.short
        columns = (np.arange(self.size[0], dtype=np.float32) - np.float32(ends[0, 0])) * np.float32(normal[0])
        rows = (np.arange(self.size[1], dtype=np.float32) - np.float32(ends[0, 1])) * np.float32(normal[1])
        distance = rows[:, None] + columns[None, :]
        return cast(Field, np.float32(2.33) * distance * cv2.exp(-distance * distance))

    def _scratch(self, paths: list[Floats], keep: bool, rng: np.random.Generator, level: float) -> None:
        # The more strokes, the finer each.
        width = rng.uniform(0.6, 1.5) / np.sqrt(len(paths)) * self.params.width * self.scale
        canvas = self._canvas(rng)
        if keep:
            # A line is drawn at least a pixel wide: a finer one is a fainter one. Pressure rises and falls along it.
            stroke(canvas, paths, 0.6 * level * min(width, 1.0), round(0.5 * width))
            quarter = len(paths[0]) // 4
            stroke(canvas, [path[quarter:-quarter] for path in paths], level * min(width, 1.0), round(width))

    def _canvas(self, rng: np.random.Generator, bright: float | None = None) -> Cover:
        return self.canvases[0 if rng.random() < (self.params.bright if bright is None else bright) else 1]

    def _kept(self, count: int) -> list[bool]:
        return [mark < np.ceil(count * self.params.amount) for mark in range(count)]

    def _rng(self, family: int) -> np.random.Generator:
        return np.random.default_rng([self.params.seed, family])


@dataclass(frozen=True)
class StainsParams(Params):
    """Stains, foxing and yellowing of a print; optical densities are decimal and of blue light."""

    blotches: int
    foxing: int
    """Number of small brown spots."""
    size: float
    """Radius of a middling blotch, as a share of the short side."""
    stain: float
    """Density at the rim of a blotch."""
    yellow: float
    """Density of the yellowing where it is strongest."""
    tint: Colour
    """Absorption of red, green and blue light, relative to blue."""
    seed: int


@register
class Stains(Degradation[StainsParams]):
    """``y = x 10^(-tint D)`` in linear light: dye in the paper absorbs by the law of Beer and Lambert.

    ``D`` sums three densities. A dried blotch has a pale middle and a dark tidal rim, for evaporation carries the dye
    outwards (Deegan et al., Capillary Flow as the Cause of Ring Stains, Nature 389, 1997). Foxing is small brown spots
    with soft edges. Yellowing varies slowly and is worst near the edges, where air gets in.
    """

    name = "stains"
    stage = "processing"
    rank = 7
    record = StainsParams

    def _draw(self, rng: np.random.Generator, severity: float) -> StainsParams:
        return StainsParams(
            blotches=int(rng.integers(2, 8)),
            foxing=int(rng.integers(0, 90)),
            size=pick(rng, 0.1, 0.22) * between(0.8, 1.0, severity),
            stain=between(0.0, pick(rng, 0.6, 1.0), severity),
            yellow=between(0.0, pick(rng, 0.25, 0.65), severity),
            tint=(pick(rng, 0.12, 0.3), pick(rng, 0.4, 0.6), 1.0),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: StainsParams) -> Image:
        exponent = density(image.shape[:2], params) * np.float32(-np.log(10.0))
        planes = zip(cv2.split(to_linear(image)), params.tint, strict=True)
        return to_srgb(cast(Image, cv2.merge([plane * cv2.exp(exponent * np.float32(tint)) for plane, tint in planes])))


def density(shape: tuple[int, int], params: StainsParams) -> Field:
    """Density of blue light at each pixel, at least 0: ``float32 (H, W)``."""
    small = working_shape(shape, 512)
    rng = np.random.default_rng(params.seed)
    total = _yellowing(small, rng) * np.float32(params.yellow)
    # Octaves of noise make every blotch's outline ragged.
    ragged = clouds(small, 5, rng) * np.float32(0.22) + clouds(small, 14, rng) * np.float32(0.09)
    ragged += clouds(small, 45, rng) * np.float32(0.035)
    columns, rows = np.arange(small[1], dtype=np.float32)[None, :], np.arange(small[0], dtype=np.float32)[:, None]
    for _ in range(params.blotches):
        x, y = rng.uniform(-0.05, 1.05, 2) * (small[1], small[0])
        radius = min(small) * params.size * rng.uniform(0.4, 1.6)
        oval, level, rim = rng.uniform(0.8, 1.25), rng.uniform(0.4, 1.0), rng.uniform(0.025, 0.06)
        right, down = (columns - np.float32(x)) / np.float32(radius), (rows - np.float32(y)) / np.float32(radius * oval)
        # Near the edge, this is about the distance to it in radii.
        inside = 0.5 * (1.0 - right * right - down * down) + ragged
        total += np.float32(params.stain * level) * _tide(cast(Field, inside), np.float32(rim))
    total += np.float32(params.stain) * _foxing(small, params.foxing, rng)
    return enlarge(total, shape)


def _foxing(shape: tuple[int, int], count: int, rng: np.random.Generator) -> Field:
    """Small spots with soft edges: ``float32 (H, W)`` in [0, 1]."""
    spots = np.zeros(shape, np.uint8)
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    for x, y, size, dark in rng.random((count, 4)):
        reach = min(shape) * (0.002 + 0.007 * size**3) * (1.0 + 0.3 * np.sin(3 * around + 6 * dark))
        centre = np.array([x * shape[1], y * shape[0]])
        fill(spots, centre + circle * reach[:, None], 0.25 + 0.75 * dark)
    return soften(unit(spots), 0.0025 * min(shape))


def _yellowing(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Slow changes and dark margins: ``float32 (H, W)`` in [0.1, 1]."""
    columns = np.abs(np.linspace(-1, 1, shape[1], dtype=np.float32))[None, :]
    rows = np.abs(np.linspace(-1, 1, shape[0], dtype=np.float32))[:, None]
    margin = np.maximum(columns, rows) ** 6
    slow = 0.45 + 0.2 * clouds(shape, 2, rng) + 0.08 * clouds(shape, 6, rng)
    return np.clip(slow + 0.35 * margin, 0.1, 1.0, dtype=np.float32)


def _tide(inside: Field, rim: np.float32) -> Field:
    """Density of a dried drop by the depth ``inside`` its edge, in radii: sharp outside, a rim, a pale middle."""
    shore = cv2.exp(-np.square(np.maximum(inside, 0.0) / rim)) * (inside > -rim)
    outside = np.clip(1.0 + inside / (0.35 * rim), 0.0, 1.0)
    return cast(Field, outside * (0.3 + 0.7 * shore))
