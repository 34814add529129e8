"""What the tests of files share: pictures, a profile, metadata, and files written past the library under test."""

import struct
import zlib

import imagecodecs
import numpy as np
import pillow_heif
from PIL import Image

from cotir import files

pillow_heif.register_heif_opener()

WRITABLE = tuple(name for name in files.FORMATS if name not in ("keep", "jxl"))

# Display P3: SMPTE EG 432-1 primaries, D65
P3 = imagecodecs.cms_profile(
    "rgb", whitepoint=[0.3127, 0.3290, 1], primaries=[0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1], gamma=2.2
)


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def smooth(height=24, width=32):
    """A picture that lossy kinds keep to within a few levels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], axis=-1).astype(np.uint8)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def exif_block(orientation=6):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x829A] = 0.5
    return exif.tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(rows, *, bits, colour_type, chunks=(), size=None):
    """A PNG byte by byte; ``size`` may lie about the rows."""
    array = np.asarray(rows, f">u{bits // 8}")
    width, height = size or (array.shape[1], array.shape[0])
    pixels = b"".join(b"\0" + row.tobytes() for row in array)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    extra = b"".join(chunk(*pair) for pair in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
