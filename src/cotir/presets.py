"""The sizes CoTIR comes in: which base each one fine-tunes, under which licence, and its exact shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cotir.backbones import FLUX1, FLUX2, NANO, Backbone
from cotir.errors import ConfigError


@dataclass(frozen=True)
class ParameterCounts:
    """How many numbers a preset holds, so that a shape cannot drift unnoticed."""

    base: int
    lora: int
    adapter: int


@dataclass(frozen=True)
class Preset:
    """One size of CoTIR."""

    name: str
    backbone: Backbone
    base: str | None
    """Hub repository of the base model; None where the whole model is bundled."""
    licence: str
    """Licence of the base weights, which governs everything made with them."""
    licence_url: str
    transformer: Mapping[str, Any]
    """Arguments of the CoT transformer; what is not named keeps the class's default."""
    lora_rank: int = 96
    lora_scale: float = 1.0
    cot_depth: int = 6
    cot_mlp_ratio: float = 4.0
    parameters: ParameterCounts | None = field(default=None, repr=False)
    """None for the bundled model, whose folder says what it is."""

    @property
    def steps(self) -> int:
        """Euler steps unless the user asks for another number."""
        return self.backbone.steps

    @property
    def hidden(self) -> int:
        """Width D of the transformer's hidden states."""
        return self.transformer["num_attention_heads"] * self.transformer["attention_head_dim"]


_FLUX1 = MappingProxyType(
    {
        "in_channels": 64,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
        "axes_dims_rope": (16, 56, 56),
    }
)


_NANO = MappingProxyType(
    {"num_single_layers": 3, "attention_head_dim": 32, "num_attention_heads": 6, "joint_attention_dim": 384}
)


def _klein(num_layers: int, num_single_layers: int, num_attention_heads: int, joint_attention_dim: int) -> Mapping:
    return MappingProxyType(
        {
            "in_channels": 128,
            "num_layers": num_layers,
            "num_single_layers": num_single_layers,
            "attention_head_dim": 128,
            "num_attention_heads": num_attention_heads,
            "joint_attention_dim": joint_attention_dim,
            "mlp_ratio": 3.0,
            "axes_dims_rope": (32, 32, 32, 32),
            "rope_theta": 2000,
            "guidance_embeds": False,
        }
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="nano",
                backbone=NANO,
                base=None,
                licence="Apache-2.0",
                licence_url="https://www.apache.org/licenses/LICENSE-2.0",
                transformer=_NANO,
                cot_depth=2,
                cot_mlp_ratio=2.0,
            ),
            Preset(
                name="4b",
                backbone=FLUX2,
                base="black-forest-labs/FLUX.2-klein-4B",
                licence="Apache-2.0",
                licence_url="https://huggingface.co/black-forest-labs/FLUX.2-klein-4B",
                transformer=_klein(5, 20, 24, 7680),
                parameters=ParameterCounts(base=3_875_544_576, lora=90_286_208, adapter=1_014_752_259),
            ),
            Preset(
                name="9b",
                backbone=FLUX2,
                base="black-forest-labs/FLUX.2-klein-9B",
                licence="FLUX Non-Commercial License",
                licence_url="https://huggingface.co/black-forest-labs/FLUX.2-klein-9B",
                transformer=_klein(8, 24, 32, 12288),
                parameters=ParameterCounts(base=9_078_581_248, lora=144_134_272, adapter=1_829_062_147),
            ),
            Preset(
                name="12b",
                backbone=FLUX1,
                base="black-forest-labs/FLUX.1-Kontext-dev",
                licence="FLUX.1 [dev] Non-Commercial License",
                licence_url="https://huggingface.co/black-forest-labs/FLUX.1-Kontext-dev",
                transformer=_FLUX1,
                parameters=ParameterCounts(base=11_901_408_320, lora=204_095_552, adapter=981_711_363),
            ),
        )
    }
)


def find_preset(name: str) -> Preset:
    """Look a preset up by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
