"""What the tests of the benchmark share: small recipes, small photos, and the hashes of a folder."""

import hashlib
import os

import cv2
import numpy as np
from PIL import Image

from cotir.bench.build import build
from cotir.bench.order import Order
from cotir.bench.recipes import parse_recipes
from cotir.errors import ImageError

RECIPES = """
severity: {1: [0.15, 1.0], 2: [0.15, 0.8], 3: [0.1, 0.6]}
samples_per_shard: 4
crops_per_photo: 2
test: {photos: 0.3, samples: 1}
single: [noise, jpeg, {kinds: rain, weight: 0.5}]
seen: [haze + blur, low_light + noise + jpeg]
unseen: [snow + low_resolution]
clean: true
"""


def write_photo(path, number, side=96):
    """A smooth colourful picture that no other number gives."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cv2.resize(coarse, (side + 32, side), interpolation=cv2.INTER_CUBIC)).save(path)
    return path


def build_small_bench(folders):
    """A bench with seven test pictures of 48 pixels, in a new folder of pytest's ``tmp_path_factory``."""
    photos, out = folders.mktemp("photos"), folders.mktemp("bench") / "one"
    for number in range(6):
        write_photo(photos / f"{number}.png", number)
    build(Order(photos, out, parse_recipes(RECIPES), samples=4, size=48, seed=5))
    return out


def digests(root):
    """The sha256 of every file of a benchmark, by name."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Worker:
    """What the tests of the executors have done: square a number, fail at 13, die at 666."""

    def __call__(self, number):
        if number == 13:
            raise ImageError("13.png: is unlucky")
        if number == 666:
            os._exit(9)
        return number * number, cv2.getNumThreads()
