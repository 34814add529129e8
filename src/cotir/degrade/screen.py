"""What a screen does to a picture: filmed with a camera (moire, rolling bands) or with too few levels (banding)."""

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np

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
from cotir.degrade.depth import Field
from cotir.degrade.noise import demosaic

_STRIPE = np.array([[-1, 0], [0, 1]], np.float32) / 3
"""Place in a screen's pixel of the stripe that each site of an RGGB mosaic sees: red left, green middle, blue right."""


@dataclass(frozen=True)
class MoireParams(Params):
    """A photograph of a screen; lengths are pixels of a picture whose short side is 512."""

    order: int
    """Camera pixels that match a screen's pixel: 1, or 2 for the pitch of the camera's mosaic."""
    contrast: float
    """Of the stripes, after the lens and the area of a photosite took most of it."""
    beat: float
    """Distance of the bands in the middle of the picture."""
    angle: float
    """Direction across the bands, in radians."""
    perspective_x: float
    """Relative growth of the screen's pitch from the middle to the right edge (of the longer side)."""
    perspective_y: float
    bend: float
    """The same from the middle outwards: the lens's distortion."""
    phase: float
    """Shift of the screen, in its pixels."""


@register
class Moire(Degradation[MoireParams]):
    """A camera's mosaic samples a screen's stripes: ``y_c = x_c g(u + s_c) h(v)`` in linear light, then demosaicing.

    ``u, v`` are the screen's coordinates of a photosite, in screen pixels; ``g = 1 + m cos 2 pi u`` is the light
    of its stripes after blur, ``s_c`` a third of a pixel between the colours, ``h`` the dark gaps between its rows.
    The screen's pitch is near one or two camera pixels, so the sampled product has bands of the difference frequency
    (Amidror, The Theory of the Moire Phenomenon, 2nd edition, 2009, ch. 2), coloured because each colour has its own
    stripes and sites (the simulation of Liu et al., NeurIPS 2020). Perspective and distortion curve them.
    """

    name = "moire"
    stage = "sensor"
    rank = 1
    record = MoireParams

    def _draw(self, rng: np.random.Generator, severity: float) -> MoireParams:
        return MoireParams(
            order=int(rng.integers(1, 3)),
            contrast=between(0.0, pick(rng, 0.35, 0.55), severity),
            beat=pick(rng, 25.0, 90.0),
            angle=pick(rng, 0.0, 2 * np.pi),
            perspective_x=pick(rng, -0.02, 0.02),
            perspective_y=pick(rng, -0.02, 0.02),
            bend=pick(rng, -0.02, 0.02),
            phase=pick(rng, 0.0, 1.0),
        )

    def _damage(self, image: Image, params: MoireParams) -> Image:
        return to_srgb(to_linear(image) * demosaic(_sampled_screen(image, params)))


