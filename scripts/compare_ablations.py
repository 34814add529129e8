"""Does the reasoning matter: the same training with parts of the method left out, at equal steps, over several seeds.

    python scripts/compare_ablations.py PHOTOS RUNS --base FOLDER [--steps 1200] [--seeds 0,1,2] [--only NAME,...]

FOLDER holds the weights of nano's editing pre-training (configs/train/nano-pretrain.yaml, on the same photos, so that
the held-out ones are new to it). Without it all runs start from random weights, and rows about the start are left out.
A run is configs/train/nano.yaml with the changes of `ROWS`, cut to one stage. Runs of one seed see the same samples,
instructions, noise and times in the same order, at the same learning rates. The pre-trained weights are the same for
all seeds; `scratch` draws others for each, and lacks the steps of the pre-training.

All are scored on the same pictures of held-out photos, as many of single kinds, of seen and of unseen composites and
clean, under a vague and a precise instruction. RUNS/NAME-SEED/scores.json keeps the scores; RUNS/table.md is drawn from
all that are there, so rows can be run one by one. A run that is done is not done again, one that was stopped goes on.
Intervals: see `bootstrap` in ablation_table.py.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation_table import FORMS, REFERENCE, TOLD, Rows, table
from PIL import Image

from cotir import CoTIRPipeline
from cotir.bench.schema import GROUPS
from cotir.errors import ConfigError, CoTIRError
from cotir.train.checkpoint import differences
from cotir.train.config import TrainConfig
from cotir.train.loop import Trainer
from cotir.train.objective import PARTS
from cotir.train.pairs import Pair, Place, digest, rng_of
from cotir.train.photo_regions import permutation
from cotir.train.photo_source import PhotoSource
from cotir.train.records import read_log, rising
from cotir.train.run_file import load_config, steering
from cotir.train.trainee import load_trainee
from cotir.train.validation import psnr

ROOT = Path(__file__).parents[1]
PI, NO_REASONING = "objective.multipliers={rule: pi}", "objective.reasoning=none"
ROWS = {
    # no adapter: its gates are 0 in the base, and stay there
    "none": ("model.train=base", NO_REASONING),
    "unconstrained": ("model.train=all", NO_REASONING),
    "fixed": ("model.train=all", "objective.multipliers={rule: fixed, options: {value: WEIGHT}}"),
    "released": ("model.train=all", "objective.multipliers={rule: released, options: {lr: 0.0001}}"),
    "pi": ("model.train=all", PI),
    # beside the paper's constraints, ours on what can be read from the thoughts
    "reading": ("model.train=all", PI, "objective.delta.reading=0.4"),
    "scratch": ("model.train=all", "model.base=fresh", PI),
    # as the large sizes are trained, base frozen: LoRA and adapter, and LoRA alone
    "frozen": ("model.train=adapter", PI),
    "frozen_none": ("model.train=lora", NO_REASONING),
}
"""What each run changes in the run file."""
ASKED = ("none", "unconstrained", "fixed", "released", "pi", "reading", "scratch")
"""The rows that run unless others are named."""
NEED_BASE = ("scratch", "frozen", "frozen_none")
CROP = 128
"""Of what is scored."""
TOGETHER = 16
"""Pictures restored at once."""


@dataclass(frozen=True)
class Plan:
    """What holds for every run."""

    photos: Path
    runs: Path
    base: Path | None
    steps: int = 1200
    crop: int = 64
    batch: int = 16
    threads: int = 2
    workers: int = 1
    delta: float | None = None
    """Of all three parts; the run file's if None."""
    weight: float = 0.75
    """Of `fixed`. In 1200 steps at delta 0.15, pi's lambdas are 0.6, 0.85 and 0.9 on average."""
    file: Path = ROOT / "configs/train/nano.yaml"
    recipe: Path = ROOT / "configs/bench/default.yaml"

    def configure(self, name: str, seed: int) -> TrainConfig:
        """The configuration of a run."""
        overrides = [
            f"run={self.runs / f'{name}-{seed}'}",
            f"seed={seed}",
            f"threads={self.threads}",
            f"data.path={self.photos}",
            f"data.recipe={self.recipe}",
            f"data.workers={self.workers}",
            f"model.base={'fresh' if self.base is None else self.base.resolve()}",
            f"schedule.stages=[{{until: {self.steps}, crop: {self.crop}, batch: {self.batch}}}]",
            f"optimizer.warmup={min(200, self.steps // 10)}",
            f"checkpoint={{every: {max(self.steps // 12, 1)}, keep: 1}}",
            f"log={{every: {max(self.steps // 60, 1)}, trackers: []}}",
            "validation.every=0",
            "objective.delta.reading=null",
            *(change.replace("WEIGHT", str(self.weight)) for change in ROWS[name]),
        ]
        if self.delta is not None:
            overrides += [f"objective.delta.{part}={self.delta}" for part in PARTS]
        if self.base is not None and "model.base=fresh" in ROWS[name]:
            overrides.append(f"model.transformer={json.dumps(shape_of(self.base))}")
        return load_config(self.file, overrides)


