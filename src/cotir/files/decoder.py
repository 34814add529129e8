"""From an opened PIL image to a :class:`cotir.image.Picture`: every mode, full depth, upright, in sRGB.

Pillow reads the container and 8 bits; 16-bit colour, which Pillow has no mode for, comes from imagecodecs (PNG) and
tifffile (TIFF).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from cotir.colour import CHANNELS, Floats, Integers, Profile, Space, cmyk_to_srgb, lab_to_srgb, unit
from cotir.errors import ImageError
from cotir.files.metadata import metadata, turned
from cotir.image import Carried, Picture

if TYPE_CHECKING:
    import tifffile

_KIND_OF_PILLOW = {
    "PNG": "png", "JPEG": "jpg", "MPO": "jpg", "WEBP": "webp", "TIFF": "tiff", "AVIF": "avif", "HEIF": "heic",
    "BMP": "bmp", "GIF": "gif", "JXL": "jxl",
}  # fmt: skip

_TIFF_SPACES: dict[int, Space] = {0: "gray", 1: "gray", 2: "rgb", 5: "cmyk"}
"""PhotometricInterpretation (TIFF 6.0, page 37); 0 is gray with white at zero."""
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _XMP, _PROFILE = 256, 257, 258, 700, 34675
_WIDENED = {"1": "1 bit widened to 8-bit gray", "P": "palette expanded", "PA": "palette expanded"}


@dataclass(frozen=True, eq=False)
class Samples:
    """The numbers of a file before anybody says what colour they are.

    Attributes:
        colour: uint8 or uint16 (H, W, C), C as :data:`cotir.colour.CHANNELS` says.
        alpha: the same type, (H, W), not premultiplied; None without.
        turned: the reader has already applied the orientation.
    """

    colour: Integers
    space: Space
    alpha: Integers | None = None
    turned: bool = False
    notes: tuple[str, ...] = ()


def tiff_stand_in(file: BinaryIO) -> Image.Image:
    """For a TIFF whose layout Pillow does not know, as 16-bit gray with alpha: its words on an image of one pixel."""
    with _tifffile(file) as tiff:
        tags = {tag.code: tag.value for tag in tiff.pages.first.tags}
    stand_in = Image.new("L", (1, 1))
    # before it is called a TIFF, for then Pillow would look for the tags in its own reader
    stand_in.getexif().update({tag: value for tag, value in tags.items() if isinstance(value, int | str)})
    bits = tags.get(_BITS_PER_SAMPLE, 1)
    stand_in.tag_v2 = {**tags, _BITS_PER_SAMPLE: bits if isinstance(bits, tuple) else (bits,)}  # pyright: ignore[reportAttributeAccessIssue]
    found = {"xmp": tags.get(_XMP), "icc_profile": tags.get(_PROFILE)}
    stand_in.info.update({name: bytes(value) for name, value in found.items() if value})
    stand_in.format = "TIFF"
    return stand_in


def size(image: Image.Image) -> tuple[int, int]:
    """Width and height by the header."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)


