import numpy as np
import pytest

from cotir.bench.phrases import VAGUE
from cotir.bench.traces import WORDS, describe_scene, write_instruction, write_trace
from cotir.degrade import KINDS, sample_recipe
from cotir.degrade.compose import Applied
from cotir.errors import ConfigError
from cotir.prompts import DEFAULT_INSTRUCTION


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def picture(rng):
    return rng.random((32, 32, 3), dtype=np.float32)


def applied(rng, *kinds):
    return sample_recipe(rng, kinds, [0.9] * len(kinds))


def test_every_kind_has_words():
    assert set(WORDS) == set(KINDS)


def test_the_default_instruction_is_a_vague_one():
    assert DEFAULT_INSTRUCTION in VAGUE


def test_the_plan_undoes_the_damage_in_reverse(rng, picture):
    trace = write_trace(picture, applied(rng, "jpeg", "haze", "noise"))
    assert trace.degradation == "heavy haze, heavy noise and heavy compression artifacts"
    assert trace.plan == "clean the compression artifacts, then remove the noise, then clear the haze"


def test_a_clean_picture_is_left_alone(rng, picture):
    trace = write_trace(picture, ())
    assert trace.degradation == "no visible degradation"
    assert trace.plan == "keep the picture as it is"
    assert not any(word.noun in write_instruction((), rng).precise for word in WORDS.values())


@pytest.mark.parametrize("seed", range(20))
def test_a_precise_instruction_names_every_kind_and_a_vague_one_none(seed, rng):
    rng = np.random.default_rng(seed)
    words = write_instruction(applied(rng, "rain", "blur"), rng)
    assert "rain" in words.precise
    assert "blur" in words.precise
    assert not any(word.noun in words.vague for word in WORDS.values())


def test_the_scene_is_what_was_measured():
    red = np.zeros((32, 32, 3), dtype=np.float32)
    red[..., 0] = 0.9
    assert describe_scene(red) == "a dark, low-contrast scene in red tones with smooth texture"
    assert describe_scene(np.full((32, 32, 3), 0.8, np.float32)).startswith("a bright, low-contrast scene in gray")
    assert describe_scene(np.full((32, 32, 3), 0.5, np.float32)).startswith("an evenly lit, low-contrast scene in gray")


def test_a_kind_without_words_is_named(rng, picture):
    (known,) = applied(rng, "noise")
    with pytest.raises(ConfigError, match="the degradation 'fog' has no words"):
        write_trace(picture, [Applied("fog", 0.5, known.params)])
