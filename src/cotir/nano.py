"""The nano transformer: a FLUX.2 trunk with a CoT adapter inside a convolutional skin.

Bare patches learn local damage slowly on a CPU, so convolutions work at full, half and quarter resolution and the
FLUX trunk reads and writes at one eighth, where it reasons with the text. Tokens go in and tokens come out, so the
pipeline cannot tell nano from the large sizes.

The network predicts the clean picture, ``x_1 = T(x_c + r)``, and returns the velocity ``(x_t - x_1) / t``. The residual
r on the reference mends what is local; the tone map T, of which every token tells its own, mends light and colour: a
picture eight times too dark is eight times too dark everywhere, which no sum of convolutions says as briefly. Both
start as nothing: an untrained nano returns its input unchanged. At t = 1 the target tokens are pure noise and carry
nothing, so one step from there is the posterior mean.

Shapes: B batch, N tokens of the target (and as many of the reference), C = 3 p^2 latent channels, p patch size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from cotir.transformer import CoTFlux2Transformer2DModel, CoTTransformerOutput


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


class CoTNanoTransformer2DModel(ModelMixin, ConfigMixin):
    """See the module's docstring.

    Args:
        patch_size: pixels along one side of a token, here also the reduction of the trunk: 8.
        width: channels of the skin at full resolution; doubled at every level.
        block: kind of the convolution blocks, ``gated`` or ``residual``.
        blocks: their number at full, half and quarter resolution, on the way down and again on the way up.
        separable: whether the blocks of each resolution are separable, which only gated ones can be.
        tone: whether there is a tone map; without one T is the identity.
        num_layers, num_single_layers, attention_head_dim, num_attention_heads, joint_attention_dim, mlp_ratio,
            axes_dims_rope, rope_theta: the FLUX.2 trunk, as in diffusers.
        cot_depth, cot_mlp_ratio: the CoT adapter.
        fused_lora: a LoRA has been fused into the trunk (:func:`cotir.lora.fuse`) and brought biases.

    Raises:
        ValueError: no such kind of block, or separable residual ones.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        patch_size: int = 8,
        width: int = 24,
        block: str = "gated",
        blocks: tuple[int, int, int] = (2, 2, 3),
        separable: tuple[bool, bool, bool] = (False, False, False),
        tone: bool = False,
        num_layers: int = 1,
        num_single_layers: int = 3,
        attention_head_dim: int = 32,
        num_attention_heads: int = 6,
        joint_attention_dim: int = 384,
        mlp_ratio: float = 3.0,
        axes_dims_rope: tuple[int, ...] = (8, 8, 8, 8),
        rope_theta: int = 2000,
        cot_depth: int = 2,
        cot_mlp_ratio: float = 2.0,
        fused_lora: bool = False,
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        levels = list(zip(widths, blocks, separable, strict=True))
        trunk_channels = 4 * widths[-1]
        self.patch_size = patch_size
        # reference and scaled target pixels, and the time as a plane
        self.entry = nn.Conv2d(3 + 3 + 1, width, 3, padding=1)
        self.encoder = nn.ModuleList(
            nn.ModuleList(_block(block, w, None, separable=apart) for _ in range(n)) for w, n, apart in levels
        )
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:-1])
        self.trunk = CoTFlux2Transformer2DModel(
            in_channels=trunk_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            mlp_ratio=mlp_ratio,
            axes_dims_rope=axes_dims_rope,
            rope_theta=rope_theta,
            cot_depth=cot_depth,
            cot_mlp_ratio=cot_mlp_ratio,
            fused_lora=fused_lora,
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decoder = nn.ModuleList(
            nn.ModuleList(_block(block, w, trunk_channels, separable=apart) for _ in range(n)) for w, n, apart in levels
        )
        self.exit = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.exit.weight)
        assert self.exit.bias is not None  # it has one by default
        nn.init.zeros_(self.exit.bias)
        self.tone_map = ToneMap(trunk_channels) if tone else None

    @property
    def latent_channels(self) -> int:
        """Channels C of a latent cell."""
        return 3 * self.patch_size**2

    def forward(
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
        """Predict the velocity of the target tokens.

        Args:
            hidden_states: target then reference tokens (B, 2N, C).
            encoder_hidden_states: text-encoder embeddings (B, N_txt, D_txt).
            timestep: flow time in (0, 1] (B,); 1 is pure noise.
            img_ids: positions (2N, 4), axes (time, row, column, text).
            txt_ids: positions of the text tokens (N_txt, 4).
            guidance: accepted for the other backbones' sake, not used.
            predict_reasoning: also predict the embeddings of scene, degradation and plan.
        """
        target_ids = img_ids[: img_ids.shape[0] // 2]
        rows, columns = (int(n) + 1 for n in target_ids[:, 1:3].amax(dim=0))
        target, reference = (self._to_pixels(x, rows, columns) for x in hidden_states.chunk(2, dim=1))
        time = timestep.to(target.dtype)[:, None, None, None]

        # Channels last from here on: at 24 channels a CPU's convolutions take half the time so.
        seen = torch.cat([reference, (1 - time) * target, time.expand_as(target[:, :1])], dim=1)
        features = self.entry(seen.contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            if level:
                features = self.down[level - 1](features)
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues] - a ModuleList of ModuleLists
                features = block(features)
            skips.append(features)

        tokens = rearrange(features, "B c (h p) (w q) -> B (h w) (c p q)", p=2, q=2)
        thought = self.trunk(
            tokens, encoder_hidden_states, timestep, target_ids, txt_ids, predict_reasoning=predict_reasoning
        )
        features = rearrange(thought.sample, "B (h w) (c p q) -> B c (h p) (w q)", h=rows, p=2, q=2)
        features = features.contiguous(memory_format=torch.channels_last)
        summary = thought.sample.mean(dim=1)

        for level in reversed(range(len(skips))):
            features = skips[level] + (features if level == len(skips) - 1 else self.up[level](features))
            for block in self.decoder[level]:  # pyright: ignore[reportGeneralTypeIssues]
                features = block(features, summary)

        clean = reference + self.exit(features)
        if self.tone_map is not None:
            clean = self.tone_map(clean, thought.sample.unflatten(1, (rows, columns)))
        velocity = self._to_tokens((target - clean) / time)
        return CoTTransformerOutput(sample=velocity, reasoning=thought.reasoning)

    def _to_pixels(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        p = self.patch_size
        return rearrange(tokens, "B (h w) (c p q) -> B c (h p) (w q)", h=rows, w=columns, p=p, q=p)

    def _to_tokens(self, pixels: Tensor) -> Tensor:
        p = self.patch_size
        return rearrange(pixels, "B c (h p) (w q) -> B (h w) (c p q)", p=p, q=p)


def _block(kind: str, width: int, condition_dim: int | None, *, separable: bool) -> GatedConvBlock | ResidualConvBlock:
    if kind == "gated":
        return GatedConvBlock(width, condition_dim, separable=separable)
    if kind != "residual":
        raise ValueError(f"there is no block {kind!r}; a nano has gated or residual ones")
    if separable:
        raise ValueError("residual blocks are not separable; leave separable out, or take gated ones")
    return ResidualConvBlock(width, condition_dim)
