"""Learn to tell damage by what is measured of pictures: damage training photos, measure them, fit a small net.

    python scripts/fit_diagnosis.py MODEL PHOTOS MEASURED [--pictures 240000] [--files 6000] [--workers 2]
    python scripts/calibrate_reasoning.py MODEL PHOTOS

MODEL is a pipeline folder, or nano for the bundled one. Of the pictures, crops of 128 to 256 px, 45 % are damaged by
the recipes of training in turn of chance, 45 % by one to four kinds drawn anew (none of the mixtures that are held
out), and 10 % not at all. Others are as files of people are: two in five undamaged, and three in four saved as JPEG or
WebP of high quality, whose grid is no damage yet. What is measured is kept in the folder MEASURED, 500 pictures a file,
so that it may be stopped and started at will and more pictures can be added.

The net is learned twice: without a tenth of the photos, whose pictures then judge it and calibrate its confidences, and
from all. Of photos that a net has learned from it is surer than it can be of those that people bring. Writes the
diagnosis into MODEL/reasoning.safetensors. A picture takes a twenty-fifth of a second of one core, and 1,000 pictures
five seconds of fitting.
"""

import argparse
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotir import CoTIRPipeline
from cotir.bench.schema import Source
from cotir.configuration import check
from cotir.degrade import Applied, compose, sample_recipe
from cotir.diagnosis import Diagnosis, shares
from cotir.errors import CoTIRError
from cotir.evaluate.diagnosis import diagnose
from cotir.evidence import measure
from cotir.image import quantise
from cotir.loading import NANO_FOLDER
from cotir.phrase_bank import KINDS
from cotir.read_out import FILE
from cotir.storage import read_safetensors, write_safetensors
from cotir.train.config import DataConfig
from cotir.train.pairs import Pixels, Place, rng_of
from cotir.train.photo_regions import unit
from cotir.train.photo_source import DamagedRegion, PhotoSource

ROOT = Path(__file__).parents[1]
CHUNK = 500
LEFT_OUT = 10
"""One photo in so many is left out of the first fit."""
REGION = 256
DOWNSCALE = 0.4
"""Share of crops that are averaged down, as photographs are that were made smaller."""
SIDES = {128: 0.2, 192: 0.5, 256: 0.3}
"""Share of every size of crop."""
RECIPES, DRAWN = 0.45, 0.45
"""Share of the pictures damaged by a recipe, and by kinds drawn anew."""
COUNTS = {1: 0.25, 2: 0.3, 3: 0.25, 4: 0.2}
"""Share of every number of kinds among these."""
FILES_CLEAN, FILES_SAVED = 0.4, 0.75
"""Share of the pictures like files that are undamaged, and that are saved with little loss."""
CROPS, FILES = "evidence", "files"
"""What chance is drawn for, of crops and of pictures like files."""
CODECS = {"JPEG": (88, 98), "WEBP": (85, 98)}
"""Qualities that leave nothing to see."""


