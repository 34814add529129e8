"""FLUX transformers that think: double-stream blocks -> CoT adapter -> single-stream blocks -> velocity.

Each class is diffusers' model plus ``cot_adapter``; ``forward`` is written out so that the place where reasoning enters
is visible. With a fresh adapter (zero gates) the output equals the plain diffusers transformer's bit for bit.

Shapes: B batch, N_txt and N_img tokens, C latent channels, D hidden width, D_txt width of the text encoder.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin as ModelMixin  # asked of this module as a pipeline is loaded
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from torch import Tensor, nn

from cotir.adapter import CoTAdapter, CoTOutput, Rotary
from cotir.released import ReleasedRoPE, use_released_rounding

RoPE = Literal["float64", "released"]
Rounding = Literal["diffusers", "released"]


@dataclass(frozen=True)
class CoTTransformerOutput:
    """``sample`` is the velocity (B, N_img, C) of every image token; ``reasoning`` is what the adapter thought.

    No mapping as diffusers' outputs are: accelerate would take one apart and fail to put it together again.
    """

    sample: Tensor
    reasoning: CoTOutput


class CoTFluxTransformer2DModel(FluxTransformer2DModel):
    """FLUX.1 (Kontext) with a CoT adapter.

    Args beyond diffusers' class:
        cot_depth: blocks of the adapter.
        cot_mlp_ratio: MLP width of the adapter over the hidden width.
        rope: ``float64`` computes rotary frequencies as diffusers does, and times in float32; ``released`` rounds
            positions and times to the model's dtype first, as the released code does (see :mod:`cotir.released`).
        rounding: ``released`` reproduces the released code's bfloat16 rounding in normalisation and attention bias.
    """

    # The arguments repeat diffusers' because its configuration system reads them off this signature.
    @register_to_config
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 64,
        out_channels: int | None = None,
        num_layers: int = 19,
        num_single_layers: int = 38,
        attention_head_dim: int = 128,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 768,
        guidance_embeds: bool = True,
        axes_dims_rope: tuple[int, int, int] = (16, 56, 56),
        cot_depth: int = 6,
        cot_mlp_ratio: float = 4.0,
        rope: RoPE = "float64",
        rounding: Rounding = "diffusers",
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=axes_dims_rope,
        )
        self.cot_adapter = CoTAdapter(
            self.inner_dim, num_attention_heads, joint_attention_dim, cot_depth, cot_mlp_ratio
        )
        if rope == "released":
            self.pos_embed = ReleasedRoPE(theta=10000, axes_dim=axes_dims_rope)
        if rounding == "released":
            use_released_rounding(self)

    @property
    def latent_channels(self) -> int:
        """Channels C of a latent cell."""
        return self.config["in_channels"]

    # Narrower than diffusers': no attention extras, ControlNet or key-value cache, and always an output object.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
        guidance: Tensor | None = None,
        *,
        predict_reasoning: bool = False,
    ) -> CoTTransformerOutput:
        """Predict the velocity of every image token.

        Args:
            hidden_states: target then reference latent tokens (B, N_img, C).
            encoder_hidden_states: text-encoder embeddings (B, N_txt, D_txt).
            pooled_projections: pooled text embedding (B, D_pooled).
            timestep: flow time in [0, 1] (B,); 1 is pure noise.
            img_ids: positions of the image tokens (N_img, 3).
            txt_ids: positions of the text tokens (N_txt, 3).
            guidance: distilled guidance scale (B,), or None for a base without a guidance embedder.
            predict_reasoning: also predict the embeddings of scene, degradation and plan.
        """
        dtype = hidden_states.dtype
        times = [_thousandths(self, x, dtype) for x in (timestep, guidance) if x is not None]
        temb = self.time_text_embed(*times, pooled_projections)
        img, txt = self.x_embedder(hidden_states), self.context_embedder(encoder_hidden_states)
        rotary = _rotary(self, txt_ids, img_ids, dtype)

        for block in self.transformer_blocks:
            txt, img = _run(self, block, img, txt, temb, rotary)

        reasoning = self.cot_adapter(txt, img, temb, rotary, predict=predict_reasoning)
        txt = txt + reasoning.text_update

        for block in self.single_transformer_blocks:
            txt, img = _run(self, block, img, txt, temb, rotary)

        velocity = self.proj_out(self.norm_out(img, temb))
        return CoTTransformerOutput(sample=velocity, reasoning=reasoning)


class CoTFlux2Transformer2DModel(Flux2Transformer2DModel):
    """FLUX.2 (klein) with a CoT adapter.

    The arguments beyond diffusers' are those of :class:`CoTFluxTransformer2DModel`, and
        fused_lora: a LoRA has been fused in (:func:`cotir.lora.fuse`). It brings biases, of which FLUX.2 has none.
    """

    @register_to_config
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 128,
        out_channels: int | None = None,
        num_layers: int = 8,
        num_single_layers: int = 48,
        attention_head_dim: int = 128,
        num_attention_heads: int = 48,
        joint_attention_dim: int = 15360,
        timestep_guidance_channels: int = 256,
        mlp_ratio: float = 3.0,
        axes_dims_rope: tuple[int, ...] = (32, 32, 32, 32),
        rope_theta: int = 2000,
        eps: float = 1e-6,
        guidance_embeds: bool = False,
        cot_depth: int = 6,
        cot_mlp_ratio: float = 4.0,
        rope: RoPE = "float64",
        rounding: Rounding = "diffusers",
        fused_lora: bool = False,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            timestep_guidance_channels=timestep_guidance_channels,
            mlp_ratio=mlp_ratio,
            axes_dims_rope=axes_dims_rope,
            rope_theta=rope_theta,
            eps=eps,
            guidance_embeds=guidance_embeds,
        )
        self.cot_adapter = CoTAdapter(
            self.inner_dim, num_attention_heads, joint_attention_dim, cot_depth, cot_mlp_ratio
        )
        if rope == "released":
            self.pos_embed = ReleasedRoPE(theta=rope_theta, axes_dim=axes_dims_rope)
        if rounding == "released":
            use_released_rounding(self)
        if fused_lora:
            for name, layer in self.named_modules():
                if isinstance(layer, nn.Linear) and name.startswith(
                    ("single_transformer_blocks", "norm_out", "proj_out")
                ):
                    layer.bias = nn.Parameter(torch.zeros(layer.out_features))

    @property
    def latent_channels(self) -> int:
        """Channels C of a latent cell."""
        return self.config["in_channels"]

    # Narrower than diffusers': no attention extras, ControlNet or key-value cache, and always an output object.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
        guidance: Tensor | None = None,
        *,
        predict_reasoning: bool = False,
    ) -> CoTTransformerOutput:
        """Predict the velocity of every image token.

        Args:
            hidden_states: target then reference latent tokens (B, N_img, C).
            encoder_hidden_states: text-encoder embeddings (B, N_txt, D_txt).
            timestep: flow time in [0, 1] (B,); 1 is pure noise.
            img_ids: positions of the image tokens (N_img, 4).
            txt_ids: positions of the text tokens (N_txt, 4).
            guidance: distilled guidance scale (B,), or None for a base without a guidance embedder.
            predict_reasoning: also predict the embeddings of scene, degradation and plan.
        """
        dtype = hidden_states.dtype
        temb = self._embed_times(timestep, guidance, dtype)
        modulation_img = self.double_stream_modulation_img(temb)
        modulation_txt = self.double_stream_modulation_txt(temb)
        modulation_single = self.single_stream_modulation(temb)
        img, txt = self.x_embedder(hidden_states), self.context_embedder(encoder_hidden_states)
        rotary = _rotary(self, txt_ids, img_ids, dtype)

        for block in self.transformer_blocks:
            txt, img = _run(self, block, img, txt, modulation_img, modulation_txt, rotary)

        reasoning = self.cot_adapter(txt, img, temb, rotary, predict=predict_reasoning)
        tokens = torch.cat([txt + reasoning.text_update, img], dim=1)

        for block in self.single_transformer_blocks:
            tokens = _run(self, block, tokens, None, modulation_single, rotary)

        img = tokens[:, txt.shape[1] :]
        velocity = self.proj_out(self.norm_out(img, temb))
        return CoTTransformerOutput(sample=velocity, reasoning=reasoning)

    def _embed_times(self, timestep: Tensor, guidance: Tensor | None, dtype: torch.dtype) -> Tensor:
        """``time_guidance_embed`` written out: diffusers' own casts the sinusoids to the dtype of the time."""
        embed = self.time_guidance_embed
        temb = embed.timestep_embedder(embed.time_proj(_thousandths(self, timestep, dtype)).to(dtype))
        if guidance is None or embed.guidance_embedder is None:
            return temb
        return temb + embed.guidance_embedder(embed.time_proj(_thousandths(self, guidance, dtype)).to(dtype))


CoTTransformer = CoTFluxTransformer2DModel | CoTFlux2Transformer2DModel


def _thousandths(model: CoTTransformer, time: Tensor, dtype: torch.dtype) -> Tensor:
    """A time or a guidance scale as diffusers' sinusoids count it; bfloat16 would be off by up to 3.6 of 1000."""
    return 1000 * (time.to(dtype) if isinstance(model.pos_embed, ReleasedRoPE) else time.float())


def _rotary(model: CoTTransformer, txt_ids: Tensor, img_ids: Tensor, dtype: torch.dtype) -> Rotary:
    ids = torch.cat([txt_ids, img_ids])
    if isinstance(model.pos_embed, ReleasedRoPE):
        ids = ids.to(dtype)  # the released code rounds positions to the model's dtype, and computes in it
    return model.pos_embed(ids)


def _run(model: CoTTransformer, block: nn.Module, *args: Tensor | Rotary | None) -> Any:
    """Run a block, recomputing its activations in the backward pass if gradient checkpointing is on."""
    recompute = model._gradient_checkpointing_func
    if torch.is_grad_enabled() and model.gradient_checkpointing and recompute is not None:
        return recompute(block, *args)
    return block(*args)
