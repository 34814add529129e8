"""Traces from what was measured and done."""

import numpy as np
import pytest

from cotir.bench.traces import measure_scene, write_full_trace, write_trace
from cotir.degrade import KINDS, sample_recipe
from cotir.degrade.compose import Applied
from cotir.errors import ConfigError
from cotir.phrases import VAGUE, write_instruction
from cotir.prompts import DEFAULT_INSTRUCTION, ReasoningTrace
from cotir.words import WORDS

GRAY = np.full((48, 60, 3), 0.5, np.float32)


def applied(*kinds):
    return sample_recipe(np.random.default_rng(0), kinds, [0.9] * len(kinds))


def test_the_default_instruction_is_a_vague_one():
    assert DEFAULT_INSTRUCTION in VAGUE


@pytest.mark.parametrize("seed", range(20))
def test_a_precise_instruction_names_every_kind_and_a_vague_one_none(seed):
    words = write_instruction(["rain", "blur"], np.random.default_rng(seed))
    assert "rain" in words.precise
    assert "blur" in words.precise
    assert not any(word.noun in words.vague for word in WORDS.values())
    clean = write_instruction((), np.random.default_rng(seed))
    assert not any(word.noun in clean.precise for word in WORDS.values())


def test_the_plan_undoes_the_damage_in_reverse():
    damage = applied("jpeg", "haze", "noise")
    trace = write_trace(GRAY, damage)
    assert trace.degradation == "heavy haze, heavy noise and heavy compression artifacts"
    assert trace.plan == "clean the compression artifacts, then remove the noise, then clear the haze"
    steps = write_full_trace(GRAY, damage).plan.split("; ")
    assert [step.partition(" ")[0] for step in steps] == ["first", "then", "finally"]
    assert all(WORDS[kind].remedy in step for kind, step in zip(("jpeg", "noise", "haze"), steps, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_trace_names_the_damage_its_effect_and_the_remedy(kind):
    trace = write_full_trace(GRAY, applied(kind))
    assert trace.degradation == f"heavy {WORDS[kind].noun}, which {WORDS[kind].effect}"
    assert trace.plan == f"{WORDS[kind].remedy} {WORDS[kind].because}"
    assert ReasoningTrace.parse(trace.format()) == trace


def test_a_clean_picture_is_left_alone():
    short, full = write_trace(GRAY, ()), write_full_trace(GRAY, ())
    assert short.degradation == full.degradation == "no visible degradation"
    assert (short.plan, full.plan) == (
        "keep the picture as it is", "keep the picture as it is, because nothing is to be undone"
    )  # fmt: skip


def test_the_scene_is_what_was_measured():
    red = np.zeros((32, 32, 3), dtype=np.float32)
    red[..., 0] = 0.9
    assert measure_scene(red).short() == "a dark, low-contrast scene in red tones with smooth texture"
    assert measure_scene(GRAY * 1.6).short().startswith("a bright, low-contrast scene in gray")
    assert measure_scene(GRAY).short().startswith("an evenly lit, low-contrast scene in gray")


def test_the_layout_is_where_light_and_detail_are():
    assert measure_scene(GRAY).full().endswith("; equally bright all over, with detail spread all over")
    picture = GRAY * 0.2
    picture[:16, 40:] = 0.9
    picture[20:28, 24:36] = np.random.default_rng(0).random((8, 12, 3), dtype=np.float32)
    assert measure_scene(picture).full().endswith("; brightest in the upper right, with most detail in the centre")


def test_a_kind_without_words_is_named():
    (known,) = applied("noise")
    with pytest.raises(ConfigError, match="the degradation 'fog' has no words for its traces; add it to WORDS"):
        write_full_trace(GRAY, [Applied("fog", 0.5, known.params)])
