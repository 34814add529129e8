"""One sample after another: a crop of a photo, damage by a recipe, and words about it.

A sample depends on (seed, recipe, photo, number) and on nothing else: each draws from a generator seeded by a hash of
these four, so neither the number of workers nor the order of work can change it.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np
import numpy.typing as npt

from cotir.bench.recipes import BenchRecipe, Recipes, to_plain
from cotir.bench.schema import Crop, Metadata, Sample, Source, Split, Writer, sample_key
from cotir.bench.traces import write_full_trace
from cotir.degrade import Applied, Image, compose, sample_recipe
from cotir.errors import ImageError
from cotir.files import decode
from cotir.image import quantise
from cotir.phrases import write_instruction
from cotir.prompts import ReasoningTrace

Pixels = npt.NDArray[np.uint8]

WIDEST = 4.0
"""The side of a crop is at most this many times the sample's: smaller than that, a photo's content is gone."""
CROP_DRAWS = 4
ENOUGH_DETAIL = 8.0
"""8-bit levels. Measured on 28 photographs: of all crops a tenth has less than 5, half have more than 24."""
PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Measured on photos at 512x512, half of them noisy: 16 ms and 464 kB; without the strategy 23 ms and 498 kB."""
ANSWER = "the restored picture"


@dataclass(frozen=True)
class Written:
    """A trace and who wrote it."""

    trace: ReasoningTrace
    writer: Writer


class TraceWriter(Protocol):
    """Writes the reasoning for a pair of pictures."""

    def write(self, lq: Pixels, hq: Pixels, applied: tuple[Applied, ...]) -> Written:
        """Pictures are uint8 (H, W, 3), sRGB; ``applied`` is in light-path order."""
        ...


class TemplateWriter:
    """The default: from what was measured and done, offline."""

    def write(self, lq: Pixels, hq: Pixels, applied: tuple[Applied, ...]) -> Written:
        """See :func:`cotir.bench.traces.write_full_trace`."""
        return Written(write_full_trace(_unit(hq), applied), "template")


@dataclass(frozen=True)
class Material:
    """What a benchmark is made of; small, and the same in every worker."""

    photos: Path
    recipes: Recipes
    sources: Mapping[Split, tuple[Source, ...]]
    seed: int
    size: int


