"""The Chain-of-Thought (CoT) adapter: think (scene, degradation), plan, and act on the text stream.

The adapter sits between the double-stream and the single-stream blocks of a FLUX transformer. A few parallel blocks let
the text tokens read the image; three linear maps then turn them into thoughts, and the plan is computed from the other
two:

    z_degradation = W_d txt        z_scene = W_s txt        z_plan = W_p [z_degradation ; z_scene]
    text_update   = a_d z_degradation + a_s z_scene + a_p z_plan

The scalar gates ``a`` start at zero, so a fresh adapter leaves the base model exactly as it was. Three heads predict
what the text encoder would say about each thought; training pulls them toward a written trace (see docs/method.md).

Shapes: B batch, N_txt and N_img tokens, D hidden width, H heads, D_txt width of the text encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from einops import rearrange
from torch import Tensor, nn

Rotary = tuple[Tensor, Tensor]
"""cos and sin tables, each (N_txt + N_img, head width) float32, as diffusers' position embedders return them."""

_THOUGHT = ("text_update", "scene", "degradation", "plan")


@dataclass(frozen=True)
class CoTOutput:
    """What the adapter thought.

    ``text_update`` (B, N_txt, D) is added to the text tokens. ``scene``, ``degradation`` and ``plan`` are the predicted
    text-encoder embeddings, each (B, N_txt, D_txt); all three are None when the predictions were not asked for.
    """

    text_update: Tensor
    scene: Tensor | None = None
    degradation: Tensor | None = None
    plan: Tensor | None = None

    @classmethod
    def mean(cls, thoughts: "Sequence[CoTOutput]") -> "CoTOutput":
        """The mean of thoughts of one shape, as over a picture's windows; all with predictions."""
        return cls(**{part: torch.stack([getattr(each, part) for each in thoughts]).mean(dim=0) for part in _THOUGHT})

    def split(self) -> "list[CoTOutput]":
        """One thought for each of the batch, B = 1, all with predictions."""
        parts = {part: getattr(self, part).split(1) for part in _THOUGHT}
        return [CoTOutput(**dict(zip(parts, each, strict=True))) for each in zip(*parts.values(), strict=True)]


class HeadRMSNorm(nn.Module):
    """Per-head RMS normalisation that rounds to the input's dtype *before* the learned scale.

    The released code rounds in this order (its RMSNorm); in float32 it equals :class:`torch.nn.RMSNorm`, in bfloat16
    only this order reproduces its numbers bit for bit.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of ``x`` (..., dim); shape and dtype are kept."""
        x32 = x.float()
        inverse_rms = torch.rsqrt(x32.square().mean(dim=-1, keepdim=True) + self.eps)
        return (x32 * inverse_rms).to(x.dtype) * self.weight