Row = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Known:
    """Measured pictures whose damage is known."""

    measured: Tensor
    """(B, E)."""
    labels: Tensor
    """1 where the kind is there, else 0 (B, K)."""
    severities: Tensor
    """0 where it is not (B, K)."""

    def where(self, chosen: Tensor) -> "Known":
        """Those that are chosen (B,)."""
        return Known(self.measured[chosen], self.labels[chosen], self.severities[chosen])


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

    def known(self, numbers: Iterable[int], *, files: bool = False) -> Known:
        """Make and measure the pictures of these numbers, of crops or as files are."""
        rows = [self._file(number) if files else self._crop(number) for number in numbers]
        return Known(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def place(self, number: int, *, files: bool = False) -> int:
        """Which photo of training the picture of this number is made of."""
        return self._place(rng_of(0, FILES if files else CROPS, number))

    def _crop(self, number: int) -> Row:
        rng = rng_of(0, CROPS, number)
        photo, chance = self._photo(rng), rng.random()
        hq = self.source.cut(rng, photo, REGION)
        kinds, severities = self._damage(rng, chance)
        applied = sample_recipe(rng, kinds, severities)
        lq = quantise(compose(unit(hq), applied), 8) if applied else hq
        region = DamagedRegion(hq, lq, "-".join(kinds) or "clean", photo.file, applied)  # pyright: ignore[reportArgumentType]
        side = int(rng.choice(list(SIDES), p=list(SIDES.values())))
        return _row(region.crop(rng, Place(number, side), DOWNSCALE).lq, applied)

    def _file(self, number: int) -> Row:
        rng = rng_of(0, FILES, number)
        hq = self.source.cut(rng, self._photo(rng), REGION)
        kinds, severities = ((), []) if rng.random() < FILES_CLEAN else self._damage(rng, rng.random())
        applied = sample_recipe(rng, kinds, severities)
        pixels = cast(Pixels, quantise(compose(unit(hq), applied), 8)) if applied else hq
        if rng.random() < FILES_SAVED and not {"jpeg", "webp", "avif", "h264"} & set(kinds):
            pixels = _saved(pixels, rng)
        return _row(pixels, applied)

    def _photo(self, rng: np.random.Generator) -> Source:
        return self.source.photos["train"][self._place(rng)]

    def _place(self, rng: np.random.Generator) -> int:
        # the first that is drawn for a picture
        return int(rng.integers(len(self.source.photos["train"])))

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


def _row(pixels: Pixels, applied: Sequence[Applied]) -> Row:
    severity = {each.kind: each.severity for each in applied}
    return (
        measure(torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1),
        torch.tensor([float(kind in severity) for kind in KINDS]),
        torch.tensor([severity.get(kind, 0.0) for kind in KINDS]),
    )


def _saved(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    codec = list(CODECS)[int(rng.integers(len(CODECS)))]
    file = BytesIO()
    Image.fromarray(pixels).save(file, codec, quality=int(rng.integers(*CODECS[codec])))
    return np.array(Image.open(file).convert("RGB"))


@dataclass(frozen=True)
class Chunk:
    """Pictures that are measured together and kept in one file."""

    number: int
    files: bool

    @property
    def pictures(self) -> range:
        """Their numbers."""
        return range(self.number * CHUNK, (self.number + 1) * CHUNK)

    def path(self, folder: Path) -> Path:
        """Where they are kept."""
        return folder / f"{'files-' * self.files}{self.number:05}.safetensors"


def make(photos: Path, recipe: Path, folder: Path, chunks: Sequence[Chunk]) -> None:
    """Measure the chunks that are not there yet."""
    torch.set_num_threads(1)
    pictures = Pictures(photos, recipe)
    for chunk in chunks:
        path = chunk.path(folder)
        if not path.is_file():
            partial = path.with_suffix(".part")
            write_safetensors(vars(pictures.known(chunk.pictures, files=chunk.files)), partial)
            partial.replace(path)
        print(f"{path} of {CHUNK} pictures", flush=True)


def main() -> None:
    """Measure, fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--pictures", type=int, default=240000, help="crops to learn from, default 240000")
    parser.add_argument("--files", type=int, default=6000, help="pictures like files besides, default 6000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/bench/default.yaml")
    options = parser.parse_args()
    if options.pictures < CHUNK or options.files < 0 or options.workers < 1:
        parser.error(
            f"--pictures {options.pictures} --files {options.files} --workers {options.workers}: give {CHUNK} crops or "
            "more, and a worker"
        )
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
    chunks = [Chunk(number, files=False) for number in range(options.pictures // CHUNK)]
    chunks += [Chunk(number, files=True) for number in range(options.files // CHUNK)]
    with ProcessPoolExecutor(options.workers) as pool:
        turns = [chunks[worker :: options.workers] for worker in range(options.workers)]
        runs = [pool.submit(make, options.photos, options.recipe, options.measured, turn) for turn in turns]
        for run in runs:
            run.result()
    parts = [read_safetensors(chunk.path(options.measured)) for chunk in chunks]
    known = Known(*(torch.cat([part[name] for part in parts]) for name in ("measured", "labels", "severities")))
    pictures = Pictures(options.photos, options.recipe)
    places = [pictures.place(number, files=chunk.files) for chunk in chunks for number in chunk.pictures]
    diagnosis = learn(known, torch.tensor(places) % LEFT_OUT == 0)
    replace(read_out, diagnosis=diagnosis, benefit=None).save(folder / FILE)
    print(f"learned from {len(places):,} pictures; what restoring gains is learned by scripts/calibrate_reasoning.py")


def learn(known: Known, left_out: Tensor) -> Diagnosis:
    """A diagnosis from all pictures, calibrated by one that has not seen the photos of those that are left out (B,).

    Raises:
        ConfigError: a kind is in none of the pictures that are left out, or of the others.
    """
    # undamaged pictures are left out of calibration: the more there are, the lower confidences must be
    judges = known.where(left_out & known.labels.any(dim=1))
    rest = known.where(~left_out)
    for labels in (judges.labels, rest.labels):
        shares(labels)
    first = _fit("without a tenth of the photos", rest).calibrated(judges.measured, judges.labels)
    found = diagnose(
        first.confidences(judges.measured).double().numpy(),
        first.severities(judges.measured).double().numpy(),
        judges.labels.double().numpy(),
        judges.severities.double().numpy(),
        KINDS,
    )
    print(
        f"learned from {len(rest.measured):,} pictures; of {found.pictures:,} damaged ones of the photos left out: "
        f"mean average precision {found.mean_average_precision:.3f}, rank correlation of severities "
        f"{found.severity_correlation:.3f}"
    )
    return replace(_fit("with all photos", known), calibration=first.calibration)


def _fit(what: str, known: Known) -> Diagnosis:
    def tell(done: int, total: int) -> None:
        if done % 1000 == 0:
            print(f"{what}: step {done:,} of {total:,}", flush=True)

    return Diagnosis.fit(known.measured, known.labels, known.severities, seed=0, on_progress=tell)


if __name__ == "__main__":
    main()
