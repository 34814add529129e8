"""PatchAutoencoder: the lossless latent space of the nano backbone.

A latent cell is simply a patch of pixels laid out as channels, so encoding and decoding are rearrangements: exact,
    free,
and without the blur a learned autoencoder puts under every result.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor

from cotir.errors import ImageError


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Pixels (B, 3, H, W) in [-1, 1] <-> latents (B, 3 p^2, H/p, W/p), without loss and without parameters."""

    @register_to_config
    def __init__(self, patch_size: int = 8) -> None:
        super().__init__()
        self.patch_size = patch_size
        # diffusers asks every part of a pipeline for its device and dtype, and finds them on a tensor.
        self.register_buffer("anchor", torch.zeros(()))

    def encode(self, pixels: Tensor) -> Tensor:
        """Lay every patch out as channels.

        Args:
            pixels: (B, 3, H, W), H and W multiples of the patch size.

        Returns:
            Latents (B, 3 p^2, H/p, W/p), channels ordered (colour, row, column).

        Raises:
            ImageError: if H or W is not a multiple of the patch size.
        """
        height, width = pixels.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ImageError(
                f"cannot cut {width}x{height} pixels into patches of {self.patch_size}: "
                f"pad width and height to multiples of {self.patch_size} first (cotir.image.Canvas does)"
            )
        return rearrange(pixels, "B c (h p) (w q) -> B (c p q) h w", p=self.patch_size, q=self.patch_size)

    def decode(self, latents: Tensor) -> Tensor:
        """Undo :meth:`encode` exactly: (B, 3 p^2, h, w) -> (B, 3, h p, w p)."""
        return rearrange(latents, "B (c p q) h w -> B c (h p) (w q)", p=self.patch_size, q=self.patch_size)
