"""The released code's low-precision arithmetic, for running released weights as they were trained and for exact tests.

The released model computes rotary frequencies and angles in the dtype of its position ids (bfloat16), rounds RMS
normalisation before the learned scale, and adds the bias of the FLUX.1 attention projections after rounding. CoTIR's
default is more precise; these modules reproduce the original. In float32 they agree with diffusers to about 1e-6.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_flux import FluxAttention
from diffusers.models.transformers.transformer_flux2 import Flux2Attention, Flux2ParallelSelfAttention
from torch import Tensor, nn

from cotir.adapter import HeadRMSNorm


class ReleasedRoPE(nn.Module):
    """Rotary tables computed in the dtype of the ids: ``angle = id / theta^(2i / dim)``, no float64 anywhere."""

    def __init__(self, theta: int, axes_dim: Sequence[int]) -> None:
        super().__init__()
        self.theta = theta
        self.axes_dim = tuple(axes_dim)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin tables (N, sum of axes_dim) float32 for position ids (N, axes)."""
        angles = torch.cat([self._angles(ids[:, axis], dim) for axis, dim in enumerate(self.axes_dim)], dim=-1)
        cos, sin = (table.repeat_interleave(2, dim=-1).float() for table in (angles.cos(), angles.sin()))
        return cos, sin

    def _angles(self, position: Tensor, dim: int) -> Tensor:
        exponent = torch.arange(0, dim, 2, dtype=position.dtype, device=position.device) / dim
        return position[:, None] * (1.0 / self.theta**exponent)


class UnfusedBiasLinear(nn.Linear):
    """A linear layer that rounds the product before it adds the bias, as ATen does for non-contiguous input."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return F.linear(input, self.weight) + self.bias


def use_released_rounding(model: nn.Module) -> None:
    """Replace, in place, what rounds in another order than the release; the parameters stay the same objects."""
    for module in list(model.modules()):
        if isinstance(module, FluxAttention | Flux2Attention | Flux2ParallelSelfAttention):
            for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
                norm = getattr(module, name, None)
                if norm is not None:
                    setattr(module, name, _round_first(norm))
        if isinstance(module, FluxAttention) and module.added_kv_proj_dim is not None:
            projection = module.to_out[0]
            assert isinstance(projection, nn.Linear)  # as FluxAttention builds it
            module.to_out[0] = _unfused(projection)
            module.to_add_out = _unfused(module.to_add_out)


def _round_first(norm: nn.RMSNorm) -> HeadRMSNorm:
    replacement = HeadRMSNorm(norm.normalized_shape[0], norm.eps or 1e-6)
    replacement.weight = norm.weight
    return replacement


def _unfused(linear: nn.Linear) -> UnfusedBiasLinear:
    replacement = UnfusedBiasLinear(linear.in_features, linear.out_features, device="meta")
    replacement.weight, replacement.bias = linear.weight, linear.bias
    return replacement
