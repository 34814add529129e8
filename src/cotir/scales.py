"""A picture restored at several scales: coarse ones give tone, fine ones detail.

A window of a large photograph shows too little to say what is wrong with it: a dark wall, or a dark photograph? So the
picture is also restored made smaller, as a whole, and its tone is taken from there: the slow changes of brightness and
colour, by which windows differ where each decides for itself. A model that was trained on small crops judges tone
best at their size, even where a picture fits into a window. `scripts/compare_scales.py` measures what that is worth.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.backbones import Backbone
from cotir.tiling import Window

NEXT = 4.0
"""Largest factor from one scale to the next coarser one. At this factor the coarse scales together cost 7 % more."""
CELL = 8
"""Pixels of the coarser scale in a cell of the tone. Smaller ones would also take its detail, which is worse: what is
small in the picture, as fine noise or a blur, it cannot see."""
LEAST = 2.0
"""Smallest factor, at which they cost a third: a scale that is hardly smaller would cost as much and show no more."""


def sizes(height: int, width: int, backbone: Backbone) -> list[tuple[int, int]]:
    """The sizes at which a canvas is restored: its own, then coarser ones down to the backbone's ``glance``.

    One that fits into a window has coarser ones only where ``glance`` is smaller by :data:`LEAST`.

    Args:
        height: of the canvas in pixels, on the latent grid.
        width: likewise.
        backbone: its window, its glance, and the latent grid on which all sizes lie; the proportions follow as near as
            that allows.
    """
    found, longest = [(height, width)], max(height, width)
    ratio = longest / backbone.glance
    if longest <= backbone.window and ratio < LEAST:
        return found
    count = math.ceil(math.log(ratio, NEXT))
    factor = max(ratio ** (1 / count), LEAST)
    for step in range(1, count + 1):
        scale, grid = factor**step, backbone.pixels_per_token
        found.append((_on_grid(height / scale, grid), _on_grid(width / scale, grid)))
    return found


def reduced(canvas: Tensor, size: tuple[int, int]) -> Tensor:
    """A canvas (B, 3, H, W) at a smaller size (h, w): the mean of what falls together."""
    return F.interpolate(canvas, size, mode="area")


@dataclass(frozen=True)
class Tone:
    """The tone of a restoration at a coarser scale, for the windows of a finer one.

    Every window takes it by itself, before windows are blended: taken by the blended picture it would leave a step
    where two windows disagree, for it knows nothing smaller than a cell.

    Attributes:
        coarse: (B, 3, h, w), less by 2 to 4 times.
        size: (H, W) of the finer one.
    """

    coarse: Tensor
    size: tuple[int, int]

    def given_to(self, fine: Tensor, place: Window) -> Tensor:
        """``fine + up(down(coarse) - down(fine))``, down to :data:`CELL` coarse pixels.

        Where both agree nothing changes.

        Args:
            fine: a window of the same pictures (B, 3, place.height, place.width).
            place: where it lies in the finer one.
        """
        down, across = (small / large for small, large in zip(self.coarse.shape[-2:], self.size, strict=True))
        rows, columns = _nearest(place.top, place.height, down), _nearest(place.left, place.width, across)
        grid = (_cells(place.height * down), _cells(place.width * across))
        difference = reduced(self.coarse[..., rows[:, None], columns], grid) - reduced(fine, grid)
        return F.interpolate(difference, (place.height, place.width), mode="bicubic", align_corners=False).add_(fine)


def _nearest(start: int, length: int, ratio: float) -> Tensor:
    """The coarse pixel under each of ``length`` finer ones (length,)."""
    return ((torch.arange(start, start + length, dtype=torch.float64) + 0.5) * ratio).long()


def _cells(coarse_pixels: float) -> int:
    return max(1, round(coarse_pixels / CELL))


def _on_grid(side: float, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple
