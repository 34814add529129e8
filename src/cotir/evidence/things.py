"""Statistics of small things in front of the scene: flakes, drops, streaks and scratches."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.evidence.numbers import log, moments, quantiles, running


def small_things(luma: Tensor, rgb: Tensor) -> Tensor:
    """How bright and dark small things are, and what colour the bright ones have."""
    found = []
    for size in (3, 7, 15):
        bright, dark = _hats(luma, size)
        at = (0.5, 0.9, 0.99)
        found += [log(quantiles(bright, at)), log(quantiles(dark, at))]
        found.append((log(bright.mean()) - log(dark.mean()))[None])
    for size in (7, 15):
        edge = size - 1
        bright = _hats(rgb, size)[0]
        total = bright.sum(dim=0)
        mask = total >= quantiles(total, (0.98,), top=765.0)
        those = bright[:, mask]
        here = rgb[:, edge:-edge, edge:-edge][:, mask]
        gray = (those.amin(dim=0) / (those.amax(dim=0) + 1)).mean()
        found.append(torch.stack([gray, here.mean() / 255]))
    return torch.cat(found)


def _hats(planes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What is smaller than ``size`` and brighter, and darker, than what is around it."""
    edge = size - 1
    inner = planes[..., edge:-edge, edge:-edge]
    return inner - running(running(-planes, size).neg(), size), running(running(planes, size).neg(), size).neg() - inner


def lines(luma: Tensor) -> Tensor:
    """Straight lines of eleven pixels at half size in twelve directions: streaks, scratches, motion."""
    small = F.avg_pool2d(luma[None, None], 2)
    detail = (small - F.avg_pool2d(small, 9, 1, 4, count_include_pad=False))[0]
    kernels = torch.zeros(12, 1, 11, 11)
    for number in range(12):
        angle = math.pi * number / 12
        for along in torch.linspace(-5, 5, 21).tolist():
            kernels[number, 0, round(5 + along * math.sin(angle)), round(5 + along * math.cos(angle))] = 1
    answers = F.conv2d(detail[None], kernels / kernels.sum(dim=(2, 3), keepdim=True))[0]
    deviation = answers.std(dim=(1, 2))
    skewness = torch.stack([moments(each)[0] for each in answers])
    most = torch.stack([quantiles(each, (0.99,), top=128.0)[0] for each in answers])
    best = int(deviation.argmax())
    sizes = log(deviation)
    summary = [
        sizes.max() - sizes.median(),
        skewness.max(),
        skewness.mean(),
        log(most).max() - log(most).median(),
        skewness[best],
        luma.new_tensor(math.sin(2 * math.pi * best / 12)),
        luma.new_tensor(math.cos(2 * math.pi * best / 12)),
    ]
    return torch.cat([torch.stack(summary), sizes - sizes.mean(), skewness])
