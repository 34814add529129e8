"""From a :class:`cotir.image.Picture` to the bytes of a file: the table of kinds, and what each of them can hold."""

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    ICCPROFILE,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    RESOLUTION_UNIT,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    X_RESOLUTION,
    XMP,
    Y_RESOLUTION,
    ImageFileDirectory_v2,
)
from PIL.TiffTags import LONG, TAGS_V2_GROUPS

from cotir.colour import Integers, Profile, srgb, unit
from cotir.errors import ImageError
from cotir.files.metadata import EXIF_HEADER
from cotir.image import Carried, Picture, at_depth, quantise


@dataclass(frozen=True)
class Kind:
    """A kind of picture file."""

    name: str
    pillow: str
    """Pillow's name of it."""
    suffixes: tuple[str, ...]
    """The first is the one CoTIR writes."""
    keeps: frozenset[str]
    """Which of gray, alpha, 16 bits, profile, exif, xmp, text and dpi it can hold."""
    max_side: int
    quality: int | None = None
    """Quality when none is asked for; None for a lossless kind."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For Pillow's writer."""
    best: Mapping[str, Any] = field(default_factory=dict)
    """Instead of the quality when it is 100."""
    written_as: str = ""
    """Another kind that ``keep`` writes, where this one would spoil the result."""


def _keeps(names: str) -> frozenset[str]:
    return frozenset(names.split())


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("png", "PNG", (".png", ".apng"), _keeps("gray alpha 16-bit profile exif xmp text dpi"), 2**31 - 1),
        Kind("jpg", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), _keeps("gray profile exif xmp dpi"), 65535, 95,
             {"subsampling": "4:4:4"}),
        Kind("webp", "WEBP", (".webp",), _keeps("alpha profile exif xmp"), 16383, 95, {"exact": True},
             {"lossless": True}),
        Kind("tiff", "TIFF", (".tif", ".tiff"), _keeps("gray alpha 16-bit profile exif xmp dpi"), 2**31 - 1),
        Kind("avif", "AVIF", (".avif",), _keeps("gray alpha profile exif xmp"), 65535, 90,
             {"subsampling": "4:4:4", "speed": 8}),
        Kind("heic", "HEIF", (".heic", ".heif", ".hif"), _keeps("gray alpha profile exif xmp"), 16384, 90,
             {"chroma": 444},
             {"quality": -1, "matrix_coefficients": 0}),
        Kind("bmp", "BMP", (".bmp", ".dib"), _keeps("gray dpi"), 2**31 - 1),
        Kind("jxl", "JXL", (".jxl",), _keeps("gray alpha profile exif xmp"), 2**30, 95, {}, {"lossless": True}),
        Kind("gif", "GIF", (".gif",), _keeps(""), 65535, written_as="png"),
    )
}  # fmt: skip
"""What CoTIR reads and writes. WebP, HEIC and JPEG XL are lossless at quality 100, JPEG and AVIF nearly so."""


def losses(picture: Picture, kind: Kind) -> tuple[str, ...]:
    """What a kind of file cannot hold of this picture, and what is done instead; empty when all of it comes back."""
    carried, keeps = picture.carried, kind.keeps
    checks = (
        (carried.alpha is not None, "alpha", "composited on white"),
        (carried.depth == 16, "16-bit", "rounded to 8 bits"),
        (carried.profile is not None, "profile", "converted to sRGB"),
        (carried.exif is not None, "exif", "dropped"),
        (carried.xmp is not None, "xmp", "dropped"),
        (bool(carried.text), "text", "dropped"),
        (carried.dpi is not None, "dpi", "dropped"),
    )
    return tuple(f"{kind.name} holds no {name}: {done}" for has, name, done in checks if has and name not in keeps)


def encode(picture: Picture, kind: Kind, quality: int | None = None) -> bytes:
    """The bytes of a file of that kind.

    The pixels go back to the profile the picture came with, which is attached again. Colours that sRGB can show make
    that round trip to within 1e-5 before rounding; pixels still equal to those read get the file's own numbers.

    Args:
        picture: what to write; :func:`losses` tells what the kind cannot hold.
        kind: one of :data:`KINDS`.
        quality: 1 to 100; ignored by lossless kinds.

    Raises:
        ImageError: the kind cannot hold the size, or ``quality`` is out of range.
        OSError, ValueError, ...: whatever the library below says.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"quality is {quality}; it must lie between 1 and 100")
    if max(picture.width, picture.height) > kind.max_side:
        raise ImageError(f"{picture.width} x {picture.height} pixels is too large for {kind.name}, which holds up to "
                         f"{kind.max_side} on a side; write png or tiff")  # fmt: skip
    profile = _profile(picture.carried, kind)
    values = _values(picture, kind, profile)
    words = _words(picture.carried, kind, profile)
    if kind.name == "tiff":
        return _tiff(values, words)
    if kind.name == "png":
        return _png(values, words)
    if kind.quality is not None:
        asked = kind.quality if quality is None else quality
        words |= kind.best if asked == 100 and kind.best else {"quality": asked}
    # colour resolution means nothing to gray, and asking for it makes AVIF write colour
    colour_only = ("subsampling", "chroma") if values.ndim == 2 else ()
    options = {name: value for name, value in kind.options.items() if name not in colour_only}
    return _saved(Image.fromarray(values), kind.pillow, {**options, **words})


def _profile(carried: Carried, kind: Kind) -> Profile | None:
    """The profile the file's numbers will be in; None for sRGB."""
    profile = carried.profile
    if profile is None or "profile" not in kind.keeps:
        return None
    # a profile for gray cannot describe the three channels of a kind without gray
    return None if profile.space == "gray" and "gray" not in kind.keeps else profile


