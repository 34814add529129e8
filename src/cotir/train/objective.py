"""The objective: a flow-matching loss under three reasoning constraints, as a Lagrangian.

    x_t = (1 - t) x_1 + t noise             v* = noise - x_1
    L   = E ||v - v*||^2 + sum_k lambda_k (d_k - delta_k),      k in {scene, degradation, plan}

``x_1`` clean latent tokens, ``d_k`` the distance between the adapter's prediction and the text encoder's embedding of
part k of the written trace. Pure functions on tensors; lambda is learned in :mod:`cotir.train.multipliers`.

Shapes: B batch, N image tokens, C latent channels, N_txt text tokens, D_txt text width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def interpolate(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """The point ``x_t`` on the straight path from noise (t = 1) to clean (t = 0).

    Args:
        clean: x_1 (B, N, C).
        noise: standard normal (B, N, C).
        time: t in [0, 1] (B,).
    """
    t = time[:, None, None]
    return (1 - t) * clean + t * noise


def flow_loss(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error to the target velocity ``noise - clean``, in float32; a scalar."""
    return (velocity.float() - (noise - clean).float()).square().mean()


def balanced_flow_loss(
    velocity: Tensor, clean: Tensor, noise: Tensor, time: Tensor, *, power: float, floor: float, scale: float = 0.05
) -> Tensor:
    """Mean over samples of the Box-Cox transform ``((e / scale)^power - 1) / power`` of the clean prediction's error e.

    ``e = t^2 mse(v, v*) + floor``, where ``t (v* - v)`` is the error of ``x_t - t v``. Power 1 is the mean square,
    ruled by the most damaged pictures; power 0 is its logarithm, the mean PSNR up to sign and scale, in which a lightly
    damaged picture counts as much as a ruined one. Box & Cox (1964), "An analysis of transformations", eq. 1.

    Args:
        velocity: predicted (B, N, C).
        clean: x_1 (B, N, C).
        noise: standard normal (B, N, C).
        time: t in (0, 1] (B,).
        power: in [0, 1].
        floor: mean square error, in latent units, below which a sample counts as solved.
        scale: error whose gradient is the same for every power.
    """
    error = (velocity.float() - (noise - clean).float()).square().mean(dim=(1, 2))
    log_error = ((time.square() * error + floor) / scale).log()
    return (log_error if power == 0 else (power * log_error).expm1() / power).mean()


def cosine_distance(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens of ``1 - cos(prediction, target)``, in [0, 2]; a scalar.

    Args:
        prediction: the adapter's embeddings (B, N_txt, D_txt).
        target: the text encoder's embeddings (B, N_txt, D_txt).
        mask: 1 for words, 0 for padding (B, N_txt).
    """
    distance = 1 - F.cosine_similarity(prediction.float(), target.float(), dim=-1)
    weight = mask.to(distance.dtype)
    return (distance * weight).sum() / weight.sum()


def released_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """The released code's distance: mean square of the L2-normalised difference, padding included; a scalar.

    It equals ``2 (1 - cos) / D_txt`` averaged over all tokens, so its scale depends on the text encoder's width.
    """
    difference = _unit(prediction.float()) - _unit(target.float())
    return difference.square().mean()


def _unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(eps)
