"""Image + instruction -> what the transformer is conditioned on, computed once per picture and never per step.

Shapes: B batch, C latent channels, h x w latent grid, N = h w tokens, N_txt text tokens, D_txt width of the text
    encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.utils.torch_utils import get_module_execution_device
from einops import rearrange
from torch import Tensor
from transformers import BertModel, CLIPTextModel, PreTrainedModel, PreTrainedTokenizerBase, T5EncoderModel

from cotir.autoencoder import PatchAutoencoder
from cotir.backbones import Backbone
from cotir.errors import ConfigError

QWEN3_LAYERS = (9, 18, 27)
"""Hidden states of Qwen3 that FLUX.2 klein reads, side by side (diffusers, ``pipeline_flux2_klein``)."""
CLIP_LENGTH = 77


@dataclass(frozen=True)
class TextTokens:
    """An encoded instruction.

    ``embeddings`` (B, N_txt, D_txt); ``mask`` (B, N_txt), 1 for words and 0 for padding; ``pooled`` (B, D_pooled) for
    backbones that also read a sentence embedding.
    """

    embeddings: Tensor
    mask: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class Conditioning:
    """Everything the transformer reads besides the noisy target and the time.

    ``reference`` (B, N, C) latent tokens of the damaged picture on a grid of ``rows`` x ``columns``; ``img_ids`` (2N,
    axes) positions of target and reference; ``txt_ids`` (N_txt, axes).
    """

    reference: Tensor
    text: TextTokens
    img_ids: Tensor
    txt_ids: Tensor
    guidance: Tensor | None
    rows: int
    columns: int

    def to(self, device: torch.device, dtype: torch.dtype) -> "Conditioning":
        """Move everything to a device; embeddings and latents take ``dtype``, positions and guidance stay float32."""
        text = TextTokens(
            self.text.embeddings.to(device, dtype),
            self.text.mask.to(device),
            None if self.text.pooled is None else self.text.pooled.to(device, dtype),
        )
        return replace(
            self,
            reference=self.reference.to(device, dtype),
            text=text,
            img_ids=self.img_ids.to(device),
            txt_ids=self.txt_ids.to(device),
            guidance=None if self.guidance is None else self.guidance.to(device),
        )

    def arguments(self) -> dict[str, Tensor]:
        """Keyword arguments of the transformer's ``forward``."""
        known = {
            "encoder_hidden_states": self.text.embeddings,
            "pooled_projections": self.text.pooled,
            "img_ids": self.img_ids,
            "txt_ids": self.txt_ids,
            "guidance": self.guidance,
        }
        return {name: value for name, value in known.items() if value is not None}


def condition(backbone: Backbone, latents: Tensor, text: TextTokens) -> Conditioning:
    """Put the reference latents (B, C, h, w) and the encoded instruction together."""
    batch, _, rows, columns = latents.shape
    device = latents.device
    guidance = None if backbone.guidance is None else torch.full((batch,), backbone.guidance, device=device)
    return Conditioning(
        reference=to_tokens(latents),
        text=text,
        img_ids=backbone.image_positions(rows, columns).to(device),
        txt_ids=backbone.text_positions(text.embeddings.shape[1]).to(device),
        guidance=guidance,
        rows=rows,
        columns=columns,
    )


def to_tokens(latents: Tensor) -> Tensor:
    """A latent grid (B, C, h, w) as tokens (B, h w, C) in reading order."""
    return rearrange(latents, "B C h w -> B (h w) C")


