"""From noise to a clean latent: Euler steps along the predicted velocity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from cotir.adapter import CoTOutput
from cotir.encode import Conditioning

StepCallback = Callable[[int, float, Tensor], Tensor]
"""(step, time reached, latent tokens) -> latent tokens to go on with."""


@dataclass(frozen=True)
class Denoised:
    """Clean latent tokens (B, N, C) float32, and what the adapter thought at the last step (if it was asked for)."""

    latent: Tensor
    reasoning: CoTOutput | None


def draw_noise(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Standard normal noise (B, *shape) float32, each sample from its own seed.

    Drawn on the CPU, so that neither the batch, its order nor the device changes a picture.
    """
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@torch.no_grad()
def denoise(
    transformer: nn.Module,
    noise: Tensor,
    condition: Conditioning,
    times: Tensor,
    *,
    predict_reasoning: bool = False,
    on_step: StepCallback | None = None,
) -> Denoised:
    """Integrate ``dx = v dt`` from t = ``times[0]`` to ``times[-1]``.

    Args:
        transformer: predicts the velocity of [target, reference] tokens.
        noise: x_t at the first time (B, N, C).
        condition: reference tokens, text and positions.
        times: decreasing flow times (steps + 1,), usually 1 to 0.
        predict_reasoning: also return the adapter's predictions of the last step.
        on_step: called after every step; may replace the latent.
    """
    dtype = condition.reference.dtype
    latent, tokens = noise.float(), noise.shape[1]
    arguments = condition.arguments()
    last = len(times) - 2
    reasoning = None
    for step, (now, then) in enumerate(pairwise(times.tolist())):
        time = torch.full((len(latent),), now, dtype=torch.float32, device=latent.device)
        output = transformer(
            torch.cat([latent.to(dtype), condition.reference], dim=1),
            timestep=time,
            predict_reasoning=predict_reasoning and step == last,
            **arguments,
        )
        velocity = output.sample[:, :tokens]
        latent = latent + (then - now) * velocity.float()
        reasoning = output.reasoning
        if on_step is not None:
            latent = on_step(step, then, latent)
    return Denoised(latent, reasoning if predict_reasoning else None)
