"""Small fits to pictures whose damage is known: scores to confidences, confidences to what restoring gains.

Shapes: B pictures, K kinds of damage.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def platt(scores: Tensor, labels: Tensor, share: Tensor) -> Tensor:
    """Slopes and offsets (K, 2) of the most probable logistic models, under a prior on the slopes' spread.

    Args:
        scores: raw (B, K), float64.
        labels: 1 where the kind was there, else 0 (B, K), float64.
        share: of the pictures that have each kind (K,), in (0, 1).
    """
    spread = scores.std(dim=0).clamp_min(1e-6)
    middle = scores.mean(dim=0)
    common = torch.zeros((), dtype=scores.dtype, requires_grad=True)
    own = torch.zeros_like(share, requires_grad=True)
    offset = torch.logit(share).clone().requires_grad_()
    optimizer = torch.optim.LBFGS([common, own, offset], max_iter=200, line_search_fn="strong_wolfe")

    def slope() -> Tensor:
        return common.exp() * own.exp()

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = (scores - middle) / spread * slope() + offset
        found = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") + own.square().sum()
        found.backward()
        return found

    optimizer.step(loss)  # pyright: ignore[reportArgumentType] - the closure may return a tensor
    with torch.no_grad():
        slopes = slope() / spread
        return torch.stack([slopes, offset - slopes * middle], dim=1)


def ridge(confidences: Tensor, gains: Tensor) -> Tensor:
    """Weights (K + 1,) of a ridge regression of gains (B,) on confidences (B, K), float64; the free offset is last."""
    given = F.pad(confidences, (0, 1), value=1.0)
    penalty = torch.eye(given.shape[1], dtype=given.dtype)
    penalty[-1, -1] = 0
    return torch.linalg.solve(given.T @ given + penalty, given.T @ gains)
