"""The model under training: a base with what CoTIR adds to it, and which of its weights move."""

import copy
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cotir.adapter import CoTAdapter
from cotir.backbones import Backbone, backbone_of
from cotir.errors import ConfigError
from cotir.loading import NANO_FOLDER, complete, locate_base
from cotir.lora import attach, branches, fuse
from cotir.nano import CoTNanoTransformer2DModel
from cotir.pipeline import CoTIRPipeline
from cotir.presets import PRESETS, Preset
from cotir.reshape import fresh_nano, reshaped
from cotir.storage import new_folder, read_json
from cotir.train.config import ModelConfig, TrainConfig
from cotir.transformer import CoTTransformer
from cotir.weights import AdapterManifest, load_transformer, save_adapter

CoTModel = CoTTransformer | CoTNanoTransformer2DModel

PROBED = 64
"""Numbers of every frozen tensor that go into the fingerprint."""


@dataclass
class Trainee:
    """A pipeline's parts, with the transformer's trained weights in float32 and all else frozen."""

    config: ModelConfig
    transformer: CoTModel
    components: dict[str, Any]
    """The rest of the pipeline: autoencoder, text encoders, tokenizers."""

    @property
    def preset(self) -> Preset:
        """Which size it is."""
        return PRESETS[self.config.preset]

    @property
    def backbone(self) -> Backbone:
        """The facts of its backbone."""
        return backbone_of(self.transformer)

    @property
    def adapter(self) -> CoTAdapter:
        """The CoT adapter within the transformer."""
        return adapter_of(self.transformer)

    def pipeline(self) -> CoTIRPipeline:
        """A pipeline around the very same parts, for validation."""
        return CoTIRPipeline(transformer=self.transformer, **self.components)

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that move, by name; a tied one once."""
        return {name: parameter for name, parameter in self.transformer.named_parameters() if parameter.requires_grad}

    def fingerprint(self) -> str:
        """Hash of the frozen weights: names, shapes and some numbers of each."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.transformer.named_parameters()):
            if not parameter.requires_grad:
                digest.update(f"{name} {tuple(parameter.shape)} ".encode())
                probe = parameter.detach().flatten()
                digest.update(probe[:: max(1, probe.numel() // PROBED)].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the trained model as what ``cotir restore --model`` takes, in place of what is there.

        nano, and a base that was trained itself, become a whole pipeline folder with the LoRA fused in; the others an
        adapter folder.
        """
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(self.transformer, CoTNanoTransformer2DModel) or not branches(self.transformer):
            transformer = copy.deepcopy(self.transformer).requires_grad_(False).eval()
            if branches(transformer):
                fuse(transformer)
            with new_folder(fresh) as part:
                CoTIRPipeline(transformer=transformer, **self.components).save_pretrained(part)
        else:
            save_adapter(self.transformer, fresh, self._manifest())
        old = folder.with_name(f"{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    def _manifest(self) -> AdapterManifest:
        config = self.transformer.config
        return AdapterManifest(
            preset=self.preset.name,
            backbone=self.backbone.name,
            base=self.preset.base,
            rank=self.config.rank,
            scale=self.config.scale,
            depth=config["cot_depth"],
            mlp_ratio=config["cot_mlp_ratio"],
        )


def load_trainee(config: TrainConfig) -> Trainee:
    """Load the base, add a fresh adapter and LoRA where the configuration wants them, and free the weights it names.

    Raises:
        ConfigError: the base is of another backbone than the preset, or quantisation is asked for where it cannot be.
        WeightsError: the base is not at hand or damaged.
    """
    model, dtype = config.model, getattr(torch, config.model.dtype)
    components = _nano_parts(model, config.seed) if model.preset == "nano" else _flux_parts(model, config.seed, dtype)
    transformer = components.pop("transformer")
    trainee = Trainee(model, transformer, components)
    wanted = trainee.preset.backbone.name
    if trainee.backbone.name != wanted:
        raise ConfigError(
            f"model.base {model.base} is a {trainee.backbone.name} model, and model.preset {model.preset} needs "
            f"{wanted}: give the base of that preset, or change model.preset"
        )
    if model.quantise != "none":
        quantise(transformer, model.quantise)
    if model.train in ("adapter", "lora"):
        attach(transformer, model.rank, model.scale, generator=torch.Generator().manual_seed(config.seed))
    for part in components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False).eval()
    free(transformer, model.train, reads=config.objective.reasoning != "none")
    if model.gradient_checkpointing:
        checkpointed = transformer.trunk if isinstance(transformer, CoTNanoTransformer2DModel) else transformer
        checkpointed.enable_gradient_checkpointing()
    return trainee


def adapter_of(transformer: CoTModel) -> CoTAdapter:
    """The CoT adapter of a transformer; nano's is in its trunk."""
    home = transformer.trunk if isinstance(transformer, CoTNanoTransformer2DModel) else transformer
    return home.cot_adapter


def free(transformer: CoTModel, what: str, *, reads: bool) -> None:
    """Let the weights move that training is about, in float32, and freeze the rest.

    Args:
        transformer: with a LoRA where ``what`` needs one.
        what: ``adapter``, ``lora``, ``base``, ``experts`` or ``all``, see :class:`~cotir.train.config.ModelConfig`.
        reads: whether the prediction heads are trained: without constraints nothing tells them where to go.

    Raises:
        ConfigError: experts shall be trained, and the transformer has none.
    """
    adapter = adapter_of(transformer)
    transformer.requires_grad_(what in ("base", "all"))
    if what in ("adapter", "lora"):
        for branch in branches(transformer).values():
            branch.down.requires_grad_(True)
            branch.up.requires_grad_(True)
    if what == "experts":
        if not isinstance(transformer, CoTNanoTransformer2DModel) or transformer.expertise is None:
            raise ConfigError(
                "model.train is experts, and model.base has none; make some (scripts/reshape_nano.py MODEL OUT "
                "experts='[jpeg, noise]') and fit their gate (scripts/fit_experts.py)"
            )
        transformer.expertise.changes.requires_grad_(True)
    adapter.requires_grad_(what in ("adapter", "all"))
    if not reads:
        for head in (adapter.scene_head, adapter.degradation_head, adapter.plan_head):
            head.requires_grad_(False)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    transformer.train()


def quantise(transformer: nn.Module, how: str) -> None:
    """Replace the frozen linear layers of the blocks by quantised ones, which shrink when they move to the GPU.

    Args:
        transformer: without LoRA, in bfloat16.
        how: ``nf4`` (Dettmers et al., QLoRA, arXiv:2305.14314) or ``int8`` (LLM.int8(), arXiv:2208.07339).

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes as bnb  # pyright: ignore[reportMissingImports] - for CUDA machines
    except ImportError as error:
        raise ConfigError(
            f"model.quantise {how} needs bitsandbytes ({error}); pip install bitsandbytes, or set it to none"
        ) from error
    blocks = {name for name, _ in transformer.named_children() if name.endswith("transformer_blocks")}
    for name, layer in list(transformer.named_modules()):
        if not isinstance(layer, nn.Linear) or name.split(".")[0] not in blocks:
            continue
        sizes = (layer.in_features, layer.out_features, layer.bias is not None)
        if how == "nf4":
            small = bnb.nn.Linear4bit(*sizes, compute_dtype=torch.bfloat16, quant_type="nf4")
            small.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=small)
        else:
            small = bnb.nn.Linear8bitLt(*sizes, has_fp16_weights=False)
            small.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
        if layer.bias is not None:
            small.bias = layer.bias
        parent, _, child = name.rpartition(".")
        setattr(transformer.get_submodule(parent), child, small)


def _nano_parts(config: ModelConfig, seed: int) -> dict[str, Any]:
    source = NANO_FOLDER if config.base in (None, "fresh") else config.base
    if Path(source).is_dir():
        _check_nano(Path(source))
    pipeline = CoTIRPipeline.from_pretrained(source)
    parts: dict[str, Any] = {name: part for name, part in pipeline.components.items() if part is not None}
    if config.base == "fresh":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts["transformer"] = fresh_nano(config.transformer)
    if isinstance(parts["transformer"], CoTNanoTransformer2DModel):
        if parts["transformer"].config["packed"]:
            parts["transformer"] = reshaped(parts["transformer"], packed=False).transformer
        # the layout of the features they meet: steps are a little faster so on a CPU
        parts["transformer"].to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return parts


def _check_nano(folder: Path) -> None:
    """Look before loading: diffusers would not say plainly that a folder holds another model."""
    if not (folder / "model_index.json").is_file():
        raise ConfigError(
            f"model.base {folder} has no model_index.json; model.preset nano needs a nano pipeline folder"
        )
    found = read_json(folder / "transformer" / "config.json").get("_class_name")
    if found != CoTNanoTransformer2DModel.__name__:
        raise ConfigError(
            f"model.base {folder} holds a {found}, and model.preset nano needs nano: give a nano pipeline folder, or "
            "change model.preset"
        )


def _flux_parts(config: ModelConfig, seed: int, dtype: torch.dtype) -> dict[str, Any]:
    preset = PRESETS[config.preset]
    base = locate_base(preset, config.base)
    depth = config.cot_depth or preset.cot_depth
    transformer = load_transformer(base / "transformer", dtype=dtype, seed=seed, cot_depth=depth)
    return complete(base, transformer, dtype=dtype)


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Size in bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
