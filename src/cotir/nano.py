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

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call

from cotir.experts import Experts
from cotir.skin import ToneMap, WayUp, conv_block
from cotir.transformer import CoTFlux2Transformer2DModel, CoTTransformerOutput


class CoTNanoTransformer2DModel(ModelMixin, ConfigMixin):
    """See the module's docstring.

    Args:
        patch_size: pixels along one side of a token, here also the reduction of the trunk: 8.
        width: channels of the skin at full resolution; doubled at every level.
        block: kind of the convolution blocks, ``gated`` or ``residual``.
        blocks: their number at full, half and quarter resolution, on the way down and again on the way up.
        separable: whether the blocks of each resolution are separable, which only gated ones can be.
        tone: whether there is a tone map; without one T is the identity.
        smooth: whether the way up smooths what was doubled in resolution, so that no grid is left.
        experts: what damage the way up has weights of its own for (:class:`cotir.experts.Scope`).
        packed: whether these are kept in bytes, and cannot be trained (:class:`cotir.experts.Experts`).
        num_layers, num_single_layers, attention_head_dim, num_attention_heads, joint_attention_dim, mlp_ratio,
            axes_dims_rope, rope_theta: the FLUX.2 trunk, as in diffusers.
        cot_depth, cot_mlp_ratio: the CoT adapter.
        fused_lora: a LoRA has been fused into the trunk (:func:`cotir.lora.fuse`) and brought biases.

    Raises:
        ValueError: no such kind of block, or separable residual ones; an expert for no kind of damage, or one twice.
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
        smooth: bool = False,
        experts: tuple[str, ...] = (),
        packed: bool = False,
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
            nn.ModuleList(conv_block(block, w, None, separable=apart) for _ in range(n)) for w, n, apart in levels
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
            nn.ModuleList(conv_block(block, w, trunk_channels, separable=apart) for _ in range(n))
            for w, n, apart in levels
        )
        self.exit = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.exit.weight)
        assert self.exit.bias is not None  # it has one by default
        nn.init.zeros_(self.exit.bias)
        self.tone_map = ToneMap(trunk_channels) if tone else None
        weights = sum(weight.numel() for weight in self._way_up().parameters())
        seen = 2 * (sum(widths) + trunk_channels) + joint_attention_dim
        self.expertise = Experts(experts, weights, seen, packed=packed) if experts else None

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
        said = thought.sample.unflatten(1, (rows, columns))
        clean = self._clean(reference, skips, said, encoder_hidden_states)
        velocity = self._to_tokens((target - clean) / time)
        return CoTTransformerOutput(sample=velocity, reasoning=thought.reasoning)

    def _way_up(self) -> WayUp:
        # made anew for every pass and not a part of the model: the weights keep the names they have without it
        return WayUp(self.up, self.decoder, self.exit, self.tone_map, smooth=self.config["smooth"])

    def _clean(self, reference: Tensor, skips: list[Tensor], said: Tensor, text: Tensor) -> Tensor:
        """The clean picture, by weights that fit every picture where there are experts."""
        way_up = self._way_up()
        if self.expertise is None:
            return way_up(reference, skips, said)
        maps = [*(features.permute(0, 2, 3, 1) for features in skips), said]
        seen = [moment for each in maps for moment in _moments(each.flatten(1, 2))]
        gates = self.expertise.gates(torch.cat([*seen, text.mean(dim=1)], dim=1))
        merged = self.expertise.merged(dict(way_up.named_parameters()), gates)
        pictures = zip(merged, reference.split(1), *(features.split(1) for features in (*skips, said)), strict=True)
        return torch.cat(
            [
                functional_call(way_up, weights, (picture, features, tokens))
                for weights, picture, *features, tokens in pictures
            ]
        )

    def _to_pixels(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        p = self.patch_size
        return rearrange(tokens, "B (h w) (c p q) -> B c (h p) (w q)", h=rows, w=columns, p=p, q=p)

    def _to_tokens(self, pixels: Tensor) -> Tensor:
        p = self.patch_size
        return rearrange(pixels, "B c (h p) (w q) -> B (h w) (c p q)", p=p, q=p)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel, (B, C) each, of features (B, N, C)."""
    mean = features.mean(dim=1)
    # torch's own takes five times as long on a CPU; a little more than zero, where the root has a slope
    return mean, ((features - mean[:, None]).square().mean(dim=1) + 1e-12).sqrt()
