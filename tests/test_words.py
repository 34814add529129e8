"""The language of traces."""

import re
from dataclasses import dataclass

import pytest

from cotir.degrade import KINDS, light_path
from cotir.errors import ConfigError
from cotir.words import (
    SCENE_WORDS,
    WORDS,
    Scene,
    describe,
    full_degradation,
    full_plan,
    listed,
    plan_steps,
    short_degradation,
    short_plan,
)


@dataclass(frozen=True)
class Hurt:
    kind: str
    severity: float


def test_every_kind_has_words_in_light_path_order():
    assert tuple(WORDS) == light_path(list(KINDS))


@pytest.mark.parametrize("field", ["noun", "remedy", "effect", "because"])
def test_no_two_kinds_are_spoken_of_alike(field):
    said = [getattr(words, field) for words in WORDS.values()]
    if field in ("noun", "remedy"):
        assert len(set(said)) == len(said)
    assert not any(re.search(r"\b(\w+) \1\b|\.\.|  |^ | $", text) for text in said)


def test_words_for_severities():
    assert [describe(s) for s in (0, 0.3, 0.4, 0.6, 0.7, 1)] == ["slight"] * 2 + ["moderate"] * 2 + ["heavy"] * 2
    for bad in (2, -0.1, float("nan")):
        with pytest.raises(ConfigError, match=r"^severity is .*; it must lie in \[0, 1\]"):
            describe(bad)


def test_both_lengths_say_the_same():
    damage = [Hurt("haze", 0.9), Hurt("noise", 0.1)]
    assert short_degradation(damage) == "heavy haze and slight noise"
    assert full_degradation(damage) == (
        "heavy haze, which pales contrast and colour with distance; slight noise, which covers fine texture with grain"
    )
    assert short_plan(["haze", "noise"]) == "remove the noise, then clear the haze"
    assert full_plan(["haze", "noise"]) == (
        "first remove the noise before anything that follows amplifies it; "
        "finally clear the haze with more for what is farther away"
    )
    assert plan_steps(["haze"]) == (full_plan(["haze"]),)


def test_nothing_is_said_of_nothing():
    assert short_degradation(()) == full_degradation(()) == "no visible degradation"
    assert (short_plan(()), plan_steps(())) == ("keep the picture as it is", ())
    assert full_plan(()) == "keep the picture as it is, because nothing is to be undone"


def test_lists_read_as_english():
    assert [listed("abcd"[:n]) for n in range(5)] == ["", "a", "a and b", "a, b and c", "a, b, c and d"]


def test_a_scene_is_one_word_of_each():
    scene = Scene(**{part: words[0] for part, words in SCENE_WORDS.items()})
    assert scene.full() == (
        "a dark, low-contrast scene in gray tones with smooth texture; equally bright all over, with detail spread "
        "all over"
    )
    assert Scene(**{part: words[1] for part, words in SCENE_WORDS.items()}).short().startswith("an evenly lit, medium")
