"""Edits of clean photos, in both directions, with the words that ask for them: what an editing model can do.

Editing pre-training learns these, and the adding and removing of every kind of damage, before anything is restored.
An edit maps float32 (H, W, 3) sRGB in [0, 1] to the same; its way back is the same pair of pictures exchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from cotir.degrade import Image
from cotir.words import words_of

Operator = Callable[[Image, np.random.Generator], Image]


@dataclass(frozen=True)
class Edit:
    """An edit by name, and the sentences that ask for it and for its way back."""

    name: str
    apply: Operator
    forth: tuple[str, ...]
    back: tuple[str, ...] = ()
    """Empty where there is no way back, or it is the same."""


def _gamma(low: float, high: float) -> Operator:
    return lambda image, rng: image ** np.float32(rng.uniform(low, high))


def _warm(image: Image, rng: np.random.Generator) -> Image:
    strength = rng.uniform(0.08, 0.3)
    gains = np.array([1 + strength, 1, 1 - strength], np.float32)
    return np.clip(image * gains, 0, 1)


def _desaturate(image: Image, rng: np.random.Generator) -> Image:
    gray = image @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return gray[..., None] + np.float32(rng.uniform(0.2, 0.6)) * (image - gray[..., None])


def _flatten(image: Image, rng: np.random.Generator) -> Image:
    middle = image.mean(dtype=np.float32)
    return middle + np.float32(rng.uniform(0.4, 0.75)) * (image - middle)


def _soften(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0)).clip(0, 1), np.float32)


def _invert(image: Image, rng: np.random.Generator) -> Image:
    return 1 - image


def _posterise(image: Image, rng: np.random.Generator) -> Image:
    steps = np.float32(rng.integers(3, 7))
    return np.asarray(np.rint(image * steps) / steps, np.float32)


def _mirror(image: Image, rng: np.random.Generator) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def _keep(image: Image, rng: np.random.Generator) -> Image:
    return image


# fmt: off
EDITS: tuple[Edit, ...] = (
    Edit("brighten", _gamma(0.45, 0.8),
         ("brighten the picture", "make it brighter", "lift the exposure a little", "raise the brightness"),
         ("darken the picture", "make it darker", "lower the exposure a little", "reduce the brightness")),
    Edit("warm", _warm,
         ("make the colours warmer", "warm the picture up", "give it a warmer tone", "shift the colours to orange"),
         ("make the colours cooler", "cool the picture down", "give it a cooler tone", "shift the colours to blue")),
    Edit("desaturate", _desaturate,
         ("desaturate the picture", "make the colours paler", "mute the colours", "reduce the saturation"),
         ("saturate the picture", "make the colours more vivid", "enrich the colours", "increase the saturation")),
    Edit("lower_contrast", _flatten,
         ("lower the contrast", "make it flatter", "reduce the contrast", "soften the tones"),
         ("raise the contrast", "make it punchier", "increase the contrast", "give it more contrast")),
    Edit("soften", _soften,
         ("soften the picture", "make it softer", "smooth the details", "take the edge off the details"),
         ("sharpen the picture", "make it crisper", "bring out the details", "increase the sharpness")),
    Edit("invert", _invert, ("invert the colours", "make a negative of it", "turn it into its negative")),
    Edit("posterise", _posterise,
         ("posterise the picture", "reduce it to a few tones", "make it look like a poster with few colours"),
         ("smooth the tones of the posterised picture", "bring the missing tones back", "undo the posterisation")),
    Edit("mirror", _mirror, ("mirror the picture", "flip it from left to right", "flip the picture horizontally")),
    Edit("keep", _keep,
         ("keep it as it is", "leave the picture unchanged", "change nothing", "return the same picture")),
)
# fmt: on

ADD_FRAMES = ("add {} to the picture", "make it look as if it had {}", "put {} into the picture", "simulate {}")
"""Around the noun of a kind of damage."""


def ask_to_add(kind: str, rng: np.random.Generator) -> str:
    """A sentence that asks for a kind of damage."""
    return ADD_FRAMES[rng.integers(len(ADD_FRAMES))].format(words_of(kind).noun)
