"""Learn to tell damage by what is measured of pictures: damage training photos, measure them, fit a small net.

    python scripts/fit_diagnosis.py MODEL PHOTOS MEASURED [--pictures 12000] [--workers 2]
    python scripts/calibrate_reasoning.py MODEL PHOTOS

MODEL is a pipeline folder, or nano for the bundled one. Of the pictures, crops of 128 to 256 px, 45 %
are damaged by the recipes of training in turn of chance, 45 % by one to four kinds drawn anew (none of the mixtures
that are held out), and 10 % not at all. What is measured is kept in the folder MEASURED, 500 pictures a file, so that
it may be stopped and started at will and more pictures can be added. Writes the diagnosis into
MODEL/reasoning.safetensors, not yet calibrated. A picture takes about a tenth of a second of one core, the net a
minute.
"""

import argparse
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotir import CoTIRPipeline
from cotir.configuration import check
from cotir.degrade import compose, sample_recipe
from cotir.diagnosis import Diagnosis
from cotir.errors import CoTIRError
from cotir.evidence import measure
from cotir.image import quantise
from cotir.loading import NANO_FOLDER
from cotir.phrase_bank import KINDS
from cotir.read_out import FILE
from cotir.storage import read_safetensors, write_safetensors
from cotir.train.config import DataConfig
from cotir.train.pairs import Place, rng_of
from cotir.train.photo_regions import unit
from cotir.train.photo_source import DamagedRegion, PhotoSource

ROOT = Path(__file__).parents[1]
CHUNK = 500
REGION = 256
DOWNSCALE = 0.4
"""Share of crops that are averaged down, as photographs are that were made smaller."""
SIDES = {128: 0.2, 192: 0.5, 256: 0.3}
"""Share of every size of crop."""
RECIPES, DRAWN = 0.45, 0.45
"""Share of the pictures damaged by a recipe, and by kinds drawn anew."""
COUNTS = {1: 0.25, 2: 0.3, 3: 0.25, 4: 0.2}
"""Share of every number of kinds among these."""


@dataclass(frozen=True)
class Known:
    """Measured pictures whose damage is known."""

    measured: Tensor
    """(B, E)."""
    labels: Tensor
    """1 where the kind is there, else 0 (B, K)."""
    severities: Tensor
    """0 where it is not (B, K)."""


class Pictures:
    """Crops of training photos, damaged; the same ones for the same number."""

    def __init__(self, photos: Path, recipe: Path) -> None:
        values = {"source": "photos", "path": photos, "recipe": recipe, "region": REGION}
        self.source = PhotoSource(check(DataConfig, values, name="data"), seed=0)
        recipes = [each for each in self.source.recipes if each.kinds]
        self.seen = [each for each in recipes if each.share > 0]
        self.held_out = {frozenset(each.kinds) for each in recipes if each.share == 0}
        singles = [each for each in self.seen if len(each.kinds) == 1]
        counts = {len(each.kinds): each.ranges[0] for each in self.seen}
        self.ranges = counts | {1: singles[0].ranges[0]}

    def known(self, numbers: Iterable[int]) -> Known:
        """Make and measure the pictures of these numbers."""
        rows = [self._row(number) for number in numbers]
        return Known(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _row(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = rng_of(0, "evidence", number)
        photos = self.source.photos["train"]
        photo = photos[int(rng.integers(len(photos)))]
        chance = rng.random()
        hq = self.source.cut(rng, photo, REGION)
        kinds, severities = self._damage(rng, chance)
        applied = sample_recipe(rng, kinds, severities)
        lq = quantise(compose(unit(hq), applied), 8) if applied else hq
        region = DamagedRegion(hq, lq, "-".join(kinds) or "clean", photo.file, applied)  # pyright: ignore[reportArgumentType]
        side = int(rng.choice(list(SIDES), p=list(SIDES.values())))
        pixels = region.crop(rng, Place(number, side), DOWNSCALE).lq
        severity = {each.kind: each.severity for each in applied}
        return (
            measure(torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1),
            torch.tensor([float(kind in severity) for kind in KINDS]),
            torch.tensor([severity.get(kind, 0.0) for kind in KINDS]),
        )

    def _damage(self, rng: np.random.Generator, chance: float) -> tuple[tuple[str, ...], list[float]]:
        if chance < RECIPES:
            recipe = self.seen[int(rng.integers(len(self.seen)))]
            return recipe.kinds, [float(rng.uniform(*each)) for each in recipe.ranges]
        if chance >= RECIPES + DRAWN:
            return (), []
        kinds: tuple[str, ...] = ()
        while not kinds or frozenset(kinds) in self.held_out:
            count = int(rng.choice(list(COUNTS), p=list(COUNTS.values())))
            kinds = tuple(KINDS[place] for place in sorted(rng.choice(len(KINDS), count, replace=False)))
        return kinds, [float(rng.uniform(*self.ranges[len(kinds)])) for _ in kinds]


def make(photos: Path, recipe: Path, folder: Path, chunks: Sequence[int]) -> None:
    """Measure the chunks that are not there yet."""
    torch.set_num_threads(1)
    pictures = Pictures(photos, recipe)
    for chunk in chunks:
        path = folder / f"{chunk:05}.safetensors"
        if not path.is_file():
            known = pictures.known(range(chunk * CHUNK, (chunk + 1) * CHUNK))
            partial = path.with_suffix(".part")
            write_safetensors(vars(known), partial)
            partial.replace(path)
        print(f"{path} of {CHUNK} pictures", flush=True)


def main() -> None:
    """Measure, fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--pictures", type=int, default=12000, help="to learn from, default 12000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/bench/default.yaml")
    options = parser.parse_args()
    if options.pictures < CHUNK or options.workers < 1:
        parser.error(f"--pictures {options.pictures} --workers {options.workers}: give {CHUNK} or more, and a worker")
    try:
        fit(options)
    except CoTIRError as error:
        parser.error(str(error))


def fit(options: argparse.Namespace) -> None:
    """As :func:`main`.

    Raises:
        CoTIRError: the photos, the recipe or the model cannot be used.
    """
    folder = NANO_FOLDER if options.model == "nano" else Path(options.model)
    read_out = CoTIRPipeline.from_pretrained(folder).prepare_read_out()
    options.measured.mkdir(parents=True, exist_ok=True)
    chunks = range(options.pictures // CHUNK)
    with ProcessPoolExecutor(options.workers) as pool:
        shares = [chunks[worker :: options.workers] for worker in range(options.workers)]
        runs = [pool.submit(make, options.photos, options.recipe, options.measured, share) for share in shares]
        for run in runs:
            run.result()
    parts = [read_safetensors(options.measured / f"{chunk:05}.safetensors") for chunk in chunks]
    known = Known(*(torch.cat([part[name] for part in parts]) for name in ("measured", "labels", "severities")))
    diagnosis = Diagnosis.fit(known.measured, known.labels, known.severities, seed=0)
    replace(read_out, diagnosis=diagnosis, benefit=None).save(folder / FILE)
    print(f"learned from {len(known.measured):,} pictures; calibrate it with scripts/calibrate_reasoning.py")


if __name__ == "__main__":
    main()
