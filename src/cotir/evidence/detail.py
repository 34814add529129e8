"""Statistics of what differs from pixel to pixel: noise, blur, and pixels that do not belong."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.evidence.numbers import correlation, log, moments, quantiles, residual


def differences(plane: Tensor, scales: int) -> Tensor:
    """Between neighbours across, down and both, at several scales: how large, how heavy their tails, how many are 0."""
    found = []
    for _ in range(scales):
        across, down = plane.diff(dim=1), plane.diff(dim=0)
        for each in (across, down, across.diff(dim=0) / 2):
            size = each.abs()
            middle, most = quantiles(size, (0.5, 0.99), top=64.0).unbind()
            found += [log(torch.stack([each.std(), middle, most, (size < 0.5).float().mean()])), moments(each)]
        plane = F.avg_pool2d(plane[None], 2)[0]
    return torch.cat(found)


def floor(planes: Tensor) -> Tensor:
    """How much is left where least is: residuals in windows of 7 x 7, by quantile and by brightness."""
    found = []
    for number, plane in enumerate(planes):
        local = F.avg_pool2d(residual(plane).square()[None], 7, 4)[0].sqrt()
        at = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
        levels = log(quantiles(local, at, top=64.0))
        found += [levels, levels.diff()]
        if number == 0:
            bright = F.avg_pool2d(plane[None, 1:-1, 1:-1], 7, 4)[0]
            for low, high in ((0, 30), (30, 80), (80, 140), (140, 200), (200, 256)):
                here = local[(bright >= low) & (bright < high)]
                share = here.new_tensor(here.numel() / local.numel())
                level = log(quantiles(here, (0.2,), top=64.0)[0]) if here.numel() > 20 else here.new_tensor(-3.0)
                found.append(torch.stack([level, share]))
    return torch.cat(found)


def likeness(rgb: Tensor, planes: Tensor) -> Tensor:
    """How residuals go together: between channels, and with those of neighbours."""
    red, green, blue = map(residual, rgb)
    found = [correlation(red, green), correlation(green, blue), correlation(red, blue)]
    for number, plane in enumerate(planes):
        rest = residual(plane)
        for lag in range(1, 5 if number == 0 else 3):
            found += [correlation(rest[:, lag:], rest[:, :-lag]), correlation(rest[lag:], rest[:-lag])]
            if number == 0:
                found += [
                    correlation(rest[lag:, lag:], rest[:-lag, :-lag]),
                    correlation(rest[lag:, :-lag], rest[:-lag, lag:]),
                ]
    return torch.stack(found)


def outliers(rgb: Tensor) -> Tensor:
    """A pixel against the median of the 3 x 3 around it, and how many are exactly as their neighbours."""
    off = rgb[:, 1:-1, 1:-1] - _median(rgb)
    size = off.abs()
    found = [log(quantiles(each, (0.5, 0.9, 0.97, 0.99, 0.997, 0.999))) for each in size]
    share = [(off > 20).float().mean() * 50, (off < -20).float().mean() * 50]
    rare = [off > 60, off < -60, size.amin(dim=0) > 30, size.amax(dim=0) > 30]
    across, down = (rgb.diff(dim=dim) == 0 for dim in (2, 1))
    rare += [across, down, across[:, :-1] & down[:, :, :-1]]
    return torch.cat([*found, torch.stack(share), log(torch.stack([each.float().mean() for each in rare]))])


def _median(planes: Tensor) -> Tensor:
    """Of 3 x 3 (P, H - 2, W - 2): columns sorted, then the median of their maximum of minima and so on (Smith 1996)."""
    top, middle, bottom = planes[:, :-2], planes[:, 1:-1], planes[:, 2:]
    low, high = torch.minimum(top, middle), torch.maximum(top, middle)
    middle, high = torch.minimum(high, bottom), torch.maximum(high, bottom)
    low, middle = torch.minimum(low, middle), torch.maximum(low, middle)

    def three(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return plane[..., :-2], plane[..., 1:-1], plane[..., 2:]

    def median(one: Tensor, two: Tensor, three: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(one, two), torch.minimum(torch.maximum(one, two), three))

    lows, middles, highs = three(low), three(middle), three(high)
    most = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    least = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return median(most, median(*middles), least)
