"""What a run would take, without loading a weight: numbers of parameters, bytes that never leave memory, and samples.

The transformer is built on the meta device and treated as training treats it, so that the counts are exact. Activations
depend on kernels and checkpointing and are not estimated.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn

from cotir.errors import ConfigError
from cotir.loading import NANO_FOLDER
from cotir.lora import attach_empty, branches, lora_config, shared_inputs
from cotir.presets import PRESETS
from cotir.reshape import fresh_nano
from cotir.storage import read_json
from cotir.train.config import ModelConfig, ScheduleConfig, TrainConfig
from cotir.train.data import Share
from cotir.train.trainee import CoTModel, adapter_of, free
from cotir.weights import empty_transformer

ENCODERS = {"4b": 4_106_514_211, "9b": 8_274_781_475, "12b": 4_969_190_819}
"""Parameters of text encoders and autoencoder: Qwen3 4B and 8B with FLUX.2's, T5-XXL and CLIP-L with FLUX.1's."""
QUANTISED = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Bytes of a weight. nf4: a byte of scale for 64 weights, and 4 for 256 scales (QLoRA, arXiv:2305.14314, section 3)."""
MOMENTS = {"adamw": 8, "adamw8bit": 2}
"""Bytes of a trained number's two moments."""


@dataclass(frozen=True)
class Parameters:
    """How many numbers there are; a tied one counts once."""

    base: int
    lora: int
    adapter: int
    trained: int

    @property
    def share(self) -> float:
        """Trained part of all."""
        return self.trained / (self.base + self.lora + self.adapter)


@dataclass(frozen=True)
class Memory:
    """Bytes of one process that are there from the first step to the last, where nothing is split over processes."""

    frozen: int
    """Weights of the transformer that do not move."""
    encoders: int
    """Text encoders and autoencoder."""
    trained: int
    """Weights that move, float32."""
    gradients: int
    optimizer: int
    average: int

    @property
    def total(self) -> int:
        """Before activations."""
        return self.frozen + self.encoders + self.trained + self.gradients + self.optimizer + self.average


@dataclass(frozen=True)
class StageForecast:
    """One stage of the schedule."""

    steps: int
    crop: int
    batch: int
    """Of one process and micro-batch."""
    accumulate: int
    step_size: int
    """Samples of a step over all processes."""
    target_tokens: int
    """Image tokens of a sample's target; its reference has as many."""

    @property
    def samples(self) -> int:
        """Of the whole stage."""
        return self.steps * self.step_size


@dataclass(frozen=True)
class Forecast:
    """What a run would take."""

    preset: str
    world: int
    parameters: Parameters
    memory: Memory
    text_tokens: int
    stages: tuple[StageForecast, ...]

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return sum(stage.steps for stage in self.stages)

    @property
    def samples(self) -> int:
        """Of the whole run, over all processes."""
        return sum(stage.samples for stage in self.stages)


def forecast(config: TrainConfig, world: int = 1) -> Forecast:
    """What a run would take.

    The large sizes are counted as their presets describe them, whatever ``model.base`` holds.

    Args:
        config: of the run.
        world: number of processes.

    Raises:
        ConfigError: ``world`` is less than 1, ``model.transformer`` has an unknown argument, a crop does not divide
            into tokens, or nano's base is not on this machine.
        WeightsError: the base's configuration cannot be read.
    """
    if world < 1:
        raise ConfigError(f"the number of processes is {world}; it must be at least 1")
    preset = PRESETS[config.model.preset]
    model = empty_model(config.model)
    quantised = _quantised(model) if config.model.quantise != "none" else set()
    if config.model.train in ("adapter", "lora"):
        attach_empty(model, lora_config(model, config.model.rank, config.model.scale))
        _tie(model)
    free(model, config.model.train, reads=config.objective.reasoning != "none")
    parameters = _count(model)
    return Forecast(
        preset=preset.name,
        world=world,
        parameters=parameters,
        memory=Memory(
            frozen=_frozen_bytes(model, config.model, quantised),
            encoders=_encoder_bytes(config.model),
            trained=4 * parameters.trained,
            gradients=4 * parameters.trained,
            optimizer=MOMENTS[config.optimizer.name] * parameters.trained,
            average=4 * parameters.trained if config.model.ema else 0,
        ),
        text_tokens=preset.backbone.text_length,
        stages=tuple(_stages(config.schedule, world, preset.backbone.pixels_per_token)),
    )


