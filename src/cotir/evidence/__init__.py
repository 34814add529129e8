"""What can be measured of a picture: statistics that tell kinds of damage apart.

A convolutional net learns them from very many pictures or not at all; written down they are exact from the first one.
Compression leaves a grid and coefficients on a comb, noise raises what differs from pixel to pixel even where the
picture is flat, blur and enlargement take high frequencies away, haze lifts the darkest of the three channels, light
that was wrong shows in the histogram, and rain, snow and scratches are small and brighter or darker than what is around
them. Nothing is decided here: what a statistic means is learned from pictures whose damage is known
(:mod:`cotir.diagnosis`).

Shapes: H, W pixels of a picture, P planes of it. Values run from 0 to 255; chroma from -128 to 128.
"""

import torch
from torch import Tensor

from cotir.evidence.detail import differences, floor, likeness, outliers
from cotir.evidence.light import colour, layout, tone
from cotir.evidence.period import blocks, grids, rows, spectra
from cotir.evidence.things import lines, small_things
from cotir.tiling import spread, windows

LOOK, LOOKS = 256, 4
"""Pixels along the longest side of a look, and how many are enough to say what is wrong with a picture."""
LEAST = 64
"""Pixels a side that the statistics need; a smaller picture is repeated, mirrored, up to there."""
_GRID = 16
"""Sides are cut to a multiple of it: two blocks of a codec."""


def looks(pixels: Tensor) -> Tensor:
    """All statistics of :data:`LOOKS` parts of a picture, spread over it, or of a small picture as a whole.

    Args:
        pixels: (3, H, W) in [-1, 1].

    Returns:
        (L, E), see :func:`measure`.
    """
    height, width = (max(side - side % 8, min(side, 8)) for side in pixels.shape[-2:])
    grid = 8 if min(height, width) >= 8 else 1  # where a codec's blocks begin, so that each look sees them alike
    places = spread(windows(height, width, LOOK, 0, grid), LOOKS)
    return torch.stack([measure(place.cut(pixels)) for place in places])


def measure(pixels: Tensor) -> Tensor:
    """All statistics of a picture.

    Args:
        pixels: (3, H, W) in [-1, 1].

    Returns:
        (E,) float32, all finite; the same number for every size.
    """
    rgb = (_large_enough(pixels.float()).clamp(-1, 1) + 1) * 127.5
    luma = (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
    chroma = torch.stack([0.564 * (rgb[2] - luma), 0.713 * (rgb[0] - luma)])
    planes = torch.cat([luma[None], chroma])
    found = [
        tone(torch.cat([rgb, luma[None]])),
        colour(rgb, chroma),
        *(differences(plane, 4 if number == 0 else 2) for number, plane in enumerate((*planes, rgb[0], rgb[2]))),
        grids(planes),
        blocks(planes),
        spectra(planes),
        floor(planes),
        likeness(rgb, planes),
        outliers(rgb),
        small_things(luma, rgb),
        lines(luma),
        rows(luma),
        layout(luma, rgb),
    ]
    return torch.cat(found).nan_to_num(0.0, 0.0, 0.0)


def _large_enough(pixels: Tensor) -> Tensor:
    """At least :data:`LEAST` pixels a side, and an even number of blocks: the rest is cut off."""
    while min(pixels.shape[-2:]) < LEAST:
        height, width = pixels.shape[-2:]
        if height < LEAST:
            pixels = torch.cat([pixels, pixels.flip(-2)], dim=-2)
        if width < LEAST:
            pixels = torch.cat([pixels, pixels.flip(-1)], dim=-1)
    height, width = (side - side % _GRID for side in pixels.shape[-2:])
    return pixels[:, :height, :width]
