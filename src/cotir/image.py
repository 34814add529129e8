"""Pictures: what a file or an array holds, what it carries besides, and how it meets the model's grid.

One range for each side: a :class:`Picture` is ``float32 (H, W, 3)``, sRGB-encoded, in [0, 1]; a :class:`Canvas` is
``float32 (1, 3, H', W')`` in [-1, 1]. Rounding to integers, to nearest and clamped, is :func:`quantise`.
"""

import sys
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from cotir.colour import Floats, Integers, Profile, luma, unit
from cotir.errors import ImageError

if TYPE_CHECKING:
    import torch

Depth = Literal[8, 16]


@dataclass(frozen=True, eq=False)
class Carried:
    """What came with the pixels and must come back with the result."""

    gray: bool = False
    """Gray stays gray; the three channels of the pixels are equal."""
    depth: Depth = 8
    """Bits per channel of the file."""
    alpha: Integers | Floats | None = None
    """(H, W), not premultiplied: the file's own integers, or float32 in [0, 1] from a float array."""
    profile: Profile | None = None
    """The ICC profile to go back to; None when the file had none, or one that cannot be written (then see ``tag``)."""
    tag_srgb: bool = False
    """The file had a profile that cannot come back: write sRGB and say so in the file."""
    native: Integers | None = field(default=None, repr=False)
    """(H, W, C): the numbers in ``profile`` where it is not sRGB, so that untouched pixels return exactly."""
    exif: bytes | None = field(default=None, repr=False)
    """EXIF from its TIFF header on, orientation 1."""
    xmp: bytes | None = field(default=None, repr=False)
    text: tuple[tuple[str, str], ...] = ()
    """PNG text chunks: keyword and text."""
    dpi: tuple[float, float] | None = None
    format: str | None = None
    """Name of the file's kind in :data:`cotir.files.encoder.KINDS`; None for an array."""
    notes: tuple[str, ...] = ()
    """What was done on reading that a user may want to know: "first of 12 frames", "orientation 6 applied"."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright and in sRGB.

    Attributes:
        pixels: float32 (H, W, 3), sRGB-encoded, in [0, 1]. Read-only by convention: pictures share it.
        carried: what the file held besides.
    """

    pixels: Floats
    carried: Carried = Carried()

    @classmethod
    def of(cls, value: "Picture | Image.Image | npt.NDArray | torch.Tensor | str | PathLike[str] | bytes") -> "Picture":
        """Take whatever a caller has in hand.

        Args:
            value: a Picture; a path or the bytes of a file (see :mod:`cotir.files`); a PIL image; a numpy array (H, W),
                (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or float in [0, 1]; a torch tensor (3, H, W) or
                (1, 3, H, W), float in [0, 1]. Arrays and tensors are taken as sRGB-encoded; a float one is written with
                8 bits.

        Raises:
            ImageError: the file cannot be read, or the shape, type or range is another.
        """
        from cotir import files

        if isinstance(value, Picture):
            return value
        if isinstance(value, str | PathLike):
            return files.read(value)
        if isinstance(value, bytes):
            return files.decode(value)
        if isinstance(value, Image.Image):
            return files.from_pil(value)
        if isinstance(value, np.ndarray):
            return _from_array(value)
        if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
            return _from_tensor(value)
        raise ImageError(
            f"a picture cannot be made of {type(value).__name__}; give a path, bytes, a PIL image, a numpy array, "
            "a torch tensor or a Picture"
        )

    @property
    def height(self) -> int:
        """Rows."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.pixels.shape[1]

    def replace_pixels(self, pixels: npt.NDArray[np.floating], *, colourise: bool = False) -> "Picture":
        """The same picture with other pixels; everything carried stays.

        Args:
            pixels: float (H, W, 3) of this picture's size, sRGB-encoded; clamped to [0, 1].
            colourise: let a gray picture become a colour one. Otherwise it keeps the luma of ``pixels``.

        Raises:
            ImageError: another size, or a pixel that is not a number.
        """
        if pixels.shape != self.pixels.shape:
            raise ImageError(f"the new pixels are {pixels.shape}, but the picture is {self.pixels.shape}")
        if not np.isfinite(pixels).all():
            raise ImageError(f"{int((~np.isfinite(pixels)).sum())} values of the new pixels are not finite numbers")
        new = np.clip(pixels, 0, 1).astype(np.float32, copy=False)
        if not self.carried.gray:
            return replace(self, pixels=new)
        if colourise:
            return replace(self, pixels=new, carried=_coloured(self.carried))
        return replace(self, pixels=luma(new))

    def blend(self, restored: "Picture", strength: float) -> "Picture":
        """Mix in the restored picture: 0 gives this picture exactly, 1 the restored one.

        Raises:
            ImageError: ``strength`` is outside [0, 1] or the sizes differ.
        """
        if not 0 <= strength <= 1:
            raise ImageError(f"strength is {strength}; it must lie between 0 (the input) and 1 (the result)")
        if restored.pixels.shape != self.pixels.shape:
            raise ImageError(f"cannot blend {self.pixels.shape} with {restored.pixels.shape}")
        if strength == 0:
            return self
        if strength == 1:
            return restored
        return replace(restored, pixels=self.pixels + np.float32(strength) * (restored.pixels - self.pixels))

    def alpha(self, depth: Depth) -> Integers | None:
        """The alpha channel as integers (H, W) of the given depth; unchanged when it has that depth."""
        alpha = self.carried.alpha
        return None if alpha is None else at_depth(alpha, depth)

    def to_array(self) -> Integers:
        """The sRGB values as uint8 or uint16, whichever the file had.

        Returns:
            (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) colour, (H, W, 4) colour and alpha.
        """
        return self._integers(self.carried.depth)

    def to_pil(self) -> Image.Image:
        """The sRGB values as a PIL image: L, LA, RGB or RGBA, and I;16 for 16-bit gray without alpha.

        PIL has no 16-bit colour, so that is rounded to 8 bits, and metadata stays behind; :func:`cotir.files.write`
        keeps both.
        """
        deep = self.carried.depth == 16 and self.carried.gray and self.carried.alpha is None
        return Image.fromarray(self._integers(16 if deep else 8))

    def _integers(self, depth: Depth) -> Integers:
        colour = quantise(self.pixels[..., :1] if self.carried.gray else self.pixels, depth)
        alpha = self.alpha(depth)
        if alpha is not None:
            return np.concatenate([colour, alpha[..., None]], axis=-1)
        return colour[..., 0] if self.carried.gray else colour


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture laid on the model's grid: larger by what the grid needs on the right and below, never resized.

    Attributes:
        tensor: float32 (1, 3, H', W') in [-1, 1]; H' and W' are multiples of the grid.
        pixels: float32 (H, W, 3), what was laid.
        hidden: bool (H, W), where nothing can be seen because alpha is 0; None when nothing is hidden.
    """

    tensor: "torch.Tensor"
    pixels: Floats = field(repr=False)
    hidden: npt.NDArray[np.bool_] | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, picture: Picture | Floats, multiple: int) -> "Canvas":
        """Pad to the next multiple: mirrored, or the edge repeated along a side shorter than the padding needs.

        Where alpha is 0 the colour is unseen and arbitrary; it is replaced by the visible colour nearby, so that the
        model does not carry it over the border.

        Args:
            picture: a Picture, or float32 (H, W, 3) in [0, 1].
            multiple: side of a grid cell in pixels, at least 1.
        """
        import torch

        if multiple < 1:
            raise ImageError(f"the grid is {multiple} pixels wide; it must be at least 1")
        pixels = picture.pixels if isinstance(picture, Picture) else picture
        alpha = picture.carried.alpha if isinstance(picture, Picture) else None
        hidden = None if alpha is None or alpha.all() else alpha == 0
        padded = pixels if hidden is None else _filled(pixels, ~hidden)
        for axis in (0, 1):
            size = pixels.shape[axis]
            widths = [(0, 0)] * 3
            widths[axis] = (0, -size % multiple)
            padded = np.pad(padded, widths, mode="reflect" if widths[axis][1] < size else "edge")
        tensor = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)[None] * 2 - 1))
        return cls(tensor, pixels, hidden)

    def crop(self, tensor: "torch.Tensor") -> Floats:
        """Undo :meth:`fit`: cut off the padding, put hidden colours back and return to [0, 1].

        Args:
            tensor: (1, 3, H', W') of the canvas's size, any float type and device; clamped to [-1, 1].

        Returns:
            float32 (H, W, 3) in [0, 1]. With the canvas's own tensor it is the picture to within 1e-7.

        Raises:
            ImageError: another size.
        """
        if tensor.shape != self.tensor.shape:
            raise ImageError(f"the tensor is {tuple(tensor.shape)}, but the canvas is {tuple(self.tensor.shape)}")
        height, width = self.pixels.shape[:2]
        cut = tensor.detach()[0, :, :height, :width].float().cpu().numpy()
        pixels = np.clip((cut + 1) / 2, 0, 1).transpose(1, 2, 0)
        if self.hidden is not None:
            pixels = np.where(self.hidden[..., None], self.pixels, pixels)
        return np.ascontiguousarray(pixels)


