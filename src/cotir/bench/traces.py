"""The template writer: instructions and reasoning traces from what was measured and what was done, offline.

The scene part says only what pixels can tell (brightness, contrast, colour, texture). Severity becomes a word. The plan
undoes the damage in the reverse of the order light took.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cotir.bench.phrases import VAGUE, listed, precise_instruction
from cotir.degrade.base import Image, describe
from cotir.degrade.compose import Applied
from cotir.errors import ConfigError
from cotir.prompts import Instruction, ReasoningTrace


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
    "nonhomogeneous_haze": KindWords("patchy haze", "clear the patchy haze"),
    "underwater": KindWords("underwater colour cast", "undo the underwater colour cast"),
    "moire": KindWords("moire", "remove the moire"),
    "impulse_noise": KindWords("impulse noise", "remove the impulse noise"),
    "scan_lines": KindWords("scan lines", "remove the scan lines"),
    "smartphone": KindWords("phone processing", "undo the phone processing"),
    "lost_colour": KindWords("lost colour", "bring back the lost colour"),
    "banding": KindWords("banding", "smooth the banding"),
    "h264": KindWords("video artifacts", "clean the video artifacts"),
    "avif": KindWords("AVIF artifacts", "clean the AVIF artifacts"),
    "webp": KindWords("WebP artifacts", "clean the WebP artifacts"),
    "raindrop": KindWords("raindrops on the lens", "wipe the raindrops off the lens"),
    "flare": KindWords("lens flare", "take out the lens flare"),
    "reflection": KindWords("reflection in the glass", "remove the reflection in the glass"),
    "shadow": KindWords("cast shadow", "lighten the cast shadow"),
    "watermark": KindWords("watermark", "erase the watermark"),
    "scratches": KindWords("scratches", "repair the scratches"),
    "stains": KindWords("stains", "clean the stains"),
}

_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "violet", "pink")


def write_instruction(applied: Sequence[Applied], rng: np.random.Generator) -> Instruction:
    """Draw a vague and a precise instruction for a picture damaged by ``applied`` (empty: a clean picture).

    Raises:
        ConfigError: a kind has no phrases in :data:`cotir.bench.phrases.PHRASES`.
    """
    vague = VAGUE[rng.integers(len(VAGUE))]
    return Instruction(vague=vague, precise=precise_instruction([each.kind for each in applied], rng))


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
    degradation = listed([f"{describe(each.severity)} {_words(each.kind).noun}" for each in applied])
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
        x, y = cv2.polarToCart(saturation, hue, angleInDegrees=True)
        angle = np.rad2deg(np.arctan2(y.sum(), x.sum()))
        colour = _HUES[round(angle / 45) % len(_HUES)]
    article = "an" if brightness.startswith("e") else "a"
    return f"{article} {brightness}, {contrast} scene in {colour} tones with {texture} texture"


def _words(kind: str) -> KindWords:
    if kind not in WORDS:
        raise ConfigError(f"the degradation {kind!r} has no words for its traces; add it to WORDS ({', '.join(WORDS)})")
    return WORDS[kind]


def _level(value: float, bounds: tuple[float, float], words: tuple[str, str, str]) -> str:
    return words[int(np.searchsorted(bounds, value))]
