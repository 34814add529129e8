"""CoTIRPipeline: pictures and instructions in, restored pictures out.

    fit -> encode -> denoise -> decode -> crop

A picture is padded to the latent grid and keeps its size. One larger than the model's window passes through it in
overlapping windows, and takes its tone from the same picture restored smaller (:mod:`cotir.scales`). Text,
reference latents and positions are computed once per picture (per window), never per step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cotir import loading
from cotir.backbones import Backbone, backbone_of
from cotir.encode import TextTokens, encode_text
from cotir.errors import ConfigError, WeightsError
from cotir.jobs import Generators, Job, Seeds, make_jobs
from cotir.looking import Sight, by_measures, measured
from cotir.output import CoTIROutput, OutputType, output_picture
from cotir.passes import Passes, Request, Restored
from cotir.phrases import is_vague
from cotir.read_out import FILE, ReadOut
from cotir.read_outs import read_out_for
from cotir.reasoning import Reasoning
from cotir.sampling import StepCallback
from cotir.transformer import RoPE


@dataclass
class _Progress:
    """Counts passes of the model over all pictures of a call."""

    total: int = 0
    report: Callable[[int, int], None] | None = None
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total)


class CoTIRPipeline(DiffusionPipeline):
    """Restores pictures with a FLUX editing transformer that reasons inside its forward pass.

    Args:
        transformer: a CoTIR transformer; its class decides the backbone.
        vae: the backbone's autoencoder.
        text_encoder, tokenizer: MiniLM (nano), Qwen3 (FLUX.2) or CLIP (FLUX.1).
        text_encoder_2, tokenizer_2: T5, for FLUX.1 only.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae"
    _optional_components = ["text_encoder_2", "tokenizer_2"]  # noqa: RUF012 - diffusers reads this class attribute
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    def __init__(
        self,
        transformer: torch.nn.Module,
        vae: torch.nn.Module,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder_2: PreTrainedModel | None = None,
        tokenizer_2: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
        )
        self.read_out: ReadOut | None = None
        """Reads the adapter's predictions; None until it is loaded with the model or made."""

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride] - presets and adapters too
        cls,
        model: str | Path = "nano",
        *,
        base: str | Path | None = None,
        adapter: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
        rope: RoPE = "float64",
        **kwargs: Any,
    ) -> "CoTIRPipeline":
        """Load a model.

        Args:
            model: a preset (``nano``, ``4b``, ``9b``, ``12b``), a folder (a whole pipeline, or an adapter made by
                ``cotir convert``) or a hub id of either.
            base: folder or hub id of the base pipeline, where the model is a preset or an adapter; by default the
                repository the preset names.
            adapter: folder or hub id of the adapter, where ``model`` is a preset.
            dtype: of the weights (``torch_dtype`` is taken too).
            rope: ``released`` computes positions and times in ``dtype`` as the code did that the released adapters were
                trained with; for a base and an adapter, since a whole pipeline folder says it itself.
            **kwargs: passed on to diffusers, e.g. ``quantization_config`` or ``device_map``.

        Raises:
            ConfigError: a base and an adapter are given, and an option that applies to a whole pipeline folder only.
            WeightsError: something is missing or does not fit; the message says where to get it.
        """
        dtype = kwargs.pop("torch_dtype", dtype)
        source = loading.locate(model, base=base, adapter=adapter)
        if source.whole is not None:
            if rope != "float64":
                raise ConfigError(
                    f"rope={rope!r} is for a base and an adapter; set it in {source.whole / 'transformer/config.json'}"
                )
            pipeline = super().from_pretrained(source.whole, dtype=dtype, **kwargs)
        else:
            pipeline = cls(**loading.assemble(source, dtype=dtype, rope=rope, **kwargs))
        folder = source.whole or source.adapter
        if folder is not None and (folder / FILE).is_file():
            pipeline.read_out = ReadOut.load(folder / FILE)
        return pipeline

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride] - its options pass through
        self, save_directory: str | Path, **kwargs: Any
    ) -> None:
        """Save every part as a diffusers folder that :meth:`from_pretrained` reads back exactly.

        Raises:
            WeightsError: if a LoRA is attached but not fused, because the folder could not hold it.
        """
        if getattr(self.transformer, "peft_config", None):
            raise WeightsError(
                "the transformer carries a separate LoRA, which a pipeline folder cannot hold; call "
                "cotir.lora.fuse(pipeline.transformer) first, or cotir.weights.save_adapter to save the LoRA alone"
            )
        super().save_pretrained(save_directory, **kwargs)
        if self.read_out is not None:
            self.read_out.save(Path(save_directory) / FILE)

    @property
    def backbone(self) -> Backbone:
        """The facts of this pipeline's backbone."""
        return backbone_of(self.transformer)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        prompt: str | Sequence[str] | None = None,
        *,
        steps: int | None = None,
        seed: Seeds = 0,
        generator: Generators | None = None,
        strength: float = 1.0,
        batch_size: int = 1,
        explain: bool | None = None,
        plan_first: bool | None = None,
        keep_sound: bool | None = None,
        predict_reasoning: bool = False,
        output_type: OutputType = "pil",
        callback_on_step_end: Callable[[Any, int, float, dict[str, Tensor]], dict[str, Tensor]] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> CoTIROutput:
        """Restore one picture or a list of them.

        Args:
            image: anything :meth:`cotir.image.Picture.of` takes, or a list of such things of any sizes.
            prompt: one instruction for all, or one per picture; a vague one by default.
            steps: Euler steps. 1 is the fidelity end, near the posterior mean; more trade distortion for sharpness.
            seed: one for all, or one per picture. A picture's result depends on its own seed alone, not on the batch.
            generator: draws the seeds instead; one for all in turn, or one per picture.
            strength: 0 returns the input's pixels, 1 the model's, between them a blend.
            batch_size: pictures of equal size that go through the model together.
            explain: also return the reasoning in words; by default where the model brings its read-out, as nano does,
                and has something to do. True makes one where it does not (:meth:`prepare_read_out`).
            plan_first: look at each picture first and restore it by the plan that comes of it; where nothing is found,
                by ``prompt``. A model that brings a diagnosis (:mod:`cotir.diagnosis`), as nano does, measures the
                picture for it; another takes a pass more (:meth:`explain`), and the reasoning returned is that of the
                look. By default where the model brings one and ``prompt`` names nothing that is to be done
                (:func:`cotir.phrases.is_vague`).
            keep_sound: give a picture back as it came where its reading finds no damage and restoring is expected to
                lose more than it gains (:attr:`~cotir.reasoning.Reasoning.is_worth_restoring`); a model that measures
                does not restore it first. By default where no ``prompt`` is given and the model brings that knowledge,
                as nano does.
            predict_reasoning: also return the predicted embeddings of scene, degradation and plan.
            output_type: ``pil``, ``np``, ``pt`` or ``picture`` (keeps alpha, 16 bits, profile and metadata).
            callback_on_step_end: as in diffusers, (pipeline, step, time, {"latents": tokens}) -> a dict that may
                replace them.
            on_progress: called with (passes done, passes in all); a pass is one step of one window of one batch.

        Raises:
            ImageError: a picture cannot be read.
            PromptError: an instruction is empty or their number does not fit.
            ConfigError: an option is out of range.
        """
        steps = self.backbone.steps if steps is None else steps
        _check_options(steps=steps, batch_size=batch_size, output_type=output_type, strength=strength)
        jobs = make_jobs(image, prompt, seed, generator, multiple=self.backbone.pixels_per_token)
        if strength == 0 and not predict_reasoning and not explain:
            images = [output_picture(job.picture, output_type) for job in jobs]
            return CoTIROutput(images=images, kept=[True] * len(jobs))
        keep_sound = self._keeps_sound(prompt) if keep_sound is None else keep_sound
        by_pass = bool(plan_first) and not self._diagnoses
        wants_reading = explain or by_pass or keep_sound
        read_out = self.prepare_read_out() if wants_reading else self.read_out if explain is None else None

        sights = self._sights(jobs, plan_first, read_out, keep_sound=keep_sound)
        told = predict_reasoning or (read_out is not None and explain is not False)
        passes, to_look = self._passes(), [by_pass or (told and sight.is_sound) for sight in sights]
        total = passes.count_looks([sight.job for sight, look in zip(sights, to_look, strict=True) if look])
        total += passes.count([sight.job for sight in sights if not sight.is_sound], steps, batch_size)
        progress = _Progress(total, on_progress)
        on_look = self._after_step(None, progress)
        sights = [
            sight.after(passes.look(sight.job, on_look), read_out, plan=by_pass) if look else sight
            for sight, look in zip(sights, to_look, strict=True)
        ]
        thinks = not by_pass and (predict_reasoning or read_out is not None)
        request = Request(steps, thinks, self._after_step(callback_on_step_end, progress))
        wanted = [sight for sight in sights if not sight.is_sound]
        restored = passes.restore_all(wanted, batch_size, request, read_out)
        images: list[Any] = []
        kept: list[bool] = []
        done: list[Sight] = []
        for sight in sights:
            result = Restored(sight, sight.job.picture) if sight.is_sound else next(restored)
            picture, reading = sight.job.picture, result.sight.reading
            kept.append(sight.is_sound or (keep_sound and reading is not None and not reading.is_worth_restoring))
            shown = picture if kept[-1] else picture.blend(result.picture, strength)
            images.append(output_picture(shown, output_type))
            done.append(result.sight)
        self.maybe_free_model_hooks()
        reads = read_out is not None and explain is not False
        return CoTIROutput(
            images=images,
            kept=kept,
            readings=[sight.reading for sight in done if sight.reading is not None] if reads else None,
            thoughts=[sight.thought for sight in done if sight.thought is not None] if predict_reasoning else None,
        )

    @torch.no_grad()
    def explain(self, image: Any, prompt: str | Sequence[str] | None = None, *, seed: Seeds = 0) -> list[Reasoning]:
        """What the model thinks about each picture, without restoring it: one pass.

        Of a picture larger than the model's window, four windows spread over it are looked at.

        Args:
            image: as for :meth:`__call__`.
            prompt: as for :meth:`__call__`. A vague one, the default, leaves the diagnosis to the model; a precise one
                is believed, but by a model that measures the picture.
            seed: as for :meth:`__call__`.

        Raises:
            ImageError, PromptError, ConfigError: as for :meth:`__call__`.
        """
        read_out = self.prepare_read_out()
        jobs = make_jobs(image, prompt, seed, None, multiple=self.backbone.pixels_per_token)
        passes, on_step = self._passes(), self._after_step(None, _Progress())
        thoughts = [passes.look(job, on_step) for job in jobs]
        self.maybe_free_model_hooks()
        seen = measured(jobs) if self._diagnoses else [None] * len(jobs)
        return [
            read_out.read(thought, None if looks is None else [looks])[0]
            for thought, looks in zip(thoughts, seen, strict=True)
        ]

    def prepare_read_out(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> ReadOut:
        """The read-out of this model, made now if need be: thousands of texts pass through the text encoder, once.

        It is kept in ``$COTIR_HOME`` (``~/.cache/cotir``) by the text encoder's content.

        Args:
            on_progress: called with (texts encoded, texts in all).
        """
        if self.read_out is None:
            folder = loading.adapters_home() / "reasoning"
            self.read_out = read_out_for(self.backbone, self.components, folder, on_progress)
        return self.read_out

    def encode_prompt(self, prompts: Sequence[str]) -> TextTokens:
        """Encode instructions with this pipeline's text encoders."""
        return encode_text(self.backbone, self.components, prompts)

    @property
    def _diagnoses(self) -> bool:
        """Whether the model tells damage by what is measured of a picture."""
        return self.read_out is not None and self.read_out.diagnosis is not None

    def _sights(
        self, jobs: list[Job], plan_first: bool | None, read_out: ReadOut | None, *, keep_sound: bool
    ) -> list[Sight]:
        """Pictures with what is known of them without a pass, as far as anybody wants to know."""
        asked = read_out is not None or plan_first or any(plan_first is None and is_vague(job.prompt) for job in jobs)
        if self.read_out is None or not self._diagnoses or not asked:
            return [Sight(job) for job in jobs]
        return by_measures(jobs, self.read_out, plan_first=plan_first, keep_sound=keep_sound)

    def _keeps_sound(self, prompt: str | Sequence[str] | None) -> bool:
        """Whether pictures are kept where nobody said: a person who says what to do is obeyed."""
        return prompt is None and self.read_out is not None and self.read_out.benefit is not None

    def _passes(self) -> Passes:
        return Passes(self.transformer, self.vae, self.backbone, self._execution_device, self.encode_prompt)

    def _after_step(self, callback: Callable[..., dict[str, Tensor]] | None, progress: _Progress) -> StepCallback:
        """The user's callback, in diffusers' form, then progress."""

        def on_step(step: int, time: float, latent: Tensor) -> Tensor:
            replaced = callback(self, step, time, {"latents": latent}) if callback is not None else None
            progress.advance()
            return (replaced or {}).get("latents", latent)

        return on_step


def _check_options(*, steps: int, batch_size: int, output_type: str, strength: float) -> None:
    if steps < 1:
        raise ConfigError(f"steps is {steps}; it must be at least 1")
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
    if output_type not in get_args(OutputType):
        raise ConfigError(f"output_type is {output_type!r}; choose one of {', '.join(get_args(OutputType))}")
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength is {strength}; it must lie between 0 (the input) and 1 (the result)")
