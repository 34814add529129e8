"""Pictures larger than the model's window: overlapping windows, blended with smooth weights.

Every window is cut from one canvas and one noise field, so that neighbours agree; where they overlap, their weights
rise and fall smoothly, and the sum is divided out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cotir.errors import ConfigError


@dataclass(frozen=True)
class Window:
    """A rectangle of the canvas, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, canvas: Tensor, scale: int = 1) -> Tensor:
        """This window of (..., H, W), whose cells are ``scale`` pixels wide."""
        rows = slice(self.top // scale, (self.top + self.height) // scale)
        columns = slice(self.left // scale, (self.left + self.width) // scale)
        return canvas[..., rows, columns]


def windows(height: int, width: int, size: int, overlap: int, multiple: int) -> list[Window]:
    """Cover a canvas with as few windows of at most ``size`` as can be, all of one shape and no larger than needed.

    Args:
        height: of the canvas, a multiple of ``multiple``.
        width: of the canvas, a multiple of ``multiple``.
        size: largest side of a window, a multiple of ``multiple``.
        overlap: least number of pixels two neighbours share, at most ``size - multiple``.
        multiple: the latent grid; every window starts and ends on it.

    Raises:
        ConfigError: if the numbers do not fit together.
    """
    for name, value in (("height", height), ("width", width), ("size", size)):
        if value <= 0 or value % multiple:
            raise ConfigError(f"a {name} of {value} px does not lie on the latent grid; use a multiple of {multiple}")
    if not 0 <= overlap <= size - multiple:
        raise ConfigError(f"an overlap of {overlap} px does not fit windows of {size} px; use 0 to {size - multiple}")
    shared = -(-overlap // multiple)
    rows, columns = (_spans(side // multiple, size // multiple, shared) for side in (height, width))
    return [
        Window(*(cells * multiple for cells in (top, left, tall, wide))) for top, tall in rows for left, wide in columns
    ]


def spread(places: Sequence[Window], count: int) -> list[Window]:
    """At most ``count`` of the windows, evenly over their order."""
    if len(places) <= count:
        return list(places)
    return [places[(2 * index + 1) * len(places) // (2 * count)] for index in range(count)]


def _spans(extent: int, size: int, shared: int) -> list[tuple[int, int]]:
    """Start and length of the windows along one axis, evenly spread, in cells; the last ends at the canvas's edge."""
    if extent <= size:
        return [(0, extent)]
    count = -(-(extent - shared) // (size - shared))
    length = -(-(extent + (count - 1) * shared) // count)
    return [((extent - length) * index // (count - 1), length) for index in range(count)]


class Blend:
    """Accumulates restored windows into one picture.

    Args:
        batch, height, width: of the canvas.
        overlap: width in pixels of the ramp at a window's inner edges.
    """

    def __init__(self, batch: int, height: int, width: int, overlap: int) -> None:
        self.overlap = overlap
        self.pixels = torch.zeros(batch, 3, height, width)
        self.weight = torch.zeros(height, width)

    def add(self, window: Window, pixels: Tensor) -> None:
        """Add a window's pixels (B, 3, h, w)."""
        weight = torch.outer(self._ramp(window.height), self._ramp(window.width))
        window.cut(self.pixels).add_(pixels.float().cpu() * weight)
        window.cut(self.weight).add_(weight)

    def result(self) -> Tensor:
        """The weighted mean (B, 3, H, W) of everything added; divides in place."""
        return self.pixels.div_(self.weight)

    def _ramp(self, length: int) -> Tensor:
        """Rises over ``overlap`` pixels, stays at 1, falls; never 0, so that the canvas's edge keeps its pixels."""
        distance = torch.arange(length).minimum(torch.arange(length).flip(0)) + 1
        share = (distance / (self.overlap + 1)).clamp(max=1.0)
        # Smoothstep: flat at both ends, so that a window's edge, which sees no context, counts least.
        return share * share * (3 - 2 * share)
