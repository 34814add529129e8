"""Words a file carries beside its pixels: EXIF, XMP, PNG text and resolution, made to fit an upright picture."""

import re
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

ORIENTATION = 0x0112
EXIF_HEADER = b"Exif\x00\x00"
"""Before the TIFF header in a JPEG's APP1 segment (EXIF 2.32, 4.7.2); Pillow's writers take the block with it."""
_GROUPS = (0x8769, 0x8825)
"""The sub-directories that describe the exposure and the place (EXIF 2.32, table 3)."""
# fmt: off
_DESCRIPTIVE = (270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095)
# fmt: on
"""TIFF tags that describe the picture rather than the layout of its bytes (TIFF 6.0, section 8; Exif 2.32, table 4)."""
_TEXT_ELSEWHERE = ("XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp")
_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
"""EXIF 2.32, tag 0x0112: quarter turns against the clock, then whether left and right are swapped."""


@dataclass(frozen=True)
class Metadata:
    """What :class:`cotir.image.Carried` keeps of it, and the turn the pixels still need.

    Attributes:
        orientation: 1 to 8 as in EXIF, as the file says it.
        exif: from the TIFF header on, orientation 1; None when the file has none.
    """

    orientation: int
    exif: bytes | None
    xmp: bytes | None
    text: tuple[tuple[str, str], ...]
    dpi: tuple[float, float] | None
    """Across and down the upright picture."""


def metadata(image: Image.Image) -> Metadata:
    """Read an image's metadata. Load the pixels first, except of a TIFF: loading that one forgets its orientation."""
    tags = image.getexif()
    orientation = tags.get(ORIENTATION, 1)
    raw = image.info.get("exif")
    if image.format == "TIFF":
        raw = _tiff_exif(tags)
    elif raw is None and any(tag != ORIENTATION for tag in tags):
        raw = tags.tobytes()
    xmp = image.info.get("xmp")
    dpi = _dpi(image.info.get("dpi"))
    return Metadata(
        orientation=orientation if orientation in _TURNS else 1,
        exif=upright_exif(raw) if raw else None,
        xmp=upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp) if xmp else None,
        text=_text(image),
        # a quarter turn (5 to 8) swaps across and down
        dpi=(dpi[1], dpi[0]) if dpi and 5 <= orientation <= 8 else dpi,
    )


def turned(values: npt.NDArray, orientation: int) -> npt.NDArray:
    """Turn (H, W) or (H, W, C) upright; a copy unless the orientation is 1."""
    if orientation not in _TURNS:
        return values
    quarters, mirrored = _TURNS[orientation]
    values = np.rot90(values, quarters)
    return np.ascontiguousarray(values[:, ::-1] if mirrored else values)


def upright_exif(exif: bytes) -> bytes:
    """Set the orientation of an EXIF block to 1 and unlink its thumbnail, which shows the picture before restoration.

    The bytes are patched in place, so maker notes with absolute offsets stay valid. A block too damaged to walk is
    returned as it is.
    """
    block = bytearray(exif.removeprefix(EXIF_HEADER))
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return bytes(block)
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(order + "H", block, entry) == (ORIENTATION,):
                struct.pack_into(order + "HIHH", block, entry + 2, 3, 1, 1, 0)
        struct.pack_into(order + "I", block, start + 2 + 12 * count, 0)
    except struct.error:
        return bytes(block)
    return bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """Set ``tiff:Orientation`` to 1, written as an attribute or as an element."""
    xmp = re.sub(rb"(tiff:Orientation\s*=\s*[\"'])\d+", rb"\g<1>1", xmp)
    return re.sub(rb"(<tiff:Orientation>\s*)\d+", rb"\g<1>1", xmp)


def _tiff_exif(tags: Image.Exif) -> bytes | None:
    """A TIFF's tags without those that lay out its bytes; must run while the file is open."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            kept[tag] = tags[tag]
    for group in _GROUPS:
        if found := tags.get_ifd(group):
            kept.get_ifd(group).update(found)
    if not any(tag in tags for tag in (*_DESCRIPTIVE, *_GROUPS)):
        return None
    kept[ORIENTATION] = 1
    return kept.tobytes()


def _text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = getattr(image, "text", {}) if image.format == "PNG" else {}
    # EXIF and XMP hidden in text chunks are carried as what they are
    return tuple((key, str(value)) for key, value in found.items() if key not in _TEXT_ELSEWHERE)


def _dpi(value: object) -> tuple[float, float] | None:
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    across, down = float(value[0]), float(value[1])
    # a zero denominator gives "not a number"
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
