"""Pairs made as needed from clean photos: a region of a photo is damaged by a recipe, then crops are cut from it."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from cotir.bench.recipes import BenchRecipe, Recipes, load_recipes, to_plain
from cotir.bench.schema import Source as Photo
from cotir.bench.traces import write_full_trace
from cotir.degrade import Applied, compose, sample_recipe
from cotir.errors import ConfigError
from cotir.image import quantise
from cotir.phrases import write_instruction
from cotir.prompts import Instruction, ReasoningTrace
from cotir.train.config import DataConfig
from cotir.train.pairs import Pixels
from cotir.train.photo_regions import PhotoRegions, Region, permutation, unit

GENERATION = 2
"""Raised when the same seed gives other pairs than before."""


@dataclass(frozen=True)
class DamagedRegion(Region):
    """A region and what damaged it."""

    applied: tuple[Applied, ...]

    def say(self, rng: np.random.Generator, hq: Pixels) -> tuple[Instruction, ReasoningTrace]:
        """See :class:`Region`."""
        instruction = write_instruction([each.kind for each in self.applied], rng)
        return instruction, write_full_trace(unit(hq), self.applied)


class PhotoSource(PhotoRegions):
    """Damages clean photos as needed: a region of a photo by a recipe, then crops of the region.

    Raises:
        ConfigError: the folder or the recipe file cannot be used.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        assert config.recipe is not None  # the configuration requires it
        self.recipes: Recipes = load_recipes(config.recipe)
        self._trained = [recipe for recipe in self.recipes if recipe.share > 0]
        self._shares = np.cumsum([recipe.share for recipe in self._trained])
        if not self._trained:
            raise ConfigError(f"{config.recipe}: no recipe has a share of the training samples; give one a share")
        super().__init__(config, seed)

    def make(self, rng: np.random.Generator, photo: Photo) -> Region:
        """See :class:`PhotoRegions`."""
        draw = rng.random() * self._shares[-1]
        recipe = self._trained[min(int(np.searchsorted(self._shares, draw, side="right")), len(self._trained) - 1)]
        return self.damage(rng, photo, recipe, self.config.region)

    def make_held_out(self, number: int, rng: np.random.Generator, photo: Photo, side: int) -> Region:
        """See :class:`PhotoRegions`: the recipes in turn, those that are only tested too."""
        recipes = list(self.recipes)
        recipe = recipes[int(permutation(0, 0, len(recipes))[number % len(recipes)])]
        return self.damage(rng, photo, recipe, side)

    @property
    def recipe(self) -> Any:
        """See :class:`PhotoRegions`."""
        return [[to_plain(recipe) for recipe in self.recipes], GENERATION]

    def damage(self, rng: np.random.Generator, photo: Photo, recipe: BenchRecipe, side: int) -> DamagedRegion:
        """A region of a photo, damaged by a recipe."""
        hq = self.cut(rng, photo, side)
        severities = [float(rng.uniform(low, high)) for low, high in recipe.ranges]
        applied = sample_recipe(rng, recipe.kinds, severities)
        lq = cast(Pixels, quantise(compose(unit(hq), applied), 8)) if applied else hq
        return DamagedRegion(hq, lq, recipe.deg, photo.file, applied)
