"""A mark of words and logos printed over the file, as picture agencies do."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from cotir.degrade.base import Degradation, Image, Params, between, pick, register
from cotir.degrade.canvas import Cover, Field, unit
from cotir.degrade.depth import Colour

Word = Literal[
    "SAMPLE", "PREVIEW", "PROOF", "DRAFT", "COPYRIGHT", "DO NOT COPY", "NOT FOR SALE", "Photo Studio",
    "www.example.com", "\N{COPYRIGHT SIGN} Jane Doe", "All rights reserved", "Stock image 4711",
]  # fmt: skip
_WORDS: tuple[Word, ...] = (
    "SAMPLE", "PREVIEW", "PROOF", "DRAFT", "COPYRIGHT", "DO NOT COPY", "NOT FOR SALE", "Photo Studio",
    "www.example.com", "\N{COPYRIGHT SIGN} Jane Doe", "All rights reserved", "Stock image 4711",
)  # fmt: skip
Logo = Literal["none", "ring", "camera", "star", "shield"]
_LOGOS: tuple[Logo, ...] = ("none", "none", "ring", "camera", "star", "shield")


@dataclass(frozen=True)
class WatermarkParams(Params):
    """A mark of words and perhaps a logo, printed once or all over."""

    word: Word
    logo: Logo
    layout: Literal["single", "tiled"]
    size: float
    """Height of the letters, as a share of the short side."""
    x: float
    """Middle of a single mark, as a share of the width."""
    y: float
    angle: float
    """Of the line of words, in radians."""
    slant: float
    """Shear of the letters, as italics have."""
    opacity: float
    fill: float
    """Opacity of the letters' inside relative to their outline; 0 leaves the outline alone."""
    outline: float
    """Opacity of the outline relative to ``opacity``; 0 is none."""
    colour: Colour
    edge: Colour
    """Colour of the outline."""


@register
class Watermark(Degradation[WatermarkParams]):
    """``y = (1 - a m) x + a m w``: an editor's layer, blended as editors do, in encoded values.

    The model of Dekel et al. (On the Effectiveness of Visible Watermarks, CVPR 2017, eq. 1): the matte ``m`` of the
    mark, its colour ``w`` and its opacity ``a``. The matte has two parts, the letters' inside and their outline.
    """

    name = "watermark"
    stage = "file"
    rank = 3
    record = WatermarkParams

    def _draw(self, rng: np.random.Generator, severity: float) -> WatermarkParams:
        tiled = rng.random() < 0.45
        grey = pick(rng, 0.85, 1.0) if rng.random() < 0.75 else pick(rng, 0.0, 0.2)
        hue = rng.uniform(0.0, 1.0, 3) if rng.random() < 0.25 else np.full(3, grey)
        # No mark is dark alone, or a dark picture would hide it.
        pale = bool(hue.mean() > 0.5)
        outlined = rng.random() < 0.6 or not pale
        hollow = outlined and rng.random() < 0.2
        edge = 0.05 if pale and not hollow else 0.95
        return WatermarkParams(
            word=_WORDS[int(rng.integers(len(_WORDS)))],
            logo=_LOGOS[int(rng.integers(len(_LOGOS)))],
            layout="tiled" if tiled else "single",
            size=pick(rng, 0.045, 0.075) if tiled else pick(rng, 0.08, 0.17),
            x=pick(rng, 0.2, 0.8),
            y=pick(rng, 0.1, 0.9),
            angle=pick(rng, -0.9, 0.9) if tiled or rng.random() < 0.5 else 0.0,
            slant=pick(rng, 0.15, 0.3) if rng.random() < 0.3 else 0.0,
            opacity=between(0.01, pick(rng, 0.65, 0.95), severity**0.8),
            fill=0.0 if hollow else pick(rng, 0.7, 1.0),
            outline=pick(rng, 0.5, 1.0) if outlined else 0.0,
            colour=(float(hue[0]), float(hue[1]), float(hue[2])),
            edge=(edge, edge, edge),
        )

    def _damage(self, image: Image, params: WatermarkParams) -> Image:
        inside, rim = matte(image.shape[:2], params)
        result = image
        for part, share, colour in ((rim, params.outline, params.edge), (inside, params.fill, params.colour)):
            if share > 0.0:
                alpha = (part * np.float32(params.opacity * share))[..., None]
                result = cast(Image, result + alpha * (np.asarray(colour, np.float32) - result))
        return result


