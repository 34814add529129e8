"""The parts of nano's skin: blocks of convolutions, the way up to full resolution, and the tone map.

Shapes: B batch, w channels of a level, H and W pixels or cells of it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class GatedConvBlock(nn.Module):
    """``x + W_out (a * sigmoid(b))`` with ``[a, b] = conv3x3(x)``; a condition, where there is one, scales a by 0 to 2.

    Both gates are bounded, so that a deep stack trains without normalisation, which costs a third of the speed on a
    CPU. A separable block splits the convolution into one over channels and one over pixels (a sixth of the
    multiplications, at 96 channels a third of the time).
    """

    def __init__(self, width: int, condition_dim: int | None = None, *, separable: bool = False) -> None:
        super().__init__()
        if separable:
            over_pixels = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
            self.conv = nn.Sequential(nn.Conv2d(width, 2 * width, 1), over_pixels)
        else:
            self.conv = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 1)
        self.scale = None if condition_dim is None else nn.Linear(condition_dim, width)
        if self.scale is not None:
            nn.init.zeros_(self.scale.weight)
            nn.init.zeros_(self.scale.bias)
        # Small, so that a deep stack without normalisation starts near the identity.
        nn.init.normal_(self.out.weight, std=0.1 / width**0.5)
        assert self.out.bias is not None  # it has one by default
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map features (B, w, H, W), optionally under a condition (B, condition_dim), to the same shape."""
        value, gate = self._halves(x)
        gated = value * gate.sigmoid()
        if self.scale is not None:
            gated = gated * (2 * self.scale(condition).sigmoid()[:, :, None, None])
        return x + self.out(gated)

    def _halves(self, x: Tensor) -> Sequence[Tensor]:
        if isinstance(self.conv, nn.Sequential):
            return self.conv(x).chunk(2, dim=1)
        # Two convolutions cost what one does, and each gives a whole array. Half the channels of one array, channels
        # last, are strided: at 24 channels a gate on them costs as much as the convolution.
        assert self.conv.bias is not None  # it has one by default
        halves = zip(self.conv.weight.chunk(2), self.conv.bias.chunk(2), strict=True)
        return [F.conv2d(x, weight, bias, padding=1) for weight, bias in halves]


