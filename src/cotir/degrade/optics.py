"""Glass in the way of light: flare inside the lens, and a second scene in a window; all in linear light."""

from dataclasses import dataclass
from typing import Literal, cast

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
from cotir.degrade.canvas import Field, Floats, clouds, enlarge, fill, soften, unit, working_shape
from cotir.degrade.depth import Colour, ambient


@dataclass(frozen=True)
class FlareParams(Params):
    """Light of one strong source that strays inside the lens; lengths are shares of the short side."""

    source: Literal["brightest", "placed"]
    """At the picture's brightest spot, or at ``x`` and ``y``."""
    x: float
    """Place of a placed source as a share of the width; it may lie outside the frame."""
    y: float
    strength: float
    """Factor on all stray light; 1 saturates the surroundings of the source."""
    colour: Colour
    veil: float
    """Strength of the wide veil, relative to the others."""
    rays: float
    ghosts: float
    length: float
    """Length of the longest rays."""
    blades: int
    """Of the aperture: they set the number of rays and the ghosts' corners."""
    seed: int


@register
class Flare(Degradation[FlareParams]):
    """``y = x + s (veil + glow + rays + ghosts)``: stray light adds, in linear light (Wu et al., ICCV 2021, eq. 1).

    The veil falls off as ``1 / (1 + (r / r0)^2)`` and the glow exponentially about the source (Spencer et al.,
    Physically-Based Glare Effects, SIGGRAPH 1995). The rays are the aperture's diffraction, longer in red than in blue.
    Ghosts are images of the aperture between lens surfaces, strung along the line from the source through the centre
    (Hullin et al., Physically-Based Real-Time Lens Flare Rendering, SIGGRAPH 2011).
    """

    name = "flare"
    stage = "lens"
    rank = 4
    record = FlareParams

    def _draw(self, rng: np.random.Generator, severity: float) -> FlareParams:
        outside = rng.random() < 0.4
        x, y = pick(rng, 0.05, 0.95), pick(rng, -0.2, -0.03) if outside else pick(rng, 0.05, 0.45)
        warm = pick(rng, -0.12, 0.25)
        return FlareParams(
            source="brightest" if rng.random() < 0.5 else "placed",
            x=x,
            y=y,
            strength=between(0.0, pick(rng, 1.0, 1.5), severity**1.3),
            colour=(1.0 + warm, 1.0, 1.0 - warm),
            veil=pick(rng, 0.6, 1.4),
            rays=pick(rng, 0.3, 1.2),
            ghosts=pick(rng, 0.3, 1.2),
            length=pick(rng, 0.35, 0.8),
            blades=int(rng.integers(5, 10)),
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: FlareParams) -> Image:
        light = to_linear(image)
        # Stray light is smooth: it is made on a small canvas.
        shape = working_shape(image.shape[:2], 384)
        source = _brightest(light) if params.source == "brightest" else (params.x, params.y)
        place = np.array([source[0] * shape[1], source[1] * shape[0]])
        rng = np.random.default_rng(params.seed)
        stray = _glare(shape, place, params, rng) + _ghosts(shape, place, params, rng)
        stray *= np.asarray(params.colour, np.float32) * np.float32(params.strength)
        return to_srgb(light + enlarge(stray, image.shape[:2]))


def _brightest(light: Image) -> tuple[float, float]:
    """The brightest spot, x and y in shares of the sides."""
    small = cv2.resize(cv2.cvtColor(light, cv2.COLOR_RGB2GRAY), (48, 48), interpolation=cv2.INTER_AREA)
    row, column = divmod(int(np.argmax(soften(cast(Field, small), 1.5))), 48)
    return (column + 0.5) / 48, (row + 0.5) / 48