def to_grid(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Undo :func:`to_tokens`."""
    return rearrange(tokens, "B (h w) C -> B C h w", h=rows, w=columns)


# --- pixels <-> latents: one pair per autoencoder ---------------------------------------------------------------------


@singledispatch
def encode_image(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) in [-1, 1] -> latents (B, C, h, w): the posterior's mean, never a sample.

    Raises:
        ConfigError: if the autoencoder is of an unknown kind.
    """
    raise ConfigError(
        f"cannot encode with a {type(vae).__name__}; use AutoencoderKL, AutoencoderKLFlux2, PatchAutoencoder"
    )


@singledispatch
def decode_image(vae: Any, latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) -> pixels (B, 3, H, W), about [-1, 1] but not clamped. Undoes :func:`encode_image`.

    Raises:
        ConfigError: if the autoencoder is of an unknown kind.
    """
    raise ConfigError(
        f"cannot decode with a {type(vae).__name__}; use AutoencoderKL, AutoencoderKLFlux2, PatchAutoencoder"
    )


@encode_image.register
def _(vae: PatchAutoencoder, pixels: Tensor) -> Tensor:
    return vae.encode(pixels)


@decode_image.register
def _(vae: PatchAutoencoder, latents: Tensor) -> Tensor:
    return vae.decode(latents)


@encode_image.register
def _(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    mean = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
    return _pack((mean - vae.config["shift_factor"]) * vae.config["scaling_factor"])


@decode_image.register
def _(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    mean = _unpack(latents) / vae.config["scaling_factor"] + vae.config["shift_factor"]
    decoded = vae.decode(mean.to(vae.dtype))  # pyright: ignore[reportArgumentType] - annotated as FloatTensor
    return decoded.sample  # pyright: ignore[reportAttributeAccessIssue]


@encode_image.register
def _(vae: AutoencoderKLFlux2, pixels: Tensor) -> Tensor:
    mean = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
    centre, spread = _flux2_statistics(vae, mean.device)
    return (_pack(mean) - centre) / spread


@decode_image.register
def _(vae: AutoencoderKLFlux2, latents: Tensor) -> Tensor:
    centre, spread = _flux2_statistics(vae, latents.device)
    mean = _unpack(latents * spread + centre)
    decoded = vae.decode(mean.to(vae.dtype))  # pyright: ignore[reportArgumentType] - annotated as FloatTensor
    return decoded.sample  # pyright: ignore[reportAttributeAccessIssue]


def _flux2_statistics(vae: AutoencoderKLFlux2, device: torch.device) -> tuple[Tensor, Tensor]:
    """Per-channel mean and standard deviation of packed latents, (1, C, 1, 1), kept by the autoencoder's batch norm.

    An offloaded autoencoder is elsewhere until it runs, so they are moved to ``device``.
    """
    mean, variance = vae.bn.running_mean, vae.bn.running_var
    assert mean is not None and variance is not None  # the released autoencoder tracks both
    deviation = torch.sqrt(variance + vae.config["batch_norm_eps"])
    return mean[None, :, None, None].to(device), deviation[None, :, None, None].to(device)


def _pack(latents: Tensor) -> Tensor:
    """2 x 2 latent cells as channels, ordered (channel, row, column)."""
    return rearrange(latents, "B c (h p) (w q) -> B (c p q) h w", p=2, q=2)


def _unpack(latents: Tensor) -> Tensor:
    return rearrange(latents, "B (c p q) h w -> B c (h p) (w q)", p=2, q=2)


# --- instruction -> text tokens: one function per text encoder --------------------------------------------------------


@torch.no_grad()
def bert_tokens(
    tokenizer: PreTrainedTokenizerBase, encoder: BertModel, texts: Sequence[str], length: int
) -> TextTokens:
    """Token embeddings by a BERT-like encoder (MiniLM), padded or cut to ``length``; padding is zero."""
    ids, mask = _tokenize(tokenizer, texts, length, encoder)
    embeddings = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return TextTokens(embeddings * mask[..., None], mask)


@torch.no_grad()
def qwen3_tokens(
    tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel, texts: Sequence[str], length: int
) -> TextTokens:
    """Three hidden states of Qwen3 side by side (B, length, 3 D), of the text as a user's chat message."""
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        for text in texts
    ]
    ids, mask = _tokenize(tokenizer, [str(chat) for chat in chats], length, encoder)
    states = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
    layers = torch.stack([states[layer] for layer in QWEN3_LAYERS], dim=2)
    return TextTokens(rearrange(layers, "B L c D -> B L (c D)"), mask)


@torch.no_grad()
def t5_clip_tokens(
    tokenizer: PreTrainedTokenizerBase,
    encoder: CLIPTextModel,
    tokenizer_2: PreTrainedTokenizerBase,
    encoder_2: T5EncoderModel,
    texts: Sequence[str],
    length: int,
) -> TextTokens:
    """T5 token embeddings without an attention mask (FLUX.1 was trained so), and CLIP's pooled embedding."""
    ids, mask = _tokenize(tokenizer_2, texts, length, encoder_2)
    clip_ids, _ = _tokenize(tokenizer, texts, CLIP_LENGTH, encoder)
    pooled = encoder(input_ids=clip_ids).pooler_output
    return TextTokens(encoder_2(input_ids=ids).last_hidden_state, mask, pooled)


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int, encoder: PreTrainedModel
) -> tuple[Tensor, Tensor]:
    device = get_module_execution_device(encoder)  # an offloaded encoder is elsewhere until it runs
    tokens = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return torch.as_tensor(tokens["input_ids"]).to(device), torch.as_tensor(tokens["attention_mask"]).to(device)


def encode_text(backbone: Backbone, components: Mapping[str, Any], texts: Sequence[str]) -> TextTokens:
    """Encode instructions with the text encoder (or encoders) a backbone reads.

    Args:
        backbone: whose text length and encoders to use.
        components: a pipeline's, by name: ``tokenizer``, ``text_encoder`` and for FLUX.1 ``tokenizer_2``,
            ``text_encoder_2``.
        texts: one instruction per picture.
    """
    tokenizer, encoder, length = components["tokenizer"], components["text_encoder"], backbone.text_length
    if backbone.name == "flux1":
        return t5_clip_tokens(
            tokenizer, encoder, components["tokenizer_2"], components["text_encoder_2"], texts, length
        )
    if backbone.name == "flux2":
        return qwen3_tokens(tokenizer, encoder, texts, length)
    return bert_tokens(tokenizer, encoder, texts, length)
