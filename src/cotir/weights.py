"""A base transformer as diffusers stores it, and CoTIR's adapter folder beside it.

An adapter folder holds everything CoTIR adds to a base:

    cotir.json                      what it is (:class:`AdapterManifest`)
    cot_adapter.safetensors         the CoT adapter
    lora/adapter_config.json        the LoRA, as PEFT reads and writes it
    lora/adapter_model.safetensors

Loading is strict: every tensor in a file has a place in the model and every place gets a tensor, or one error names
them all.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from peft import LoraConfig
from torch import Tensor

from cotir.adapter import CoTAdapter
from cotir.backbones import backbone_of
from cotir.errors import WeightsError
from cotir.lora import assign_lora, attach_empty, branches, lora_config, lora_state
from cotir.presets import Preset
from cotir.storage import check_keys, new_folder, read_diffusers, read_json, read_safetensors, shapes, write_safetensors
from cotir.transformer import CoTFlux2Transformer2DModel, CoTFluxTransformer2DModel, CoTTransformer, RoPE, Rounding

_COT_CLASSES: dict[str, type[CoTFluxTransformer2DModel] | type[CoTFlux2Transformer2DModel]] = {
    "FluxTransformer2DModel": CoTFluxTransformer2DModel,
    "Flux2Transformer2DModel": CoTFlux2Transformer2DModel,
}
"""Class of a base as its config.json names it -> the class that thinks."""
_PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterManifest:
    """What an adapter folder is: the contents of its ``cotir.json``."""

    preset: str
    backbone: str
    base: str | None
    """Hub repository of the base model it belongs to."""
    rank: int
    scale: float
    depth: int
    mlp_ratio: float = 4.0
    sources: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files it was converted from; empty for a model trained here."""
    format: int = 1

    @classmethod
    def read(cls, folder: Path) -> "AdapterManifest":
        """Read ``cotir.json`` in ``folder``.

        Raises:
            WeightsError: if there is none, or not one this version understands.
        """
        path = folder / "cotir.json"
        if not path.is_file():
            raise WeightsError(f"{folder} has no cotir.json: it is no adapter folder; convert released weights first")
        values, names = read_json(path), [entry.name for entry in fields(cls)]
        if values.get("format") != 1 or sorted(values) != sorted(names):
            raise WeightsError(
                f"{path} is no format-1 adapter description: it has {sorted(values)}, not {sorted(names)}"
            )
        return cls(**values)


def empty_transformer(preset: Preset) -> CoTTransformer:
    """Build a preset's CoT transformer on the meta device: shapes without numbers.

    Raises:
        WeightsError: for a preset that is stored whole, not as a base and an adapter folder.
    """
    for cls in _COT_CLASSES.values():
        if cls.__name__ == preset.backbone.transformer:
            return _build(cls, preset.transformer, cot_depth=preset.cot_depth, cot_mlp_ratio=preset.cot_mlp_ratio)
    raise WeightsError(f"preset {preset.name!r} is stored whole, not as a base and an adapter folder: load its folder")


def load_transformer(
    base: Path,
    adapter: Path | None = None,
    *,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    cot_depth: int = 6,
    rope: RoPE = "float64",
    rounding: Rounding = "diffusers",
) -> CoTTransformer:
    """Load a base transformer and what CoTIR adds to it.

    The model is built without memory and filled with the files' own mapped pages, so nothing is held twice.

    Args:
        base: the ``transformer`` folder of a diffusers pipeline: config.json and safetensors, in shards or not.
        adapter: an adapter folder; None starts a fresh CoT adapter without LoRA, which leaves the base as it is.
        dtype: of all weights; None keeps the base's.
        seed: of a fresh adapter.
        cot_depth: of a fresh adapter.
        rope: see :class:`~cotir.transformer.CoTFluxTransformer2DModel`.
        rounding: see there.

    Returns:
        The transformer on the CPU, in evaluation mode and frozen, with the LoRA attached and not fused.

    Raises:
        WeightsError: if a file is missing or damaged, adapter and base are of different families, or a tensor is
            missing, unexpected or of the wrong shape.
    """
    config = read_json(base / "config.json")
    family = config.get("_class_name")
    if family not in _COT_CLASSES:
        raise WeightsError(f"{base / 'config.json'} describes a {family}; CoTIR builds on {' or '.join(_COT_CLASSES)}")
    manifest = None if adapter is None else AdapterManifest.read(adapter)
    cot = {"cot_depth": manifest.depth, "cot_mlp_ratio": manifest.mlp_ratio} if manifest else {"cot_depth": cot_depth}
    model = _build(_COT_CLASSES[family], config, rope=rope, rounding=rounding, **cot)
    if manifest and manifest.backbone != backbone_of(model).name:
        raise WeightsError(
            f"{adapter} belongs to {manifest.base} ({manifest.backbone}), and {base} holds a {family} "
            f"({backbone_of(model).name}): load the base it belongs to"
        )
    tensors = read_diffusers(base)
    own = {key: shape for key, shape in shapes(model.state_dict()).items() if not key.startswith("cot_adapter.")}
    check_keys(own, shapes(tensors), source=base)
    dtype = dtype or tensors["x_embedder.weight"].dtype

    thoughts = _fresh_adapter(model, seed) if adapter is None else _read_adapter(model, adapter)
    tensors |= {f"cot_adapter.{key}": value for key, value in thoughts.items()}
    model.load_state_dict({key: value.to(dtype) for key, value in tensors.items()}, strict=True, assign=True)
    if adapter is not None and manifest is not None:
        _load_lora(model, adapter / "lora", manifest, dtype)
    return model.requires_grad_(False).eval()