def quantise(values: Floats, depth: Depth) -> Integers:
    """Round float32 in [0, 1] to the nearest integer of 8 or 16 bits, clamped."""
    dtype = _dtype(depth)
    return np.rint(np.clip(values, 0, 1) * np.float32(np.iinfo(dtype).max)).astype(dtype)


def at_depth(values: Integers | Floats, depth: Depth) -> Integers:
    """Integers of the given depth: the same ones if they have it already."""
    if values.dtype == _dtype(depth):
        return cast(Integers, values)
    return quantise(cast(Floats, values) if values.dtype == np.float32 else unit(cast(Integers, values)), depth)


def _dtype(depth: Depth) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if depth == 8 else np.uint16


_ROUNDING = 1e-4
"""How far a resampled picture may leave [0, 1] by the rounding of its arithmetic, and not be one of another range."""


def _from_array(array: npt.NDArray) -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise ImageError(
            f"an array of shape {array.shape} is no picture; give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    values = array if array.ndim == 3 else array[..., None]
    if array.dtype in (np.uint8, np.uint16):
        colour = unit(values[..., :3])
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ImageError(
                f"a float array must lie in [0, 1], but this one spans {low:g} to {high:g}; divide by its white"
            )
        values = values.astype(np.float32, copy=False).clip(0, 1)
        colour = values[..., :3]
    else:
        raise ImageError(f"an array of {array.dtype} is no picture; give uint8, uint16 or float in [0, 1]")
    gray = values.shape[2] == 1
    alpha = values[..., 3].copy() if values.shape[2] == 4 else None
    pixels = np.repeat(colour, 3, axis=-1) if gray else colour.copy()
    return Picture(pixels, Carried(gray=gray, depth=16 if array.dtype == np.uint16 else 8, alpha=alpha))


def _from_tensor(tensor: "torch.Tensor") -> Picture:
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4) or shape[-3] != 3 or (len(shape) == 4 and shape[0] != 1):
        raise ImageError(f"a tensor of shape {shape} is no picture; give (3, H, W) or (1, 3, H, W)")
    if not tensor.is_floating_point():
        raise ImageError(f"a tensor of {tensor.dtype} is no picture; give float in [0, 1]")
    return _from_array(tensor.detach().float().cpu().reshape(shape[-3:]).permute(1, 2, 0).numpy())


def _coloured(carried: Carried) -> Carried:
    """What a gray picture carries once it has colour: a gray profile cannot hold it."""
    if carried.profile is not None and carried.profile.space == "gray":
        return replace(carried, gray=False, native=None, profile=None, tag_srgb=True)
    return replace(carried, gray=False, native=None)


def _filled(pixels: Floats, visible: npt.NDArray[np.bool_]) -> Floats:
    """Give unseen pixels the mean of the visible ones around, from the finest scale that has any."""
    if visible.all() or not visible.any():
        return pixels
    height, width = visible.shape
    even = ((0, height % 2), (0, width % 2))
    weight = np.pad(visible.astype(np.float32), even)[..., None]
    colour = np.pad(pixels * visible[..., None].astype(np.float32), (*even, (0, 0)))

    def halved(values: Floats) -> Floats:
        return values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2, -1).sum(axis=(1, 3))

    count = halved(weight)
    mean = (halved(colour) / np.maximum(count, 1)).astype(np.float32, copy=False)
    coarse = _filled(mean, count[..., 0] > 0)
    near = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(visible[..., None], pixels, near)