class ResidualConvBlock(nn.Module):
    """``x + conv3x3(s relu(conv3x3(x)))``, s in 0 to 2 told by the condition, or 1 without one.

    As many multiplications as a gated block, in a little less time. A net of them learns noise and compression alone
    from fewer samples than nano did; with every kind of damage that was not seen (docs/science.md).
    """

    def __init__(self, width: int, condition_dim: int | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.gain = None if condition_dim is None else nn.Linear(condition_dim, width)
        if self.gain is not None:
            nn.init.zeros_(self.gain.weight)
            nn.init.zeros_(self.gain.bias)
        # Small, so that a deep stack without normalisation starts near the identity.
        nn.init.normal_(self.conv2.weight, std=0.1 / (9 * width) ** 0.5)
        assert self.conv2.bias is not None  # it has one by default
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map features (B, w, H, W), optionally under a condition (B, condition_dim), to the same shape."""
        seen = self.conv1(x).relu()
        if self.gain is not None:
            seen = seen * (2 * self.gain(condition).sigmoid()[:, :, None, None])
        return x + self.conv2(seen)


class ToneMap(nn.Module):
    """A change of light and colour that differs slowly over the picture.

    On pixels y in [0, 1], channel by channel where no matrix is: a curve ``y + q y (1 - y)`` (after Zero-DCE, Guo et
    al. 2020), a gain and a mixture of channels ``e^g (y + M y)``, an offset ``+ o``. Every token gives its q, g, M and
    o; between tokens they are interpolated, as the coefficients of a bilateral grid (Gharbi et al. 2017). It starts
    as the identity.

    Args:
        channels: of a token.
        hidden: width of the layer that reads it.
    """

    LARGEST = 3.0
    """Bound of g: gains of 1/20 to 20."""
    PARTS = (3, 3, 9, 3)
    """Numbers of q, g, M and o."""

    def __init__(self, channels: int, hidden: int = 96) -> None:
        super().__init__()
        self.read = nn.Linear(channels, hidden)
        self.tell = nn.Linear(hidden, sum(self.PARTS))
        nn.init.zeros_(self.tell.weight)
        nn.init.zeros_(self.tell.bias)

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Map pixels (B, 3, H, W) in [-1, 1] to such, by tokens (B, h, w, channels)."""
        curve, gain, mixture, offset = self.tell(F.silu(self.read(tokens))).split(self.PARTS, dim=-1)
        gain = self.LARGEST * (gain / self.LARGEST).tanh()
        told = rearrange(torch.cat([curve, gain, mixture, offset], dim=-1), "B h w c -> B c h w")
        told = F.interpolate(told, pixels.shape[-2:], mode="bilinear", align_corners=False)
        curve, gain, mixture, offset = told.split(self.PARTS, dim=1)
        y = (pixels + 1) / 2
        y = y + curve * y * (1 - y)
        mixed = (mixture.unflatten(1, (3, 3)) * y[:, None]).sum(dim=2)
        y = gain.exp() * (y + mixed) + offset
        return 2 * y - 1


class WayUp(nn.Module):
    """From what the trunk says back to full resolution: the clean picture, ``T(reference + residual)``.

    Args:
        up: convolutions that double the resolution, the finest first.
        decoder: blocks of every level, the finest first.
        exit: from the finest features to the residual.
        tone_map: T, or None for the identity.
        smooth: whether features are smoothed wherever the resolution was doubled (:func:`smoothed`).
    """

    def __init__(
        self, up: nn.ModuleList, decoder: nn.ModuleList, exit: nn.Conv2d, tone_map: ToneMap | None, *, smooth: bool
    ) -> None:
        super().__init__()
        self.up, self.decoder, self.exit, self.tone_map, self.smooth = up, decoder, exit, tone_map, smooth

    def forward(self, reference: Tensor, skips: Sequence[Tensor], said: Tensor) -> Tensor:
        """The clean picture (B, 3, H, W).

        Args:
            reference: the damaged picture in [-1, 1] (B, 3, H, W).
            skips: features of the way down, the finest first: (B, w, H, W), (B, 2w, H/2, W/2), ...
            said: the trunk's output, a grid of tokens of 2 x 2 cells of the coarsest level (B, h, w, 4 w_last).
        """
        features = rearrange(said, "B h w (c p q) -> B c (h p) (w q)", p=2, q=2)
        features = features.contiguous(memory_format=torch.channels_last)
        summary = said.mean(dim=(1, 2))
        for level in reversed(range(len(skips))):
            if level < len(skips) - 1:
                features = self.up[level](features)
            features = skips[level] + (smoothed(features) if self.smooth else features)
            for block in self.decoder[level]:  # pyright: ignore[reportGeneralTypeIssues] - a ModuleList of ModuleLists
                features = block(features, summary)
        clean = reference + self.exit(features)
        return clean if self.tone_map is None else self.tone_map(clean, said)


def smoothed(features: Tensor) -> Tensor:
    """Features (B, w, H, W) under a binomial filter of 3 x 3, their edges repeated.

    What doubles the resolution writes cells of 2 x 2, each place in them by weights of its own, and what these differ
    by is a grid over the whole picture (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"). The filter is
    zero at that frequency.
    """
    padded = F.pad(features, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2, stride=1)


def conv_block(
    kind: str, width: int, condition_dim: int | None, *, separable: bool
) -> GatedConvBlock | ResidualConvBlock:
    """A convolution block of a kind.

    Raises:
        ValueError: no such kind of block, or a separable residual one.
    """
    if kind == "gated":
        return GatedConvBlock(width, condition_dim, separable=separable)
    if kind != "residual":
        raise ValueError(f"there is no block {kind!r}; a nano has gated or residual ones")
    if separable:
        raise ValueError("residual blocks are not separable; leave separable out, or take gated ones")
    return ResidualConvBlock(width, condition_dim)