def picture(image: Image.Image, file: BinaryIO | None = None) -> Picture:
    """Decode an opened image.

    Args:
        image: as :func:`PIL.Image.open` returned it, or made in memory.
        file: the open file behind it, for the depth that Pillow cannot hold; None for an image made in memory.

    Raises:
        ImageError: the numbers are of a kind that is no picture (floats beyond [0, 1], 32-bit integers).
        OSError, ValueError, ...: whatever Pillow, imagecodecs or tifffile say about damaged data.
    """
    if image.format == "TIFF":
        # loading forgets the tags, and Pillow turns a TIFF upright while it loads
        words = metadata(image)
        samples = _tiff(image, file)
    else:
        image.load()
        words = metadata(image)
        samples = _png(image, file) or _pillow(image)
    orientation = 1 if samples.turned else words.orientation
    native = turned(samples.colour, orientation)
    if native.size == 0 or native.shape[-1] != CHANNELS[samples.space]:
        raise ImageError(f"is damaged: its numbers have the shape {native.shape}, which is no {samples.space} picture")
    profile, tag_srgb, notes = _usable_profile(image.info.get("icc_profile"), samples.space)
    carried = Carried(
        gray=samples.space == "gray",
        depth=16 if native.dtype == np.uint16 else 8,
        alpha=None if samples.alpha is None else turned(samples.alpha, orientation),
        profile=profile if profile and profile.writable else None,
        tag_srgb=tag_srgb or (profile is not None and not profile.writable),
        native=native if profile and profile.writable and not profile.is_srgb else None,
        exif=words.exif,
        xmp=words.xmp,
        text=words.text,
        dpi=words.dpi,
        format=_KIND_OF_PILLOW.get(image.format or ""),
        notes=(*_frames(image), *samples.notes, *_turn(words.orientation), *notes),
    )
    return Picture(_pixels(native, samples.space, profile), carried)


def _pixels(native: Integers, space: Space, profile: Profile | None) -> Floats:
    if profile is not None and not profile.is_srgb:
        return profile.to_srgb(native)
    if space == "cmyk":
        return cmyk_to_srgb(native)
    if space == "lab":
        return lab_to_srgb(native)
    return np.repeat(unit(native), 3, axis=-1) if space == "gray" else unit(native)


def _usable_profile(data: bytes | None, space: Space) -> tuple[Profile | None, bool, tuple[str, ...]]:
    """The profile to convert with, whether the result must be tagged sRGB, and a note when the profile is ignored."""
    if not data:
        return None, False, ()
    profile = Profile(data)
    fits = profile.space == space or (space == "gray" and profile.space == "rgb")
    if space == "lab":
        return None, True, ()
    if not fits or not profile.readable:
        kind = f"for {profile.space}" if profile.space else "not readable"
        return None, True, (f"colour profile ignored: it is {kind} and the picture is {space}",)
    return profile, False, () if profile.writable else (f"colour profile for {profile.space} replaced by sRGB",)


def _pillow(image: Image.Image) -> Samples:
    """Every mode of Pillow; those without a space of their own go through RGB."""
    mode = image.mode
    if mode in ("F", "I") or mode.startswith("I;16"):
        return _single_channel(image)
    if mode == "CMYK":
        ink = np.asarray(image)
        if image.format == "JPEG" and "adobe" not in image.info:
            # Pillow takes every CMYK JPEG to be inverted as Adobe writes it; without Adobe's marker it is not
            ink = 255 - ink
        return Samples(ink, "cmyk", notes=("CMYK converted to RGB",))
    if mode == "LAB":
        # Pillow hands out a* and b* as signed bytes
        return Samples(np.asarray(image) ^ np.array([0, 128, 128], np.uint8), "lab", notes=("LAB converted to RGB",))
    notes = {"1": ("1 bit widened to 8-bit gray",), "P": ("palette expanded",), "PA": ("palette expanded",)}.get(
        mode, ()
    )
    gray = mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        values = np.asarray(image.convert("LA" if gray else "RGBA"))
        return Samples(values[..., :-1], "gray" if gray else "rgb", values[..., -1], notes=notes)
    if gray:
        return Samples(np.asarray(image.convert("L"))[..., None], "gray", notes=notes)
    return Samples(np.asarray(image.convert("RGB")), "rgb", notes=notes)


def _single_channel(image: Image.Image) -> Samples:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    notes: tuple[str, ...] = ()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):
            raise ImageError(
                f"holds floats from {low:g} to {high:g}; CoTIR reads floats in [0, 1] only, so scale it first"
            )
        values = np.rint(values * 65535)
        notes = ("float converted to 16 bits",)
    elif not (low >= 0 and high <= 65535):
        raise ImageError(
            f"holds integers from {low:g} to {high:g}; CoTIR reads up to 16 bits, 0 to 65535, so scale it first"
        )
    values = values.astype(np.uint16)
    key = image.info.get("transparency")
    alpha = np.where(values == key, 0, 65535).astype(np.uint16) if isinstance(key, int) else None
    return Samples(values[..., None], "gray", alpha, notes=notes)


