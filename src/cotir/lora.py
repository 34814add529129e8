"""LoRA on every linear layer of the single-stream blocks and of the output layer, through PEFT.

    y = W x + b + scale (B (A x) + b_B)

``B`` and ``b_B`` start at zero, so a fresh LoRA changes nothing. The rank is clipped to min(inputs, outputs) of a
layer, as in the released code.

diffusers splits the released ``linear1`` of a FLUX.1 single-stream block into query, key, value and MLP projections,
where the released code trains one ``A`` for all four. They are tied here, so that training is the same.
"""

import math
import re
import warnings
from dataclasses import dataclass
from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.utils.warning import PeftWarning
from torch import Tensor, nn

from cotir.errors import WeightsError
from cotir.nano import CoTNanoTransformer2DModel

ADAPTER = "cotir"
"""The name PEFT knows our LoRA by."""

_OUTPUT = r"proj_out|norm_out\.linear"
_FLUX1 = rf"single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out|norm\.linear)|{_OUTPUT}"
_FLUX2 = rf"single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)|{_OUTPUT}"
TARGETS: dict[type[nn.Module], str] = {
    FluxTransformer2DModel: _FLUX1,
    Flux2Transformer2DModel: _FLUX2,
    CoTNanoTransformer2DModel: rf"trunk\.({_FLUX2})",
}
"""What LoRA adapts: one pattern of the full module name for each family; suffixes would match double-stream blocks."""

_SHARED_A = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
"""The layers of a FLUX.1 single-stream block that are one layer in the released code."""


@dataclass(frozen=True)
class Branch:
    """One adapted layer: ``base(x) + scale * up(down(x))``."""

    base: nn.Linear
    down: nn.Linear
    """``A``, without bias."""
    up: nn.Linear
    """``B``, with bias."""
    scale: float


def branches(model: nn.Module) -> dict[str, Branch]:
    """Return the layers of ``model`` that carry our LoRA, by module name; empty if there are none."""
    return {
        name: Branch(
            base=cast(nn.Linear, module.get_base_layer()),
            down=cast(nn.Linear, module.lora_A[ADAPTER]),
            up=cast(nn.Linear, module.lora_B[ADAPTER]),
            scale=module.scaling[ADAPTER],
        )
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A
    }


