"""Make the bundled example photographs: a held-out CC0 photo, damaged with fixed seeds.

    python scripts/make_examples.py PHOTOS

Writes src/cotir/assets/examples.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cotir.bench.photos import Inspector, find_files, settle, split_photos
from cotir.colour import unit
from cotir.degrade.compose import compose, sample_recipe
from cotir.image import quantise
from cotir.train.config import DataConfig

FOLDER = Path(__file__).parents[1] / "src/cotir/assets/examples"
SIZE = (720, 480)


@dataclass(frozen=True)
class Example:
    """A photo and what is done to it."""

    name: str
    photo: str
    seed: int
    damage: dict[str, float]
    """Severity by kind."""


PERIWINKLE = "budgie-backgrounds__blue-periwinkle.webp"
EXAMPLES = (
    Example("periwinkle_hazy_rain", PERIWINKLE, 1, {"haze": 0.35, "rain": 0.4}),
    Example("periwinkle_hazy_noisy", PERIWINKLE, 0, {"haze": 0.4, "noise": 0.3, "jpeg": 0.2}),
)


def main() -> None:
    """Write one JPEG per example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    options = parser.parse_args()
    defaults = DataConfig.model_fields  # the split of a training on these photos, whatever its recipe
    inspect = Inspector(options.photos, defaults["region"].default)
    survey = settle(map(inspect, find_files(options.photos)), {})
    held_out = {photo.file for photo in split_photos(survey.sources, defaults["held_out"].default)["test"]}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        if example.photo not in held_out:
            raise SystemExit(f"{example.photo} is trained on; choose a photo that is held out")
        photo = np.asarray(cv2.imread(str(options.photos / example.photo), cv2.IMREAD_COLOR_RGB))
        photo = cv2.resize(photo, SIZE, interpolation=cv2.INTER_AREA)
        kinds, severities = list(example.damage), list(example.damage.values())
        applied = sample_recipe(np.random.default_rng(example.seed), kinds, severities)
        damaged = quantise(compose(unit(photo), applied), 8)
        target = str(FOLDER / f"{example.name}.jpg")
        cv2.imwrite(target, cv2.cvtColor(damaged, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])


if __name__ == "__main__":
    main()
