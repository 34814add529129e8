from pathlib import Path

import pytest

from cotir.bench.recipes import MAX_KINDS, load_recipes, parse_recipes, to_plain
from cotir.degrade import light_path
from cotir.errors import ConfigError
from cotir.experts import Experts
from cotir.phrase_bank import KINDS

CONFIGS = Path(__file__).parents[2] / "configs" / "bench"

PAPER_KINDS = {
    "low_light", "over_exposure", "haze", "nonhomogeneous_haze", "rain", "raindrop", "snow", "blur", "noise",
    "low_resolution", "jpeg", "reflection", "flare", "shadow", "watermark", "underwater", "lost_colour", "smartphone",
}  # fmt: skip
PAPER_SEEN = (
    "low_light+blur", "haze+snow", "raindrop+blur", "rain+raindrop", "low_light+noise", "low_light+haze+rain+jpeg",
)  # fmt: skip
PAPER_UNSEEN = (
    "rain+watermark", "low_light+flare", "flare+rain+jpeg", "flare+snow", "low_resolution+haze+blur+jpeg",
    "low_resolution+lost_colour+noise",
)  # fmt: skip


@pytest.mark.parametrize("name", ["default", "small"])
def test_shipped_recipes_hold_the_papers(name):
    recipes = load_recipes(CONFIGS / f"{name}.yaml")
    groups = {group: {r.kinds for r in recipes if r.group == group} for group in ("single", "seen", "unseen", "clean")}
    assert {(kind,) for kind in PAPER_KINDS} <= groups["single"]
    assert {light_path(kinds.split("+")) for kinds in PAPER_SEEN} <= groups["seen"]
    assert {light_path(kinds.split("+")) for kinds in PAPER_UNSEEN} <= groups["unseen"]
    assert groups["clean"] == {()}
    assert max(len(recipe.kinds) for recipe in recipes) == MAX_KINDS
    assert sum(recipe.share for recipe in recipes) == pytest.approx(1)


@pytest.mark.parametrize("name", ["default", "small"])
def test_many_kinds_are_drawn_lower(name):
    tops = {len(recipe.kinds): recipe.ranges[0][1] for recipe in load_recipes(CONFIGS / f"{name}.yaml") if recipe.kinds}
    assert [tops[count] for count in sorted(tops)] == sorted(tops.values(), reverse=True)
    assert tops[1] > tops[2] > tops[3] > tops[MAX_KINDS]


