"""Pairs for editing pre-training: clean photos edited or damaged, forth and back, as an instruction says."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from cotir.bench.schema import Source as Photo
from cotir.bench.traces import measure_scene
from cotir.degrade import KINDS, compose, sample_recipe
from cotir.image import quantise
from cotir.phrases import precise_instruction
from cotir.prompts import Instruction, ReasoningTrace
from cotir.train.edits import EDITS, Edit, ask_to_add
from cotir.train.pairs import Pixels
from cotir.train.photo_regions import PhotoRegions, Region, unit
from cotir.words import NO_DAMAGE, NO_PLAN

DAMAGED = 0.6
"""Share of the pairs that add or remove damage; the others are edits."""
SEVERITIES = (0.3, 1.0)
GENERATION = 2
"""Raised when the same seed gives other pairs than before."""


@dataclass(frozen=True)
class EditedRegion(Region):
    """A region and what is asked for."""

    instruction: str
    plan: str

    def say(self, rng: np.random.Generator, hq: Pixels) -> tuple[Instruction, ReasoningTrace]:
        """One sentence serves as both instructions: an edit that is not named cannot be guessed."""
        trace = ReasoningTrace(measure_scene(unit(hq)).full(), NO_DAMAGE, self.plan)
        return Instruction(self.instruction, self.instruction), trace


class EditSource(PhotoRegions):
    """Edits clean photos as needed: :data:`~cotir.train.edits.EDITS` and every kind of damage, in both directions.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def make(self, rng: np.random.Generator, photo: Photo) -> Region:
        """See :class:`PhotoRegions`."""
        back = bool(rng.integers(2))
        if rng.random() < DAMAGED:
            return self._damaged(rng, photo, list(KINDS)[rng.integers(len(KINDS))], back, self.config.region)
        return self._edited(rng, photo, EDITS[rng.integers(len(EDITS))], back, self.config.region)

    def make_held_out(self, number: int, rng: np.random.Generator, photo: Photo, side: int) -> Region:
        """See :class:`PhotoRegions`: edits and kinds in turn, forth and back."""
        index, back = divmod(number, 2)
        everything = [*EDITS, *KINDS]
        chosen = everything[index % len(everything)]
        if isinstance(chosen, Edit):
            return self._edited(rng, photo, chosen, bool(back), side)
        return self._damaged(rng, photo, chosen, bool(back), side)

    @property
    def recipe(self) -> Any:
        """See :class:`PhotoRegions`."""
        return [[edit.name for edit in EDITS], list(KINDS), DAMAGED, SEVERITIES, GENERATION]

    def _edited(self, rng: np.random.Generator, photo: Photo, edit: Edit, back: bool, side: int) -> EditedRegion:
        before = self.cut(rng, photo, side)
        after = cast(Pixels, quantise(edit.apply(unit(before), rng), 8))
        sentences = (edit.back if back else ()) or edit.forth
        sentence = sentences[rng.integers(len(sentences))]
        if back:
            before, after = after, before
        plan = NO_PLAN if edit.name == "keep" else sentence
        return EditedRegion(after, before, f"{edit.name}_back" if back else edit.name, photo.file, sentence, plan)

    def _damaged(self, rng: np.random.Generator, photo: Photo, kind: str, back: bool, side: int) -> EditedRegion:
        clean = self.cut(rng, photo, side)
        applied = sample_recipe(rng, [kind], [float(rng.uniform(*SEVERITIES))])
        damaged = cast(Pixels, quantise(compose(unit(clean), applied), 8))
        if back:
            sentence = precise_instruction([kind], rng)
            return EditedRegion(clean, damaged, f"remove_{kind}", photo.file, sentence, sentence)
        sentence = ask_to_add(kind, rng)
        return EditedRegion(damaged, clean, f"add_{kind}", photo.file, sentence, sentence)
