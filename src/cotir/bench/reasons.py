"""The template writer at full length: the layout of the scene, what each damage does, and why it is undone when it is.

:mod:`cotir.bench.traces` says the same in a few words. Nothing here is guessed either: the layout is measured, and what
damage does and why the order matters is known of each kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cotir.bench.traces import WORDS, describe_scene, write_trace
from cotir.degrade import Applied, Image, describe
from cotir.errors import ConfigError
from cotir.prompts import ReasoningTrace


@dataclass(frozen=True)
class KindReasons:
    """What a kind of damage does to a picture, and why its turn in the plan is when it is."""

    effect: str
    """Follows the name of the damage after "which", and agrees with its number."""
    because: str
    """Follows the remedy: "because ...", "so that ...", or how far to go."""


# fmt: off
REASONS: dict[str, KindReasons] = {
    "jpeg": KindReasons("cut the picture into blocks and ring around edges",
                        "because the file was compressed last and its blocks would pass for detail"),
    "webp": KindReasons("smear fine texture and colour",
                        "because the file was compressed last and its edges would pass for detail"),
    "avif": KindReasons("wipe out fine texture and leave smooth patches",
                        "because the file was compressed last and its patches would pass for surfaces"),
    "h264": KindReasons("leave blocks and smeared texture",
                        "because the frame was compressed last and its blocks would pass for detail"),
    "watermark": KindReasons("covers part of the picture", "because it was laid on top of all else"),
    "banding": KindReasons("turns smooth gradients into steps", "so that the steps do not become edges later"),
    "stains": KindReasons("tint patches of the surface", "because they lie on the print and not in the scene"),
    "scratches": KindReasons("break the surface with thin lines", "because they lie on the film and not in the scene"),
    "lost_colour": KindReasons("leaves the colours pale or gone", "so that the later steps can tell materials apart"),
    "smartphone": KindReasons("draws halos along edges and smears colour", "so that no halo is sharpened again"),
    "low_resolution": KindReasons("leaves no detail finer than a few pixels",
                                  "so that the later steps work at full resolution"),
    "scan_lines": KindReasons("darken rows of the picture", "because they follow the rows of the sensor"),
    "impulse_noise": KindReasons("scatters wrong pixels over the picture",
                                 "before a wrong pixel is spread by any filter"),
    "noise": KindReasons("covers fine texture with grain", "before anything that follows amplifies it"),
    "over_exposure": KindReasons("washes the bright parts out", "so that the bright parts have values to work on"),
    "low_light": KindReasons("hides the dark parts", "so that what lies in the dark can be seen and judged"),
    "moire": KindReasons("lays coloured stripes over fine patterns", "so that no stripe is taken for texture"),
    "blur": KindReasons("softens edges and texture", "with restraint at the edges, so that no halo appears"),
    "reflection": KindReasons("mixes a second scene into the first", "because it came in through the glass"),
    "flare": KindReasons("adds stray light and ghosts", "because it came in through the lens"),
    "raindrop": KindReasons("bend the scene behind them", "because they sit on the lens, in front of the scene"),
    "underwater": KindReasons("takes the red out and veils what is far",
                              "with more for what is farther away, as water takes it"),
    "snow": KindReasons("hides the scene behind bright flakes", "because the flakes hang in front of the scene"),
    "rain": KindReasons("draws bright streaks through the scene", "because the streaks fall in front of the scene"),
    "nonhomogeneous_haze": KindReasons("veils some parts more than others", "place by place, as dense as it is there"),
    "haze": KindReasons("pales contrast and colour with distance", "with more for what is farther away"),
    "shadow": KindReasons("darkens a part of the scene", "until it matches its lit surroundings"),
}
# fmt: on

_PLACES = (("upper left", "upper middle", "upper right"), ("left part", "centre", "right part"),
           ("lower left", "lower middle", "lower right"))  # fmt: skip


def write_full_trace(hq: Image, applied: Sequence[Applied]) -> ReasoningTrace:
    """Write the reasoning for a picture, with its layout and with reasons.

    Args:
        hq: the clean picture, float32 (H, W, 3), sRGB in [0, 1].
        applied: what damaged it, in light-path order; empty for a clean picture.

    Raises:
        ConfigError: a kind has no words or no reasons.
    """
    scene = f"{describe_scene(hq)}; {describe_layout(hq)}"
    if not applied:
        short = write_trace(hq, ())
        return ReasoningTrace(scene, short.degradation, f"{short.plan}, because nothing is to be undone")
    facts = [(each, _reasons(each.kind)) for each in applied]
    damage = [f"{describe(each.severity)} {WORDS[each.kind].noun}, which {why.effect}" for each, why in facts]
    steps = [f"{WORDS[each.kind].remedy} {why.because}" for each, why in reversed(facts)]
    if len(steps) > 1:
        steps = [f"{word} {step}" for word, step in zip(_order_words(len(steps)), steps, strict=True)]
    return ReasoningTrace(scene, "; ".join(damage), "; ".join(steps))


def describe_layout(image: Image) -> str:
    """Where a picture (float32 (H, W, 3) in [0, 1]) is brightest and where its detail lies, on a grid of nine cells.

    Returns:
        A phrase such as "brightest in the upper left, with most detail in the centre"; evenness is said too.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    detail = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    light = cv2.resize(gray, (3, 3), interpolation=cv2.INTER_AREA)
    texture = cv2.resize(detail, (3, 3), interpolation=cv2.INTER_AREA)
    # a sixth of the range is a difference that a viewer sees at a glance
    where = "equally bright all over" if np.ptp(light) < 1 / 6 else f"brightest in the {_place(light)}"
    even = float(texture.max()) <= 2 * float(texture.mean()) + 1e-3
    return f"{where}, with {'detail spread all over' if even else f'most detail in the {_place(texture)}'}"


def _place(grid: np.ndarray) -> str:
    row, column = np.unravel_index(int(np.argmax(grid)), grid.shape)
    return _PLACES[int(row)][int(column)]


def _order_words(count: int) -> list[str]:
    return ["first", *["then"] * (count - 2), "finally"]


def _reasons(kind: str) -> KindReasons:
    if kind not in REASONS or kind not in WORDS:
        where = "REASONS" if kind in WORDS else "WORDS"
        raise ConfigError(f"the degradation {kind!r} has no {where.lower()} for its traces; add it to {where}")
    return REASONS[kind]