def _png(image: Image.Image, file: BinaryIO | None) -> Samples | None:
    """16-bit PNG; None when it is anything else."""
    if image.format != "PNG" or file is None:
        return None
    file.seek(0)
    # PNG (third edition), 11.2.1: the bit depth is the ninth byte of IHDR, whose data starts at byte 16
    if file.read(25)[24] != 16:
        return None
    import imagecodecs

    file.seek(0)
    values = imagecodecs.png_decode(file.read())
    values = values if values.ndim == 3 else values[..., None]
    with_alpha = values.shape[2] in (2, 4)
    colour = values[..., :-1] if with_alpha else values
    return Samples(colour, "gray" if colour.shape[2] == 1 else "rgb", values[..., -1] if with_alpha else None)


def _tiff(image: Image.Image, file: BinaryIO | None) -> Samples:
    """A TIFF through tifffile when it has 16 bits or Pillow does not know its layout, else through Pillow."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (1,))
    known_to_pillow = hasattr(image, "tile")
    if file is None or (known_to_pillow and (max(bits) <= 8 or image.mode in ("F", "I"))):
        image.load()
        samples = _pillow(image)
        return Samples(samples.colour, samples.space, samples.alpha, turned=True, notes=samples.notes)
    with _tifffile(file) as tiff:
        page = tiff.pages.first
        space = _TIFF_SPACES.get(int(page.photometric))
        values = page.asarray()
        planes_first = page.axes.startswith("S")
        extra = tuple(int(kind) for kind in page.extrasamples)
        inverted = int(page.photometric) == 0
    if space is None or values.dtype not in (np.uint8, np.uint16):
        layout = str(getattr(page.photometric, "name", page.photometric)).lower()
        raise ImageError(
            f"is a TIFF of {values.dtype} {layout}; CoTIR reads 8 and 16 bits of gray, RGB and CMYK: convert it first"
        )
    values = np.moveaxis(values, 0, -1) if planes_first else values
    values = values if values.ndim == 3 else values[..., None]
    colour, rest = np.split(values, [CHANNELS[space]], axis=-1)
    notes = ("CMYK converted to RGB",) if space == "cmyk" else ()
    colour = np.iinfo(colour.dtype).max - colour if inverted else colour
    # TIFF 6.0, ExtraSamples: 1 is premultiplied alpha, 2 is alpha; anything else is no part of the picture
    alpha = rest[..., 0] if extra[:1] in ((1,), (2,)) else None
    if alpha is not None and extra[0] == 1:
        colour = _unmultiplied(colour, alpha)
    return Samples(np.ascontiguousarray(colour), space, alpha, notes=notes)


@contextmanager
def _tifffile(file: BinaryIO) -> "Iterator[tifffile.TiffFile]":
    """Open a TIFF; what tifffile says about damage comes out as ValueError."""
    import tifffile

    # without a handler of its own it prints what it thinks of a damaged file; the error says it already
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            yield tiff
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error


def _unmultiplied(colour: Integers, alpha: Integers) -> Integers:
    top = float(np.iinfo(colour.dtype).max)
    full = colour * (top / np.maximum(alpha, 1))[..., None]
    return np.rint(np.minimum(full, top)).astype(colour.dtype)


def _frames(image: Image.Image) -> tuple[str, ...]:
    count = getattr(image, "n_frames", 1)
    if count < 2:
        return ()
    if image.format in ("MPO", "HEIF"):
        return (f"main picture of {count}",)
    return (f"first of {count} {'pages' if image.format == 'TIFF' else 'frames'}",)


def _turn(orientation: int) -> tuple[str, ...]:
    return (f"orientation {orientation} applied",) if orientation != 1 else ()
