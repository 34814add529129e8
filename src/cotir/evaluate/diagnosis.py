"""Does a model's reasoning name what is wrong with a picture: average precision, F1, severity, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Diagnosis:
    """How well kinds of damage were told on some pictures."""

    pictures: int
    mean_average_precision: float
    """Over the kinds that occur; by chance it is their mean share of the pictures (:attr:`chance`)."""
    chance: float
    average_precision: dict[str, float]
    f1: dict[str, float]
    """At confidence 0.5, by kind; 0 where a kind was never found."""
    severity_correlation: float
    """Spearman's, of told and true severity over all true kinds; nan with less than three."""
    calibration_error: float


def diagnose(
    confidences: Values, severities: Values, truth: Values, true_severities: Values, kinds: Sequence[str]
) -> Diagnosis:
    """Judge what was told of N pictures about K kinds.

    Args:
        confidences: told, in [0, 1], (N, K).
        severities: told, in [0, 1], (N, K).
        truth: 1 where a picture has a kind, (N, K).
        true_severities: in [0, 1], (N, K).
        kinds: names (K,).
    """
    from scipy.stats import spearmanr

    there = np.asarray(truth.any(axis=0))
    precision = {kind: average_precision(confidences[:, k], truth[:, k]) for k, kind in enumerate(kinds) if there[k]}
    f1 = {kind: f1_score(confidences[:, k] >= 0.5, truth[:, k] > 0) for k, kind in enumerate(kinds) if there[k]}
    told, true = severities[truth > 0], true_severities[truth > 0]
    varied = len(told) > 2 and np.ptp(told) > 0 and np.ptp(true) > 0
    return Diagnosis(
        pictures=len(truth),
        mean_average_precision=float(np.mean(list(precision.values()))) if precision else float("nan"),
        chance=float(truth[:, there].mean()) if precision else float("nan"),
        average_precision=precision,
        f1=f1,
        severity_correlation=float(np.asarray(spearmanr(told, true))[0]) if varied else float("nan"),
        calibration_error=calibration_error(confidences, truth),
    )


def average_precision(scores: Values, truth: Values) -> float:
    """Mean, over the pictures that have it, of the precision among those scored at least as high (N,)."""
    order = np.argsort(-scores, kind="stable")
    hits, ordered = truth[order], scores[order]
    # pictures of one score stand at the end of their run, so that their order in the file does not matter
    last = np.searchsorted(-ordered, -ordered, side="right")
    return float((np.cumsum(hits)[last - 1] / last)[hits > 0].mean())


def f1_score(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall (N,); 0 without a true finding."""
    return float(2 * (found & truth).sum() / max(1, found.sum() + truth.sum()))


def calibration_error(confidences: Values, truth: Values, bins: int = 10) -> float:
    """Expected calibration error over all kinds and pictures (Guo et al. 2017), bins of equal width."""
    flat, there = confidences.ravel(), truth.ravel()
    place = np.minimum((flat * bins).astype(int), bins - 1)
    gaps = [(place == k).mean() * abs((flat - there)[place == k].mean()) for k in np.unique(place)]
    return float(sum(gaps))