def targets(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the layers that LoRA adapts, by module name, of a model without LoRA.

    Raises:
        WeightsError: if the model is of no known family, or no layer of it matches.
    """
    pattern = _pattern(model)
    found = {
        name: module
        for name, module in model.named_modules()
        if re.fullmatch(pattern, name) and isinstance(module, nn.Linear)
    }
    if not found:
        raise WeightsError(f"LoRA matches no linear layer of {type(model).__name__}; the pattern is {pattern!r}")
    return found


def lora_config(model: nn.Module, rank: int, scale: float) -> LoraConfig:
    """Return PEFT's description of our LoRA, with the rank clipped where a layer is narrower.

    Args:
        model: a CoT transformer, with or without LoRA.
        rank: of the LoRA.
        scale: factor of the LoRA branch, bias included.

    Raises:
        WeightsError: if the model is of no known family, or no layer of it matches.
    """
    layers = {name: branch.base for name, branch in branches(model).items()} or targets(model)
    widths = {rf"^{re.escape(name)}$": min(layer.in_features, layer.out_features) for name, layer in layers.items()}
    clipped = {pattern: width for pattern, width in widths.items() if width < rank}
    return LoraConfig(
        r=rank,
        # PEFT's factor is alpha / rank.
        lora_alpha=scale * rank,  # pyright: ignore[reportArgumentType] - declared int, used as a number
        rank_pattern=clipped,
        alpha_pattern={pattern: scale * width for pattern, width in clipped.items()},
        target_modules=_pattern(model),
        lora_bias=True,
    )


def attach(
    model: nn.Module, rank: int, scale: float, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> None:
    """Attach a fresh LoRA: ``A`` random, ``B`` and its bias zero, and FLUX.1's shared ``A`` tied.

    The LoRA is trainable and everything else is frozen, the CoT adapter too: whoever trains it says so.

    Args:
        model: a CoT transformer without LoRA.
        rank: of the LoRA, clipped per layer.
        scale: factor of the LoRA branch, bias included.
        generator: where ``A`` comes from, on the CPU.
        dtype: of the LoRA parameters.

    Raises:
        WeightsError: if nothing matches, or the model has a LoRA already.
    """
    attach_empty(model, lora_config(model, rank, scale))
    state: dict[str, Tensor] = {}
    for name, branch in branches(model).items():
        down = torch.empty(branch.down.weight.shape)
        # The initialisation of torch's own Linear, as PEFT has it.
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        state[f"{name}.lora_A.weight"] = down.to(branch.base.weight.device, dtype)
        for kind, parameter in branch.up.named_parameters():
            state[f"{name}.lora_B.{kind}"] = torch.zeros(parameter.shape, device=branch.base.weight.device, dtype=dtype)
    for first, *others in shared_inputs(model):
        state |= {f"{other}.lora_A.weight": state[f"{first}.lora_A.weight"] for other in others}
    assign_lora(model, state)


def attach_empty(model: nn.Module, config: LoraConfig) -> None:
    """Attach a LoRA whose parameters are on the meta device, to be filled by :func:`assign_lora`.

    Raises:
        WeightsError: if nothing matches, or the model has a LoRA already.
    """
    if branches(model):
        raise WeightsError(f"the {type(model).__name__} has a LoRA already: fuse it before you attach another")
    targets(model)
    with warnings.catch_warnings():
        # PEFT warns that it cannot merge a bias into FLUX.2's layers, which have none; `fuse` can.
        warnings.filterwarnings("ignore", message="`lora_bias=True` was passed", category=PeftWarning)
        inject_adapter_in_model(config, model, ADAPTER, low_cpu_mem_usage=True)
    if isinstance(model, PeftAdapterMixin):
        model._hf_peft_config_loaded = True  # diffusers' own LoRA methods ask for it


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the LoRA parameters as ``<module>.lora_A.weight`` and ``<module>.lora_B.{weight,bias}``."""
    state: dict[str, Tensor] = {}
    for name, branch in branches(model).items():
        state[f"{name}.lora_A.weight"] = branch.down.weight
        state[f"{name}.lora_B.weight"] = branch.up.weight
        state[f"{name}.lora_B.bias"] = branch.up.bias
    return state


def assign_lora(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Make tensors, named as in :func:`lora_state`, the LoRA parameters; none is copied, and FLUX.1's ``A`` are tied.

    Raises:
        WeightsError: if the four ``A`` that the released layout shares differ.
    """
    for first, *others in shared_inputs(model):
        for other in others:
            if not torch.equal(state[f"{other}.lora_A.weight"], state[f"{first}.lora_A.weight"]):
                raise WeightsError(f"lora_A of {other} and of {first} differ: CoTIR's LoRA shares one A between them")
    adapted = branches(model)
    for name, branch in adapted.items():
        branch.down.weight = nn.Parameter(state[f"{name}.lora_A.weight"])
        branch.up.weight = nn.Parameter(state[f"{name}.lora_B.weight"])
        branch.up.bias = nn.Parameter(state[f"{name}.lora_B.bias"])
    for first, *others in shared_inputs(model):
        for other in others:
            adapted[other].down.weight = adapted[first].down.weight


def fuse(model: nn.Module) -> None:
    """Merge the LoRA into the layers it adapts and remove it, so that plain linear layers remain.

    ``W + scale B A`` and ``b + scale b_B``, summed in float32; a layer without a bias gets one.

    Raises:
        WeightsError: if the model has no LoRA, or a layer below it is quantised.
    """
    adapted = branches(model)
    if not adapted:
        raise WeightsError(f"the {type(model).__name__} has no LoRA to fuse")
    for name, branch in adapted.items():
        if not branch.base.weight.is_floating_point():
            raise WeightsError(
                f"cannot fuse LoRA into {name}, its weight is quantised ({branch.base.weight.dtype}): "
                "load the base unquantised, fuse, then quantise"
            )
    for name, branch in adapted.items():
        _merge(branch)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, branch.base)
    del model.peft_config
    for module in model.modules():
        if isinstance(module, ConfigMixin) and "fused_lora" in module.config:
            module.register_to_config(fused_lora=True)  # so that a saved model comes back with these biases
    if isinstance(model, PeftAdapterMixin):
        model._hf_peft_config_loaded = False


def _merge(branch: Branch) -> None:
    base, dtype = branch.base, branch.base.weight.dtype
    with torch.no_grad():
        weight = base.weight.float() + branch.scale * (branch.up.weight.float() @ branch.down.weight.float())
        bias = branch.scale * branch.up.bias.float()
        if base.bias is not None:
            bias = base.bias.float() + bias
    # New parameters, because the old ones may be a file mapped into memory.
    base.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    base.bias = nn.Parameter(bias.to(dtype), requires_grad=False)


def shared_inputs(model: nn.Module) -> list[list[str]]:
    """Return the groups of layers that share one ``A``; its gradient is then the sum of what copies would get."""
    if not isinstance(model, FluxTransformer2DModel):
        return []
    blocks = range(len(model.single_transformer_blocks))
    return [[f"single_transformer_blocks.{i}.{name}" for name in _SHARED_A] for i in blocks]


def _pattern(model: nn.Module) -> str:
    for family, pattern in TARGETS.items():
        if isinstance(model, family):
            return pattern
    families = ", ".join(family.__name__ for family in TARGETS)
    raise WeightsError(f"there are no LoRA targets for a {type(model).__name__}; the known families are {families}")
