"""The template writer: instructions and reasoning traces from what was measured and what was done, offline.

The scene part says only what pixels can tell (brightness, contrast, colour, texture). Severity becomes a word. The plan
undoes the damage in the reverse of the order light took.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cotir.degrade.base import Image, describe
from cotir.degrade.compose import Applied
from cotir.errors import ConfigError
from cotir.prompts import DEFAULT_INSTRUCTION, Instruction, ReasoningTrace


@dataclass(frozen=True)
class KindWords:
    """How a kind of damage is named, and what is done about it."""

    noun: str
    remedy: str


WORDS: dict[str, KindWords] = {
    "noise": KindWords("noise", "remove the noise"),
    "blur": KindWords("blur", "sharpen the blur"),
    "jpeg": KindWords("compression artifacts", "clean the compression artifacts"),
    "low_light": KindWords("low light", "brighten the low light"),
    "over_exposure": KindWords("over-exposure", "tame the over-exposure"),
    "haze": KindWords("haze", "clear the haze"),
    "rain": KindWords("rain", "remove the rain"),
    "snow": KindWords("snow", "remove the snow"),
    "low_resolution": KindWords("low resolution", "recover the lost resolution"),
}

VAGUE = (
    DEFAULT_INSTRUCTION,
    "restore this photo",
    "improve the quality of this image",
    "fix this picture",
    "make it look better",
    "enhance the photo",
    "clean up this image",
    "repair the photograph",
    "give me a better version of this photo",
    "bring this picture back to life",
    "make the image look good again",
    "recover the original picture",
)

PRECISE = (
    "{remedies}",
    "please {remedies}",
    "{remedies} in this photo",
    "the picture suffers from {nouns}: {remedies}",
    "get rid of the {nouns}",
    "restore this image, which has {nouns}",
)

PRECISE_CLEAN = ("keep the picture as it is", "leave this image unchanged", "nothing is wrong here, change nothing")

_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "violet", "pink")


def write_instruction(applied: Sequence[Applied], rng: np.random.Generator) -> Instruction:
    """Draw a vague and a precise instruction for a picture damaged by ``applied`` (empty: a clean picture)."""
    vague = VAGUE[rng.integers(len(VAGUE))]
    if not applied:
        return Instruction(vague=vague, precise=PRECISE_CLEAN[rng.integers(len(PRECISE_CLEAN))])
    words = [_words(each.kind) for each in reversed(applied)]
    template = PRECISE[rng.integers(len(PRECISE))]
    precise = template.format(
        remedies=_list([word.remedy for word in words]), nouns=_list([word.noun for word in words])
    )
    return Instruction(vague=vague, precise=precise)


def write_trace(hq: Image, applied: Sequence[Applied]) -> ReasoningTrace:
    """Write the reasoning for a picture.

    Args:
        hq: the clean picture, float32 (H, W, 3), sRGB in [0, 1].
        applied: what damaged it, in light-path order; empty for a clean picture.

    Raises:
        ConfigError: a kind has no words in :data:`WORDS`.
    """
    if not applied:
        return ReasoningTrace(describe_scene(hq), "no visible degradation", "keep the picture as it is")
    degradation = _list([f"{describe(each.severity)} {_words(each.kind).noun}" for each in applied])
    plan = ", then ".join(_words(each.kind).remedy for each in reversed(applied))
    return ReasoningTrace(describe_scene(hq), degradation, plan)


def describe_scene(image: Image) -> str:
    """Brightness, contrast, dominant colour and texture of a picture (float32 (H, W, 3) in [0, 1]) in one phrase."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    hue, saturation, _ = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    brightness = _level(float(gray.mean()), (0.33, 0.6), ("dark", "evenly lit", "bright"))
    contrast = _level(float(gray.std()), (0.1, 0.22), ("low-contrast", "medium-contrast", "high-contrast"))
    texture = _level(float(np.abs(cv2.Laplacian(gray, cv2.CV_32F)).mean()), (0.03, 0.1), ("smooth", "fine", "rough"))
    if float(saturation.mean()) < 0.12:
        colour = "gray"
    else:
        # A saturation-weighted circular mean, so that gray areas do not vote.
        angle = np.angle((saturation * np.exp(1j * np.deg2rad(hue))).sum(), deg=True)
        colour = _HUES[round(angle / 45) % len(_HUES)]
    return f"a {brightness}, {contrast} scene in {colour} tones with {texture} texture"


def _words(kind: str) -> KindWords:
    if kind not in WORDS:
        raise ConfigError(f"the degradation {kind!r} has no words for its traces; add it to WORDS ({', '.join(WORDS)})")
    return WORDS[kind]


def _level(value: float, bounds: tuple[float, float], words: tuple[str, str, str]) -> str:
    return words[int(np.searchsorted(bounds, value))]


def _list(items: Sequence[str]) -> str:
    """Join as English does: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
