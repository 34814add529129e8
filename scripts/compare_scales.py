"""What restoring a large picture at several scales is worth, against windows alone: PSNR on damaged crops of photos.

    python scripts/compare_scales.py PHOTOS [--model nano] [--side 896] [--pictures 24] [--split train]

Each crop is damaged by a recipe of configs/bench/default.yaml in turn, at its size, and restored with its windows alone
and with the coarse scales (cotir.scales), under a vague and a precise instruction. Intervals: bootstrap over photos.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from cotir import CoTIRPipeline, passes
from cotir.evaluate.statistics import bootstrap
from cotir.train.pairs import rng_of
from cotir.train.photo_regions import permutation, unit
from cotir.train.photo_source import PhotoSource
from cotir.train.run_file import load_config
from cotir.train.validation import psnr

ROOT = Path(__file__).parents[1]
FORMS = ("vague", "precise")


def main() -> None:
    """Print a line for each picture, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--side", type=int, default=896, help="of a crop, in pixels")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = ROOT / "configs/bench/default.yaml"
    overrides = ["run=unused", f"data.path={options.photos}", f"data.recipe={recipe}", f"data.region={options.side}"]
    source = PhotoSource(load_config(ROOT / "configs/train/nano.yaml", overrides).data, 0)
    photos = source.photos[options.split]
    recipes = [each for each in source.recipes if each.kinds]
    model = CoTIRPipeline.from_pretrained(options.model)
    rows: list[tuple[str, dict[str, float]]] = []
    for number in range(options.pictures):
        rng = rng_of(0, "scales", number)
        recipe = recipes[int(permutation(0, 1, len(recipes))[number % len(recipes)])]
        photo = photos[int(permutation(0, 2, len(photos))[number % len(photos)])]
        pair = source.damage(rng, photo, recipe, options.side)
        instruction, _ = pair.say(rng, pair.hq)
        found = {"input": psnr(pair.lq, pair.hq)}
        for form in FORMS:
            words = getattr(instruction, form)
            with patch.object(passes, "sizes", lambda height, width, backbone: [(height, width)]):
                alone = model(unit(pair.lq), words, explain=False).image
            scales = model(unit(pair.lq), words, explain=False).image
            found |= {f"{form}, windows": psnr(np.asarray(alone), pair.hq)}
            found |= {f"{form}, scales": psnr(np.asarray(scales), pair.hq)}
        rows.append((photo.file, found))
        print(f"{recipe.deg:40} " + "  ".join(f"{name} {value:.2f}" for name, value in found.items()), flush=True)
    names = [name for name, _ in rows]
    for key in rows[0][1]:
        print(key, bootstrap(np.array([row[key] for _, row in rows]), names))
    for form in FORMS:
        gained = np.array([row[f"{form}, scales"] - row[f"{form}, windows"] for _, row in rows])
        print(f"{form}, gained by the scales", bootstrap(gained, names))


if __name__ == "__main__":
    main()
