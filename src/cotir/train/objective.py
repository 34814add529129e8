"""The objective: a flow-matching loss under three reasoning constraints, as a Lagrangian.

    x_t = (1 - t) x_1 + t noise             v* = noise - x_1
    L   = E ||v - v*||^2 + sum_k lambda_k (d_k - delta_k),      k in {scene, degradation, plan}

``x_1`` clean latent tokens, ``d_k`` the distance between the adapter's prediction and the text encoder's embedding of
part k of the written trace. Pure functions on tensors, in float32 whatever they are given; lambda is learned in
:mod:`cotir.train.multipliers`.

Shapes: B batch, N image tokens, C latent channels, N_txt text tokens, D_txt text width.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cotir.adapter import CoTOutput
from cotir.encode import TextTokens
from cotir.errors import ConfigError, TrainingError

PARTS = ("scene", "degradation", "plan")
"""The parts of a reasoning trace, each a constraint."""

READING = "reading"
"""A constraint beside them: what a read-out makes of the predictions (:func:`reading_distance`)."""

Form = Literal["cosine", "released"]


@dataclass(frozen=True)
class LossTerms:
    """One step's loss and what it is made of; all scalars, float32.

    ``flow``, ``distances`` d_k and ``constraints`` c_k = d_k - delta_k by part, and ``loss`` = flow + sum lambda_k c_k.
    """

    flow: Tensor
    distances: dict[str, Tensor]
    constraints: dict[str, Tensor]
    loss: Tensor


def constraints(distances: Mapping[str, Tensor], delta: Mapping[str, float]) -> dict[str, Tensor]:
    """c_k = d_k - delta_k, float32 scalars: positive where the reasoning is further from the trace than allowed.

    Raises:
        ConfigError: if ``delta`` does not name exactly the parts of ``distances``.
    """
    _check_parts("delta", delta, distances)
    return {part: distance.float() - delta[part] for part, distance in distances.items()}


def lagrangian(
    flow: Tensor, distances: Mapping[str, Tensor], delta: Mapping[str, float], multipliers: Mapping[str, float]
) -> LossTerms:
    """``flow + sum_k lambda_k (d_k - delta_k)``.

    A lambda of zero still multiplies its constraint: every trained tensor then has a gradient, zero and not None, which
    data-parallel training waits for.

    Args:
        flow: the flow loss, a scalar.
        distances: d_k by part (:func:`reasoning_distances`).
        delta: how much of each distance is allowed, in the distance's own unit.
        multipliers: lambda_k as plain numbers (:attr:`cotir.train.multipliers.Multipliers.values`); the weights'
            gradient never reaches them.

    Raises:
        ConfigError: if ``delta`` or ``multipliers`` does not name exactly the parts of ``distances``.
    """
    _check_parts("multipliers", multipliers, distances)
    violated = constraints(distances, delta)
    loss = flow = flow.float()
    for part, constraint in violated.items():
        loss = loss + multipliers[part] * constraint
    return LossTerms(flow, dict(distances), violated, loss)


def reasoning_distances(predicted: CoTOutput, targets: Mapping[str, TextTokens], form: Form) -> dict[str, Tensor]:
    """d_k of every part, a scalar each.

    Args:
        predicted: what the adapter thought, its predictions asked for.
        targets: for each part, the frozen text encoder's embeddings of the written trace (B, N_txt, D_txt), and its
            mask.
        form: ``cosine`` (:func:`cosine_distance`) or ``released`` (:func:`released_distance`).

    Raises:
        ConfigError: if ``form`` is unknown, or the targets are not those of :data:`PARTS`.
        TrainingError: if there are no predictions, or their shape is not the target's.
    """
    if form not in ("cosine", "released"):
        raise ConfigError(f"there is no constraint {form!r}; the constraints are cosine, released")
    _check_parts("targets", targets, PARTS)
    distances: dict[str, Tensor] = {}
    for part in PARTS:
        prediction, target = getattr(predicted, part), targets[part]
        if prediction is None:
            raise TrainingError(f"the adapter predicted no {part}: call the transformer with predict_reasoning=True")
        if prediction.shape != target.embeddings.shape:
            raise TrainingError(
                f"the adapter predicted {part} as {tuple(prediction.shape)}, its target is "
                f"{tuple(target.embeddings.shape)}: encode traces to the length of the instruction"
            )
        if form == "cosine":
            distances[part] = cosine_distance(prediction, target.embeddings, target.mask)
        else:
            distances[part] = released_distance(prediction, target.embeddings)
    return distances


def reading_distance(presence: Tensor, kinds: Tensor) -> Tensor:
    """How much of the damage cannot be read from the thoughts; a scalar, 0 where all of it can, near 1 where none.

    The squared error of what a read-out says of every kind, summed, over the number of kinds that are there (Brier
    1950). The distances to the embeddings of a trace are ruled by its wording, which no picture tells; this one by what
    a picture does tell. It goes through the same predictions and needs no head of its own. Error and kinds are pooled
    over the micro-batch, so that undamaged pictures count; those of another size weigh them otherwise.

    Args:
        presence: :meth:`cotir.read_out.ReadOut.presence` (B, K).
        kinds: 1 for the kinds that are there, else 0 (B, K).
    """
    error = (presence.float() - kinds.float()).square().sum()
    return error / kinds.float().sum().clamp_min(1)


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


def flow_scale(flow: Tensor, power: float | None = None) -> Tensor:
    """How much the flow loss changes when every error changes by its own size: ``dL / d log e``, a scalar >= 0.

    The unit in which ``pi`` counts its multipliers, which makes them independent of latents and loss.

    Args:
        flow: the loss.
        power: of :func:`balanced_flow_loss`, whose derivative is ``mean((e / scale)^power) = 1 + power * loss``; None
            for :func:`flow_loss`, which is its own.
    """
    return flow.detach() if power is None else 1 + power * flow.detach()


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


def _check_parts(what: str, given: Iterable[str], parts: Iterable[str]) -> None:
    if set(given) != set(parts):
        raise ConfigError(f"{what} must name the parts {', '.join(parts)}; got {', '.join(given) or 'none'}")


def _unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(eps)