def _sampled_screen(image: Image, params: MoireParams) -> Image:
    """Light of a white screen, mean 1, at the sites of an RGGB mosaic: ``float32 (H, W, 3)``, three views of one."""
    height, width = image.shape[:2]
    half = max(height, width) / 2
    y, x = np.indices((height, width), dtype=np.float32)
    x, y = x - width // 2, y - height // 2
    across, down = x / np.float32(half), y / np.float32(half)
    growth = 1 + np.float32(params.perspective_x) * across + np.float32(params.perspective_y) * down
    growth += np.float32(params.bend) * (across * across + down * down)
    x, y = x * growth, y * growth
    # Turning and scaling the screen away from the mosaic's pitch by (p, q) cycles per camera pixel.
    beat = 1 / (params.beat * pixel_scale(image))
    p, q = np.float32(beat * np.cos(params.angle)), np.float32(beat * np.sin(params.angle))
    pitch = np.float32(1 / params.order) + p
    stripe = np.tile(_STRIPE, (height // 2 + 1, width // 2 + 1))[:height, :width]
    columns = _cosine(pitch * x + q * y + stripe + np.float32(params.phase))
    rows = _cosine(pitch * y - q * x + np.float32(params.phase))
    contrast = np.float32(params.contrast)
    light = (1 + contrast * columns) * (1 + np.float32(0.3) * contrast * rows)
    return np.broadcast_to(light[..., None], image.shape)


def _cosine(cycles: Field) -> Field:
    return np.cos(np.float32(2 * np.pi) * (cycles - np.rint(cycles)))


@dataclass(frozen=True)
class BandingParams(Params):
    """A picture kept in too few levels."""

    levels: int
    """Levels of a channel or of luma, at least 2; twice as many for colour difference."""
    space: Literal["rgb", "luma_chroma"]
    """What is rounded: red, green and blue, or luma and colour difference as in video."""


@register
class Banding(Degradation[BandingParams]):
    """``y = round((L - 1) G(x)) / (L - 1)``: L levels without dither, on sRGB values as software does it.

    Rounding error of a smooth ramp is not noise but steps that follow its contours (Gray and Neuhoff, Quantization,
    IEEE Trans. Information Theory 44(6), 1998). Grain would break them up, as dither does, so ``G``, a bilateral
    filter (Tomasi and Manduchi, ICCV 1998) with the range of one step, first removes what is weaker than a step.
    """

    name = "banding"
    stage = "processing"
    rank = 9
    record = BandingParams

    def _draw(self, rng: np.random.Generator, severity: float) -> BandingParams:
        fewest, few = pick(rng, 7.0, 11.0), severity**0.6
        return BandingParams(
            levels=round(256.0 ** (1 - few) * fewest**few),
            space="rgb" if rng.random() < 0.5 else "luma_chroma",
        )

    def _damage(self, image: Image, params: BandingParams) -> Image:
        steps = np.float32(params.levels - 1)
        coded = image if params.space == "rgb" else cast(Image, cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
        smooth = cv2.bilateralFilter(coded, 5, 1.0 / float(steps), 1.5)
        if params.space == "rgb":
            return cast(Image, np.rint(smooth * steps) / steps)
        # Colours of photographs span about half of the difference's range: twice the levels put L on that half.
        each = steps * np.array([1, 2, 2], np.float32)
        return cast(Image, cv2.cvtColor(np.rint(smooth * each) / each, cv2.COLOR_YCrCb2RGB))


@dataclass(frozen=True)
class ScanLinesParams(Params):
    """A filmed display or a frame of analogue video; lengths are pixels of a picture whose short side is 512."""

    period: float
    """Height of a bright and a dark band together, as a share of the picture's height."""
    depth: float
    """Share of light lost in the dark bands."""
    edge: float
    """How suddenly bands change: 0.1 is a sine, 4 nearly a step."""
    phase: float
    """Place of the bands, in [0, 1)."""
    line: float
    """Distance of the raster's lines."""
    gap: float
    """Share of light lost between two lines."""
    comb: float
    """Sideways shift of every other row: motion between the two fields of interlaced video; 0 for none."""


@register
class ScanLines(Degradation[ScanLinesParams]):
    """``y = x (1 - depth b(row)) (1 - gap r(row))`` in linear light, every other row shifted by ``comb``.

    ``b`` in [0, 1]: each row of a rolling shutter is exposed in another phase of a pulsed backlight or a tube's
    refresh (Liang et al., IEEE TIP 17(8), 2008), ``(1 + tanh(e sin) / tanh e) / 2``. ``r = (1 - cos) / 2`` is the gap
    between the lines of a tube's raster. ``comb`` is the weave of two fields taken a field apart while the camera
    pans (de Haan and Bellers, Deinterlacing: an Overview, Proc. IEEE 86(9), 1998).
    """

    name = "scan_lines"
    stage = "sensor"
    rank = 7
    record = ScanLinesParams

    def _draw(self, rng: np.random.Generator, severity: float) -> ScanLinesParams:
        interlaced = rng.random() < 0.4
        return ScanLinesParams(
            period=pick(rng, 0.25, 1.1),
            depth=between(0.0, pick(rng, 0.45, 0.75), severity),
            edge=pick(rng, 0.1, 4.0),
            phase=pick(rng, 0.0, 1.0),
            line=pick(rng, 2.5, 5.0),
            gap=between(0.0, pick(rng, 0.1, 0.6), severity),
            comb=between(0.0, pick(rng, 2.0, 7.0), severity) if interlaced else 0.0,
        )

    def _damage(self, image: Image, params: ScanLinesParams) -> Image:
        height = image.shape[0]
        rows = np.arange(height)
        wave = np.sin(2 * np.pi * (rows / (height * params.period) + params.phase))
        band = 0.5 + 0.5 * np.tanh(params.edge * wave) / np.tanh(params.edge)
        # Fewer than two rows to a line cannot be told apart.
        line = max(params.line * pixel_scale(image), 2.0)
        raster = 0.5 - 0.5 * np.cos(2 * np.pi * (rows + 0.5) / line)
        gain = (1 - params.depth * band) * (1 - params.gap * raster)
        light = to_linear(_weave(image, params.comb * pixel_scale(image)))
        return to_srgb(light * gain.astype(np.float32)[:, None, None])


def _weave(image: Image, shift: float) -> Image:
    """Move every other row to the right by ``shift`` pixels, edges mirrored."""
    if shift < 0.05:
        return image
    move = np.array([[1.0, 0.0, shift], [0.0, 1.0, 0.0]], np.float32)
    field = np.ascontiguousarray(image[1::2])
    woven = image.copy()
    woven[1::2] = cv2.warpAffine(field, move, (field.shape[1], field.shape[0]), borderMode=cv2.BORDER_REFLECT_101)
    return woven
