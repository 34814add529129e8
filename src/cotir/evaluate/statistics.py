"""Means with intervals, and whether two methods differ. Pictures of one photo are resampled together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval, nan for fewer than two photos."""

    mean: float
    low: float
    high: float
    count: int
    """Values."""


def bootstrap(values: Values, photos: Sequence[str], *, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Mean of values (N,) with the percentile interval of a bootstrap over photos (Efron and Tibshirani 1993, ch. 13).

    Photos are drawn with replacement and bring all their pictures: several crops of one photo say less than as many
    photos. Values that are not numbers are left out and not counted.
    """
    totals, counts = _by_photo(values, photos)
    if not len(counts):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean, count = float(totals.sum() / counts.sum()), int(counts.sum())
    if len(counts) < 2:
        return Interval(mean, float("nan"), float("nan"), count)
    rng, means = np.random.default_rng(seed), []
    for chunk in _chunks(resamples):
        drawn = rng.integers(len(counts), size=(chunk, len(counts)))
        means.append(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Interval(mean, float(low), float(high), count)


def paired_test(differences: Values, photos: Sequence[str], *, resamples: int = 9999, seed: int = SEED) -> float:
    """Two-sided p of the mean difference (N,) being zero, by flipping signs photo by photo (Good 2005, ch. 3).

    The smallest p it can give is ``1 / (resamples + 1)``; nan for fewer than two photos.
    """
    totals, _ = _by_photo(differences, photos)
    if len(totals) < 2:
        return float("nan")
    rng, as_far = np.random.default_rng(seed), 0
    for count in _chunks(resamples):
        signs = rng.choice((-1.0, 1.0), size=(count, len(totals)))
        # a hair of room, so that sums equal but for rounding count as equal
        as_far += int((np.abs(signs @ totals) >= abs(totals.sum()) * (1 - 1e-12)).sum())
    return float((1 + as_far) / (resamples + 1))


def _chunks(resamples: int, size: int = 250) -> Iterator[int]:
    """Resamples in parts, so that memory does not grow with them."""
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _by_photo(values: Values, photos: Sequence[str]) -> tuple[Values, Values]:
    """Sum and number of the values of every photo."""
    known = np.isfinite(values)
    names, place = np.unique(np.asarray(photos, dtype=object)[known].astype(str), return_inverse=True)
    totals = np.bincount(place, weights=values[known], minlength=len(names)).astype(np.float64)
    return totals, np.bincount(place, minlength=len(names)).astype(np.float64)
