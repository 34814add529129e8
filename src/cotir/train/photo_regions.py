"""What all sources that make pairs from clean photos share: photos, regions cut from them, and crops of the regions."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache, cached

from cotir.bench.generator import choose_crop, cut
from cotir.bench.photos import Inspector, find_files, settle, split_photos
from cotir.bench.schema import Source as Photo
from cotir.errors import ConfigError, ImageError
from cotir.files import decode
from cotir.image import quantise
from cotir.prompts import Instruction, ReasoningTrace
from cotir.train.config import DataConfig
from cotir.train.pairs import Pair, Pixels, Place, Source, crop_of, digest, rng_of

BLOCK = 64
"""Regions whose crops are mixed with one another, so that a batch seldom holds two of one region."""
NAMED = 5
"""Files not used that a run names."""


@dataclass(frozen=True)
class Region:
    """A square of a photo as the model gets it (LQ) and as it is wanted (HQ), uint8 (H, W, 3)."""

    hq: Pixels
    lq: Pixels
    deg: str
    file: str
    """The photo's name."""

    def say(self, rng: np.random.Generator, hq: Pixels) -> tuple[Instruction, ReasoningTrace]:
        """The words about a crop of it."""
        raise NotImplementedError

    def crop(self, rng: np.random.Generator, place: Place, downscale: float = 0.0) -> Pair:
        """A crop of it, anywhere, with words of its own; see :func:`cotir.train.pairs.crop_of`.

        Raises:
            ImageError: the crop is larger.
        """
        if min(self.hq.shape[:2]) < place.crop:
            raise ImageError(f"{self.file}: gives {self.hq.shape[:2]} pixels, too few for a crop of {place.crop}")
        hq, lq = crop_of(rng, self.hq, self.lq, place.crop, downscale)
        return Pair(hq, lq, self.deg, *self.say(rng, hq), place.position)


class PhotoRegions(Source):
    """Pairs from clean photos: what a region becomes is for a subclass to say.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config, self.seed = config, seed
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

    @abstractmethod
    def make(self, rng: np.random.Generator, photo: Photo) -> Region:
        """A region of a photo for training."""

    @abstractmethod
    def make_held_out(self, number: int, rng: np.random.Generator, photo: Photo, side: int) -> Region:
        """The region of a held-out photo for the validation pair of a number."""

    @property
    @abstractmethod
    def recipe(self) -> Any:
        """What pairs are made by, besides photos, as plain values for the fingerprint."""

    def pair(self, place: Place) -> Pair:
        """See :class:`Source`."""
        per_region = self.config.crops_per_region
        block, slot = divmod(place.position, BLOCK * per_region)
        mixed = int(permutation(self.seed, block, BLOCK * per_region)[slot])
        region = self._region(block * BLOCK + mixed // per_region)
        return region.crop(rng_of(self.seed, "crop", place.position), place, self.config.downscale)

    def held_out(self, count: int, crop: int) -> list[Pair]:
        """See :class:`Source`."""
        photos = self.photos["test"]
        if not photos:
            raise ConfigError("data.held_out is 0: nothing to validate on; hold photos out, or set validation.every 0")
        side, pairs = max(crop, self.config.region), []
        for number in range(count):
            rng = rng_of(0, "held out", number)  # the same for every seed
            region = self.make_held_out(number, rng, photos[number % len(photos)], side)
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
        return digest([[photo.sha256 for photo in self.photos["train"]], self.recipe])

    def cut(self, rng: np.random.Generator, photo: Photo, side: int) -> Pixels:
        """A square of a photo, of ``side`` pixels or what it has, with some detail in it."""
        pixels = self._photo(photo)
        side = min(side, *pixels.shape[:2])
        return cut(pixels, choose_crop(rng, pixels, side), side)

    @cached_property
    def _region(self) -> Any:
        # in every worker its own: crops of one region come from it one after another
        return lru_cache(maxsize=BLOCK)(self._region_anew)

    def _region_anew(self, number: int) -> Region:
        rng = rng_of(self.seed, "region", number)
        photos = self.photos["train"]
        return self.make(rng, photos[int(rng.integers(len(photos)))])

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


@lru_cache(maxsize=16)
def permutation(seed: int, block: int, count: int) -> npt.NDArray[np.int64]:
    """The order of a block; the same in every process."""
    return rng_of(seed, "block", block).permutation(count)


def unit(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Pixels in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)
