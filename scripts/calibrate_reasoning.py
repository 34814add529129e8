"""Calibrate the confidences of a model's reasoning on damaged training photos, and judge them on held-out ones.

    python scripts/calibrate_reasoning.py MODEL PHOTOS [--pictures 500] [--recipe configs/bench/default.yaml]

MODEL is a pipeline folder, or nano for the bundled one. Pictures are crops of 192 px damaged by the recipes in turn and
read under vague instructions, so that the model has to see for itself. Also measures what restoring them gains, so that
the reading can tell where it is worth it. Writes MODEL/reasoning.safetensors and prints Markdown tables: average
precision of every kind on held-out photos, of recipes seen in training and of unseen ones, the expected calibration
error, and what is gained if only those are restored that are expected to gain.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from cotir import CoTIRPipeline
from cotir.configuration import check
from cotir.evaluate.diagnosis import average_precision, calibration_error
from cotir.loading import NANO_FOLDER
from cotir.phrase_bank import KINDS
from cotir.read_out import FILE, ReadOut
from cotir.train.config import DataConfig
from cotir.train.pairs import Pair, Place, rng_of
from cotir.train.photo_source import PhotoSource
from cotir.train.validation import psnr

ROOT = Path(__file__).parents[1]
CROP, REGION = 192, 256
INVISIBLE = 45.0
"""PSNR in dB above which nobody sees a difference: what is lost there is no harm."""


@dataclass(frozen=True)
class Read:
    """Pictures with what they were read to have and what they have, both (B, K)."""

    scores: torch.Tensor
    labels: torch.Tensor
    seen: torch.Tensor
    """Whether the recipe is one of training (B,)."""
    before: torch.Tensor
    """PSNR of the input in dB (B,)."""
    after: torch.Tensor
    """PSNR of the restored picture in dB (B,)."""

    def first(self, count: int) -> "Read":
        """The first pictures, in the order of :func:`_pictures`: those of the recipes."""
        return Read(*(getattr(self, each.name)[:count] for each in fields(self)))


def read_all(pipeline: CoTIRPipeline, read_out: ReadOut, source: PhotoSource, split: str, count: int) -> Read:
    """Damage and read ``count`` crops of photos of a split."""
    rows = []
    for number, (pair, kinds, seen) in enumerate(_pictures(source, split, count), 1):
        words = pair.instruction.vague
        output = pipeline(pair.lq, words, explain=False, predict_reasoning=True, output_type="pil")
        assert output.thoughts is not None  # asked for
        label = torch.tensor([float(kind in kinds) for kind in KINDS])
        levels = (psnr(pixels, pair.hq) for pixels in (pair.lq, np.asarray(output.image, np.uint8)))
        rows.append((read_out.scores(output.thoughts[0])[0], label, torch.tensor(seen), *map(torch.tensor, levels)))
        if number % 50 == 0:
            print(f"{split}: {number} of {count + count // 10}", flush=True)
    return Read(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _pictures(source: PhotoSource, split: str, count: int) -> Iterator[tuple[Pair, set[str], bool]]:
    """The recipes in turn, then undamaged pictures, a tenth as many as in training."""
    clean = next(recipe for recipe in source.recipes if not recipe.kinds)
    recipes = [recipe for recipe in source.recipes if split == "test" or recipe.share > 0]
    order = np.random.default_rng(0).permutation(len(recipes))
    photos = source.photos["test" if split == "test" else "train"]
    for number in range(count + count // 10):
        rng = rng_of(0, f"reading {split}", number)
        recipe = clean if number >= count else recipes[int(order[number % len(recipes)])]
        region = source.damage(rng, photos[number % len(photos)], recipe, REGION)
        pair = region.crop(rng, Place(number, CROP))
        yield pair, {each.kind for each in region.applied}, recipe.share > 0


def report(read: Read, calibrated: ReadOut) -> str:
    """The table."""
    confidences, labels = calibrated.confidences(read.scores).numpy(), read.labels.numpy()
    lines = ["| kind | pictures | average precision |", "|---|---|---|"]
    for place in np.argsort(-labels.sum(axis=0), kind="stable"):
        if labels[:, place].any():
            score = average_precision(confidences[:, place], labels[:, place])
            lines.append(f"| {KINDS[place]} | {labels[:, place].sum():.0f} | {score:.2f} |")
    for name, chosen in (("seen recipes", read.seen.numpy()), ("unseen recipes", ~read.seen.numpy())):
        there = labels[chosen].any(axis=0)
        each = [average_precision(confidences[chosen][:, k], labels[chosen][:, k]) for k in np.flatnonzero(there)]
        lines.append(f"| **mean, {name}** | {chosen.sum()} | **{np.mean(each):.3f}** |")
    lines.append(f"| expected calibration error | {len(labels)} | {calibration_error(confidences, labels):.3f} |")
    return "\n".join(lines)


def report_gains(read: Read, calibrated: ReadOut) -> str:
    """What is gained by restoring all, and only what is expected to gain."""
    lines = [
        "",
        "| held-out pictures | share restored | gain, all restored | gain, where expected |",
        "|---|---|---|---|",
    ]
    helps = calibrated.expected_gain(calibrated.confidences(read.scores)).numpy() > 0
    damaged = read.labels.any(dim=1).numpy()
    for name, chosen in (("damaged", damaged), ("undamaged", ~damaged)):
        gains, restored = (read.after - read.before).numpy()[chosen], helps[chosen]
        cells = (f"{restored.mean():.2f}", f"{gains.mean():+.2f}", f"{np.where(restored, gains, 0).mean():+.2f}")
        lines.append(f"| {name} ({chosen.sum()}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Calibrate, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/bench/default.yaml")
    options = parser.parse_args()
    values = {"source": "photos", "path": options.photos, "recipe": options.recipe, "region": REGION}
    source = PhotoSource(check(DataConfig, values, name="data"), seed=0)
    pipeline = CoTIRPipeline.from_pretrained(options.model)
    read_out = pipeline.prepare_read_out()
    train = read_all(pipeline, read_out, source, "train", options.pictures)
    # only recipes are calibrated on: the more undamaged pictures there are, the lower confidences must be
    calibrated = read_out.calibrated(train.scores[: options.pictures], train.labels[: options.pictures])
    gains = train.after.clamp(max=INVISIBLE) - train.before.clamp(max=INVISIBLE)
    calibrated = calibrated.with_benefit(train.scores, gains)
    calibrated.save((NANO_FOLDER if options.model == "nano" else Path(options.model)) / FILE)
    test = read_all(pipeline, read_out, source, "test", options.pictures)
    print(report(test.first(options.pictures), calibrated))
    print(report_gains(test, calibrated))


if __name__ == "__main__":
    main()
