"""Classical filters, and the measures that say whether a picture needs them.

Pictures are ``float32 (H, W, 3)``, sRGB-encoded, in [0, 1], of any size from 1 x 1. Filters are pure: they return a new
picture of the same kind and are the identity at strength 0. Where they measure or divide by a statistic, pictures
without any (constant, gray, a single pixel) come back as they are.
"""

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from cotir.colour import Floats

PATCH = 15
"""Side of the patch of the dark channel in pixels (He et al. 2011, section 4.6)."""
GUIDE_RADIUS, GUIDE_EPSILON = 30, 1e-3
"""Window and smoothing of the guided filter for transmissions; He et al. (TPAMI 2013), section 4, have 60 and 1e-3 for
larger pictures."""
LEAST_TRANSMISSION = 0.1
"""He et al. 2011, eq. 22: t_0, so that dense haze does not turn into noise."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
_LAPLACIANS = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
_TINY = 1e-6


def luma(image: Floats) -> Floats:
    """BT.709 luma, float32 (H, W)."""
    return image @ _LUMA


def noise_level(image: Floats) -> float:
    """Standard deviation of white noise, in units of the picture.

    The difference of two Laplacians, which ignores edges and ramps and multiplies white noise by 6 (Immerkaer, Fast
    noise variance estimation, CVIU 64(2), 1996, eq. 2), with the median in place of the mean so that texture counts
    little: sigma = median |response| / 0.6745 (Donoho and Johnstone, Biometrika 81(3), 1994, section 4.2).
    """
    response = np.abs(cv2.filter2D(image, -1, _LAPLACIANS))
    return float(np.median(response.reshape(-1, 3), axis=0).mean() / (6 * 0.6745))


def impulses(image: Floats, jump: float) -> npt.NDArray[np.bool_]:
    """Values (H, W, 3) that are the extreme of their 3 x 3 window and further than ``jump`` from its median.

    The switch of Sun and Neuvo, Detail-preserving median based filters, Pattern Recognition Letters 15(4), 1994.
    """
    window = np.ones((3, 3), np.uint8)
    extreme = (image <= cv2.erode(image, window)) | (image >= cv2.dilate(image, window))
    return extreme & (np.abs(image - cv2.medianBlur(image, 3)) > jump)


def airlight(image: Floats) -> Floats:
    """The haze's colour (3,): mean of the 0.1 % of pixels with the brightest dark channel (He et al. 2011, 4.4)."""
    dark = dark_channel(image).ravel()
    count = max(1, dark.size // 1000)
    brightest = np.argpartition(dark, dark.size - count)[dark.size - count :]
    return np.maximum(image.reshape(-1, 3)[brightest].mean(axis=0), 0.05)


def dark_channel(image: Floats) -> Floats:
    """Smallest value of any channel in a patch, float32 (H, W); He, Sun and Tang, TPAMI 33(12), 2011, eq. 5."""
    return cast(Floats, cv2.erode(np.ascontiguousarray(image.min(axis=2)), np.ones((PATCH, PATCH), np.uint8)))


def haze_level(image: Floats) -> float:
    """How much haze lies over even the clearest tenth of a picture, in [0, 1].

    The tenth percentile of the dark channel of I / A: near 0 without haze, by the dark channel prior (He et al. 2011).
    """
    return float(np.clip(np.percentile(dark_channel(image / airlight(image)), 10), 0, 1))


def cast_level(image: Floats) -> float:
    """How far the mean colour is from gray: the largest deviation of a channel's mean, relative to the mean of all."""
    means = image.reshape(-1, 3).mean(axis=0)
    return float(np.abs(means - means.mean()).max() / max(float(means.mean()), _TINY))


def contrast_level(image: Floats) -> float:
    """Standard deviation of the luma."""
    return float(luma(image).std())


def sharpness_level(image: Floats) -> float:
    """Energy of the second over that of the first derivative of the luma; infinite where nothing changes.

    The variance of the Laplacian measures focus (Pech-Pacheco et al., ICPR 2000); divided by the gradient's, it no
    longer depends on contrast, and little on how much there is to see. Clean photos have about 1 to 3.
    """
    gray = luma(image)
    second = float(cv2.Laplacian(gray, -1, ksize=1).std())
    first = float(np.hypot(cv2.Sobel(gray, -1, 1, 0, scale=1 / 8).std(), cv2.Sobel(gray, -1, 0, 1, scale=1 / 8).std()))
    return second / first if first > _TINY else float("inf")


def despeckle(image: Floats, jump: float, strength: float) -> Floats:
    """Replace impulses by the median of their 3 x 3 window, or by a part of it (Sun and Neuvo 1994)."""
    median = cv2.medianBlur(image, 3)
    return np.where(impulses(image, jump), image + strength * (median - image), image).astype(np.float32)


def denoise(image: Floats, h: float, h_colour: float) -> Floats:
    """Non-local means on 8 bits, as OpenCV has it: patches of 7 in a window of 21, L and ab apart.

    Buades, Coll and Morel, A non-local algorithm for image denoising, CVPR 2005; IPOL 1, 2011 for the colour version.
    ``h`` and ``h_colour`` are decay parameters in levels of 255.
    """
    levels = np.rint(image * 255).astype(np.uint8)
    smooth = cv2.fastNlMeansDenoisingColored(levels, None, h, h_colour, 7, 21)
    return np.divide(smooth, 255, dtype=np.float32)


def guided_filter(guide: Floats, values: Floats) -> Floats:
    """Smooth ``values`` (H, W) but for the edges of ``guide`` (H, W): He et al., TPAMI 35(6), 2013, algorithm 1."""

    def mean(field: npt.NDArray[np.floating]) -> Floats:
        side = 2 * GUIDE_RADIUS + 1
        return cast(Floats, cv2.blur(field, (side, side), borderType=cv2.BORDER_REFLECT))

    guide_mean, value_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * value_mean) / (mean(guide * guide) - guide_mean**2 + GUIDE_EPSILON)
    return mean(slope) * guide + mean(value_mean - slope * guide_mean)


