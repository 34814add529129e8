"""What differs between the backbones, as one table: FLUX.1 Kontext, FLUX.2 klein and nano.

Times run from t = 1 (noise) to t = 0 (clean). Positions are integer ids per token; the axes are (time, row, column) for
FLUX.1 and (time, row, column, text) for FLUX.2 and nano. The time id tells the reference image from the target.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cotir.errors import ConfigError


@dataclass(frozen=True)
class Backbone:
    """The facts a pipeline needs to know about a backbone."""

    name: str
    transformer: str
    """Name of the transformer's class; the key by which a loaded model finds its row."""
    pixels_per_token: int
    """Side of the square of pixels one token stands for; pictures are padded to multiples of it."""
    position_axes: int
    reference_time: int
    """Time id of the reference image; the target's is 0."""
    text_length: int
    """Tokens every instruction is padded or cut to."""
    guidance: float | None
    """Distilled guidance scale, or None where the model has no guidance embedder."""
    steps: int
    """Euler steps by default."""
    window: int
    """Largest side, in pixels, that goes through the model in one piece; larger pictures are restored in windows."""
    overlap: int
    """Pixels that neighbouring windows share."""
    glance: int
    """Largest side, in pixels, of the whole picture made smaller that gives the tone (:mod:`cotir.scales`)."""
    mu: Callable[[int, int], float]
    """(steps, target tokens) -> shift of the time schedule."""

    def schedule(self, steps: int, tokens: int) -> Tensor:
        """Times (steps + 1,) float32 from 1 to 0: ``t' = e^mu / (e^mu + 1/t - 1)`` of a uniform grid.

        Raises:
            ConfigError: if ``steps`` is less than 1.
        """
        if steps < 1:
            raise ConfigError(f"steps is {steps}; it must be at least 1")
        t = torch.linspace(1, 0, steps + 1)
        shift = math.exp(self.mu(steps, tokens))
        return shift / (shift + 1 / t - 1)

    def positions(self, rows: int, columns: int, time: int) -> Tensor:
        """Ids (rows * columns, axes) float32 of a latent grid in reading order."""
        ids = torch.zeros(rows, columns, self.position_axes)
        ids[..., 0] = time
        ids[..., 1] = torch.arange(rows)[:, None]
        ids[..., 2] = torch.arange(columns)
        return ids.flatten(0, 1)

    def image_positions(self, rows: int, columns: int) -> Tensor:
        """Ids (2 * rows * columns, axes) of the target tokens followed by the reference tokens."""
        return torch.cat([self.positions(rows, columns, 0), self.positions(rows, columns, self.reference_time)])

    def text_positions(self, length: int) -> Tensor:
        """Ids (length, axes) of the text tokens: numbered on the text axis where there is one, else all zero."""
        ids = torch.zeros(length, self.position_axes)
        if self.position_axes == 4:
            ids[:, 3] = torch.arange(length)
        return ids


def _flux1_mu(steps: int, tokens: int) -> float:
    """Linear in the target's tokens through (256, 0.5) and (4096, 1.15), at any steps (flux, ``get_schedule``)."""
    return 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)


def _flux2_mu(steps: int, tokens: int) -> float:
    """The empirical shift of FLUX.2 (flux2, ``compute_empirical_mu``): two lines fitted at 10 and 200 steps."""
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    return at_200 + (at_200 - at_10) / 190 * (steps - 200)


def _no_shift(steps: int, tokens: int) -> float:
    return 0.0


FLUX1 = Backbone(
    name="flux1",
    transformer="CoTFluxTransformer2DModel",
    pixels_per_token=16,
    position_axes=3,
    reference_time=1,
    text_length=512,
    guidance=4.0,
    steps=20,
    window=1024,
    overlap=128,
    glance=1024,
    mu=_flux1_mu,
)
FLUX2 = Backbone(
    name="flux2",
    transformer="CoTFlux2Transformer2DModel",
    pixels_per_token=16,
    position_axes=4,
    reference_time=10,
    text_length=512,
    guidance=None,
    steps=4,
    window=1024,
    overlap=128,
    glance=1024,
    mu=_flux2_mu,
)
NANO = Backbone(
    name="nano",
    transformer="CoTNanoTransformer2DModel",
    pixels_per_token=8,
    position_axes=4,
    reference_time=10,
    text_length=48,
    guidance=None,
    steps=1,
    window=256,
    overlap=24,
    glance=128,
    mu=_no_shift,
)

BACKBONES = {backbone.name: backbone for backbone in (FLUX1, FLUX2, NANO)}


def backbone_of(transformer: object) -> Backbone:
    """The row of the table for a transformer.

    Raises:
        ConfigError: if no backbone uses this class.
    """
    # FSDP2 puts a class of its own over a model's
    classes = {each.__name__ for each in type(transformer).__mro__}
    for backbone in BACKBONES.values():
        if backbone.transformer in classes:
            return backbone
    name = type(transformer).__name__
    known = ", ".join(backbone.transformer for backbone in BACKBONES.values())
    raise ConfigError(f"{name} is not a CoTIR transformer; use one of {known}")
