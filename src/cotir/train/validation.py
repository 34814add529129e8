"""Held-out pictures at fixed seeds: how far the restored ones are from the originals, and what they look like."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cotir.loading import NANO_FOLDER, adapters_home
from cotir.pipeline import CoTIRPipeline
from cotir.read_out import FILE, ReadOut
from cotir.read_outs import read_out_for
from cotir.train.config import ValidationConfig
from cotir.train.learner import Learner
from cotir.train.objective import flow_loss, interpolate
from cotir.train.pairs import Pair, Pixels
from cotir.train.trainee import Trainee

CEILING = 60.0
"""PSNR in dB of pictures that are equal, so that means stay finite."""


@dataclass(frozen=True)
class Shown:
    """One held-out pair and what became of it; psnr in dB against HQ."""

    pair: Pair
    vague: Pixels
    precise: Pixels
    psnr_input: float
    psnr_vague: float
    psnr_precise: float
    read_out: str


class Validator:
    """Restores the same held-out pairs at every call.

    Args:
        pairs: of one size.
        learner: encodes pairs and measures the reasoning as training does.
        config: how many pictures are written, and Euler steps.
        read_out: tells the reasoning in words; None leaves it out.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        learner: Learner,
        config: ValidationConfig,
        read_out: ReadOut | None = None,
    ) -> None:
        self.pairs, self.learner, self.config, self.read_out = pairs, learner, config, read_out
        self.reasons = learner.form is not None

    def __call__(self, pipeline: CoTIRPipeline, step: int, run: Path) -> dict[str, float]:
        """Score the model, and write pictures to ``run/validation/step-...``.

        Returns:
            A row for validation.jsonl.
        """
        model = pipeline.transformer
        was_training = model.training
        model.eval()
        try:
            shown = [self._restore(pipeline, number, pair) for number, pair in enumerate(self.pairs)]
            row = {"step": step, **self._losses(pipeline), **_means(shown)}
        finally:
            model.train(was_training)
        self._write(shown[: self.config.pictures], run / "validation" / f"step-{step:08d}")
        return row

    def _restore(self, pipeline: CoTIRPipeline, number: int, pair: Pair) -> Shown:
        output = pipeline(
            [Image.fromarray(pair.lq)] * 2,
            [pair.instruction.vague, pair.instruction.precise],
            steps=self.config.steps,
            seed=number,
            batch_size=2,
            explain=False,
            predict_reasoning=self.reasons,
            output_type="pil",
        )
        vague, precise = (np.asarray(image, np.uint8) for image in output.images)
        read = ""
        if self.read_out is not None and output.thoughts:
            (reasoning,) = self.read_out.read(output.thoughts[0])
            read = f"{reasoning.diagnosis}; {reasoning.scene.full()}"
        return Shown(
            pair,
            vague,
            precise,
            psnr_input=psnr(pair.lq, pair.hq),
            psnr_vague=psnr(vague, pair.hq),
            psnr_precise=psnr(precise, pair.hq),
            read_out=read,
        )

    @torch.no_grad()
    def _losses(self, pipeline: CoTIRPipeline) -> dict[str, float]:
        """Flow loss and distances at the noise and times that the pairs' own positions give."""
        device = next(pipeline.transformer.parameters()).device
        flow: list[float] = []
        distances: dict[str, list[float]] = {part: [] for part in self.learner.parts}
        for pair in self.pairs:
            batch = self.learner.encoder([pair], vague=0.5, reasoning=self.reasons, device=device)
            noisy = interpolate(batch.clean, batch.noise, batch.time)
            output = pipeline.transformer(
                torch.cat([noisy, batch.condition.reference], dim=1),
                timestep=batch.time,
                predict_reasoning=self.reasons,
                **batch.condition.arguments(),
            )
            flow.append(float(flow_loss(output.sample[:, : noisy.shape[1]], batch.clean, batch.noise)))
            for part, distance in self.learner.distances(output.reasoning, batch).items():
                distances[part].append(float(distance))
        found = {f"d_{part}": float(np.mean(values)) for part, values in distances.items() if values}
        return {"flow": float(np.mean(flow)), **found}

    @staticmethod
    def _write(shown: Sequence[Shown], folder: Path) -> None:
        if not shown:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(shown):
            strip = np.concatenate([each.pair.lq, each.vague, each.precise, each.pair.hq], axis=1)
            name = f"{number:02d}-{each.pair.deg}"
            Image.fromarray(strip).save(folder / f"{name}.png")
            facts = {
                "deg": each.pair.deg,
                "vague": each.pair.instruction.vague,
                "precise": each.pair.instruction.precise,
                **{key: getattr(each, key) for key in ("psnr_input", "psnr_vague", "psnr_precise", "read_out")},
            }
            (folder / f"{name}.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")


def read_out_of(trainee: Trainee, note: Callable[[str], None]) -> ReadOut:
    """The read-out of the model under training: nano's own, or one that is made once for its text encoder.

    Args:
        trainee: its text encoder where it shall run.
        note: is told when one has to be made.
    """
    if trainee.config.preset == "nano" and trainee.config.base in (None, "fresh"):
        return ReadOut.load(NANO_FOLDER / FILE)

    def on_progress(done: int, total: int) -> None:
        if done == total:
            note(f"the read-out of this text encoder was made from {total:,} texts, for this and later runs")

    return read_out_for(trainee.backbone, trainee.components, adapters_home() / "reasoning", on_progress)


def psnr(picture: Pixels, original: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pictures, at most :data:`CEILING`."""
    error = float(np.square(picture.astype(np.float32) - original).mean())
    return min(CEILING, 10 * math.log10(255**2 / error)) if error else CEILING


def _means(shown: Sequence[Shown]) -> dict[str, float]:
    row: dict[str, float] = {}
    for key in ("psnr_input", "psnr_vague", "psnr_precise"):
        row[key] = float(np.mean([getattr(each, key) for each in shown]))
        for deg in sorted({each.pair.deg for each in shown}):
            row[f"{key}/{deg}"] = float(np.mean([getattr(each, key) for each in shown if each.pair.deg == deg]))
    return row