def _glare(shape: tuple[int, int], place: Floats, params: FlareParams, rng: np.random.Generator) -> Field:
    """Veil, glow and rays about the source: ``float32 (H, W, 3)``."""
    short = min(shape)
    right = (np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(place[0])) / short
    down = (np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(place[1])) / short
    squared = right * right + down * down
    distance = np.sqrt(squared)
    veil = np.float32(0.22 * params.veil) / (1.0 + squared * np.float32(1 / 0.4**2))
    core = np.float32(1.3) * cv2.exp(distance * np.float32(-1 / 0.055)) + np.float32(2.5) * cv2.exp(
        squared * np.float32(-1 / 0.022**2)
    )
    rays = _rays(shape, place, params, rng)
    planes = []
    for reach in (1.2, 1.0, 0.82):
        fading = np.float32(1.6 * params.rays) / (1.0 + squared * np.float32(1 / (0.16 * reach) ** 2))
        planes.append(veil + core + rays * fading)
    return cast(Field, cv2.merge(planes))


def _rays(shape: tuple[int, int], place: Floats, params: FlareParams, rng: np.random.Generator) -> Field:
    """Coverage ``float32 (H, W)`` of rays that taper from the source: strong ones of the blades, faint ones of dirt."""
    short = min(shape)
    count = params.blades if params.blades % 2 == 0 else 2 * params.blades
    turn = rng.uniform(0, 2 * np.pi)
    strong = [(turn + 2 * np.pi * k / count + rng.normal(0, 0.02), rng.uniform(0.6, 1.0)) for k in range(count)]
    faint = [(rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.7)) for _ in range(36)]
    canvas = np.zeros(shape, np.uint8)
    for group, half, level in ((faint, 0.005, 0.3), (strong, 0.009, 1.0)):
        for angle, share in group:
            along = np.array([np.cos(angle), np.sin(angle)]) * params.length * share * short
            aside = np.array([-np.sin(angle), np.cos(angle)]) * half * short
            fill(canvas, np.stack([place - aside, place + along, place + aside]), level * share)
    return soften(unit(canvas), 0.004 * short)


def _ghosts(shape: tuple[int, int], place: Floats, params: FlareParams, rng: np.random.Generator) -> Field:
    """Images of the aperture along the line through the centre: ``float32 (H, W, 3)``."""
    short = min(shape)
    centre = np.array([shape[1], shape[0]]) / 2
    corners = np.linspace(0, 2 * np.pi, params.blades, endpoint=False) + rng.uniform(0, 2 * np.pi)
    sharp, soft = np.zeros((2, *shape, 3), np.float32)
    canvas = np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(5, 10))):
        along = rng.uniform(-1.6, 0.75)
        radius = short * (0.02 + 0.1 * rng.random() ** 2 + 0.03 * abs(along))
        hue = rng.dirichlet((1.2, 1.2, 1.2)) + 0.15
        # A larger image of the same light is a fainter one.
        level = params.ghosts * rng.uniform(0.2, 0.9) / (1.0 + radius / short / 0.06)
        light = sharp if rng.random() < 0.6 else soft
        for channel, spread in enumerate((1.03, 1.0, 0.97)):
            # Colours separate towards the edge of the field; the rim is brighter than the middle.
            outline = np.stack([np.cos(corners), np.sin(corners)], axis=1) * radius * spread
            middle = centre + along * spread * (place - centre)
            canvas.fill(0)
            fill(canvas, middle + outline, 1.0)
            fill(canvas, middle + 0.86 * outline, 0.65)
            light[..., channel] += canvas * np.float32(level * hue[channel] / 255)
    return soften(sharp, 0.002 * short) + soften(soft, 0.012 * short)


