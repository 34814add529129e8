"""Import of released CoTIR checkpoints: ``lora.pt`` and ``cot_adapter.pt`` -> an adapter folder.

The released models use other names, keep query, key, value and MLP in one matrix, and order shift and scale of the
output layer the other way round than diffusers. All of that is a list of :class:`Rule`: which rows of which released
tensor make up ours. Conversion moves numbers and computes none, so it is exact, and so is the way back.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor

from cotir.backbones import FLUX1, FLUX2
from cotir.errors import WeightsError
from cotir.lora import attach_empty, lora_config, lora_state
from cotir.presets import PRESETS, Preset, find_preset
from cotir.storage import Shapes, check_keys, shapes
from cotir.transformer import CoTTransformer
from cotir.weights import AdapterManifest, empty_transformer, write_adapter

Rows = tuple[tuple[int, int], ...]
"""Row ranges [start, end) in the order in which they appear in our tensor; empty for the whole tensor as it is."""


@dataclass(frozen=True)
class Rule:
    """One of our tensors, as rows of a released one."""

    ours: str
    released: str
    rows: Rows = ()


@dataclass(frozen=True)
class _Sizes:
    """What tells the released checkpoints apart."""

    backbone: str
    single_blocks: int
    hidden: int
    text: int
    adapter_blocks: int


def convert_released(
    released: Path, folder: Path, preset: Preset | str | None = None, *, scale: float = 1.0
) -> AdapterManifest:
    """Convert a folder with a released ``lora.pt`` and ``cot_adapter.pt`` into a new adapter folder.

    Args:
        released: folder with the two pickles. No code in them is run.
        folder: the adapter folder to write (see :mod:`cotir.weights`); it appears whole or not at all.
        preset: what the checkpoint is; None finds out from its sizes.
        scale: the LoRA scale it was trained with, which released files do not hold.

    Raises:
        WeightsError: if a file is missing or unreadable, a tensor is missing, unexpected or of the wrong shape, no
            preset fits, or ``folder`` exists.
        ConfigError: if there is no preset of that name.
    """
    lora, adapter = read_pickle(released / "lora.pt"), read_pickle(released / "cot_adapter.pt")
    if not isinstance(preset, Preset):
        preset = identify(lora, adapter) if preset is None else find_preset(preset)
    hint = _hint(lora, adapter, preset)

    model = empty_transformer(preset)
    config = lora_config(model, _rank(lora), scale)
    attach_empty(model, config)
    adapter_shapes, lora_shapes = shapes(model.cot_adapter.state_dict()), shapes(lora_state(model))
    manifest = AdapterManifest(
        preset=preset.name,
        backbone=preset.backbone.name,
        base=preset.base,
        rank=config.r,
        scale=scale,
        depth=preset.cot_depth,
        mlp_ratio=preset.cot_mlp_ratio,
        sources={name: _sha256(released / name) for name in ("lora.pt", "cot_adapter.pt")},
    )
    write_adapter(
        folder,
        manifest,
        from_released(adapter, adapter_rules(model), adapter_shapes, source=released / "cot_adapter.pt", hint=hint),
        from_released(lora, lora_rules(model), lora_shapes, source=released / "lora.pt", hint=hint),
        config,
    )
    return manifest


def identify(lora: Mapping[str, Tensor], adapter: Mapping[str, Tensor]) -> Preset:
    """Find the preset of a released checkpoint by its sizes.

    Raises:
        WeightsError: if none fits.
    """
    found = _sizes(lora, adapter)
    for preset in PRESETS.values():
        if found is not None and found == _preset_sizes(preset):
            return preset
    known = ", ".join(f"{preset.name}: {_preset_sizes(preset)}" for preset in PRESETS.values() if preset.base)
    raise WeightsError(f"the checkpoint fits no preset: it has {found or 'no released names'}; known are {known}")


def from_released(
    state: Mapping[str, Tensor], rules: Sequence[Rule], ours: Shapes, *, source: Path | str, hint: str = ""
) -> dict[str, Tensor]:
    """Translate a released state dict into our names and layout.

    Args:
        state: the released tensors.
        rules: where each of ours comes from.
        ours: the names and shapes that must come out.
        source: of ``state``, for the message.
        hint: for the message.

    Raises:
        WeightsError: naming every tensor that is missing, unexpected or of the wrong shape.
    """
    needed: dict[str, tuple[int, ...]] = {}
    for rule in rules:
        rows = max((end for _, end in rule.rows), default=ours[rule.ours][0])
        needed[rule.released] = (max(rows, needed.get(rule.released, (0,))[0]), *ours[rule.ours][1:])
    check_keys(needed, shapes(state), source=source, hint=hint)
    translated = {rule.ours: _take(state[rule.released], rule.rows) for rule in rules}
    check_keys(ours, shapes(translated), source=f"the translation of {source}")
    return translated


def to_released(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Translate tensors with our names back into a released state dict.

    Raises:
        WeightsError: if tensors that are one in the released layout differ (``A`` matrices that were not tied).
    """
    parts: dict[str, list[Rule]] = {}
    for rule in rules:
        parts.setdefault(rule.released, []).append(rule)
    released: dict[str, Tensor] = {}
    for name, sources in parts.items():
        if any(rule.rows for rule in sources):
            rows = sum(state[rule.ours].shape[0] for rule in sources)
            whole = released[name] = state[sources[0].ours].new_empty((rows, *state[sources[0].ours].shape[1:]))
            for rule in sources:
                _put(whole, state[rule.ours], rule.rows)
            continue
        first, *others = (state[rule.ours] for rule in sources)
        if not all(torch.equal(first, other) for other in others):
            raise WeightsError(
                f"{', '.join(rule.ours for rule in sources)} differ, and the released layout has one {name} for them"
            )
        released[name] = first
    return released