def _values(picture: Picture, kind: Kind, profile: Profile | None) -> Integers:
    """The integers to write, (H, W) or (H, W, C)."""
    carried, pixels = picture.carried, picture.pixels
    depth = carried.depth if "16-bit" in kind.keeps else 8
    alpha = picture.alpha(depth)
    if alpha is not None and "alpha" not in kind.keeps:
        opacity = unit(alpha)[..., None]
        pixels, alpha = pixels * opacity + (1 - opacity), None
    if profile is None or profile.is_srgb:
        colour = quantise(pixels, depth)
    else:
        colour = quantise(profile.from_srgb(pixels), depth)
        if carried.native is not None:
            untouched = (profile.to_srgb(carried.native) == pixels).all(axis=-1, keepdims=True)
            colour = np.where(untouched, at_depth(carried.native, depth), colour)
    if carried.gray and "gray" in kind.keeps:
        colour = colour[..., :1]
    if alpha is not None:
        return np.concatenate([colour, alpha[..., None]], axis=-1)
    return colour[..., 0] if colour.shape[-1] == 1 else colour


def _words(carried: Carried, kind: Kind, profile: Profile | None) -> dict[str, Any]:
    """Metadata under the names that Pillow's writers share."""
    exif = EXIF_HEADER + carried.exif if carried.exif else None
    words: dict[str, Any] = {"exif": exif, "xmp": carried.xmp, "dpi": carried.dpi, "text": carried.text}
    if profile is not None:
        words["profile"] = profile.data
    elif carried.tag_srgb or carried.profile is not None:
        words["profile"] = srgb()
    kept = {name: value for name, value in words.items() if value and name in kind.keeps}
    return {"icc_profile" if name == "profile" else name: value for name, value in kept.items()}


def _saved(image: Image.Image, format: str, options: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _png(values: Integers, words: dict[str, Any]) -> bytes:
    info = PngInfo()
    for key, text in words.pop("text", ()):
        info.add_text(key, text)
    if "xmp" in words:
        info.add_itxt("XML:com.adobe.xmp", words.pop("xmp").decode("utf-8", "replace"))
    if values.dtype == np.uint8:
        return _saved(Image.fromarray(values), "PNG", {"pnginfo": info, **words})
    import imagecodecs

    # Pillow cannot write 16-bit colour: its metadata chunks, taken from a picture of one pixel, go behind the header
    words_only = _saved(Image.new("L", (1, 1)), "PNG", {"pnginfo": info, **words})
    pixels = imagecodecs.png_encode(np.ascontiguousarray(values))
    header = len(_PNG_SIGNATURE) + _PNG_CHUNK_FRAME + 13
    return b"".join((pixels[:header], *_ancillary(words_only), pixels[header:]))


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_FRAME = 12
"""Length, type and checksum around a chunk's data (PNG, third edition, 5.3)."""


def _ancillary(png: bytes) -> Iterator[bytes]:
    """The chunks that hold no pixels."""
    at = len(_PNG_SIGNATURE)
    while at < len(png):
        end = at + int.from_bytes(png[at : at + 4], "big") + _PNG_CHUNK_FRAME
        if png[at + 4 : at + 8] not in (b"IHDR", b"IDAT", b"IEND"):
            yield png[at:end]
        at = end


def _tiff(values: Integers, words: dict[str, Any]) -> bytes:
    """One deflated strip with horizontal differencing (TIFF 6.0, section 14), 8 or 16 bits, little-endian."""
    values = values if values.ndim == 3 else values[..., None]
    height, width, channels = values.shape
    steps = np.diff(values, axis=1, prepend=values.dtype.type(0))
    strip = zlib.compress(steps.astype(f"<u{values.itemsize}").tobytes())
    tags = ImageFileDirectory_v2(prefix=b"II")
    exif = Image.Exif()
    exif.load(words.get("exif", b""))
    for tag, value in exif.items():
        tags[tag] = exif.get_ifd(tag) if tag in TAGS_V2_GROUPS else value
    tags[IMAGEWIDTH], tags[IMAGELENGTH], tags[ROWSPERSTRIP] = width, height, height
    tags[BITSPERSAMPLE] = (8 * values.itemsize,) * channels
    tags[SAMPLESPERPIXEL] = channels
    tags[PHOTOMETRIC_INTERPRETATION] = 2 if channels >= 3 else 1
    tags[COMPRESSION], tags[PREDICTOR], tags[PLANAR_CONFIGURATION] = 8, 2, 1
    if channels in (2, 4):
        tags[EXTRASAMPLES] = 2
    if "dpi" in words:
        tags[RESOLUTION_UNIT], (tags[X_RESOLUTION], tags[Y_RESOLUTION]) = 2, words["dpi"]
    if "xmp" in words:
        tags[XMP] = words["xmp"]
    if "icc_profile" in words:
        tags[ICCPROFILE] = words["icc_profile"]
    tags[STRIPBYTECOUNTS] = len(strip)
    tags.tagtype[STRIPOFFSETS] = tags.tagtype[STRIPBYTECOUNTS] = LONG
    tags[STRIPOFFSETS] = 0
    stream = io.BytesIO()
    # the directory adds its own length to the offset of the strip that follows it
    tags.save(stream)
    return stream.getvalue() + strip
