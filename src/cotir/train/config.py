"""A training run as a YAML file: what is trained, on what, towards what, for how long. Unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cotir.configuration import Strict

Unit = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class ModelConfig(Strict):
    """Where training starts, and which weights move."""

    preset: Literal["nano", "4b", "9b", "12b"]
    base: str | None = None
    """Folder or hub id of the base pipeline; the preset's own if None. For nano also ``fresh``: random weights."""
    train: Literal["adapter", "lora", "base", "experts", "all"] = "adapter"
    """``adapter``: LoRA and CoT adapter; ``lora``: LoRA alone; ``base``: everything but the adapter; ``all``;
    ``experts``: what nano's experts change, under the gate they have (:mod:`cotir.experts`)."""
    transformer: dict[str, Any] = Field(default={})
    """Arguments of a fresh nano transformer; what is not named keeps its default."""
    rank: Count = 96
    scale: Positive = 1.0
    cot_depth: Count | None = None
    """Blocks of a fresh adapter; the preset's if None."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of frozen weights; trained ones are float32 always."""
    quantise: Literal["none", "nf4", "int8"] = "none"
    """Of the frozen base, through bitsandbytes; needs CUDA."""
    gradient_checkpointing: bool = False
    compile: bool = False
    ema: Decay = 0.0
    """Decay of the average of the trained weights that is saved and validated; 0 keeps none."""

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        if self.preset != "nano" and (self.base == "fresh" or self.transformer):
            raise ValueError(f"model.base fresh and model.transformer are for nano, not {self.preset}")
        if self.transformer and self.base != "fresh":
            raise ValueError("model.transformer describes fresh weights; set model.base to fresh, or leave it out")
        if self.base == "fresh" and self.train in ("adapter", "lora"):
            raise ValueError(f"model.train {self.train} freezes a base of random weights; use base or all")
        if self.quantise != "none" and self.train not in ("adapter", "lora"):
            raise ValueError(f"model.quantise is for a frozen base, and model.train is {self.train}")
        if self.preset != "nano" and self.train == "experts":
            raise ValueError(f"model.train experts is for nano, not {self.preset}")
        if self.preset == "nano" and (self.quantise != "none" or self.dtype != "float32"):
            raise ValueError("model.quantise and model.dtype are for the large sizes; nano is float32, leave them out")
        return self


class DataConfig(Strict):
    """Where pairs come from: made as needed from clean photos, or read from a bench that was built."""

    source: Literal["photos", "edits", "bench"]
    """``photos`` are damaged by a recipe, ``edits`` of them are what an editing model learns."""
    path: Path
    recipe: Path | None = None
    """A recipe file, for photos."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the photos kept for validation, chosen by their hashes; a bench has its own test split."""
    region: Annotated[int, Field(ge=32)] = 224
    """Side in pixels that is damaged at once, so that rain and haze have their scale; crops are cut from it."""
    crops_per_region: Count = 4
    downscale: Unit = 0.3
    """Share of the crops that are cut larger and averaged down, where pictures or regions are larger than the crop."""
    balanced: bool = True
    """A bench's types equally often, instead of its samples."""
    photo_mb: Positive = 1024.0
    """Decoded photos that every worker keeps, in MiB; the least recently used ones leave."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that make pairs. Each makes the regions it needs, so several share crops_per_region's saving."""
    max_problems: Unit = 0.01
    """Largest share of samples that may be unreadable; past it the run stops."""

    @model_validator(mode="after")
    def _fits(self) -> "DataConfig":
        if self.source == "photos" and self.recipe is None:
            raise ValueError("data.source photos needs data.recipe, such as configs/bench/default.yaml")
        if self.source != "photos" and self.recipe is not None:
            raise ValueError(f"data.recipe is for photos, and data.source is {self.source}; leave it out")
        return self


class TimeConfig(Strict):
    """How flow times are drawn: t = 1 for a share of the samples, else sigmoid(N(0, 1))."""

    at_one: Unit = 0.0
    floor: Positive = 0.001
    """Smallest time; nano divides by it."""


class FlowConfig(Strict):
    """The flow loss. ``balanced`` is the Box-Cox transform of each picture's error, see docs/method.md."""

    form: Literal["mse", "balanced"] = "mse"
    power: tuple[Unit, Unit] = (1.0, 0.0)
    """Of ``balanced``, at the start and at the end of the run."""
    floor: tuple[Positive, Positive] = (5e-3, 2e-4)
    """Of ``balanced``: error below which a picture counts as solved, at the start and at the end."""


class MultiplierConfig(Strict):
    """The dual update, see docs/method.md."""

    rule: Literal["pi", "ascent", "released", "fixed"] = "pi"
    options: dict[str, float] = Field(default={})
    """Of the rule; what is not named keeps its default."""


class DeltaConfig(Strict):
    """How far each part of the reasoning may be from the written trace: d_k <= delta_k.

    ``reading`` bounds what a read-out cannot tell of the damage from the thoughts, 0 to about 1; None does not ask.
    """

    scene: Annotated[float, Field(ge=0)] = 0.15
    degradation: Annotated[float, Field(ge=0)] = 0.15
    plan: Annotated[float, Field(ge=0)] = 0.15
    reading: Annotated[float, Field(ge=0)] | None = None