class CoTBlock(nn.Module):
    """One parallel attention + MLP block that updates text tokens only; image tokens are read, never written.

    Queries and the MLP are therefore computed for text rows alone, keys and values for all rows.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.mlp_dim = int(dim * mlp_ratio)
        head_dim = dim // num_heads
        self.modulation = nn.Linear(dim, 3 * dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.to_q_mlp = nn.Linear(dim, dim + self.mlp_dim)
        self.to_kv = nn.Linear(dim, 2 * dim)
        self.norm_q = HeadRMSNorm(head_dim)
        self.norm_k = HeadRMSNorm(head_dim)
        self.to_out = nn.Linear(dim + self.mlp_dim, dim)

    def forward(self, txt: Tensor, img: Tensor, temb: Tensor, rotary: Rotary) -> Tensor:
        """Return the updated text tokens.

        Args:
            txt: text tokens (B, N_txt, D).
            img: image tokens, target then reference (B, N_img, D).
            temb: time embedding (B, D).
            rotary: cos and sin for the sequence [txt, img].
        """
        n_txt = txt.shape[1]
        shift, scale, gate = self.modulation(F.silu(temb))[:, None].chunk(3, dim=-1)
        tokens = (1 + scale) * self.norm(torch.cat([txt, img], dim=1)) + shift

        # Contiguous, or ATen would round the product before it adds the bias, in a batch of two and not in one.
        query, mlp = self.to_q_mlp(tokens[:, :n_txt].contiguous()).split([txt.shape[-1], self.mlp_dim], dim=-1)
        query = rearrange(query, "B L (H D) -> B H L D", H=self.num_heads)
        key, value = rearrange(self.to_kv(tokens), "B L (K H D) -> K B H L D", K=2, H=self.num_heads)

        cos, sin = rotary
        query = _rotate(self.norm_q(query), (cos[:n_txt], sin[:n_txt]))
        key = _rotate(self.norm_k(key), rotary)
        attended = F.scaled_dot_product_attention(query, key, value)
        attended = rearrange(attended, "B H L D -> B L (H D)")
        return txt + gate * self.to_out(torch.cat([attended, F.gelu(mlp, approximate="tanh")], dim=-1))


class PredictionHead(nn.Module):
    """Adaptive LayerNorm and a linear map from a thought to the text encoder's space.

    The modulation is ordered shift, scale (the released ``LastLayer``); diffusers' AdaLayerNormContinuous has scale,
    shift.
    """

    def __init__(self, dim: int, text_dim: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(dim, 2 * dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(dim, text_dim)

    def forward(self, thought: Tensor, temb: Tensor) -> Tensor:
        """Predict embeddings (B, N_txt, D_txt) from a thought (B, N_txt, D) and the time embedding (B, D)."""
        shift, scale = self.modulation(F.silu(temb))[:, None].chunk(2, dim=-1)
        return self.linear((1 + scale) * self.norm(F.gelu(thought, approximate="tanh")) + shift)


class CoTAdapter(nn.Module):
    """Think, plan, act. See the module's docstring for the formula.

    Args:
        dim: hidden width D of the transformer, a multiple of ``num_heads``.
        num_heads: attention heads H.
        text_dim: width D_txt of the text encoder's embeddings, the space of the predictions.
        depth: number of blocks.
        mlp_ratio: MLP width over D.
    """

    def __init__(self, dim: int, num_heads: int, text_dim: int, depth: int = 6, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CoTBlock(dim, num_heads, mlp_ratio) for _ in range(depth))
        self.degradation_layer = nn.Linear(dim, dim)
        self.scene_layer = nn.Linear(dim, dim)
        self.plan_layer = nn.Linear(2 * dim, dim)
        self.degradation_head = PredictionHead(dim, text_dim)
        self.scene_head = PredictionHead(dim, text_dim)
        self.plan_head = PredictionHead(dim, text_dim)
        # Zero: a fresh adapter is exactly the base model.
        self.degradation_gate = nn.Parameter(torch.zeros(1))
        self.scene_gate = nn.Parameter(torch.zeros(1))
        self.plan_gate = nn.Parameter(torch.zeros(1))

    def forward(self, txt: Tensor, img: Tensor, temb: Tensor, rotary: Rotary, *, predict: bool = False) -> CoTOutput:
        """Think about the image and return the update of the text tokens.

        Args:
            txt: text tokens after the last double-stream block (B, N_txt, D).
            img: image tokens, target then reference (B, N_img, D).
            temb: time embedding (B, D).
            rotary: cos and sin for the sequence [txt, img].
            predict: also predict the text-encoder embeddings of scene, degradation and plan.
        """
        for block in self.blocks:
            txt = block(txt, img, temb, rotary)

        degradation = self.degradation_layer(txt)
        scene = self.scene_layer(txt)
        plan = self.plan_layer(torch.cat([degradation, scene], dim=-1))
        update = degradation * self.degradation_gate + scene * self.scene_gate + plan * self.plan_gate

        if not predict:
            return CoTOutput(update)
        return CoTOutput(
            update,
            scene=self.scene_head(scene, temb),
            degradation=self.degradation_head(degradation, temb),
            plan=self.plan_head(plan, temb),
        )


def _rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotary position embedding of (B, H, L, D) heads, computed in float32."""
    # declared as a tuple of one, used as a pair
    rotated = apply_rotary_emb(x, rotary, sequence_dim=2)  # pyright: ignore[reportArgumentType]
    assert isinstance(rotated, Tensor)  # a pair only in a mode that is not used here
    return rotated