@dataclass(frozen=True)
class ReflectionParams(Params):
    """A second scene seen in a pane of glass; lengths are pixels of a picture whose short side is 512."""

    scene: Literal["mirrored", "room"]
    """The picture itself, mirrored and changed, or an invented room with lit windows and lamps."""
    reflectance: float
    """Share of light that the pane throws back where it throws back most."""
    gain: float
    """Bright parts of the second scene relative to the ambient light of the first."""
    colour: Colour
    zoom: float
    """Enlargement of the mirrored picture."""
    x: float
    """Shift of the second scene, as shares of the sides."""
    y: float
    blur: float
    """Sigma of the second scene's defocus."""
    ghost_x: float
    """Shift of the image from the pane's second surface."""
    ghost_y: float
    ghost: float
    """Share of the second surface in the reflected light; 0 for a thin pane."""
    seed: int


@register
class Reflection(Degradation[ReflectionParams]):
    """``y = (1 - a) x + a (k * s)``: a pane lets through a share of one scene and adds a share of another.

    All in linear light, as in Wan et al. (SIR2, ICCV 2017) and Kim et al. (Single Image Reflection Removal with
    Physically-Based Training Images, CVPR 2020). The kernel ``k`` is a defocus and two impulses, one for each surface
    of the pane (Shih et al., Reflection Removal using Ghosting Cues, CVPR 2015). The reflectance ``a`` rises over the
    field with the angle of incidence (Schlick's approximation, Computer Graphics Forum 13(3), 1994).
    """

    name = "reflection"
    stage = "lens"
    rank = 6
    record = ReflectionParams

    def _draw(self, rng: np.random.Generator, severity: float) -> ReflectionParams:
        apart, turn = (pick(rng, 3.0, 11.0), pick(rng, 0.0, 2 * np.pi)) if rng.random() < 0.6 else (0.0, 0.0)
        warm = pick(rng, -0.15, 0.2)
        return ReflectionParams(
            scene="room" if rng.random() < 0.5 else "mirrored",
            reflectance=between(0.0, pick(rng, 0.35, 0.55), severity),
            gain=pick(rng, 0.9, 1.5),
            colour=(1.0 + warm, 1.0, 1.0 - warm),
            zoom=pick(rng, 1.1, 2.2),
            x=pick(rng, -0.4, 0.4),
            y=pick(rng, -0.25, 0.25),
            blur=pick(rng, 0.8, 5.0),
            ghost_x=apart * float(np.cos(turn)),
            ghost_y=apart * float(np.sin(turn)),
            ghost=pick(rng, 0.3, 0.48) if apart else 0.0,
            seed=draw_seed(rng),
        )

    def _damage(self, image: Image, params: ReflectionParams) -> Image:
        light = to_linear(image)
        share = reflectance(image.shape[:2], params)[..., None]
        second = _reflected(light, params, pixel_scale(image))
        return to_srgb(cast(Image, light + share * (second - light)))


def reflectance(shape: tuple[int, int], params: ReflectionParams) -> Field:
    """The share of light thrown back at each pixel, at most ``params.reflectance``: ``float32 (H, W)``."""
    rng = np.random.default_rng(params.seed)
    turn = rng.uniform(0, 2 * np.pi)
    columns = np.linspace(-1.0, 1.0, shape[1], dtype=np.float32)[None, :] * np.float32(np.cos(turn))
    rows = np.linspace(-1.0, 1.0, shape[0], dtype=np.float32)[:, None] * np.float32(np.sin(turn))
    # From 60 degrees of incidence, 4.5 times as much comes back as straight on: here from a quarter to all of it.
    steep = 0.5 + (rows + columns) / (2 * np.sqrt(2))
    return cast(Field, np.float32(params.reflectance) * (0.45 + 0.55 * steep**2))


