"""From pairs to tensors: latents, embeddings, noise and times of a micro-batch.

What is drawn for a pair, its noise, its time and whether its instruction is vague, depends on the seed and the pair's
position alone, so that it is the same in every batch and on every device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cotir.backbones import Backbone
from cotir.encode import Conditioning, TextTokens, condition, encode_image, encode_text, to_tokens
from cotir.identity import latent_identity, text_identity
from cotir.phrase_bank import KINDS
from cotir.train.cache import LatentCache, TextCache
from cotir.train.config import CacheConfig, TimeConfig
from cotir.train.objective import PARTS
from cotir.train.pairs import Pair, Pixels


@dataclass(frozen=True)
class Batch:
    """A micro-batch on the device: x_1 and noise (B, N, C), t (B,), what the transformer is conditioned on, and g_k."""

    clean: Tensor
    noise: Tensor
    time: Tensor
    condition: Conditioning
    targets: Mapping[str, TextTokens]
    """Embeddings of the written trace by part; empty where no reasoning is asked for."""
    kinds: Tensor
    """1 for the kinds of damage that are there, else 0, in the order of :data:`cotir.phrase_bank.KINDS` (B, K)."""


class Encoder:
    """Turns pairs into batches, through the caches.

    Args:
        backbone: whose positions, text length and guidance to use.
        components: autoencoder, text encoders and tokenizers, where they shall run.
        cache: what is kept.
        time: how times are drawn.
        seed: of the run.
    """

    def __init__(
        self, backbone: Backbone, components: Mapping[str, Any], cache: CacheConfig, time: TimeConfig, seed: int
    ) -> None:
        self.backbone, self.time, self.seed = backbone, time, seed
        vae = components["vae"]
        folder = cache.folder
        self._encode = partial(encode_image, vae)
        self._device = next(components["text_encoder"].parameters()).device
        self.texts = TextCache(
            partial(encode_text, backbone, components),
            text_identity(backbone, components),
            None if folder is None else folder / "text",
            memory_mb=cache.text_mb,
        )
        self.latents = (
            LatentCache(
                lambda pixels: self._encode(pixels.to(self._device)),
                latent_identity(vae),
                None if folder is None else folder / "latents",
                memory_mb=cache.latent_mb,
            )
            if cache.latents
            else None
        )

    def __call__(self, pairs: Sequence[Pair], *, vague: float, reasoning: bool, device: torch.device) -> Batch:
        """Encode pairs of one size.

        Args:
            pairs: of a micro-batch.
            vague: share of vague instructions.
            reasoning: whether traces are encoded too.
            device: where the batch goes.
        """
        draws = [torch.Generator().manual_seed(_seed(self.seed, pair.position)) for pair in pairs]
        prompts = [
            pair.instruction.vague if float(torch.rand((), generator=draw)) < vague else pair.instruction.precise
            for pair, draw in zip(pairs, draws, strict=True)
        ]
        times = torch.stack([draw_time(self.time, draw) for draw in draws])
        clean, reference = (
            self._latents([getattr(pair, which) for pair in pairs], device).float() for which in ("hq", "lq")
        )
        noise = torch.stack([torch.randn(clean.shape[1:], generator=draw) for draw in draws]).to(device)
        given = condition(self.backbone, reference, self._text(prompts))
        targets = {part: self._text([getattr(pair.trace, part) for pair in pairs]) for part in PARTS if reasoning}
        return Batch(
            clean=to_tokens(clean),
            noise=to_tokens(noise),
            time=times.to(device),
            condition=given.to(device, torch.float32),
            targets={part: _moved(tokens, device) for part, tokens in targets.items()},
            kinds=kinds_of(pairs).to(device),
        )

    def _text(self, texts: Sequence[str]) -> TextTokens:
        return self.texts(list(texts))

    def _latents(self, pictures: Sequence[Pixels], device: torch.device) -> Tensor:
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        if self.latents is not None:
            return self.latents(pixels).to(device)
        with torch.no_grad():
            return self._encode((pixels.float() / 127.5 - 1).to(device))


def kinds_of(pairs: Sequence[Pair]) -> Tensor:
    """1 for the kinds that the degradation type of a pair names, else 0 (B, K)."""
    named = [set(pair.deg.split("-")) for pair in pairs]
    return torch.tensor([[float(kind in names) for kind in KINDS] for names in named])


def draw_time(config: TimeConfig, generator: torch.Generator) -> Tensor:
    """A flow time in (0, 1], a scalar: 1 for a share of the draws, else ``sigmoid(N(0, 1))``."""
    at_one = float(torch.rand((), generator=generator)) < config.at_one
    time = torch.randn((), generator=generator).sigmoid().clamp_min(config.floor)
    return torch.ones(()) if at_one else time


def _moved(tokens: TextTokens, device: torch.device) -> TextTokens:
    return TextTokens(tokens.embeddings.to(device), tokens.mask.to(device))


def _seed(seed: int, position: int) -> int:
    # positions of one run never meet those of another seed within a million million samples
    return (seed * 1_000_000_007_000 + position) % 2**63
