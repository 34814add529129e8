"""The instruction banks: hundreds of vague sentences, and precise ones for any set of kinds, put together from parts.

A precise sentence is a frame around a remedy or a name for each kind, so that composites get theirs without a list of
their own. Every remedy and every name holds a word that :data:`TERMS` recognises.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from cotir.errors import ConfigError
from cotir.prompts import DEFAULT_INSTRUCTION, Instruction
from cotir.words import listed


@dataclass(frozen=True)
class KindPhrases:
    """Ways to ask for the removal of one kind of damage."""

    remedies: tuple[str, ...]
    """Imperatives: "remove the haze"."""
    names: tuple[str, ...]
    """Noun phrases, with an article where they need one: "haze", "a watermark"."""
    term: str
    """Regular expression for the words that name the kind in free text."""


# fmt: off
PHRASES: dict[str, KindPhrases] = {
    "impulse_noise": KindPhrases(
        ("remove the impulse noise", "clean off the salt-and-pepper specks", "take out the stray specks",
         "repair the dead pixels"),
        ("impulse noise", "salt-and-pepper specks"),
        r"impulse(?: noise)?|salt[- ]and[- ]pepper(?: noise| specks)?|specks?|dead pixels?|hot pixels?"),
    "noise": KindPhrases(
        ("remove the noise", "denoise it", "clean up the noise", "smooth away the noisy grain", "suppress the noise"),
        ("noise", "noisy grain", "visible noise"),
        r"(?:de)?nois(?:e|y)|grain(?:y|iness)?"),
    "blur": KindPhrases(
        ("sharpen the blur", "remove the blur", "deblur it", "undo the blur",
         "bring the blurred details back into focus"),
        ("blur", "blurred details"),
        r"(?:de)?blur(?:red|ry|ring|riness)?|out[- ]of[- ]focus|defocus(?:ed)?|unsharp"),
    "webp": KindPhrases(
        ("clean the WebP artifacts", "remove the WebP compression artifacts", "repair the damage of the WebP file",
         "undo the smearing of WebP compression"),
        ("WebP artifacts", "smeared WebP compression"),
        r"webp(?: compression)?(?: artifacts)?|compress(?:ion|ed)(?: artifacts)?|block(?:y|ing|iness)"),
    "avif": KindPhrases(
        ("clean the AVIF artifacts", "remove the AVIF compression artifacts", "repair the damage of the AVIF file",
         "undo the smoothing of AVIF compression"),
        ("AVIF artifacts", "strong AVIF compression"),
        r"avif(?: compression)?(?: artifacts)?|compress(?:ion|ed)(?: artifacts)?|block(?:y|ing|iness)"),
    "h264": KindPhrases(
        ("clean the video compression artifacts", "remove the video blocks", "repair the H.264 video artifacts",
         "undo the damage of the video codec"),
        ("video compression artifacts", "H.264 video artifacts"),
        r"h\.?264|video(?: compression| codec)?(?: artifacts| blocks)?|compress(?:ion|ed)(?: artifacts)?|"
        r"block(?:y|ing|iness)"),
    "jpeg": KindPhrases(
        ("clean the compression artifacts", "remove the JPEG artifacts", "smooth out the JPEG blocks",
         "repair the JPEG compression damage"),
        ("compression artifacts", "JPEG artifacts", "blocky JPEG compression"),
        r"jpe?g(?: artifacts| blocks)?|compress(?:ion|ed)(?: artifacts)?|block(?:y|ing|iness)(?: artifacts)?"),
    "low_light": KindPhrases(
        ("brighten the low light", "correct the low light", "brighten the low-light exposure",
         "lift the exposure of this low-light scene", "recover what is hidden in the low light"),
        ("low light", "a low-light exposure"),
        r"low[- ]light|under[- ]?expos(?:ed|ure)|dark(?:ness|ened)?|dim(?:ly)?"),
    "over_exposure": KindPhrases(
        ("tame the over-exposure", "correct the over-exposure", "recover the over-exposed highlights",
         "bring the over-exposed areas back", "darken the over-exposed parts"),
        ("over-exposure", "over-exposed highlights"),
        r"over[- ]?expos(?:ed|ure)|blown[- ](?:out|highlights)|(?:washed|burnt)[- ]out highlights|too bright"),
    "nonhomogeneous_haze": KindPhrases(
        ("clear the patchy haze", "remove the uneven haze", "dissolve the drifting patches of haze",
         "lift the non-homogeneous haze", "take the uneven haze away"),
        ("patchy haze", "uneven haze"),
        r"(?:patchy|uneven|non[- ]?homogeneous|drifting|patches of) (?:haze|fog|mist|smoke)|haz(?:e|y)|"
        r"fog(?:gy)?|mist(?:y)?"),
    "haze": KindPhrases(
        ("clear the haze", "remove the haze", "dehaze it", "lift the haze", "take away the haze"),
        ("haze", "a veil of haze"),
        r"(?:de)?haz(?:e|y)|fog(?:gy)?|mist(?:y)?"),
    "raindrop": KindPhrases(
        ("remove the raindrops on the lens", "wipe the raindrops off the glass", "clean the raindrops away",
         "take the raindrops off the lens"),
        ("raindrops on the lens", "raindrops on the glass"),
        r"(?:rain|water)[- ]?drop(?:let)?s?|droplets?|drops on the (?:lens|glass)"),
    "rain": KindPhrases(
        ("remove the rain", "take out the rain streaks", "derain it", "clear away the rain", "erase the rain streaks"),
        ("rain", "rain streaks"),
        r"(?:de)?rain(?:y|fall)?(?: streaks?)?"),
    "snow": KindPhrases(
        ("remove the snow", "take out the falling snow", "desnow it", "clear away the snowflakes",
         "erase the falling snow"),
        ("snow", "falling snow"),
        r"(?:de)?snow(?:y|fall|flakes?)?"),
    "low_resolution": KindPhrases(
        ("recover the lost resolution", "increase the resolution", "raise its low resolution",
         "bring back the detail lost to low resolution"),
        ("low resolution", "too low a resolution"),
        r"(?:low(?:er)?|lost|missing|limited|insufficient|poor|loss of)[- ]resolution|resolution|pixelat(?:ed|ion)|"
        r"upscal(?:e|ed|ing)"),
    "reflection": KindPhrases(
        ("remove the reflection", "take out the reflections on the glass", "suppress the reflected scene",
         "separate the reflection from the scene and drop it"),
        ("a reflection on the glass", "a reflected second scene"),
        r"reflect(?:ions?|ed|ive)"),
    "flare": KindPhrases(
        ("remove the flare", "take out the lens flare", "suppress the flare", "clean away the flare and its ghosts"),
        ("lens flare", "flare"),
        r"(?:lens )?flares?"),
    "shadow": KindPhrases(
        ("remove the shadow", "lighten the cast shadow", "take the shadow away", "even out the shadow"),
        ("a cast shadow", "a disturbing shadow"),
        r"shadows?|shadowed"),
    "watermark": KindPhrases(
        ("remove the watermark", "erase the watermark", "take the watermark off", "fill in what the watermark covers"),
        ("a watermark", "an overlaid watermark"),
        r"watermarks?|overlaid (?:text|logo)"),
    "underwater": KindPhrases(
        ("correct the underwater colours", "remove the underwater colour cast", "neutralise the underwater tint",
         "bring back the colours of this underwater scene"),
        ("an underwater colour cast", "underwater colours"),
        r"under[- ]?water(?: colou?r)?(?: cast)?|(?:blue|green|bluish|greenish|colou?r) cast"),
    "lost_colour": KindPhrases(
        ("restore the lost colours", "bring the faded colours back", "recover the lost colours",
         "revive the faded colours"),
        ("lost colours", "faded colours"),
        r"(?:lost|faded|missing|pale|washed[- ]out) colou?rs?|loss of colou?r|colou?r(?:s)? (?:loss|fading)|"
        r"monochrome|black[- ]and[- ]white|colou?ri[sz]e|desaturat(?:ed|ion)"),
    "smartphone": KindPhrases(
        ("undo the smartphone processing", "remove the smartphone look", "soften the halos of the smartphone camera",
         "give the smartphone picture the quality of a large camera"),
        ("harsh smartphone processing", "smartphone processing halos"),
        r"(?:smart)?phone(?: camera| processing| look)?|over[- ]?(?:sharpened|processed|processing|sharpening)|halos?"),
    "moire": KindPhrases(
        ("remove the moire", "take out the moire pattern", "suppress the moire stripes", "demoire it"),
        ("moire", "a moire pattern"),
        r"(?:de)?moir[eé](?: patterns?| stripes?)?|interference pattern"),
    "banding": KindPhrases(
        ("smooth the banding", "remove the banding", "even out the colour banding",
         "turn the banding back into gradients"),
        ("banding", "colour banding"),
        r"(?:colou?r )?banding|posteri[sz](?:ed|ation)|colou?r bands"),
    "scan_lines": KindPhrases(
        ("remove the scan lines", "take out the rolling scan lines", "erase the scan lines of the screen",
         "fill in the dark scan lines"),
        ("scan lines", "rolling scan lines"),
        r"(?:rolling )?scan[- ]?lines?"),
    "scratches": KindPhrases(
        ("repair the scratches", "remove the scratches", "retouch the scratches", "fill in the scratches of the film"),
        ("scratches", "film scratches"),
        r"scratch(?:es|ed)?"),
    "stains": KindPhrases(
        ("clean the stains", "remove the stains", "retouch the stains", "lift the old stains from the print"),
        ("stains", "old stains"),
        r"stain(?:s|ed)?|blotch(?:es|y)?"),
}
"""Kinds whose words contain another's come before it."""
# fmt: on

TERMS: dict[str, re.Pattern[str]] = {
    kind: re.compile(rf"\b(?:{phrases.term})\b", re.IGNORECASE) for kind, phrases in PHRASES.items()
}
"""What names a kind in free text."""

_WISHES = re.compile(
    # to be left as it is
    r"\b(?:keep|leave|preserve|return|unchanged|untouched|nothing|changes?|flawless|hands off|as it is|exactly|fine|"
    r"no (?:\w+ )?(?:restoration|repair|work|flaws))\b|"
    # for light, colour or sharpness
    r"\b(?:bright(?:en|er)?|dark(?:en|er)?|light(?:en|er)?|sharp(?:en|er)?|smooth(?:er)?|soft(?:en|er)?|contrast|"
    r"expos(?:e|ure)|colou?r(?:s|ed|ful)?|saturat(?:e|ed|ion)|vivid|warm(?:er)?|cool(?:er)?|tint|"
    r"red(?:der)?|green(?:er)?|blue(?:r)?|yellow(?:er)?)\b",
    re.IGNORECASE,
)
"""What says what to do without naming a kind of damage."""

_REMEDY_FRAMES = (
    "{}", "please {}", "can you {}?", "could you {}, please?", "I would like you to {}", "I need you to {}",
    "help me {}", "restore this photo: {}", "{}, but keep everything else as it is",
)  # fmt: skip
_NAME_FRAMES = (
    "this photo suffers from {}; please restore it",
    "this picture is spoilt by {}; repair it",
    "restore this image, which has {}",
    "my photo came out with {}; can you fix it?",
    "undo the damage done by {}",
    "the trouble with this picture is {}; take care of it",
)

_THINGS = ("this photo", "this picture", "this image", "the photograph", "my photo")
_REPAIRS = ("restore", "repair", "improve", "enhance", "fix", "clean up", "touch up", "rescue")
_OUTCOMES = (
    "clearer", "look better", "look as good as new", "look its best", "look the way it should", "presentable again",
    "look professional", "beautiful again",
)  # fmt: skip
_VAGUE_FRAMES = ("{}", "please {}", "can you {}?", "could you {}, please?")
_VAGUE_SENTENCES = (
    "improve the quality of this image",
    "make it look better",
    "give me a better version of this photo",
    "bring this picture back to life",
    "make the image look good again",
    "recover the original picture",
    "something is wrong with this photo, please fix it",
    "this picture has seen better days; do what you can",
    "I am not happy with how this photo turned out; improve it",
    "show me what this picture should have looked like",
    "get the best out of this image",
    "turn this into a good photo",
    "this photo means a lot to me, please save it",
    "do whatever it takes to make this picture look good",
    "I want to print this photo; make it worth printing",
    "undo whatever happened to this image",
    "find out what is wrong with this picture and correct it",
    "make this look like a photo from a good camera",
)


def _vague() -> tuple[str, ...]:
    asks = [f"{repair} {thing}" for repair, thing in product(_REPAIRS, _THINGS)]
    asks += [f"make {thing} {outcome}" for thing, outcome in product(_THINGS, _OUTCOMES)]
    sentences = (frame.format(ask) for ask, frame in product(asks, _VAGUE_FRAMES))
    return tuple(dict.fromkeys((DEFAULT_INSTRUCTION, *_VAGUE_SENTENCES, *sentences)))


VAGUE: tuple[str, ...] = _vague()
"""Instructions that name no damage; the first is the default."""

PRECISE_CLEAN: tuple[str, ...] = (
    "keep the picture as it is",
    "leave this image unchanged",
    "nothing is wrong here, change nothing",
    "this photo is fine; return it as it is",
    "please leave the picture alone",
    "do not change anything in this photo",
    "the image is already good, keep every pixel",
    "there is nothing to repair in this picture",
    "give the photo back exactly as it is",
    "this is a clean picture; preserve it",
    "no restoration is needed here",
    "preserve this image, it has no flaws",
    "just keep this photo",
    "return this picture untouched",
    "the photo looks right to me, so leave it",
    "make no changes to this image",
    "this picture needs no work",
    "keep this photo in its present state",
    "hands off, this image is perfect",
    "please return the same picture",
    "check the picture and leave it unchanged, as it is free of damage",
)
"""What to ask for where there is no damage."""


def is_vague(text: str) -> bool:
    """Whether an instruction leaves it open what is to be done: it names no damage, no quality and no wish to keep."""
    return not _WISHES.search(text) and not any(term.search(text) for term in TERMS.values())


def write_instruction(kinds: Sequence[str], rng: np.random.Generator) -> Instruction:
    """Draw a vague and a precise instruction for a picture damaged by ``kinds`` (none: a clean picture).

    Raises:
        ConfigError: a kind has no phrases in :data:`PHRASES`.
    """
    return Instruction(vague=VAGUE[rng.integers(len(VAGUE))], precise=precise_instruction(kinds, rng))


def precise_instruction(kinds: Sequence[str], rng: np.random.Generator) -> str:
    """Draw one precise sentence that names every kind; the last in light-path order is undone first.

    Args:
        kinds: in light-path order; none gives a sentence for a clean picture.
        rng: the only source of randomness.

    Raises:
        ConfigError: a kind has no phrases.
    """
    if not kinds:
        return PRECISE_CLEAN[rng.integers(len(PRECISE_CLEAN))]
    phrases = [phrases_of(kind) for kind in reversed(kinds)]
    frame = int(rng.integers(len(_REMEDY_FRAMES) + len(_NAME_FRAMES)))
    if frame < len(_REMEDY_FRAMES):
        parts = [each.remedies[rng.integers(len(each.remedies))] for each in phrases]
        return _REMEDY_FRAMES[frame].format(listed(parts))
    parts = [each.names[rng.integers(len(each.names))] for each in phrases]
    return _NAME_FRAMES[frame - len(_REMEDY_FRAMES)].format(listed(parts))


def precise_bank(kinds: Sequence[str], count: int = 40) -> tuple[str, ...]:
    """Different precise sentences for a set of kinds, always the same ones; for a prompt file.

    Args:
        kinds: in light-path order; none gives all of :data:`PRECISE_CLEAN`.
        count: at least 1; every set of kinds has 20 or more.

    Returns:
        At most ``count`` sentences.
    """
    if not kinds:
        return PRECISE_CLEAN
    seed = int.from_bytes(hashlib.sha256("+".join(kinds).encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    drawn = dict.fromkeys(precise_instruction(kinds, rng) for _ in range(20 * count))
    return tuple(drawn)[:count]


def phrases_of(kind: str) -> KindPhrases:
    """The phrases of a kind.

    Raises:
        ConfigError: it has none.
    """
    if kind not in PHRASES:
        raise ConfigError(f"the degradation {kind!r} has no phrases; add it to PHRASES ({', '.join(PHRASES)})")
    return PHRASES[kind]
