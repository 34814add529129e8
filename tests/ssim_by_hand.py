"""Structural similarity written out, to compare with."""

import numpy as np
from scipy.ndimage import gaussian_filter


def ssim_by_hand(x, y):
    """Wang et al. 2004, eq. 13, Gaussian window 11 of sigma 1.5; windows that leave the picture are left out."""
    values = []
    for channel in range(3):
        a, b = x[..., channel].astype(np.float64), y[..., channel].astype(np.float64)

        def mean(field):
            return gaussian_filter(field, 1.5, truncate=5 / 1.5)

        ma, mb = mean(a), mean(b)
        va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        c1, c2 = 0.01**2, 0.03**2
        values.append(((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.stack(values)[:, 5:-5, 5:-5].mean())
