"""What the tests of the trainer's data share: small photos, recipes, run files, and what makes two pairs equal."""

from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

from cotir.train.config import DataConfig

SIDE = 48
"""Of a region; photos are a little larger."""
RECIPES = """
severity: {1: [0.2, 0.9], 2: [0.2, 0.6]}
samples_per_shard: 6
crops_per_photo: 2
test: {photos: 0.3, samples: 2}
single: [noise, jpeg]
seen: [noise + jpeg]
unseen: [haze + noise]
clean: true
"""


def write_photos(folder: Path, numbers=range(6)) -> Path:
    """Smooth colourful pictures, another for every number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, (SIDE + 24, SIDE + 12), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def write_recipes(path: Path, text: str = RECIPES) -> Path:
    """A recipe file."""
    path.write_text(text, encoding="utf-8")
    return path


def photo_config(photos: Path, recipe: Path, **changes) -> DataConfig:
    """Of small regions with few crops of each."""
    values = {"source": "photos", "held_out": 0.3, "region": SIDE, "crops_per_region": 2, **changes}
    return DataConfig(path=photos, recipe=recipe, **values)


def write_run(path: Path, **sections) -> Path:
    """A short run file with whole sections replaced; None leaves one out."""
    data = {
        "run": "runs/test",
        "model": {"preset": "nano", "train": "all"},
        "data": {"source": "photos", "path": "photos", "recipe": "recipes.yaml"},
        "optimizer": {"rate": 1e-3, "floor": 1e-4, "warmup": 5},
        "schedule": {"stages": [{"until": 12, "crop": 32, "batch": 4}, {"until": 20, "crop": 48, "batch": 2}]},
    } | sections
    given = {key: value for key, value in data.items() if value is not None}
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


def facts(pair):
    """Everything about a pair, comparable."""
    pictures = [(each.shape, each.tobytes()) for each in (pair.hq, pair.lq)]
    return (*pictures, pair.deg, pair.instruction, pair.trace, pair.position, pair.problems)