def _reflected(light: Image, params: ReflectionParams, scale: float) -> Image:
    """The second scene as the pane shows it, ``k * s``: ``float32 (H, W, 3)``, linear light."""
    height, width = shape = light.shape[:2]
    rng = np.random.default_rng([params.seed, 1])
    second = _mirrored(light, params) if params.scene == "mirrored" else enlarge(_room(shape, rng), shape)
    small = cv2.resize(cv2.cvtColor(second, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    bright = max(float(np.quantile(small, 0.95)), 0.02)
    second = soften(second, params.blur * scale)
    if params.ghost > 0.0:
        shift = np.array([[1, 0, params.ghost_x * scale], [0, 1, params.ghost_y * scale]], np.float32)
        other = cv2.warpAffine(second, shift, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        second = cv2.addWeighted(second, 1.0 - params.ghost, other, params.ghost, 0.0)
    return cast(
        Image, second * (np.asarray(ambient(light, params.colour), np.float32) * np.float32(params.gain / bright))
    )


def _mirrored(light: Image, params: ReflectionParams) -> Image:
    """The picture flipped, enlarged, shifted and with harder contrast, so that it reads as another place."""
    height, width = light.shape[:2]
    across, zoom = width / 2, params.zoom
    matrix = np.array(
        [
            [-zoom, 0, across * (1 + zoom) + params.x * width],
            [0, zoom, height / 2 * (1 - zoom) + params.y * height],
        ],
        np.float32,
    )
    turned = cv2.warpAffine(light, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return cast(Image, turned * np.sqrt(np.maximum(turned, 0.0)))


def _room(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """A dim room with furniture, window panes, lamps and perhaps a person: ``float32 (h, w, 3)``, small."""
    size = working_shape(shape, 256)
    height, width = size
    short = min(size)
    warm = np.array([1.15, 1.0, 0.8], np.float32)
    room = (0.05 + 0.015 * clouds(size, 3, rng))[..., None] * warm
    for _ in range(int(rng.integers(3, 8))):
        _paint(room, _quad(rng, size, 0.1, 0.4), rng.uniform(0.01, 0.2) * rng.uniform(0.6, 1.2, 3))
    for _ in range(int(rng.integers(1, 4))):
        frame = _quad(rng, size, 0.2, 0.45)
        _paint(room, frame, rng.uniform(0.5, 1.0) * np.array([0.9, 1.0, 1.12]))
        for share in np.linspace(0, 1, int(rng.integers(3, 5))):
            bars = [[frame[0] + share * (frame[1] - frame[0]), frame[3] + share * (frame[2] - frame[3])]]
            bars += [[frame[0] + share * (frame[3] - frame[0]), frame[1] + share * (frame[2] - frame[1])]]
            cv2.polylines(room, [np.rint(bar).astype(np.int32) for bar in bars], False, (0.04, 0.03, 0.03), 3)
    if rng.random() < 0.6:
        x, head = rng.uniform(0.2, 0.8) * width, short * rng.uniform(0.08, 0.14)
        top = height - head * rng.uniform(3.5, 5.5)
        for middle, axes in (((x, top), (0.8, 1.0)), ((x, top + 4.2 * head), (2.1, 3.2))):
            around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            oval = np.stack([np.cos(around) * axes[0], np.sin(around) * axes[1]], axis=1) * head + middle
            _paint(room, oval, np.array([0.03, 0.022, 0.02]))
    for x, y in rng.uniform(0.05, 0.95, (int(rng.integers(2, 7)), 2)) * (width, 0.6 * height):
        cv2.circle(room, (int(x), int(y)), int(short * rng.uniform(0.01, 0.03)) + 1, (1.4, 1.15, 0.75), -1)
    return cast(Image, room)


def _quad(rng: np.random.Generator, size: tuple[int, int], least: float, most: float) -> Floats:
    """A rectangle seen a little askew: corners ``(4, 2)``, x and y, clockwise."""
    height, width = size
    centre = rng.uniform(0.05, 0.95, 2) * (width, 0.8 * height)
    half = 0.5 * rng.uniform(least, most, 2) * (width, height)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners[:, 1] *= 1.0 + rng.uniform(-0.25, 0.25) * np.sign(corners[:, 0])
    return centre + corners


def _paint(room: Field, outline: Floats, colour: Floats) -> None:
    cv2.fillPoly(room, [np.rint(outline).astype(np.int32)], colour.tolist())
