"""A picture restored at several scales: coarse ones give tone, fine ones detail.

A window of a large photograph shows too little to say what is wrong with it: a dark wall, or a dark photograph? So the
picture is also restored made smaller, as a whole, and its tone is taken from there: the slow changes of brightness and
colour, by which windows differ where each decides for itself. A model that was trained on small crops judges tone
best at their size, even where a picture fits into a window. `scripts/compare_scales.py` measures what that is worth.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from cotir.backbones import Backbone

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


def with_tone_of(coarse: Tensor, fine: Tensor) -> Tensor:
    """The finer restoration in the tone of the coarser one.

    ``fine + up(down(coarse) - down(fine))``, down to :data:`CELL` coarse pixels: where both agree nothing changes.

    Args:
        coarse: (B, 3, h, w), less by 2 to 4 times.
        fine: the same pictures (B, 3, H, W).
    """
    grid = (max(1, coarse.shape[-2] // CELL), max(1, coarse.shape[-1] // CELL))
    size = (fine.shape[-2], fine.shape[-1])
    difference = reduced(coarse, grid) - reduced(fine, grid)
    return F.interpolate(difference, size, mode="bicubic", align_corners=False).add_(fine)


def _on_grid(side: float, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple
