"""The language of traces: what a kind of damage is called, what it does, how it is undone, and how a scene looks.

Training writes its traces in these words and the read-out looks for the same ones, so both stand on this table. Every
part has two lengths: a few words, and in full with what the damage does and why it is undone when it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cotir.errors import ConfigError


@dataclass(frozen=True)
class KindWords:
    """How a kind of damage is spoken of."""

    noun: str
    remedy: str
    """An imperative: "remove the noise"."""
    effect: str
    """Follows the noun after "which", and agrees with its number."""
    because: str
    """Follows the remedy: "because ...", "so that ...", or how far to go."""


class Damage(Protocol):
    """A kind of damage as strong as it is: severity in [0, 1]."""

    @property
    def kind(self) -> str:
        """A key of :data:`WORDS`."""
        ...

    @property
    def severity(self) -> float:
        """0 leaves the picture as it is."""
        ...


# fmt: off
WORDS: dict[str, KindWords] = {
    "shadow": KindWords(
        "cast shadow", "lighten the cast shadow",
        "darkens a part of the scene", "until it matches its lit surroundings"),
    "haze": KindWords(
        "haze", "clear the haze",
        "pales contrast and colour with distance", "with more for what is farther away"),
    "nonhomogeneous_haze": KindWords(
        "patchy haze", "clear the patchy haze",
        "veils some parts more than others", "place by place, as dense as it is there"),
    "rain": KindWords(
        "rain", "remove the rain",
        "draws bright streaks through the scene", "because the streaks fall in front of the scene"),
    "snow": KindWords(
        "snow", "remove the snow",
        "hides the scene behind bright flakes", "because the flakes hang in front of the scene"),
    "underwater": KindWords(
        "underwater colour cast", "undo the underwater colour cast",
        "takes the red out and veils what is far", "with more for what is farther away, as water takes it"),
    "raindrop": KindWords(
        "raindrops on the lens", "wipe the raindrops off the lens",
        "bend the scene behind them", "because they sit on the lens, in front of the scene"),
    "flare": KindWords(
        "lens flare", "take out the lens flare",
        "adds stray light and ghosts", "because it came in through the lens"),
    "reflection": KindWords(
        "reflection in the glass", "remove the reflection in the glass",
        "mixes a second scene into the first", "because it came in through the glass"),
    "blur": KindWords(
        "blur", "sharpen the blur",
        "softens edges and texture", "with restraint at the edges, so that no halo appears"),
    "moire": KindWords(
        "moire", "remove the moire",
        "lays coloured stripes over fine patterns", "so that no stripe is taken for texture"),
    "low_light": KindWords(
        "low light", "brighten the low light",
        "hides the dark parts", "so that what lies in the dark can be seen and judged"),
    "over_exposure": KindWords(
        "over-exposure", "tame the over-exposure",
        "washes the bright parts out", "so that the bright parts have values to work on"),
    "noise": KindWords(
        "noise", "remove the noise",
        "covers fine texture with grain", "before anything that follows amplifies it"),
    "impulse_noise": KindWords(
        "impulse noise", "remove the impulse noise",
        "scatters wrong pixels over the picture", "before a wrong pixel is spread by any filter"),
    "scan_lines": KindWords(
        "scan lines", "remove the scan lines",
        "darken rows of the picture", "because they follow the rows of the sensor"),
    "low_resolution": KindWords(
        "low resolution", "recover the lost resolution",
        "leaves no detail finer than a few pixels", "so that the later steps work at full resolution"),
    "smartphone": KindWords(
        "phone processing", "undo the phone processing",
        "draws halos along edges and smears colour", "so that no halo is sharpened again"),
    "lost_colour": KindWords(
        "lost colour", "bring back the lost colour",
        "leaves the colours pale or gone", "so that the later steps can tell materials apart"),
    "scratches": KindWords(
        "scratches", "repair the scratches",
        "break the surface with thin lines", "because they lie on the film and not in the scene"),
    "stains": KindWords(
        "stains", "clean the stains",
        "tint patches of the surface", "because they lie on the print and not in the scene"),
    "banding": KindWords(
        "banding", "smooth the banding",
        "turns smooth gradients into steps", "so that the steps do not become edges later"),
    "watermark": KindWords(
        "watermark", "erase the watermark",
        "covers part of the picture", "because it was laid on top of all else"),
    "h264": KindWords(
        "video artifacts", "clean the video artifacts",
        "leave blocks and smeared texture",
        "because the frame was compressed last and its blocks would pass for detail"),
    "avif": KindWords(
        "AVIF artifacts", "clean the AVIF artifacts",
        "wipe out fine texture and leave smooth patches",
        "because the file was compressed last and its patches would pass for surfaces"),
    "webp": KindWords(
        "WebP artifacts", "clean the WebP artifacts",
        "smear fine texture and colour",
        "because the file was compressed last and its edges would pass for detail"),
    "jpeg": KindWords(
        "compression artifacts", "clean the compression artifacts",
        "cut the picture into blocks and ring around edges",
        "because the file was compressed last and its blocks would pass for detail"),
}
"""In light-path order, so that damage is named as it came about and undone from the end."""
# fmt: on

_PLACES = ("upper left", "upper middle", "upper right", "left part", "centre", "right part", "lower left",
           "lower middle", "lower right")  # fmt: skip
SCENE_WORDS: dict[str, tuple[str, ...]] = {
    "brightness": ("dark", "evenly lit", "bright"),
    "contrast": ("low-contrast", "medium-contrast", "high-contrast"),
    "colour": ("gray", "red", "orange", "yellow", "green", "cyan", "blue", "violet", "pink"),
    "texture": ("smooth", "fine", "rough"),
    "light": ("equally bright all over", *(f"brightest in the {place}" for place in _PLACES)),
    "detail": ("detail spread all over", *(f"most detail in the {place}" for place in _PLACES)),
}
"""What can be said of a scene: one word of each; places are the cells of a grid of nine, row by row."""

NO_DAMAGE = "no visible degradation"
NO_PLAN = "keep the picture as it is"


@dataclass(frozen=True)
class Scene:
    """A scene in the words of :data:`SCENE_WORDS`."""

    brightness: str
    contrast: str
    colour: str
    texture: str
    light: str
    detail: str

    def short(self) -> str:
        """Brightness, contrast, colour and texture in one phrase."""
        article = "an" if self.brightness[0] in "aeiou" else "a"
        return f"{article} {self.brightness}, {self.contrast} scene in {self.colour} tones with {self.texture} texture"

    def full(self) -> str:
        """With its layout."""
        return f"{self.short()}; {self.light}, with {self.detail}"


def describe(severity: float) -> Literal["slight", "moderate", "heavy"]:
    """The word for a severity: thirds of [0, 1].

    Raises:
        ConfigError: ``severity`` is outside [0, 1].
    """
    if not 0.0 <= severity <= 1.0:
        raise ConfigError(f"severity is {severity!r}; it must lie in [0, 1], where 0 leaves the picture as it is")
    return "slight" if severity < 1 / 3 else "moderate" if severity < 2 / 3 else "heavy"


def words_of(kind: str) -> KindWords:
    """The words of a kind.

    Raises:
        ConfigError: it has none.
    """
    if kind not in WORDS:
        raise ConfigError(f"the degradation {kind!r} has no words for its traces; add it to WORDS ({', '.join(WORDS)})")
    return WORDS[kind]


def short_degradation(damage: Sequence[Damage]) -> str:
    """As in "heavy haze, slight noise and moderate blur"; damage in light-path order."""
    return listed([f"{describe(each.severity)} {words_of(each.kind).noun}" for each in damage]) or NO_DAMAGE


def full_degradation(damage: Sequence[Damage]) -> str:
    """With what each does: "heavy haze, which pales contrast and colour with distance; ..."."""
    said = [(describe(each.severity), words_of(each.kind)) for each in damage]
    return "; ".join(f"{how} {words.noun}, which {words.effect}" for how, words in said) or NO_DAMAGE


def short_plan(kinds: Sequence[str]) -> str:
    """As in "remove the noise, then clear the haze"; kinds in light-path order, undone from the last to the first."""
    return ", then ".join(words_of(kind).remedy for kind in reversed(kinds)) or NO_PLAN


def full_plan(kinds: Sequence[str]) -> str:
    """With reasons: "first remove the noise before anything that follows amplifies it; finally ..."."""
    steps = plan_steps(kinds)
    if not steps:
        return f"{NO_PLAN}, because nothing is to be undone"
    if len(steps) > 1:
        order = ("first", *["then"] * (len(steps) - 2), "finally")
        steps = tuple(f"{word} {step}" for word, step in zip(order, steps, strict=True))
    return "; ".join(steps)


def plan_steps(kinds: Sequence[str]) -> tuple[str, ...]:
    """What is done, in order, each with its reason."""
    return tuple(f"{words_of(kind).remedy} {words_of(kind).because}" for kind in reversed(kinds))


def listed(items: Sequence[str]) -> str:
    """Join as English does: a, b and c; nothing for nothing."""
    return " and ".join([*filter(None, [", ".join(items[:-1])]), *items[-1:]])
