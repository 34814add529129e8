"""Statistics of light and colour: the histogram, the channels, and where in the picture they lie."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.evidence.numbers import correlation, log, quantiles, residual, running


def tone(planes: Tensor) -> Tensor:
    """Histograms of R, G, B and brightness: where they lie, what is clipped, and which levels are missing."""
    found = []
    for plane in planes:
        counts = torch.bincount(plane.round().long().flatten(), minlength=256)[:256].float()
        share = counts / counts.sum()
        there = counts.nonzero().flatten()
        between = share[int(there[0]) : int(there[-1]) + 1]
        rough = between.diff(n=2).abs().sum() if len(between) > 3 else between.new_zeros(())
        clipped = torch.stack([share[0], share[-1], share[:9].sum(), share[247:].sum()])
        missing = torch.stack([(between == 0).float().mean(), rough, log(share.max()), (counts > 0).float().mean()])
        moments = torch.stack([plane.mean(), plane.std()]) / 255
        found += [
            quantiles(plane, (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)) / 255,
            moments,
            log(clipped),
            missing,
        ]
    return torch.cat(found)


def colour(rgb: Tensor, chroma: Tensor) -> Tensor:
    """Saturation, the darkest and the brightest of the channels nearby, and how channels go together."""
    high, low = rgb.amax(dim=0), rgb.amin(dim=0)
    spread = high - low
    saturation = spread / (high + 1)
    dark, bright = running(-low, 15).neg(), running(high, 15)
    found = [
        torch.stack([saturation.mean(), saturation.std(), spread.mean() / 255]),
        quantiles(saturation, (0.1, 0.5, 0.9), top=1.0),
        quantiles(spread, (0.05, 0.5, 0.95)) / 255,
        *(torch.stack([each.mean(), each.std()]) / 255 for each in (dark, bright)),
        *(quantiles(each, (0.02, 0.25, 0.5, 0.75, 0.98)) / 255 for each in (dark, bright)),
        chroma.mean(dim=(1, 2)) / 64,
        chroma.std(dim=(1, 2)) / 64,
        torch.stack([correlation(rgb[0], rgb[1]), correlation(rgb[1], rgb[2])]),
    ]
    return torch.cat(found)


def layout(luma: Tensor, rgb: Tensor) -> Tensor:
    """Where light, colour, veil and detail lie: in cells, and how they go together."""
    cells = F.adaptive_avg_pool2d(rgb, 4) / 255
    detail = log(F.adaptive_avg_pool2d(residual(luma).square()[None], 8)[0].sqrt())
    light = F.adaptive_avg_pool2d(luma[None, 1:-1, 1:-1], 8)[0] / 255
    veil = F.adaptive_avg_pool2d(running(-rgb.amin(dim=0), 9).neg()[None], 4)[0] / 255
    found = [cells.flatten(), cells.std(dim=(1, 2)), cells[:, 0].mean(dim=1) - cells[:, -1].mean(dim=1), veil.flatten()]
    for each in (detail, light):
        ordered = each.flatten().sort()[0]
        middle = each[2:6, 2:6].mean() - each.mean()
        together = [correlation(each[1:], each[:-1]), correlation(each[:, 1:], each[:, :-1])]
        found += [ordered[[0, 3, 16, 32, 48, 60, 63]] - ordered[32], torch.stack([each.std(), middle, *together])]
    found.append(torch.stack([correlation(detail, light), correlation(veil, cells.mean(dim=0))]))
    return torch.cat(found)