def matte(shape: tuple[int, int], params: WatermarkParams) -> tuple[Field, Field]:
    """Where the mark's letters and their outline are: two ``float32 (H, W)`` in [0, 1]."""
    height, width = shape
    font = max(6, round(params.size * min(shape)))
    stamp = _stamp(params.word, params.logo, font)
    tall, wide = stamp.shape[:2]
    if params.layout == "tiled":
        # Every second row is shifted by half, as bricks are laid.
        row = np.pad(stamp, ((2 * tall // 3,) * 2, (font, font), (0, 0)))
        stamp = np.concatenate([row, np.roll(row, row.shape[1] // 2, axis=1)])
    cosine, sine = np.cos(params.angle), np.sin(params.angle)
    forward = np.array([[cosine, -sine - params.slant * cosine], [sine, cosine - params.slant * sine]])
    frame = np.array([width, height])
    place = frame * (params.x, params.y)
    if params.layout == "single":
        # Shrunk and moved until all of it is in the picture.
        half = np.abs(forward) @ (wide, tall) / 2
        shrink = min(1.0, float((0.45 * frame / half).min()))
        if shrink < 1.0:
            size = (max(1, int(wide * shrink)), max(1, int(tall * shrink)))
            stamp = cast(Cover, cv2.resize(stamp, size, interpolation=cv2.INTER_AREA))
        place = np.clip(place, half * shrink, frame - half * shrink)
    border = cv2.BORDER_WRAP if params.layout == "tiled" else cv2.BORDER_CONSTANT
    matrix = np.column_stack([forward, place - forward @ (np.array(stamp.shape[1::-1]) / 2)])
    inside, both = cv2.split(cv2.warpAffine(stamp, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border))
    letters = unit(cast(Cover, inside))
    return letters, np.maximum(unit(cast(Cover, both)) - letters, 0.0)


@lru_cache(maxsize=8)
def _stamp(word: Word, logo: Logo, font: int) -> Cover:
    """The mark upright: ``uint8 (h, w, 2)``, its inside, and its inside with the outline."""
    letters = ImageFont.load_default(font)
    rim = max(1, round(font / 18))
    left, top, right, bottom = letters.getbbox(word, stroke_width=rim)
    margin = 2 * rim + 2
    beside = 0 if logo == "none" else round(1.5 * font)
    size = (int(right - left) + beside + 2 * margin, max(int(bottom - top), beside) + 2 * margin)
    layers = []
    for width in (0, rim):
        layer = PillowImage.new("L", size)
        draw = ImageDraw.Draw(layer)
        middle = (margin + beside - left, (size[1] - bottom - top) / 2)
        draw.text(middle, word, fill=255, font=letters, stroke_width=width)
        _draw_logo(draw, logo, (margin + 0.6 * font, size[1] / 2), 0.55 * font, width)
        layers.append(np.asarray(layer))
    return np.stack(layers, axis=2)


def _draw_logo(draw: ImageDraw.ImageDraw, logo: Logo, middle: tuple[float, float], radius: float, rim: int) -> None:
    """A simple sign of this radius; ``rim`` makes every part that much fatter."""
    x, y = middle
    stroke = max(2, round(radius / 7)) + 2 * rim

    def circle(share: float) -> None:
        reach = share * radius + rim
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=255, width=stroke)

    def polygon(points: list[tuple[float, float]]) -> None:
        corners = [(x + radius * right, y + radius * down) for right, down in points]
        draw.line([*corners, *corners[:2]], fill=255, width=stroke, joint="curve")

    if logo == "ring":
        circle(1.0)
        circle(0.55)
    elif logo == "camera":
        polygon(
            [(-1, -0.55), (-0.4, -0.55), (-0.2, -0.85), (0.2, -0.85), (0.4, -0.55), (1, -0.55), (1, 0.7), (-1, 0.7)]
        )
        circle(0.4)
    elif logo == "star":
        turns = np.arange(10) * np.pi / 5
        polygon([(reach * np.sin(t), -reach * np.cos(t)) for t, reach in zip(turns, (1.0, 0.42) * 5, strict=True)])
    elif logo == "shield":
        polygon([(-0.8, -0.9), (0.8, -0.9), (0.8, 0.2), (0, 1), (-0.8, 0.2)])
        polygon([(-0.35, -0.1), (-0.05, 0.3), (0.4, -0.4), (-0.05, 0.3)])