def dehaze(image: Floats, strength: float) -> Floats:
    """Dark channel dehazing (He et al. 2011): t = 1 - w dark(I / A), J = (I - A) / max(t, t_0) + A; eqs. 12 and 22."""
    light = airlight(image)
    transmission = guided_filter(luma(image), 1 - strength * dark_channel(image / light))
    clear = (image - light) / np.clip(transmission, LEAST_TRANSMISSION, 1)[..., None] + light
    return np.clip(clear, 0, 1, dtype=np.float32)


def balance(image: Floats, strength: float) -> Floats:
    """Gray world, gains of 1/3 to 3: the channels' means move together (Buchsbaum, J. Franklin Inst. 310(1), 1980)."""
    means = image.reshape(-1, 3).mean(axis=0)
    gains = np.clip(means.mean() / np.maximum(means, _TINY), 1 / 3, 3)
    return np.clip(image * (1 + strength * (gains - 1)), 0, 1, dtype=np.float32)


def stretch(image: Floats, clip: float, white_below: float, black_above: float, strength: float) -> Floats:
    """Percentile stretch: a white point below ``white_below`` goes up to it, a black one above ``black_above`` down.

    Linear contrast stretching (Gonzalez and Woods, Digital Image Processing, 2018, section 3.2) between the percentiles
    ``clip`` and 100 - ``clip`` of all values; ``strength`` is the part of the way that both points go.
    """
    black, white = (float(value) for value in np.percentile(image, [clip, 100 - clip]))
    new_black = black + strength * (min(black, black_above) - black)
    new_white = white + strength * (max(white, white_below) - white)
    if white - black < 1 / 255:  # nothing to stretch but rounding
        return image.copy()
    return np.clip((image - black) * ((new_white - new_black) / (white - black)) + new_black, 0, 1, dtype=np.float32)


def expose(image: Floats, dark_below: float, bright_above: float, strength: float) -> Floats:
    """Gamma correction that brings a mean luma outside [dark_below, bright_above] to the nearer of the two.

    Gonzalez and Woods 2018, section 3.2. The exponent is log(target) / log(mean): exact for a picture of one value.
    """
    mean = float(np.clip(luma(image).mean(), 0.02, 0.98))
    target = min(max(mean, dark_below), bright_above)
    exponent = (float(np.log(target)) / float(np.log(mean))) ** strength
    return np.power(np.clip(image, 0, 1), np.float32(exponent))


def equalise(image: Floats, limit: float, strength: float) -> Floats:
    """CLAHE of the lightness, 8 x 8 tiles, blended with the picture (Zuiderveld, Graphics Gems IV, 1994)."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    levels = np.rint(lab[..., 0] * 2.55).astype(np.uint8)
    # the difference is added, so that rounding to 8 bits does not touch what is left alone
    lab[..., 0] += strength / 2.55 * (cv2.createCLAHE(limit, (8, 8)).apply(levels).astype(np.float32) - levels)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1, dtype=np.float32)


def sharpen(image: Floats, radius: float, strength: float) -> Floats:
    """Unsharp mask: add ``strength`` times the luma's difference from its Gaussian of sigma ``radius``.

    Gonzalez and Woods 2018, section 3.6. On the luma alone, so that colour noise stays what it is.
    """
    gray = luma(image)
    detail = gray - cv2.GaussianBlur(gray, (0, 0), radius)
    return np.clip(image + strength * detail[..., None], 0, 1, dtype=np.float32)
