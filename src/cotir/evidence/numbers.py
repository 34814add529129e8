"""Numbers that statistics are made of.

Shapes: H, W pixels, P planes. Every function takes and gives float32 tensors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_SMALL = 1e-3


def log(values: Tensor) -> Tensor:
    """Of values from 0 on, a little more than zero."""
    return (values + _SMALL).log()


def quantiles(values: Tensor, at: Sequence[float], top: float = 255.0, bottom: float = 0.0) -> Tensor:
    """Of values between bottom and top, to a 2,048th of that (a sort would take ten times as long)."""
    bins = 2048
    counts = torch.histc(values.clamp(bottom, top), bins, bottom, top).cumsum(dim=0)
    places = torch.searchsorted(counts, counts[-1] * values.new_tensor(at)).clamp(max=bins - 1)
    return bottom + (places + 0.5) * ((top - bottom) / bins)


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Of two tensors of one shape, in [-1, 1]; 0 where either is constant."""
    one, other = one - one.mean(), other - other.mean()
    return (one * other).mean() / ((one * one).mean() * (other * other).mean() + _SMALL).sqrt()


def moments(values: Tensor) -> Tensor:
    """Skewness within 5, and the logarithm of the kurtosis."""
    z = (values - values.mean()) / (values.std() + _SMALL)
    square = z * z
    return torch.stack([(square * z).mean().clamp(-5, 5), ((square * square).mean() + 1).log()])


def residual(plane: Tensor) -> Tensor:
    """A pixel less the mean of its four neighbours (H - 2, W - 2)."""
    around = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
    return plane[1:-1, 1:-1] - around / 4


def running(planes: Tensor, size: int) -> Tensor:
    """The largest value of ``size`` x ``size`` pixels, where they all lie inside (..., H - size + 1, W - size + 1)."""
    for dim in (-1, -2):
        reach, whole = 1, planes.shape[dim] - size + 1
        while reach < size:
            step = min(reach, size - reach)
            length = planes.shape[dim] - step
            planes = torch.maximum(planes.narrow(dim, 0, length), planes.narrow(dim, step, length))
            reach += step
        assert planes.shape[dim] == whole
    return planes
