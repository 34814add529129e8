"""Colour spaces: from what a file's numbers mean to sRGB, and back.

Conversions run through Little CMS in 32-bit float, so nothing is rounded on the way; the intent is relative
colorimetric with black point compensation. The round trip through a matrix profile, for colours sRGB can show, is
within 1e-5 (Display P3 1e-7, Adobe RGB 4e-6, gray gamma 9e-6: 0.6 of a 16-bit level). Colours outside sRGB are
clipped to it; :mod:`cotir.files.encoder` keeps the file's own numbers for the pixels nobody changed.
"""

import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.uint8 | np.uint16]
Space = Literal["rgb", "gray", "cmyk", "lab"]

CHANNELS: dict[Space, int] = {"gray": 1, "rgb": 3, "lab": 3, "cmyk": 4}

_SIGNATURES: dict[bytes, Space] = {b"RGB ": "rgb", b"GRAY": "gray", b"CMYK": "cmyk", b"Lab ": "lab"}
"""ICC.1:2022, table 19: the data colour space at byte 16 of a profile."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""ITU-R BT.709-6, item 3.2. The weights add up to one, so a gray pixel keeps its value."""

_INDISTINGUISHABLE = 0.5 / 255
_BAND_PIXELS = 1 << 18


@dataclass(frozen=True)
class Profile:
    """An ICC profile.

    Attributes:
        data: the profile's bytes, as they stood in the file.
    """

    data: bytes = field(repr=False)

    @cached_property
    def space(self) -> Space | None:
        """What the numbers are; None when it is a space CoTIR does not know or the bytes are no profile."""
        return _SIGNATURES.get(self.data[16:20])

    @cached_property
    def readable(self) -> bool:
        """Whether colours can be converted from this profile to sRGB."""
        return self.space is not None and _works(self.data, srgb(), self.space, "rgb")

    @cached_property
    def writable(self) -> bool:
        """Whether colours can be converted from sRGB to this profile: it is RGB or gray and has a way back."""
        return self.space in ("rgb", "gray") and _works(srgb(), self.data, "rgb", self.space)

    @cached_property
    def is_srgb(self) -> bool:
        """Whether it means the same as sRGB to within half a level of 8 bits, whatever it calls itself."""
        if self.space != "rgb" or not self.readable:
            return False
        steps = np.linspace(0, 1, 9, dtype=np.float32)
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
        return bool(np.abs(_transform(grid, self.data, srgb(), "rgb", "rgb") - grid).max() < _INDISTINGUISHABLE)

    def to_srgb(self, values: Integers) -> Floats:
        """Convert the numbers of a file.

        Args:
            values: (H, W, C) with C = 1 gray, 3 RGB, 4 CMYK (the largest number is full ink). One channel with an RGB
                profile, which many programs write, is read as three equal ones.

        Returns:
            float32 (H, W, 3), sRGB-encoded, clipped to [0, 1]; the channels of a gray picture are equal.
        """
        gray = values.shape[-1] == 1
        if self.space == "rgb" and gray:
            values = np.repeat(values, 3, axis=-1)
        # Little CMS counts float ink in percent; integers mean the same in every build.
        source: npt.NDArray = values if self.space == "cmyk" else unit(values)
        pixels = _clip(_transform(source, self.data, srgb(), self.space or "rgb", "rgb"))
        return luma(pixels) if gray else pixels

    def from_srgb(self, pixels: Floats) -> Floats:
        """Convert float32 (H, W, 3) in [0, 1] to this profile: (H, W, 3), or (H, W, 1) for a gray one, in [0, 1]."""
        return _clip(_transform(pixels, srgb(), self.data, "rgb", self.space or "rgb"))


def unit(values: Integers) -> Floats:
    """Bring integers of 8 or 16 bits to float32 in [0, 1]."""
    return np.divide(values, np.float32(np.iinfo(values.dtype).max), dtype=np.float32)


def luma(pixels: Floats) -> Floats:
    """The gray version of float32 (H, W, 3): three equal channels, the BT.709 luma of the encoded values."""
    return np.repeat((pixels @ _LUMA)[..., None], 3, axis=-1)


def lab_to_srgb(values: Integers) -> Floats:
    """Convert CIE L*a*b* (white point D50) to sRGB, clipped to [0, 1].

    Args:
        values: uint8 (H, W, 3) in the ICC encoding: L* = 100 v / 255, a* and b* = v - 128.
    """
    lab = values * np.array([100 / 255, 1, 1], np.float32) - np.array([0, 128, 128], np.float32)
    return _clip(_transform(lab, _lab_profile(), srgb(), "lab", "rgb"))


def cmyk_to_srgb(values: Integers) -> Floats:
    """Convert ink without a profile by the usual rule R = (1 - C)(1 - K); (H, W, 4), the largest number is full ink."""
    ink = unit(values)
    return (1 - ink[..., :3]) * (1 - ink[..., 3:])


@lru_cache(maxsize=1)
def srgb() -> bytes:
    """The sRGB profile of Little CMS, which CoTIR attaches when a file's own profile cannot be kept."""
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # bytes 24 to 35 say when it was made, which would make every run write another file
    return data[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + data[36:]


@lru_cache(maxsize=1)
def _lab_profile() -> bytes:
    import imagecodecs

    return imagecodecs.cms_profile("lab4")


def _works(source: bytes, target: bytes, source_space: Space, target_space: Space) -> bool:
    import imagecodecs

    try:
        _transform(np.zeros((1, 1, CHANNELS[source_space]), np.uint8), source, target, source_space, target_space)
    except (imagecodecs.CmsError, ValueError):
        return False
    return True


def _transform(values: npt.NDArray, source: bytes, target: bytes, source_space: Space, target_space: Space) -> Floats:
    """Run Little CMS over bands of rows, on every core; (H, W, C) to float32 (H, W, C')."""
    import imagecodecs

    def convert(band: npt.NDArray) -> Floats:
        if source_space == "gray":
            band = band[..., 0]
        out = imagecodecs.cms_transform(
            band,
            source,
            target,
            colorspace=source_space,
            outcolorspace=target_space,
            outdtype="f4",
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
            flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
        )
        return out[..., None] if target_space == "gray" else out

    height, width = values.shape[:2]
    bands = np.array_split(values, min(height, 1 + height * width // _BAND_PIXELS))
    if len(bands) == 1:
        return convert(np.ascontiguousarray(bands[0]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(convert, bands)))


def _clip(values: Floats) -> Floats:
    # a profile may hold a singular curve; what it maps to "not a number" is shown as black
    return np.clip(np.nan_to_num(values, copy=False), 0, 1, out=values)
