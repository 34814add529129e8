"""Sheets to look at: every photo without a reference as it was, and beside it what each method made of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cotir.bench.tars import write_whole
from cotir.evaluate.cases import REAL, encode_png, read_pixels
from cotir.evaluate.records import IMAGES, Row
from cotir.evaluate.tables import IDENTITY, Entry

SHEETS = "sheets"
PANEL = 640
"""Longest side of a picture on a sheet, in pixels."""
_GAP, _STRIP, _FONT_SIZE = 6, 20, 13


def write_sheets(rows: Sequence[Row], run: Path) -> list[Path]:
    """Write ``sheets/KEY.png`` for every real photo of which a restored picture is kept: before | after, after, ...

    Raises:
        ImageError: a kept picture cannot be read.
    """
    by_photo: dict[str, list[Row]] = {}
    for row in rows:
        if row.group == REAL and row.image is not None and row.method != IDENTITY:
            by_photo.setdefault(row.key, []).append(row)
    written = []
    for key, kept in by_photo.items():
        panels = [("before", run / IMAGES / "lq" / f"{key}.png")]
        panels += [(str(Entry(row.method, row.prompt)), run / row.image) for row in kept if row.image is not None]
        panels = [(name, place) for name, place in panels if place.is_file()]
        path = run / SHEETS / f"{key}.png"
        write_whole(path, encode_png(np.asarray(_sheet([(name, _panel(place)) for name, place in panels]))))
        written.append(path)
    return written


def _panel(path: Path) -> Image.Image:
    image = Image.fromarray(read_pixels(path))
    image.thumbnail((PANEL, PANEL), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _sheet(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    font = ImageFont.load_default(_FONT_SIZE)
    widths = [max(image.width, int(font.getlength(name)) + 1) for name, image in panels]
    size = (sum(widths) + _GAP * (len(panels) - 1), _STRIP + max(image.height for _, image in panels))
    sheet = Image.new("RGB", size, "white")
    draw, left = ImageDraw.Draw(sheet), 0
    for (name, image), width in zip(panels, widths, strict=True):
        draw.text((left, 2), name, fill="black", font=font)
        sheet.paste(image, (left, _STRIP))
        left += width + _GAP
    return sheet
