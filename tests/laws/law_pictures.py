"""What the laws of degradations share: pictures made of formulas, records drawn for them, and a distance."""

import cv2
import numpy as np

from cotir.degrade import kind_named


def textured(height, width, seed):
    """Colour noise in octaves, with hard-edged discs and a bright upper part: smooth, busy, dark and light areas."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, share in ((3, 0.5), (9, 0.25), (40, 0.15)):
        noise = rng.random((cells, cells, 3), dtype=np.float32)
        picture += share * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    picture += np.linspace(0.25, -0.1, height, dtype=np.float32)[:, None, None]
    for x, y, size, *colour in rng.random((12, 6)):
        cv2.circle(picture, (int(x * width), int(y * height)), int(2 + 0.1 * size * width), colour, -1)
    return np.clip(picture, 0.0, 1.0)


def flat(value, height=64, width=64):
    return np.full((height, width, 3), value, np.float32)


def noisy(height, width, seed):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def ramp(low=0.0, high=1.0, height=32, width=256):
    return np.broadcast_to(np.linspace(low, high, width, dtype=np.float32)[None, :, None], (height, width, 3)).copy()


def psnr(image, other):
    return float(-10 * np.log10(max(np.mean((image - other) ** 2), 1e-10)))


def drawn(kind, severity, seed=0):
    return kind.sample(np.random.default_rng(seed), severity)


def through(name, image, params):
    return kind_named(name).apply(image, params)
