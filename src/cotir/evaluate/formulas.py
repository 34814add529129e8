"""The code of the metrics: our own where it is a line or two, otherwise a library's, imported when called.

Pictures are float32 (H, W, 3), sRGB-encoded, in [0, 1]. The table in :mod:`cotir.evaluate.metrics` says what each is.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
"""A picture, sRGB-encoded, in [0, 1], (H, W, 3)."""

Compute = Callable[[Image, Image | None], float]
"""Of the restored picture and HQ; None for metrics that need no reference."""

SAME = 60.0
"""dB from which pictures count as the same: rounding to 8 bits alone leaves 58.9 dB."""


def psnr(restored: Image, reference: Image | None) -> float:
    """Peak signal-to-noise ratio over all pixels and channels, dB, at most :data:`SAME`."""
    assert reference is not None  # checked by the caller
    error = float(np.mean(np.square(restored.astype(np.float64) - reference)))
    return SAME if error == 0 else min(SAME, -10 * np.log10(error))


def ssim(restored: Image, reference: Image | None) -> float:
    """Structural similarity: Gaussian window of 11 pixels and sigma 1.5, windows inside the picture alone."""
    from skimage.metrics import structural_similarity

    assert reference is not None  # checked by the caller
    if min(restored.shape[:2]) < 11:
        return float("nan")
    pictures = (each.astype(np.float64) for each in (restored, reference))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(np.mean(structural_similarity(*pictures, data_range=1, channel_axis=2, **options)))


def colour_shift(restored: Image, reference: Image | None) -> float:
    """Distance of the mean colours in CIELAB: a cast or a change of light over the whole picture."""
    assert reference is not None  # checked by the caller
    means = [_lab(each).mean(axis=(0, 1)) for each in (restored, reference)]
    return float(np.linalg.norm(means[0] - means[1]))


def de2000(restored: Image, reference: Image | None) -> float:
    """Mean colour difference, CIE 2000."""
    from skimage.color import deltaE_ciede2000

    assert reference is not None  # checked by the caller
    return float(deltaE_ciede2000(_lab(restored), _lab(reference)).mean())


def _lab(image: Image) -> Any:
    from skimage.color import rgb2lab

    return rgb2lab(image.astype(np.float64))


def _tensor(image: Image) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def of_torchmetrics(function: str, smallest: int, **options: Any) -> Compute:
    """A function of torchmetrics, nan where a side is under ``smallest``."""

    def compute(restored: Image, reference: Image | None) -> float:
        from torchmetrics.functional import image as functions

        assert reference is not None  # checked by the caller
        if min(restored.shape[:2]) < smallest:
            return float("nan")
        return float(getattr(functions, function)(_tensor(restored), _tensor(reference), **options))

    return compute


def of_piq(function: str, smallest: int) -> Compute:
    """A function of piq, nan where a side is under ``smallest``."""

    def compute(restored: Image, reference: Image | None) -> float:
        import piq  # pyright: ignore[reportMissingImports]

        assert reference is not None  # checked by the caller
        if min(restored.shape[:2]) < smallest:
            return float("nan")
        return float(getattr(piq, function)(_tensor(restored), _tensor(reference), data_range=1.0))

    return compute


def of_pyiqa(name: str) -> Compute:
    """A metric of pyiqa as the released ``evaluate.py`` calls it: RGB in [0, 1], nothing cropped, the mean of a map."""

    def compute(restored: Image, reference: Image | None) -> float:
        import torch

        pictures = [restored] if reference is None else [restored, reference]
        with torch.no_grad():
            return float(_pyiqa_metric(name)(*(_tensor(each) for each in pictures)).mean())

    return compute


@cache
def _pyiqa_metric(name: str) -> Any:
    import pyiqa  # pyright: ignore[reportMissingImports]

    return pyiqa.create_metric(name).eval()


def noise_level(image: Image, _: Image | None) -> float:
    """Noise sigma in 8-bit steps, from the finest wavelet coefficients' median (Donoho and Johnstone 1994)."""
    from skimage.restoration import estimate_sigma

    if min(image.shape[:2]) < 8:
        return float("nan")
    channels = [image[..., channel] for channel in range(3)]
    return 255 * float(np.mean([estimate_sigma(each) if np.ptp(each) else 0.0 for each in channels]))


def blur_level(image: Image, _: Image | None) -> float:
    """How little a picture changes when it is blurred again, in [0, 1]; 1 is blurred (Crete et al. 2007)."""
    from skimage.measure import blur_effect

    return float(np.mean(blur_effect(image, channel_axis=2))) if min(image.shape[:2]) >= 12 else float("nan")


def colourfulness(image: Image, _: Image | None) -> float:
    """Spread and mean of the opponent colours, in 8-bit steps (Hasler and Suesstrunk 2003)."""
    red_green = image[..., 0] - image[..., 1]
    yellow_blue = (image[..., 0] + image[..., 1]) / 2 - image[..., 2]
    spread = float(np.hypot(red_green.std(), yellow_blue.std()))
    return 255 * (spread + 0.3 * float(np.hypot(red_green.mean(), yellow_blue.mean())))


def contrast(image: Image, _: Image | None) -> float:
    """Standard deviation of luma (RMS contrast, Peli 1990)."""
    return float((image @ np.array([0.299, 0.587, 0.114], np.float32)).std())