class ObjectiveConfig(Strict):
    """What is minimised, and under which constraints."""

    flow: FlowConfig = FlowConfig()
    time: TimeConfig = TimeConfig()
    reasoning: Literal["cosine", "released", "none"] = "cosine"
    """Distance of the constraints; ``none`` predicts no reasoning at all."""
    delta: DeltaConfig = DeltaConfig()
    """Allowed distance of each part."""
    multipliers: MultiplierConfig = MultiplierConfig()

    @model_validator(mode="after")
    def _fits(self) -> "ObjectiveConfig":
        if self.reasoning == "none" and self.delta.reading is not None:
            raise ValueError("objective.delta.reading is set, and objective.reasoning is none; leave one of them out")
        if self.reasoning == "released" and self.multipliers.rule == "pi":
            raise ValueError(
                "objective.multipliers.rule pi counts in cosine distances, and objective.reasoning is released; use "
                "the rule released, or the distance cosine"
            )
        return self


class OptimizerConfig(Strict):
    """AdamW; decay on matrices only, never on biases, norms and gates."""

    name: Literal["adamw", "adamw8bit"] = "adamw"
    rate: Positive = 5e-4
    floor: Annotated[float, Field(ge=0)] = 5e-5
    """Rate at the end of the cosine."""
    warmup: Annotated[int, Field(ge=0)] = 2000
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    factors: dict[str, Positive] = Field(default={})
    """Of the rate for a part of the model, by the part's name, such as ``trunk: 0.1``; 1 for all others."""
    clip: Positive = 1.0

    @model_validator(mode="after")
    def _fits(self) -> "OptimizerConfig":
        if self.floor > self.rate:
            raise ValueError(
                f"optimizer.floor is {self.floor}, above optimizer.rate, {self.rate}; the rate falls to the floor: "
                "lower it"
            )
        return self


class StageConfig(Strict):
    """A part of the run with one crop and one batch size."""

    until: Count
    """Step at which the stage ends."""
    crop: Annotated[int, Field(ge=16)]
    batch: Count
    """Samples of one process and micro-batch."""
    accumulate: Count = 1
    """Micro-batches of a step."""


class ScheduleConfig(Strict):
    """How long, in which stages, and how often the instruction is vague."""

    stages: tuple[StageConfig, ...]
    vague: dict[Annotated[int, Field(ge=0)], Unit] = Field(default={0: 0.5})
    """Share of vague instructions from each step on."""

    @model_validator(mode="after")
    def _fits(self) -> "ScheduleConfig":
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(set(ends)):
            raise ValueError(f"schedule.stages end at {ends}; give at least one, each ending later than the one before")
        if 0 not in self.vague:
            raise ValueError("schedule.vague needs the share from step 0 on, as in {0: 0.2, 10000: 0.3}")
        return self


class CheckpointConfig(Strict):
    """When the state is written, and how many states are kept."""

    every: Count = 1000
    keep: Count = 2


class LogConfig(Strict):
    """What is told, how often, and to whom."""

    every: Count = 10
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)


class ValidationConfig(Strict):
    """Held-out pictures at fixed seeds."""

    every: Annotated[int, Field(ge=0)] = 1000
    """Steps; 0 never validates."""
    samples: Count = 16
    pictures: Annotated[int, Field(ge=0)] = 8
    """How many of them are written as pictures."""
    crop: Annotated[int, Field(ge=16)] = 256
    steps: Count | None = None
    """Euler steps; the backbone's if None."""
    read_out: bool = True
    """Tell the reasoning on the pictures in words; the first run with a text encoder makes its read-out."""


class CacheConfig(Strict):
    """Encoded texts and latents kept between steps and runs."""

    folder: Path | None = None
    """On disk, shared by all processes and runs; None keeps them in memory alone."""
    text_mb: Positive = 512.0
    latents: bool = False
    """Keep latents too: pays where crops come again, as whole pictures of a bench do."""
    latent_mb: Positive = 512.0


class TrainConfig(Strict):
    """A whole run."""

    run: Path
    """Folder of checkpoints, logs and weights."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    precision: Literal["float32", "bfloat16", "auto"] = "auto"
    """Of the arithmetic; auto is bfloat16 where the device has it, and float32 on a CPU."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of torch; 0 leaves the choice to it."""
    model: ModelConfig
    data: DataConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    validation: ValidationConfig = ValidationConfig()
    cache: CacheConfig = CacheConfig()
    resume: Literal["latest", "never"] = "latest"

    @model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        if self.objective.reasoning != "none" and self.model.train in ("lora", "base", "experts"):
            raise ValueError(f"model.train {self.model.train} moves no adapter; set objective.reasoning to none")
        if self.data.source != "bench" and max(stage.crop for stage in self.schedule.stages) > self.data.region:
            raise ValueError(f"a stage's crop is larger than data.region, {self.data.region}; enlarge the region")
        steps = self.schedule.stages[-1].until
        if self.optimizer.warmup >= steps:
            raise ValueError(
                f"optimizer.warmup is {self.optimizer.warmup} and the run has {steps} steps, so the rate would never "
                "reach optimizer.rate; shorten the warm-up, or lengthen the last stage"
            )
        return self