def adapter_rules(model: CoTTransformer) -> list[Rule]:
    """Return where each tensor of ``model``'s CoT adapter is found in a released ``cot_adapter.pt``."""
    hidden, mlp = model.inner_dim, int(model.inner_dim * model.config["cot_mlp_ratio"])
    rules = [
        Rule(f"{ours}_gate", f"cot_adapter.scale_{released}")
        for ours, released in (("degradation", "degradation"), ("scene", "sharpness"), ("plan", "planning"))
    ]
    for ours, released in (("degradation", "degradation"), ("scene", "sharpness"), ("plan", "planning")):
        head = f"cot_adapter.final_{released}_layer"
        rules += _linear(f"{ours}_layer", f"cot_adapter.{released}_layer")
        rules += _linear(f"{ours}_head.modulation", f"{head}.adaLN_modulation.1")
        rules += _linear(f"{ours}_head.linear", f"{head}.linear")
    for i in range(model.config["cot_depth"]):
        block = f"cot_adapter.decoder.{i}"
        query, key_value, rest = (0, hidden), (hidden, 3 * hidden), (3 * hidden, 3 * hidden + mlp)
        rules += _linear(f"blocks.{i}.modulation", f"{block}.modulation.lin")
        rules += _linear(f"blocks.{i}.to_q_mlp", f"{block}.linear1", (query, rest))
        rules += _linear(f"blocks.{i}.to_kv", f"{block}.linear1", (key_value,))
        rules += _linear(f"blocks.{i}.to_out", f"{block}.linear2")
        rules.append(Rule(f"blocks.{i}.norm_q.weight", f"{block}.norm.query_norm.scale"))
        rules.append(Rule(f"blocks.{i}.norm_k.weight", f"{block}.norm.key_norm.scale"))
    return rules


