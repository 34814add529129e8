"""What training sees: a pair of pictures with words, found by its position.

A pair depends on its source, the seed and its position alone: not on the number of processes or workers, nor on the
batch it comes in. A position is therefore all the data state of a run. A pair that cannot be read is replaced by
another, and says so.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from cotir.errors import ConfigError, ImageError, PromptError, TrainingError
from cotir.prompts import Instruction, ReasoningTrace

Pixels = npt.NDArray[np.uint8]

REPLACEMENTS = 8
"""Positions tried in place of one that cannot be read."""


@dataclass(frozen=True)
class Pair:
    """A training sample: uint8 (H, W, 3) sRGB pictures of one size, and the words about them."""

    hq: Pixels
    lq: Pixels
    deg: str
    """The degradation type, as ``haze-noise`` or ``clean``."""
    instruction: Instruction
    trace: ReasoningTrace
    position: int
    problems: tuple[str, ...] = ()
    """What could not be read in its place."""


@dataclass(frozen=True)
class Place:
    """What a worker is asked for."""

    position: int
    crop: int


class Source(Dataset[Pair], ABC):
    """Pairs by position, endless; the held-out ones by number."""

    def __getitem__(self, place: Place) -> Pair:
        """The pair at a place, or the next one that can be read.

        Raises:
            TrainingError: a row of :data:`REPLACEMENTS` cannot be read.
        """
        problems: list[str] = []
        for offset in range(REPLACEMENTS):
            try:
                # far away: neighbours may lie in the same damaged shard
                pair = self.pair(replace(place, position=place.position + offset * 1_000_003))
            except (ConfigError, ImageError, PromptError, OSError) as error:
                problems.append(str(error))
            else:
                return replace(pair, position=place.position, problems=tuple(problems))
        raise TrainingError(
            f"{REPLACEMENTS} samples in a row cannot be read, the last because of: {problems[-1]}. Mend the data "
            "('cotir bench verify' names what is damaged) and start again; the run goes on from its last checkpoint"
        )

    @abstractmethod
    def pair(self, place: Place) -> Pair:
        """The pair at a place.

        Raises:
            ConfigError, ImageError, PromptError, OSError: it cannot be read.
        """

    @abstractmethod
    def held_out(self, count: int, crop: int) -> list[Pair]:
        """Pairs for validation that share no photo with the others, always the same, of many types."""

    def remarks(self) -> list[str]:
        """What a person who starts a run wants to know about it."""
        return []

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of what the pairs are made from."""


def crop_of(rng: np.random.Generator, hq: Pixels, lq: Pixels, crop: int, downscale: float) -> tuple[Pixels, Pixels]:
    """A square of both pictures at one place, HQ and LQ.

    Args:
        rng: what is drawn from.
        hq: clean picture, no side of it smaller than ``crop``.
        lq: damaged picture of its size.
        crop: side of the square in pixels.
        downscale: share of the squares that are cut larger, up to the whole picture, and averaged down, so that they
            show more of it. A damaged picture is restored smaller, too, where it is large (:mod:`cotir.scales`).
    """
    side, largest = crop, min(hq.shape[:2])
    if largest > crop and rng.random() < downscale:
        side = int(rng.integers(crop, largest)) + 1
    top, left = (int(rng.integers(whole - side + 1)) for whole in hq.shape[:2])
    box = np.s_[top : top + side, left : left + side]
    if side == crop:
        return np.ascontiguousarray(hq[box]), np.ascontiguousarray(lq[box])
    small = [cv2.resize(each[box], (crop, crop), interpolation=cv2.INTER_AREA) for each in (hq, lq)]
    return cast(Pixels, small[0]), cast(Pixels, small[1])


def rng_of(seed: int, what: str, number: int) -> np.random.Generator:
    """The only randomness of one thing among many, wherever and in whatever order it is made."""
    digest = hashlib.sha256(f"{what} {seed} {number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def digest(value: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
