"""Draw the pictures of docs/nano.md: twenty kinds and mixtures of damage, each as damaged | restored | original.

    python scripts/draw_nano.py PHOTOS [--model nano] [--out docs/images/nano]

The photographs are CC0 and held out of nano's second training; kinds, severities and seeds are fixed beforehand, none
is chosen after looking. Restored with one step, under the default instruction, which names no damage. Also prints a
table.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from cotir import CoTIRPipeline
from cotir.colour import unit
from cotir.degrade import compose, sample_recipe
from cotir.image import quantise
from cotir.train.pairs import Pixels
from cotir.train.validation import psnr

FOLDER = Path(__file__).parents[1] / "docs/images/nano"
WIDTH = 480
SUBJECTS = (
    "budgie-backgrounds__piazza-gae-aulenti.webp",
    "budgie-backgrounds__blue-periwinkle.webp",
    "python3-skimage__chelsea.webp",
)
DAMAGES = (
    "noise", "jpeg", "rain", "snow", "haze", "low_light", "over_exposure", "low_resolution", "blur", "raindrop",
    "shadow", "watermark", "underwater", "lost_colour", "haze-rain", "low_light-noise", "haze-noise-jpeg",
    "rain-low_light", "haze-snow", "haze-rain-low_light-jpeg",
)  # fmt: skip
SEVERITY = {1: 0.6, 2: 0.5, 3: 0.45, 4: 0.4}
"""By the number of kinds: the more there are the less of each, as in configs/bench/default.yaml."""


@dataclass(frozen=True)
class Drawn:
    """A damaged picture, restored, and the original; uint8 (H, W, 3)."""

    lq: Pixels
    restored: Pixels
    hq: Pixels
    diagnosis: str
    plan: str
    """What is surely there and undone, as an instruction."""


def main() -> None:
    """Write one JPEG for each, and print what it says and gains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    model = CoTIRPipeline.from_pretrained(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    print("| damage | what it says | what it is to do | input, dB | restored, dB |\n|---|---|---|---|---|")
    for number, damage in enumerate(DAMAGES):
        drawn = draw(model, options.photos / SUBJECTS[number % len(SUBJECTS)], damage.split("-"))
        strip = cv2.cvtColor(np.concatenate([drawn.lq, drawn.restored, drawn.hq], axis=1), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(options.out / f"{damage}.jpg"), strip, [cv2.IMWRITE_JPEG_QUALITY, 85])
        name = damage.replace("-", ", ").replace("_", " ")
        scores = (psnr(drawn.lq, drawn.hq), psnr(drawn.restored, drawn.hq))
        cells = (name, drawn.diagnosis, drawn.plan or "nothing for sure", *(f"{score:.1f}" for score in scores))
        print(f"| {' | '.join(cells)} |", flush=True)


def draw(model: CoTIRPipeline, path: Path, kinds: Sequence[str]) -> Drawn:
    """Damage a photo of WIDTH and restore it."""
    photo = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    size = (WIDTH, round(WIDTH * photo.shape[0] / photo.shape[1]))
    hq = cast(Pixels, cv2.resize(photo, size, interpolation=cv2.INTER_AREA))
    applied = sample_recipe(np.random.default_rng(0), kinds, [SEVERITY[len(kinds)]] * len(kinds))
    lq = cast(Pixels, quantise(compose(unit(hq), applied), 8))
    output = model(lq)
    return Drawn(lq, np.asarray(output.image), hq, output.reasoning.diagnosis, output.reasoning.instruction)


if __name__ == "__main__":
    main()