def lora_rules(model: CoTTransformer) -> list[Rule]:
    """Return where each LoRA tensor of ``model`` is found in a released ``lora.pt``."""
    h = model.inner_dim
    # released shift, scale; diffusers scale, shift
    rules = _lora("norm_out.linear", "final_layer.adaLN_modulation.1", ((h, 2 * h), (0, h)))
    rules += _lora("proj_out", "final_layer.linear")
    for i in range(model.config["num_single_layers"]):
        ours, released = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
        if isinstance(model, FluxTransformer2DModel):
            rules += _lora(f"{ours}.attn.to_q", f"{released}.linear1", ((0, h),))
            rules += _lora(f"{ours}.attn.to_k", f"{released}.linear1", ((h, 2 * h),))
            rules += _lora(f"{ours}.attn.to_v", f"{released}.linear1", ((2 * h, 3 * h),))
            rules += _lora(f"{ours}.proj_mlp", f"{released}.linear1", ((3 * h, 7 * h),))
            rules += _lora(f"{ours}.proj_out", f"{released}.linear2")
            rules += _lora(f"{ours}.norm.linear", f"{released}.modulation.lin")
        else:
            rules += _lora(f"{ours}.attn.to_qkv_mlp_proj", f"{released}.linear1")
            rules += _lora(f"{ours}.attn.to_out", f"{released}.linear2")
    return rules


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a released state dict, mapped into memory and without running what it may contain.

    Raises:
        WeightsError: if the file is missing or damaged, or holds anything but named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist: a released checkpoint is a folder with lora.pt and cot_adapter.pt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} is not a torch file of plain tensors: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a flat dictionary of tensors")
    return state


def _linear(ours: str, released: str, rows: Rows = ()) -> list[Rule]:
    return [Rule(f"{ours}.{kind}", f"{released}.{kind}", rows) for kind in ("weight", "bias")]


def _lora(ours: str, released: str, rows: Rows = ()) -> list[Rule]:
    down = Rule(f"{ours}.lora_A.weight", f"{released}.lora_A.weight")
    return [down, *_linear(f"{ours}.lora_B", f"{released}.lora_B", rows)]


def _take(tensor: Tensor, rows: Rows) -> Tensor:
    parts = [tensor[start:end] for start, end in rows]
    return torch.cat(parts) if len(parts) > 1 else (parts or [tensor])[0]


def _put(whole: Tensor, part: Tensor, rows: Rows) -> None:
    for piece, (start, end) in zip(part.split([end - start for start, end in rows]), rows, strict=True):
        whole[start:end] = piece


def _rank(lora: Mapping[str, Tensor]) -> int:
    ranks = [value.shape[0] for key, value in lora.items() if key.endswith(".lora_A.weight")]
    if not ranks:
        raise WeightsError("lora.pt holds no LoRA: no name in it ends with .lora_A.weight")
    return max(ranks)  # the output layer's is clipped


def _sizes(lora: Mapping[str, Tensor], adapter: Mapping[str, Tensor]) -> _Sizes | None:
    hidden = adapter.get("cot_adapter.degradation_layer.weight")
    text = adapter.get("cot_adapter.final_degradation_layer.linear.weight")
    if hidden is None or text is None:
        return None
    return _Sizes(
        # only FLUX.1 has a modulation in every block
        backbone=(FLUX1 if any(".modulation.lin." in key for key in lora) else FLUX2).name,
        single_blocks=len({match[1] for key in lora if (match := re.match(r"single_blocks\.(\d+)\.", key))}),
        hidden=hidden.shape[0],
        text=text.shape[0],
        adapter_blocks=len({match[1] for key in adapter if (match := re.match(r"cot_adapter\.decoder\.(\d+)\.", key))}),
    )


def _preset_sizes(preset: Preset) -> _Sizes:
    shape = preset.transformer
    return _Sizes(
        preset.backbone.name, shape["num_single_layers"], preset.hidden, shape["joint_attention_dim"], preset.cot_depth
    )


def _hint(lora: Mapping[str, Tensor], adapter: Mapping[str, Tensor], asked: Preset) -> str:
    found = _sizes(lora, adapter)
    fits = [preset.name for preset in PRESETS.values() if found == _preset_sizes(preset)]
    if not fits or fits == [asked.name]:
        return ""
    return f"these are {fits[0]} sizes, you asked for {asked.name}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
