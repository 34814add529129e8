"""Several kinds of damage on one picture: their order, their severities and their recipes."""

import dataclasses

import numpy as np
import pytest
from law_pictures import drawn, flat, textured

from cotir.degrade import KINDS, Applied, Recipe, compose, kind_named, light_path, sample_recipe
from cotir.errors import ConfigError

SEVEN = ("jpeg", "noise", "low_light", "blur", "snow", "haze", "low_resolution")


def test_a_composite_follows_the_light():
    assert light_path(SEVEN) == ("haze", "snow", "blur", "low_light", "noise", "low_resolution", "jpeg")
    image = textured(64, 64, seed=8)
    applied = sample_recipe(np.random.default_rng(3), SEVEN, (0.3,) * 7)
    assert tuple(each.kind for each in applied) == light_path(SEVEN)
    expected = image
    for each in applied:
        expected = KINDS[each.kind].apply(expected, each.params)
    assert np.array_equal(compose(image, applied), expected)
    assert np.array_equal(compose(image, applied[::-1]), expected), "the order of the records must not matter"


def test_severities_follow_their_kinds_whatever_the_order():
    one = sample_recipe(np.random.default_rng(3), ("jpeg", "haze"), (0.9, 0.1))
    other = sample_recipe(np.random.default_rng(3), ("haze", "jpeg"), (0.1, 0.9))
    assert one == other
    assert [(each.kind, each.severity) for each in one] == [("haze", 0.1), ("jpeg", 0.9)]


def test_the_clean_recipe_leaves_a_picture_alone():
    image = textured(32, 32, seed=9)
    assert Recipe().name == "clean"
    same = compose(image, sample_recipe(np.random.default_rng(0), Recipe(), ()))
    assert np.array_equal(same, image)
    assert same is not image


def test_a_recipe_is_its_set_of_kinds():
    assert Recipe(("jpeg", "haze")) == Recipe(("haze", "jpeg"))
    assert Recipe(("jpeg", "haze")).name == "haze+jpeg"


def test_wrong_recipes_are_refused():
    with pytest.raises(ConfigError, match="unknown degradation 'fire'; choose from"):
        Recipe(("fire",))
    with pytest.raises(ConfigError, match=r"haze named twice in haze\+jpeg\+haze"):
        Recipe(("haze", "jpeg", "haze"))
    with pytest.raises(ConfigError, match=r"2 kinds \(haze\+jpeg\) with 1 severities; give one for each"):
        sample_recipe(np.random.default_rng(0), ("haze", "jpeg"), (0.5,))
    haze = Applied("haze", 0.5, drawn(kind_named("haze"), 0.5))
    with pytest.raises(ConfigError, match="haze named twice"):
        compose(flat(0.5), (haze, haze))
    with pytest.raises(ConfigError, match=r"jpeg\.apply got HazeParams"):
        compose(flat(0.5), (dataclasses.replace(haze, kind="jpeg"),))