@dataclass(frozen=True)
class Picture:
    """A held-out picture: its group of damage, its photo, and the pair."""

    group: str
    photo: str
    pair: Pair


@dataclass(frozen=True)
class Told:
    """A watch that prints where a run is, and when all will be done at its speed."""

    plan: Plan
    run: str
    number: int
    total: int

    def update(self, row: Mapping[str, float]) -> None:
        """A logged step."""
        pace = self.plan.batch / row["samples_per_second"]
        left = pace * (self.plan.steps - row["step"])
        overall = left + pace * self.plan.steps * (self.total - self.number)
        print(
            f"[{self.number} of {self.total}] {self.run}: step {row['step']:,} of {self.plan.steps:,}, {pace:.2f} s a "
            f"step; this run {left / 60:.0f} min more, all {overall / 3600:.1f} h",
            flush=True,
        )

    def note(self, text: str) -> None:
        """Something a person wants to know."""
        print(f"[{self.number} of {self.total}] {self.run}: {text}", flush=True)


def shape_of(base: Path) -> dict[str, Any]:
    """The arguments that a base's transformer was built with: random weights are compared in the same shape."""
    kept = json.loads((base / "transformer/config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in kept.items() if not key.startswith("_")}


def identify_base(plan: Plan) -> str:
    """Fingerprint of the weights that runs start from.

    Raises:
        ConfigError: their adapter is trained and acts already, so that no run would be one without it.
    """
    if plan.base is None:
        return "fresh"
    trainee = load_trainee(plan.configure("frozen_none", 0))
    gates = [float(each) for name, each in trainee.adapter.named_parameters() if name.endswith("_gate")]
    if any(gates):
        raise ConfigError(
            f"{plan.base}: its adapter has been trained (gates {gates}); give weights of "
            "configs/train/nano-pretrain.yaml as --base, or none"
        )
    return trainee.fingerprint()


def settle(plan: Plan) -> None:
    """Keep what all runs share in RUNS/plan.json, so that runs of another length or base never meet in one table.

    Raises:
        ConfigError: the folder holds runs that share something else, or the base is of no use.
    """
    shared = {**steering(plan.configure(REFERENCE, 0)), "base": identify_base(plan)}
    path = plan.runs / "plan.json"
    if path.is_file():
        _refuse(plan.runs, differences(shared, json.loads(path.read_text(encoding="utf-8"))))
    plan.runs.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(shared, indent=1), encoding="utf-8")


def is_done(config: TrainConfig) -> bool:
    """Whether the run is trained already.

    Raises:
        ConfigError: its folder holds a run with another configuration.
    """
    kept = config.run / "config.yaml"
    if kept.is_file():
        _refuse(config.run, differences(steering(config), steering(load_config(kept))))
    return (config.run / "weights").is_dir()


def _refuse(folder: Path, changes: Iterable[str]) -> None:
    changed = "; ".join(changes)
    if changed:
        raise ConfigError(f"{folder} was begun otherwise: {changed}. Change it back, or give another folder for RUNS")


def draw_pictures(source: PhotoSource, count: int, crop: int) -> list[Picture]:
    """Damaged crops of held-out photos, always the same: the groups in turn, every group on the same photos.

    Raises:
        ConfigError: no photo is held out.
    """
    photos = source.photos["test"]
    if not photos:
        raise ConfigError("no photo is held out; give more photos")
    groups = [(group, [each for each in source.recipes if each.group == group]) for group in GROUPS]
    groups = [(group, recipes) for group, recipes in groups if recipes]
    pictures = []
    for number in range(count):
        turn, which = divmod(number, len(groups))
        group, recipes = groups[which]
        recipe = recipes[int(permutation(0, which, len(recipes))[turn % len(recipes)])]
        photo, rng = photos[turn % len(photos)], rng_of(0, "ablation", number)
        region = source.damage(rng, photo, recipe, max(crop, source.config.region))
        pictures.append(Picture(group, photo.file, region.crop(rng, Place(number, crop))))
    return pictures


def identify(pictures: Sequence[Picture]) -> str:
    """Hash of pictures and instructions: scores on others must not meet in one table."""
    return digest(
        [[p.pair.lq.tobytes().hex(), p.pair.hq.tobytes().hex(), *vars(p.pair.instruction).values()] for p in pictures]
    )


def score(weights: Path, pictures: Sequence[Picture]) -> Rows:
    """PSNR in dB of each picture before, and after under both instructions."""
    pipeline = CoTIRPipeline.from_pretrained(weights)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for start in range(0, len(pictures), TOGETHER):
        some = pictures[start : start + TOGETHER]
        restored = pipeline(
            [Image.fromarray(each.pair.lq) for each in some for _ in FORMS],
            [getattr(each.pair.instruction, form) for each in some for form in FORMS],
            seed=[start + number for number in range(len(some)) for _ in FORMS],
            batch_size=TOGETHER,
            explain=False,
        ).images
        for number, each in enumerate(some):
            found = {"input": each.pair.lq}
            found |= {form: np.asarray(restored[number * len(FORMS) + at]) for at, form in enumerate(FORMS)}
            values = {f"psnr_{what}": psnr(pixels, each.pair.hq) for what, pixels in found.items()}
            rows.append({"photo": each.photo, "group": each.group, "deg": each.pair.deg, **values})
    return rows


def end_of(log: Path) -> dict[str, float]:
    """Flow loss, distances and multipliers over the last tenth of a training, where it has them."""
    rows = rising(read_log(log))
    late = rows[-max(len(rows) // 10, 1) :]
    return {key: float(np.mean([row[key] for row in late])) for key in TOLD if key in late[-1]}


def read_scores(runs: Path, seeds: Sequence[int], pictures: str) -> dict[str, dict[int, dict[str, Any]]]:
    """All scores on these pictures, by row and seed."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name in ROWS:
        for seed in seeds:
            path = runs / f"{name}-{seed}" / "scores.json"
            if path.is_file():
                kept = json.loads(path.read_text(encoding="utf-8"))
                if kept["pictures"] == pictures:
                    found.setdefault(name, {})[seed] = kept
    return found


def write_scores(config: TrainConfig, pictures: Sequence[Picture]) -> None:
    """Score a trained run and keep the scores in its folder."""
    rows = score(config.run / "weights", pictures)
    kept = {"pictures": identify(pictures), "training": end_of(config.run / "log.jsonl"), "rows": rows}
    part = config.run / "scores.json.part"
    part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    part.replace(config.run / "scores.json")


def compare(plan: Plan, names: Sequence[str], seeds: Sequence[int], count: int, crop: int) -> str:
    """Train and score what is not yet, one seed after another; write the table after each run, and return it.

    Raises:
        CoTIRError: photos, base or a run's folder cannot be used.
    """
    settle(plan)
    configs = {(name, seed): plan.configure(name, seed) for seed in seeds for name in names}
    pictures = draw_pictures(PhotoSource(plan.configure(REFERENCE, 0).data, 0), count, crop)
    mark = identify(pictures)
    trained = {key: is_done(config) for key, config in configs.items()}
    scored = read_scores(plan.runs, seeds, mark)
    todo = [(name, seed) for name, seed in configs if not trained[name, seed] or seed not in scored.get(name, {})]
    print(f"{len(configs) - len(todo)} of {len(configs)} runs are done; scored on {count} pictures", flush=True)
    for number, (name, seed) in enumerate(todo, 1):
        watch = Told(plan, f"{name}-{seed}", number, len(todo))
        if not trained[name, seed]:
            Trainer(configs[name, seed], watch).run()
        watch.note("scoring")
        write_scores(configs[name, seed], pictures)
        (plan.runs / "table.md").write_text(table(read_scores(plan.runs, seeds, mark)), encoding="utf-8")
    found = table(read_scores(plan.runs, seeds, mark))
    (plan.runs / "table.md").write_text(found, encoding="utf-8")
    return found


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument(
        "--base", type=Path, metavar="FOLDER", help="editing pre-trained nano (default: random weights)"
    )
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default=",".join(ASKED), metavar="NAME,...", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--pictures", type=int, default=160, help="to score on (default 160)")
    parser.add_argument("--crop", type=int, default=64, help=f"of training (default 64); scores are of {CROP}")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--delta", type=float, help="allowed distance (default: the run file's)")
    parser.add_argument("--weight", type=float, default=0.75, help="lambda of fixed (default 0.75)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    names, seeds = options.only.split(","), options.seeds.split(",")
    if not set(names) <= set(ROWS) or not all(seed.isdecimal() for seed in seeds):
        parser.error(f"--only takes names of {', '.join(ROWS)}, --seeds whole numbers, both parted by commas")
    if options.base is None:
        left_out = [name for name in names if name in NEED_BASE]
        names = [name for name in names if name not in NEED_BASE]
        if left_out:
            print(f"all runs start from random weights, so {', '.join(left_out)} is left out: give --base", flush=True)
    keys = ("photos", "runs", "base", "steps", "crop", "batch", "threads", "workers", "delta", "weight")
    plan = Plan(**{key: getattr(options, key) for key in keys})
    try:
        if names:
            print(compare(plan, names, [int(seed) for seed in seeds], options.pictures, CROP))
    except CoTIRError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
