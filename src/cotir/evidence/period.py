"""Statistics of what repeats: the blocks of codecs, frequencies, and the rows of screens."""

import math

import torch
from torch import Tensor

from cotir.evidence.numbers import log

_BLOCK = 8


def grids(planes: Tensor) -> Tensor:
    """Third differences across and down, by their place in a period: what codecs leave at the borders of blocks."""
    found = []
    for plane in planes:
        for lines in (plane, plane.T):
            jumps = lines.diff(n=3, dim=1).abs().clamp(max=30).mean(dim=0)
            places = torch.arange(2, 2 + len(jumps))
            for period in (4, 8, 16):
                phase = places % period
                means = torch.zeros(period).index_add(0, phase, jumps) / torch.bincount(phase, minlength=period)
                means = (means + 0.05).log() - (means.median() + 0.05).log()
                found.append(torch.stack([means[0], means[period // 2], means.max(), means.min()]))
    return torch.cat(found)


def blocks(planes: Tensor) -> Tensor:
    """Cosine transform of blocks of 8 x 8: energy and zeros by frequency, and whether coefficients lie on a comb."""
    cosines, order = _cosines(_BLOCK), torch.arange(_BLOCK)
    frequency = (order[:, None] + order).flatten()
    count = torch.bincount(frequency)
    steps = torch.arange(4.0, 60.0)
    found = []
    for plane in planes:
        blocks = plane.unflatten(1, (-1, _BLOCK)).unflatten(0, (-1, _BLOCK)).transpose(1, 2).reshape(-1, _BLOCK, _BLOCK)
        told = cosines @ blocks @ cosines.T
        size = told.abs()
        both = torch.stack([log(size.mean(dim=0)), (size < 0.6).float().mean(dim=0)]).flatten(1)
        means = torch.zeros(2, len(count)).index_add(1, frequency, both) / count
        combs = []
        for row, column in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1)):
            values = told[:, row, column]
            values = values[values.abs() > 1]
            angle = 2 * math.pi * values[:, None] / steps
            combs.append(torch.hypot(angle.cos().mean(dim=0), angle.sin().mean(dim=0)).max() * (len(values) >= 20))
        found += [means[:, 1:].flatten(), torch.stack([torch.stack(combs).max(), torch.stack(combs).mean()])]
    return torch.cat(found)


def _cosines(size: int) -> Tensor:
    """The orthonormal cosine transform (size, size)."""
    order = torch.arange(size, dtype=torch.float32)
    matrix = (math.pi * (2 * order + 1) * order[:, None] / (2 * size)).cos() * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def spectra(planes: Tensor) -> Tensor:
    """Power by frequency; of brightness by direction, too, and how far single frequencies stand out."""
    height, width = planes.shape[-2:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    centred = planes - planes.mean(dim=(1, 2), keepdim=True)
    power = (torch.fft.rfft2(centred * window).abs().square() + 1).log()
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    radius = torch.hypot(down, across.expand(height, -1)).contiguous()
    edges = torch.logspace(math.log10(0.02), math.log10(0.5), 13)
    ring = torch.bucketize(radius, edges, right=True).flatten()
    count = torch.bincount(ring, minlength=14)
    found = [(torch.zeros(14).index_add(0, ring, each.flatten()) / count)[1:] for each in power]
    sector = ((torch.atan2(down, across.expand(height, -1)) / math.pi + 0.5) * 8).long() % 8
    luma = power[0]
    for low, high in ((0.05, 0.12), (0.12, 0.25), (0.25, 0.5)):
        band = (radius >= low) & (radius < high)
        values, places = luma[band], sector[band]
        middle = values.mean()
        sectors = torch.zeros(8).index_add(0, places, values - middle) / torch.bincount(places, minlength=8)
        peaks = torch.stack(
            [values.max() - middle, values.kthvalue(len(values) * 999 // 1000)[0] - middle, values.std()]
        )
        found += [sectors, torch.stack([sectors.std(), sectors.max(), sectors.min()]), peaks]
    half = height // 2
    axes = (luma[0, 4:] - luma[1:4, 4:].mean(dim=0), luma[4:half, 0] - luma[4:half, 1:4].mean(dim=1))
    return torch.cat(
        [*found, torch.stack([*(each.mean() for each in axes), luma[half - 1 : half + 2].mean() - luma.mean()])]
    )


def rows(luma: Tensor) -> Tensor:
    """Means of rows and columns: lines that screens and cameras leave, and how they repeat."""
    found = []
    for means in (luma.mean(dim=1), luma.mean(dim=0)):
        second = means.diff(n=2).abs()
        odd = (means[::2] - means[1::2]).mean().abs()
        found.append(log(torch.stack([second.mean(), second.median(), odd])))
        spectrum = torch.fft.rfft(means - means.mean()).abs()[1:]
        peaks = [log(spectrum[k : 2 * k].max()) - log(spectrum[k : 2 * k].median()) for k in (2, 4, 8, 16)]
        found.append(torch.stack(peaks))
    for lines in (luma, luma.T):
        near, far = (lines[1:-1] - (lines[:-2] + lines[2:]) / 2).abs().mean(), (lines[2:] - lines[:-2]).abs().mean() / 2
        found.append((log(near) - log(far))[None])
    return torch.cat(found)
