"""The before | after picture."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cotir.image import Picture, quantise

LARGEST_SIDE = 2000
"""Pixels; larger pairs are scaled down."""
_GAP = 4
_STRIP = 18
_FONT_SIZE = 12
_LABELS = ("before", "after")


def before_and_after(before: Picture, after: Picture) -> Picture:
    """Two pictures side by side, each under its label, at most :data:`LARGEST_SIDE` pixels wide and high.

    Transparency is shown on white. Sides shorter than the labels are filled up with white.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    room = ((LARGEST_SIDE - _GAP) // 2, LARGEST_SIDE - _STRIP)
    panels = [_fitted(_on_white(picture), room) for picture in (before, after)]
    label_width = max(int(font.getlength(label)) + 1 for label in _LABELS)
    width = max(label_width, *(panel.width for panel in panels))
    sheet = Image.new("RGB", (2 * width + _GAP, _STRIP + max(panel.height for panel in panels)), "white")
    draw = ImageDraw.Draw(sheet)
    for left, panel, label in zip((0, width + _GAP), panels, _LABELS, strict=True):
        draw.text((left, 1), label, fill="black", font=font)
        sheet.paste(panel, (left, _STRIP))
    return Picture.of(np.asarray(sheet))


def _on_white(picture: Picture) -> Image.Image:
    colour = Image.fromarray(quantise(picture.pixels, 8))
    alpha = picture.alpha(8)
    if alpha is None:
        return colour
    return Image.composite(colour, Image.new("RGB", colour.size, "white"), Image.fromarray(alpha))


def _fitted(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """The image, scaled down if it does not fit."""
    scale = min(1.0, room[0] / image.width, room[1] / image.height)
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
