"""Correct and calibrate what is read from a model's reasoning on damaged training photos; judge it on held-out ones.

    python scripts/calibrate_reasoning.py MODEL PHOTOS [--pictures 1200] [--judge 500] [--recipe RECIPE]

MODEL is a pipeline folder, or nano for the bundled one. Pictures are crops of 192 px damaged by the recipes in turn and
read under vague instructions, so that the model has to see for itself. A diagnosis by what is measured, if MODEL has
one, stays as it is (scripts/fit_diagnosis.py). Also measures what restoring the pictures gains, so that the reading can
tell where it is worth it. Writes MODEL/reasoning.safetensors and prints Markdown tables:
average precision of every kind on held-out photos, of recipes seen in training and of unseen ones, read from the
thoughts before and after the correction and from what is measured, the rank correlation of severities, the expected
calibration error, and what is gained if only those are restored that are expected to gain.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from cotir import CoTIRPipeline
from cotir.adapter import CoTOutput
from cotir.configuration import check
from cotir.diagnosis import Diagnosis
from cotir.evaluate.diagnosis import average_precision, diagnose
from cotir.evidence import measure
from cotir.loading import NANO_FOLDER
from cotir.phrase_bank import KINDS
from cotir.read_out import FILE, ReadOut, severities_of
from cotir.reasoning import THRESHOLD
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
    """Pictures with what they are read from and what they have."""

    pairs: list[Pair]
    thoughts: list[CoTOutput]
    """What the model thought of each."""
    features: torch.Tensor
    """Of :meth:`cotir.read_out.ReadOut.features` (B, F)."""
    measured: torch.Tensor
    """(B, E)."""
    labels: torch.Tensor
    """(B, K)."""
    severities: torch.Tensor
    """(B, K)."""
    seen: torch.Tensor
    """Whether the recipe is one of training (B,)."""

    def first(self, count: int) -> "Read":
        """The first pictures, in the order of :func:`_pictures`: those of the recipes."""
        return Read(*(getattr(self, each.name)[:count] for each in fields(self)))


def read_all(pipeline: CoTIRPipeline, read_out: ReadOut, source: PhotoSource, split: str, count: int) -> Read:
    """Damage, measure and read ``count`` crops of photos of a split, and a tenth as many undamaged ones."""
    rows = []
    for number, (pair, severity, seen) in enumerate(_pictures(source, split, count), 1):
        output = pipeline(pair.lq, pair.instruction.vague, explain=False, plan_first=False, predict_reasoning=True)
        assert output.thoughts is not None  # asked for
        thought = output.thoughts[0]
        label = torch.tensor([float(kind in severity) for kind in KINDS])
        severities = torch.tensor([severity.get(kind, 0.0) for kind in KINDS])
        measured = measure(torch.from_numpy(pair.lq).permute(2, 0, 1) / 127.5 - 1)
        rows.append((pair, thought, read_out.features(thought)[0], measured, label, severities, torch.tensor(seen)))
        _tell(f"{split}: read", number, count + count // 10)
    pairs, thoughts, *columns = zip(*rows, strict=True)
    return Read(list(pairs), list(thoughts), *map(torch.stack, columns))


@dataclass(frozen=True)
class Restored:
    """PSNR in dB of pictures, (B,) each."""

    before: torch.Tensor
    after: torch.Tensor


def restore_all(pipeline: CoTIRPipeline, pairs: Sequence[Pair]) -> Restored:
    """Restore pictures under vague instructions, whatever is expected of it."""
    levels = []
    for number, pair in enumerate(pairs, 1):
        image = pipeline(pair.lq, pair.instruction.vague, explain=False, keep_sound=False).image
        levels.append([psnr(pixels, pair.hq) for pixels in (pair.lq, np.asarray(image, np.uint8))])
        _tell("restored", number, len(pairs))
    return Restored(*torch.tensor(levels).unbind(dim=1))


def _tell(what: str, number: int, total: int) -> None:
    if number % 50 == 0:
        print(f"{what} {number} of {total}", flush=True)


def _pictures(source: PhotoSource, split: str, count: int) -> Iterator[tuple[Pair, dict[str, float], bool]]:
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
        yield pair, {each.kind: each.severity for each in region.applied}, recipe.share > 0


def report(read: Read, before: ReadOut, after: ReadOut) -> str:
    """The tables: average precision by kind and in the mean, severities and calibration, before, after and measured."""
    told = [_told(before, read), _told(after, read)]
    heads = ["before", "after"]
    if after.diagnosis is not None:
        told.append(_diagnosed(after.diagnosis, read))
        heads.append("measured")
    labels, true = read.labels.numpy(), read.severities.numpy()
    lines = [f"| kind | pictures | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for place in np.argsort(-labels.sum(axis=0), kind="stable"):
        if labels[:, place].any():
            scores = [f"{average_precision(each.confidences[:, place], labels[:, place]):.2f}" for each in told]
            lines.append(f"| {KINDS[place]} | {labels[:, place].sum():.0f} | {' | '.join(scores)} |")
    for name, chosen in (("seen recipes", read.seen.numpy()), ("unseen recipes", ~read.seen.numpy())):
        found = [
            diagnose(each.confidences[chosen], each.severities[chosen], labels[chosen], true[chosen], KINDS)
            for each in told
        ]
        means = " | ".join(f"**{each.mean_average_precision:.3f}**" for each in found)
        lines.append(f"| **mean, {name}** | {chosen.sum()} | {means} |")
    whole = [diagnose(each.confidences, each.severities, labels, true, KINDS) for each in told]
    for name, values in (
        ("rank correlation of severities", [each.severity_correlation for each in whole]),
        ("expected calibration error", [each.calibration_error for each in whole]),
    ):
        lines.append(f"| {name} | {len(labels)} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Told:
    """What a read-out tells of pictures, in [0, 1], both (B, K)."""

    confidences: np.ndarray
    severities: np.ndarray


def _told(read_out: ReadOut, read: Read) -> Told:
    values = read_out.damage(read.features)
    confidences = read_out.confidences(values[:, : len(KINDS)])
    return Told(confidences.double().numpy(), severities_of(values).double().numpy())


def _diagnosed(diagnosis: Diagnosis, read: Read) -> Told:
    confidences, severities = (each(read.measured) for each in (diagnosis.confidences, diagnosis.severities))
    return Told(confidences.double().numpy(), severities.double().numpy())


def report_gains(read: Read, restored: Restored, calibrated: ReadOut) -> str:
    """What is gained by restoring all, and only where damage is found or a gain expected."""
    lines = [
        "",
        "| held-out pictures | share restored | gain, all restored | gain, found or expected |",
        "|---|---|---|---|",
    ]
    readings = [
        calibrated.read(thought, [measured[None]])[0]
        for thought, measured in zip(read.thoughts, read.measured, strict=True)
    ]
    helps = np.array([each.is_worth_restoring for each in readings])
    damaged = read.labels.any(dim=1).numpy()
    for name, chosen in (("damaged", damaged), ("undamaged", ~damaged)):
        gains, worth = (restored.after - restored.before).numpy()[chosen], helps[chosen]
        cells = (f"{worth.mean():.2f}", f"{gains.mean():+.2f}", f"{np.where(worth, gains, 0).mean():+.2f}")
        lines.append(f"| {name} ({chosen.sum()}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Calibrate, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=1200, help="to learn from, default 1200")
    parser.add_argument("--judge", type=int, default=500, help="to judge on, default 500")
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/bench/default.yaml")
    options = parser.parse_args()
    values = {"source": "photos", "path": options.photos, "recipe": options.recipe, "region": REGION}
    source = PhotoSource(check(DataConfig, values, name="data"), seed=0)
    pipeline = CoTIRPipeline.from_pretrained(options.model)
    diagnosis = None if pipeline.read_out is None else pipeline.read_out.diagnosis
    pipeline.read_out = None  # that of the text encoder alone, whatever was learned for this model before
    bank = pipeline.prepare_read_out()
    train = read_all(pipeline, bank, source, "train", options.pictures)
    calibrated = learn(pipeline, bank, diagnosis, train, options.pictures)
    calibrated.save((NANO_FOLDER if options.model == "nano" else Path(options.model)) / FILE)
    pipeline.read_out = calibrated
    known = train.first(options.pictures)
    before = bank.calibrated(bank.damage(known.features)[:, : len(KINDS)], known.labels)
    test = read_all(pipeline, bank, source, "test", options.judge)
    print(report(test.first(options.judge), before, calibrated))
    print(report_gains(test, restore_all(pipeline, test.pairs), calibrated))


def learn(pipeline: CoTIRPipeline, bank: ReadOut, diagnosis: Diagnosis | None, train: Read, recipes: int) -> ReadOut:
    """The read-out for a pipeline, which has it then, by what was read of the pictures: ``recipes`` of them damaged."""
    # only recipes are learned from: the more undamaged pictures there are, the lower confidences must be
    known = train.first(recipes)
    found = bank.corrected(known.features, known.labels, known.severities)
    undamaged = found.read_out.damage(train.features[recipes:])[:, : len(KINDS)]
    confidences = found.read_out.confidences(torch.cat([found.scores, undamaged]))
    pipeline.read_out = found.read_out
    if diagnosis is not None:
        confidences = diagnosis.confidences(train.measured)
        pipeline.read_out = replace(found.read_out, diagnosis=diagnosis)
    # where damage is found a picture is restored whatever is expected of it: what is expected matters for the others
    silent = (confidences < THRESHOLD).all(dim=1)
    restored = restore_all(pipeline, [pair for pair, nothing in zip(train.pairs, silent, strict=True) if nothing])
    gains = restored.after.clamp(max=INVISIBLE) - restored.before.clamp(max=INVISIBLE)
    pipeline.read_out = pipeline.read_out.with_benefit(confidences[silent], gains)
    return pipeline.read_out


if __name__ == "__main__":
    main()