def lines(found: Forecast) -> list[str]:
    """A forecast in words."""
    parameters, memory = found.parameters, found.memory
    return [
        f"parameters  base {parameters.base:,}  LoRA {parameters.lora:,}  adapter {parameters.adapter:,}",
        f"trained     {parameters.trained:,} ({parameters.share:.1%})",
        *(
            f"memory      {_size(number):>9}  {what}"
            for what, number in (
                ("frozen weights of the transformer", memory.frozen),
                ("text encoders and autoencoder", memory.encoders),
                ("trained weights, float32", memory.trained),
                ("gradients, float32", memory.gradients),
                ("optimiser", memory.optimizer),
                ("moving average", memory.average),
                ("in all in one process, before activations", memory.total),
            )
        ),
        "            Activations come on top and are not estimated: they grow with batch and crop.",
        *(
            f"stage {number}     {stage.steps:,} steps  crop {stage.crop}  batch {stage.batch} x {stage.accumulate} "
            f"micro-batches x {found.world} processes = {stage.step_size} samples a step, {stage.samples:,} in all; "
            f"{stage.target_tokens:,} target + {stage.target_tokens:,} reference + {found.text_tokens} text tokens"
            for number, stage in enumerate(found.stages, 1)
        ),
        f"run         {found.steps:,} steps, {found.samples:,} samples",
    ]


def empty_model(config: ModelConfig) -> CoTModel:
    """The transformer that training would load, on the meta device.

    Raises:
        ConfigError: nano's base is not on this machine, or it has no such argument.
        WeightsError: its config.json cannot be read.
    """
    preset = PRESETS[config.preset]
    if config.preset != "nano":
        return empty_transformer(replace(preset, cot_depth=config.cot_depth or preset.cot_depth))
    arguments = config.transformer
    if config.base != "fresh":
        described = read_json(_nano_folder(config) / "transformer" / "config.json")
        arguments = {key: value for key, value in described.items() if not key.startswith("_")}
        arguments["packed"] = False
    with init_empty_weights():
        return fresh_nano(arguments)


def _nano_folder(config: ModelConfig) -> Path:
    folder = NANO_FOLDER if config.base in (None, "fresh") else Path(config.base)
    if not folder.is_dir():
        raise ConfigError(f"model.base {config.base} is no folder here; fetch it first ('hf download {config.base}')")
    return folder


def _tie(model: CoTModel) -> None:
    adapted = branches(model)
    for first, *others in shared_inputs(model):
        for other in others:
            adapted[other].down.weight = adapted[first].down.weight


def _count(model: CoTModel) -> Parameters:
    adapter = {id(parameter) for parameter in adapter_of(model).parameters()}
    pairs = [module for branch in branches(model).values() for module in (branch.down, branch.up)]
    lora = {id(parameter): parameter.numel() for module in pairs for parameter in module.parameters()}
    counts = {"base": 0, "lora": 0, "adapter": 0, "trained": 0}
    for parameter in model.parameters():
        part = "adapter" if id(parameter) in adapter else "lora" if id(parameter) in lora else "base"
        counts[part] += parameter.numel()
        counts["trained"] += parameter.numel() if parameter.requires_grad else 0
    return Parameters(**counts)


def _quantised(model: CoTModel) -> set[int]:
    """Identities of the weights that :func:`cotir.train.trainee.quantise` replaces."""
    blocks = [child for name, child in model.named_children() if name.endswith("transformer_blocks")]
    return {id(part.weight) for block in blocks for part in block.modules() if isinstance(part, nn.Linear)}


def _frozen_bytes(model: CoTModel, config: ModelConfig, quantised: set[int]) -> int:
    plain = 4 if config.preset == "nano" else getattr(torch, config.dtype).itemsize  # nano stays as it is stored
    total = 0.0
    for parameter in model.parameters():
        if not parameter.requires_grad:
            total += parameter.numel() * (QUANTISED[config.quantise] if id(parameter) in quantised else plain)
    return round(total)


def _encoder_bytes(config: ModelConfig) -> int:
    if config.preset in ENCODERS:
        return ENCODERS[config.preset] * getattr(torch, config.dtype).itemsize
    files = _nano_folder(config).glob("*/*.safetensors")
    return sum(path.stat().st_size for path in files if path.parent.name != "transformer")


def _stages(schedule: ScheduleConfig, world: int, pixels_per_token: int) -> Iterator[StageForecast]:
    start = 0
    for stage in schedule.stages:
        if stage.crop % pixels_per_token:
            raise ConfigError(
                f"schedule.stages has a crop of {stage.crop}; a token stands for {pixels_per_token} pixels, so take "
                f"{stage.crop - stage.crop % pixels_per_token} or {stage.crop + -stage.crop % pixels_per_token}"
            )
        yield StageForecast(
            steps=stage.until - start,
            crop=stage.crop,
            batch=stage.batch,
            accumulate=stage.accumulate,
            step_size=Share(0, world).step_size(stage),
            target_tokens=(stage.crop // pixels_per_token) ** 2,
        )
        start = stage.until


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
