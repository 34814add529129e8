"""Pairs made as needed from clean photos: a region of a photo is damaged by a recipe, then crops are cut from it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache, cached

from cotir.bench.generator import choose_crop, cut
from cotir.bench.photos import Inspector, find_files, settle, split_photos
from cotir.bench.phrases import write_instruction
from cotir.bench.recipes import BenchRecipe, Recipes, load_recipes, to_plain
from cotir.bench.schema import Source as Photo
from cotir.bench.traces import write_full_trace
from cotir.degrade import Applied, compose, sample_recipe
from cotir.errors import ConfigError, ImageError
from cotir.files import decode
from cotir.image import quantise
from cotir.train.config import DataConfig
from cotir.train.pairs import Pair, Pixels, Place, Source, digest, rng_of

BLOCK = 64
"""Regions whose crops are mixed with one another, so that a batch seldom holds two of one region."""
NAMED = 5
"""Files not used that a run names."""
GENERATION = 1
"""Raised when the same seed gives other pairs than before."""


class PhotoSource(Source):
    """Damages clean photos as needed: a region of a photo by a recipe, then crops of the region.

    Raises:
        ConfigError: the folder or the recipe file cannot be used.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        assert config.recipe is not None  # the configuration requires it
        self.config, self.seed = config, seed
        self.recipes: Recipes = load_recipes(config.recipe)
        inspect = Inspector(config.path, config.region)
        survey = settle(map(inspect, find_files(config.path)), {})
        self.skipped = survey.skipped
        if not survey.sources:
            first = survey.skipped[0]
            raise ConfigError(
                f"{config.path}: none of {len(survey.skipped)} files is a photo to use; the first, {first.file}, "
                f"{first.reason}. Give larger or other photos, or lower data.region"
            )
        self.photos = split_photos(survey.sources, config.held_out)
        trained = [recipe for recipe in self.recipes if recipe.share > 0]
        self._trained = trained
        self._shares = np.cumsum([recipe.share for recipe in trained])
        if not trained:
            raise ConfigError(f"{config.recipe}: no recipe has a share of the training samples; give one a share")

    def pair(self, place: Place) -> Pair:
        """See :class:`Source`."""
        per_region = self.config.crops_per_region
        block, slot = divmod(place.position, BLOCK * per_region)
        mixed = int(_permutation(self.seed, block, BLOCK * per_region)[slot])
        region = self._region(block * BLOCK + mixed // per_region)
        return region.crop(rng_of(self.seed, "crop", place.position), place)

    def held_out(self, count: int, crop: int) -> list[Pair]:
        """See :class:`Source`: the recipes in turn, those that are only tested too."""
        photos = self.photos["test"]
        if not photos:
            raise ConfigError("data.held_out is 0: nothing to validate on; hold photos out, or set validation.every 0")
        recipes = list(self.recipes)
        order = _permutation(0, 0, len(recipes))
        pairs = []
        for number in range(count):
            rng = rng_of(0, "held out", number)
            recipe = recipes[int(order[number % len(recipes)])]
            region = self._damaged(rng, photos[number % len(photos)], recipe, max(crop, self.config.region))
            pairs.append(region.crop(rng, Place(number, crop)))
        return pairs

    def remarks(self) -> list[str]:
        """See :class:`Source`."""
        told = [f"{len(self.photos['train']):,} photos to train on, {len(self.photos['test']):,} held out"]
        reasons = [f"{each.file} {each.reason}" for each in self.skipped]
        if len(reasons) > NAMED:
            reasons[NAMED:] = [f"and {len(reasons) - NAMED:,} more, which 'cotir bench plan' lists"]
        if reasons:
            told.append(f"{len(self.skipped):,} files are not used: {'; '.join(reasons)}")
        return told

    @property
    def fingerprint(self) -> str:
        """See :class:`Source`."""
        photos = [photo.sha256 for photo in self.photos["train"]]
        return digest([photos, [to_plain(recipe) for recipe in self.recipes], GENERATION])

    @cached_property
    def _region(self) -> Any:
        # in every worker its own: crops of one region come from it one after another
        return lru_cache(maxsize=BLOCK)(self._region_anew)

    def _region_anew(self, number: int) -> "Region":
        rng = rng_of(self.seed, "region", number)
        photos = self.photos["train"]
        photo = photos[int(rng.integers(len(photos)))]
        draw = rng.random() * self._shares[-1]
        recipe = self._trained[min(int(np.searchsorted(self._shares, draw, side="right")), len(self._trained) - 1)]
        return self._damaged(rng, photo, recipe, self.config.region)

    def _damaged(self, rng: np.random.Generator, photo: Photo, recipe: BenchRecipe, side: int) -> "Region":
        pixels = self._photo(photo)
        side = min(side, *pixels.shape[:2])
        hq = cut(pixels, choose_crop(rng, pixels, side), side)
        severities = [float(rng.uniform(low, high)) for low, high in recipe.ranges]
        applied = sample_recipe(rng, recipe.kinds, severities)
        lq = cast(Pixels, quantise(compose(_unit(hq), applied), 8)) if applied else hq
        return Region(hq, lq, applied, recipe.deg, photo.file)

    @cached_property
    def _photo(self) -> Any:
        kept: LRUCache[Any, Pixels] = LRUCache(self.config.photo_mb * 2**20, getsizeof=lambda pixels: pixels.nbytes)
        return cached(kept)(self._photo_anew)

    def _photo_anew(self, photo: Photo) -> Pixels:
        path = self.config.path / photo.file
        data = path.read_bytes()
        if sha256(data).hexdigest() != photo.sha256:
            raise ImageError(f"{path}: is not the file that the run began with; put it back, or start another run")
        return cast(Pixels, quantise(decode(data, name=str(path)).pixels, 8))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_region", "_photo")}


@dataclass(frozen=True)
class Region:
    """A square of a photo, clean and damaged."""

    hq: Pixels
    lq: Pixels
    applied: tuple[Applied, ...]
    deg: str
    file: str
    """The photo's name."""

    def crop(self, rng: np.random.Generator, place: Place) -> Pair:
        """A crop of it, anywhere, with words of its own.

        Raises:
            ImageError: the crop is larger.
        """
        if min(self.hq.shape[:2]) < place.crop:
            raise ImageError(f"{self.file}: gives {self.hq.shape[:2]} pixels, too few for a crop of {place.crop}")
        top, left = (int(rng.integers(side - place.crop + 1)) for side in self.hq.shape[:2])
        box = np.s_[top : top + place.crop, left : left + place.crop]
        hq, lq = np.ascontiguousarray(self.hq[box]), np.ascontiguousarray(self.lq[box])
        instruction = write_instruction([each.kind for each in self.applied], rng)
        trace = write_full_trace(_unit(hq), self.applied)
        return Pair(hq, lq, self.deg, instruction, trace, place.position)


@lru_cache(maxsize=16)
def _permutation(seed: int, block: int, count: int) -> npt.NDArray[np.int64]:
    return rng_of(seed, "block", block).permutation(count)


def _unit(pixels: Pixels) -> npt.NDArray[np.float32]:
    return np.divide(pixels, 255, dtype=np.float32)