def test_the_forms_of_a_recipe():
    recipes = parse_recipes(
        """
        severity: {1: [0.1, 1], 2: [0.2, 0.8]}
        share: {single: 0.25, seen: 0.75}
        single: [noise, {kinds: [haze], weight: 3, severity: [0, 0.5]}]
        seen: [blur + haze, {kinds: rain + blur + haze, severity: {rain: [0.4, 0.5]}}]
        unseen: [jpeg + haze]
        """
    ).by_type
    assert list(recipes) == ["noise", "haze", "haze-blur", "haze-rain-blur", "haze-jpeg"]
    assert recipes["noise"].ranges == ((0.1, 1.0),)
    assert recipes["haze"].ranges == ((0.0, 0.5),)
    assert recipes["haze-blur"].ranges == ((0.2, 0.8), (0.2, 0.8))
    assert recipes["haze-rain-blur"].ranges == ((0.2, 0.8), (0.4, 0.5), (0.2, 0.8))
    assert [recipe.share for recipe in recipes.values()] == pytest.approx([0.0625, 0.1875, 0.375, 0.375, 0])
    assert to_plain(recipes["haze-jpeg"])["group"] == "unseen"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("singel: [haze]", "unknown key 'singel' at singel (did you mean 'single'?); allowed are severity, share"),
        ("seen: [{kinds: haze+rain, wieght: 2}]", "'wieght' at seen.0.wieght (did you mean 'weight'?); allowed are ki"),
        ("single: [haze]\ntest: {photo: 1}", "'photo' at test.photo (did you mean 'photos'?); allowed are photos, s"),
        ("single: [haze]\nshare: {unseen: 1}", "unknown key 'unseen' at share.unseen"),
        ("seen: [haze + blurr]", "unknown degradation 'blurr' in haze+blurr (did you mean 'blur'?); allowed are "),
        ("seen: [haze]", "haze under seen has 1 kinds; seen recipes have 2 to 7"),
        ("single: [haze + rain]", "haze-rain under single has 2 kinds; single recipes have 1"),
        ("single: [haze, haze]", "haze is listed twice under single; list it once, with a weight"),
        ("seen: [haze+rain]\nunseen: [rain+haze]", "haze-rain is both seen and unseen; take it out of one of them"),
        ("seen: [haze+haze]", "haze named twice"),
        ("seen: [{kinds: haze+rain, severity: {rian: [0, 1]}}]", "is for 'rian' (did you mean 'rain'?)"),
        (
            "seen: [{kinds: haze+rain, severity: [0.9, 0.1]}]",
            "[0.9, 0.1] of haze+rain runs backwards; write [0.1, ",
        ),
        ("seen: [{kinds: haze+rain, severity: [0, 1.5]}]", "seen.0.severity.1 is 1.5: Input should be less than or eq"),
        ("single: [haze]\nseverity: {2: [0, 1]}", "severity has no range for 1 kinds; list one for 1"),
        ("single: [haze]\nseverity: {8: [0, 1]}", "severity.8 is 8: Input should be less than or equal to 7"),
        ("single: [haze]\nshare: {single: 0}\ntest: {samples: 0}", "every share is 0"),
        ("single: [haze]\ntest: {photos: 0}", "test.samples is 8 but test.photos is 0; hold photos out, or test none"),
        ("clean: maybe", "clean is 'maybe'"),
        ("clean: false", "there is no recipe in it"),
        ("", "holds NoneType; it needs keys such as single"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text, message):
    with pytest.raises(ConfigError, match=r"^x.yaml: ") as error:
        parse_recipes(text, name="x.yaml")
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"missing.yaml cannot be read .*check the name"):
        load_recipes(tmp_path / "missing.yaml")


def shipped():
    """The recipes in configs/bench, by their path there."""
    return {str(path.relative_to(CONFIGS)): load_recipes(path) for path in sorted(CONFIGS.rglob("*.yaml"))}


def test_what_nano_learns_from_holds_out_what_the_bench_holds_out():
    recipes = shipped()
    held_out = {frozenset(each.kinds) for each in recipes["default.yaml"] if each.group == "unseen"}
    assert len(held_out) == 20
    learned = {name: each for name, each in recipes.items() if name.startswith("among/") or name == "experts.yaml"}
    assert len(learned) == 5
    for name, found in learned.items():
        assert not held_out & {frozenset(each.kinds) for each in found if each.share > 0}, name


def test_the_gate_is_shown_every_kind_alone_and_every_mixture_that_an_expert_is_for():
    """What it is not shown it gives to whatever expert that looks like it."""
    recipes = shipped()
    shown = {frozenset(each.kinds) for each in recipes["experts.yaml"]}
    assert {frozenset({kind}) for kind in KINDS} <= shown
    learned = [each for name, found in recipes.items() if name.startswith("among/") for each in found]
    assert {frozenset(each.kinds) for each in learned} <= shown


AMONG = {
    "low_light": "low_light+",
    "haze": "haze/nonhomogeneous_haze+",
    "rain": "rain/snow/raindrop+",
    "noise": "noise/blur/low_resolution/jpeg/webp/avif/h264+",
}
"""Recipes that experts for mixtures learn from, and their scopes, of which the first that has a mixture is its own."""


@pytest.mark.parametrize("file", AMONG)
def test_what_an_expert_for_mixtures_learns_from_belongs_to_it(file):
    experts = Experts(tuple(AMONG.values()), weights=1, features=1)
    found = load_recipes(CONFIGS / "among" / f"{file}.yaml")
    assert {experts.scope(each.kinds) for each in found} == {list(AMONG).index(file)}