def save_adapter(model: CoTTransformer, folder: Path, manifest: AdapterManifest) -> None:
    """Write what CoTIR adds to a base, the CoT adapter and the LoRA of ``model``, as a new adapter folder.

    Raises:
        WeightsError: if ``folder`` exists, or the model has no LoRA (it may have been fused).
    """
    if not branches(model):
        raise WeightsError(f"cannot write {folder}: the {type(model).__name__} has no LoRA; save before you fuse")
    config = lora_config(model, manifest.rank, manifest.scale)
    write_adapter(folder, manifest, model.cot_adapter.state_dict(), lora_state(model), config)


def write_adapter(
    folder: Path,
    manifest: AdapterManifest,
    adapter: Mapping[str, Tensor],
    lora: Mapping[str, Tensor],
    config: LoraConfig,
) -> None:
    """Write a new adapter folder, whole or not at all.

    Args:
        folder: where; it does not exist yet.
        manifest: what goes into ``cotir.json``.
        adapter: tensors as :class:`~cotir.adapter.CoTAdapter` names them.
        lora: tensors as :func:`~cotir.lora.lora_state` names them.
        config: PEFT's description of the LoRA.

    Raises:
        WeightsError: if ``folder`` exists.
    """
    with new_folder(folder) as part:
        write_safetensors(adapter, part / "cot_adapter.safetensors")
        config.save_pretrained(str(part / "lora"))
        peft_state = {_PEFT_PREFIX + key: value for key, value in lora.items()}
        write_safetensors(peft_state, part / "lora" / "adapter_model.safetensors")
        text = json.dumps(asdict(manifest), indent=2, sort_keys=True)
        (part / "cotir.json").write_text(f"{text}\n", encoding="utf-8")


def _build(cls: type[CoTTransformer], config: Mapping[str, Any], **cot: Any) -> CoTTransformer:
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    with init_empty_weights():
        model = cls.from_config(arguments, **cot)
    assert isinstance(model, cls)  # a tuple only where unused arguments were asked for
    return model


def _fresh_adapter(model: CoTTransformer, seed: int) -> dict[str, Tensor]:
    config = model.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = CoTAdapter(
            model.inner_dim,
            config["num_attention_heads"],
            config["joint_attention_dim"],
            config["cot_depth"],
            config["cot_mlp_ratio"],
        )
    return fresh.state_dict()


def _read_adapter(model: CoTTransformer, folder: Path) -> dict[str, Tensor]:
    path = folder / "cot_adapter.safetensors"
    tensors = read_safetensors(path)
    check_keys(shapes(model.cot_adapter.state_dict()), shapes(tensors), source=path)
    return tensors


def _load_lora(model: CoTTransformer, folder: Path, manifest: AdapterManifest, dtype: torch.dtype) -> None:
    path = folder / "adapter_model.safetensors"
    config = lora_config(model, manifest.rank, manifest.scale)
    stored = read_json(folder / "adapter_config.json")
    for name in ("r", "lora_alpha", "rank_pattern", "alpha_pattern"):
        if stored.get(name) != getattr(config, name):
            raise WeightsError(
                f"{folder / 'adapter_config.json'} says {name} = {stored.get(name)}, and cotir.json with rank "
                f"{manifest.rank} and scale {manifest.scale} makes it {getattr(config, name)}: one of them was edited"
            )
    attach_empty(model, config)
    tensors = read_safetensors(path)
    check_keys({_PEFT_PREFIX + key: s for key, s in shapes(lora_state(model)).items()}, shapes(tensors), source=path)
    assign_lora(model, {key.removeprefix(_PEFT_PREFIX): value.to(dtype) for key, value in tensors.items()})