class Generator:
    """Makes any sample of a benchmark.

    Args:
        material: what it is made of.
        writer: of traces; the template if None.
    """

    def __init__(self, material: Material, writer: TraceWriter | None = None) -> None:
        self.material = material
        self.writer = writer or TemplateWriter()
        self._seconds: dict[str, float] = {}
        # consecutive samples come from one photo, see `source_of`
        self._read = lru_cache(maxsize=1)(self._read_anew)

    def sample(self, recipe: BenchRecipe, split: Split, index: int) -> Sample:
        """Make sample ``index`` of a recipe.

        Raises:
            ImageError: the photo has gone, or is another than it was when the photos were surveyed.
        """
        source = self.source_of(recipe, split, index)
        rng = sample_rng(self.material.seed, recipe, source.sha256, split, index)
        of_crop, of_severity, of_damage, of_words = rng.spawn(4)
        with self._timed("photo"):
            photo = self._read(source)
            crop = choose_crop(of_crop, photo, self.material.size)
            hq = cut(photo, crop, self.material.size)
        with self._timed("damage"):
            severities = [float(of_severity.uniform(low, high)) for low, high in recipe.ranges]
            applied = sample_recipe(of_damage, recipe.kinds, severities)
            lq = cast(Pixels, quantise(compose(_unit(hq), applied), 8)) if applied else hq
        with self._timed("words"):
            written = self.writer.write(lq, hq, applied)
        with self._timed("png"):
            files = png(hq), png(lq)
        meta = Metadata(
            key=sample_key(recipe.deg, index, split),
            deg=recipe.deg,
            group=recipe.group,
            split=split,
            index=index,
            seed=self.material.seed,
            size=self.material.size,
            applied=applied,
            instruction=write_instruction([each.kind for each in applied], of_words),
            trace=written.trace,
            answer=ANSWER,
            writer=written.writer,
            source=source,
            crop=crop,
            psnr=psnr(lq, hq),
        )
        return Sample(*files, meta=meta)

    def take_seconds(self) -> Mapping[str, float]:
        """Where the time went since the last call: photo, damage, words, png."""
        seconds, self._seconds = self._seconds, {}
        return seconds

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - started

    def source_of(self, recipe: BenchRecipe, split: Split, index: int) -> Source:
        """The photo of a sample: each recipe goes through all photos in an order of its own, over and over."""
        sources = self.material.sources[split]
        order = _order(self.material.seed, recipe.deg, split, len(sources))
        # a test sample is worth the time to read a photo of its own
        in_a_row = self.material.recipes.crops_per_photo if split == "train" else 1
        return sources[order[index // in_a_row % len(sources)]]

    def _read_anew(self, source: Source) -> Pixels:
        path = self.material.photos / source.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: has gone since the build began ({error.strerror}); put it back") from error
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise ImageError(f"{path}: has changed since the build began; put the old file back or build anew")
        # rounds as quantise does, in a tenth of the time: a photo has many more pixels than a sample
        return cast(Pixels, cv2.convertScaleAbs(decode(data, name=str(path)).pixels, alpha=255.0))


def sample_rng(seed: int, recipe: BenchRecipe, sha256: str, split: Split, index: int) -> np.random.Generator:
    """The only source of randomness of a sample."""
    facts = {name: value for name, value in to_plain(recipe).items() if name != "share"}
    text = json.dumps([seed, facts, sha256, split, index])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def draw_crop(rng: np.random.Generator, height: int, width: int, size: int) -> Crop:
    """A square anywhere in a photo, its side log-uniform between the sample's size and the photo's short side."""
    widest = min(height, width, int(WIDEST * size))
    side = min(round(float(np.exp(rng.uniform(np.log(size), np.log(widest + 1))))), widest)
    top, left = (int(rng.integers(extent - side + 1)) for extent in (height, width))
    return Crop(top=top, left=left, side=side, mirrored=bool(rng.random() < 0.5))


def choose_crop(rng: np.random.Generator, photo: Pixels, size: int) -> Crop:
    """The first of some drawn crops of uint8 (H, W, 3) with enough to see in it, or else the one with the most."""
    best, most = None, -1.0
    for _ in range(CROP_DRAWS):
        crop = draw_crop(rng, photo.shape[0], photo.shape[1], size)
        detail = _detail(photo, crop)
        if detail > most:
            best, most = crop, detail
        if most >= ENOUGH_DETAIL:
            break
    return cast(Crop, best)


def cut(photo: Pixels, crop: Crop, size: int) -> Pixels:
    """Cut a square out of uint8 (H, W, 3), and average it down to ``size`` on a side."""
    square = photo[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    if crop.side != size:
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    return cast(Pixels, np.ascontiguousarray(square[:, ::-1] if crop.mirrored else square))


def psnr(lq: Pixels, hq: Pixels) -> float | None:
    """Peak signal-to-noise ratio in dB of 8-bit pictures, to a thousandth; None where they are the same."""
    square = cv2.norm(lq, hq, cv2.NORM_L2SQR) / hq.size
    return None if square == 0 else round(float(10 * np.log10(255**2 / square)), 3)


def png(pixels: Pixels) -> bytes:
    """The PNG file of uint8 RGB (H, W, 3)."""
    done, file = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), PNG_OPTIONS)
    if not done:
        raise ImageError(f"a picture of {pixels.shape} cannot be written as PNG")
    return file.tobytes()


def _detail(photo: Pixels, crop: Crop) -> float:
    """Mean step between neighbours, in 8-bit levels, of the green pixels of a 64th of the square's side."""
    stride = max(crop.side // 64, 1)
    square = photo[crop.top : crop.top + crop.side : stride, crop.left : crop.left + crop.side : stride, 1]
    values = square.astype(np.int16)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


@lru_cache(maxsize=256)
def _order(seed: int, deg: str, split: Split, count: int) -> npt.NDArray[np.int64]:
    digest = hashlib.sha256(f"photos {seed} {deg} {split}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big")).permutation(count)


def _unit(pixels: Pixels) -> Image:
    return np.divide(pixels, 255, dtype=np.float32)
