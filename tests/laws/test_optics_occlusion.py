"""What raindrops, flare, reflection, shadow, watermark, scratches and stains claim of themselves."""

import dataclasses

import cv2
import numpy as np
import pytest

from cotir.degrade import kind_named, to_linear, to_srgb
from cotir.degrade.ageing import density
from cotir.degrade.optics import reflectance
from cotir.degrade.shadow import shade_of
from cotir.degrade.watermark import matte


def drawn(name, severity=0.8, seed=0, **changes):
    return dataclasses.replace(kind_named(name).sample(np.random.default_rng(seed), severity), **changes)


def damaged(image, name, params):
    return kind_named(name).apply(image, params)


def flat(value, height=128, width=128):
    return np.full((height, width, 3), value, np.float32)


def textured(height, width, seed):
    noise = np.random.default_rng(seed).random((9, 9, 3), dtype=np.float32)
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)


def angle_between(angle, other):
    """Of two undirected lines."""
    return abs((angle - other + np.pi / 2) % np.pi - np.pi / 2)


# Raindrops


def red_over_blue():
    image = flat(0.0, 256, 256)
    image[:128, :, 0] = 0.6
    image[128:, :, 2] = 0.6
    return image


@pytest.mark.parametrize("seed", range(4))
def test_a_drop_shows_the_scene_upside_down(seed):
    image = red_over_blue()
    params = drawn("raindrop", 1.0, seed, radius=24.0, bend=0.6, blur=0.4, gain=1.0)
    seen = damaged(image, "raindrop", params)[:110]
    wet = np.abs(seen - image[:110]).max(axis=2) > 0.02
    _, labels = cv2.connectedComponents(wet.astype(np.uint8))
    rows = np.arange(110)[:, None] * np.ones((1, 256))
    blue = seen[..., 2] > seen[..., 0] + 0.1
    # Near the top, a drop sees the frame's mirror image.
    drops = range(1, labels.max() + 1)
    whole = [drop for drop in drops if not (labels[-1] == drop).any() and rows[labels == drop].mean() > 40]
    both = [drop for drop in whole if (blue & (labels == drop)).sum() > 8 and (~blue & (labels == drop)).sum() > 8]
    assert both, "no drop before the red half shows the blue one"
    for drop in both:
        assert rows[(labels == drop) & blue].mean() < rows[(labels == drop) & ~blue].mean(), "the ground is on top"


def test_a_drop_darkens_at_its_rim_alone():
    image = flat(0.5, 256, 256)
    params = drawn("raindrop", 0.3, 3, radius=24.0, blur=0.0, gain=1.0, rim=0.8)
    share = to_linear(damaged(image, "raindrop", params))[..., 1] / to_linear(image)[..., 1]
    assert share.min() == pytest.approx(0.2, abs=0.05)
    dark = share < 0.7
    wide = cv2.erode(dark.astype(np.uint8), np.ones((9, 9), np.uint8))
    assert dark.sum() > 100
    assert wide.sum() < 0.03 * dark.sum(), "the dark part of a drop is a thin rim"


def test_dry_glass_changes_nothing_and_more_rain_wets_more():
    image = textured(128, 128, 4)
    heavy = drawn("raindrop", 1.0, 2, blur=0.0)
    many = (damaged(image, "raindrop", heavy) != image).any(axis=2)
    few = (np.abs(damaged(image, "raindrop", dataclasses.replace(heavy, amount=0.3)) - image) > 1e-4).any(axis=2)
    assert 0.05 < np.mean(np.abs(damaged(image, "raindrop", heavy) - image).max(axis=2) > 1e-4) < 0.7
    assert few.sum() < 0.7 * many.sum()
    assert (few & many).sum() == few.sum()


def test_drops_have_several_sizes():
    image = flat(0.5, 512, 512)
    changed = np.abs(damaged(image, "raindrop", drawn("raindrop", 0.5, 1, blur=0.8)) - image)[..., 1] > 0.005
    _, _, boxes, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, None))
    widths = boxes[1:, cv2.CC_STAT_WIDTH]
    assert len(widths) > 15
    assert np.quantile(widths, 0.9) > 2 * np.quantile(widths, 0.2)


# Flare


@pytest.mark.parametrize("seed", range(6))
def test_flare_only_adds_light(seed):
    image = textured(64, 96, seed)
    added = to_linear(damaged(image, "flare", drawn("flare", 0.6, seed))) - to_linear(image)
    assert added.min() > -1e-5
    assert added.max() > 0.05


def test_flare_does_not_depend_on_what_it_lies_over():
    params = drawn("flare", 0.5, 1, source="placed")
    dark, grey = (to_srgb(flat(level, 96, 96)) for level in (0.05, 0.3))
    over_dark, over_grey = (to_linear(damaged(image, "flare", params)) for image in (dark, grey))
    free = over_grey < 0.99
    assert free.mean() > 0.5
    assert np.allclose((over_grey - 0.3)[free], (over_dark - 0.05)[free], atol=1e-4)


def test_flare_starts_at_the_brightest_spot():
    image = flat(0.2, 128, 192)
    cv2.circle(image, (140, 40), 6, (0.9, 0.9, 0.9), -1)
    added = damaged(image, "flare", drawn("flare", 0.3, 0, source="brightest")) - image
    # Inside the spot there is less room to white.
    added[image == np.float32(0.9)] = 0.0
    row, column = np.unravel_index(added.sum(axis=2).argmax(), added.shape[:2])
    assert np.hypot(row - 40, column - 140) < 12


@pytest.mark.parametrize("seed", range(5))
def test_ghosts_lie_on_the_line_through_the_centre(seed):
    params = drawn("flare", 0.5, seed, source="placed", x=0.15, y=0.3, veil=0.0, rays=0.0, ghosts=1.0, strength=0.5)
    ghosts = to_linear(damaged(flat(0.0, 256, 256), "flare", params)).sum(axis=2)
    rows, columns = np.mgrid[:256, :256] + 0.5
    along = np.array([0.5 - 0.15, 0.5 - 0.3]) / np.hypot(0.5 - 0.15, 0.5 - 0.3)
    beyond = (columns - 128) * along[0] + (rows - 128) * along[1] > 10
    aside = (rows - 128) * along[0] - (columns - 128) * along[1]
    assert ghosts[beyond].max() > 0.01
    assert abs(np.average(aside[beyond], weights=ghosts[beyond])) < 0.03 * 256


def test_a_source_outside_the_frame_veils_the_near_side():
    params = drawn("flare", 0.8, 0, source="placed", x=0.5, y=-0.15)
    veiled = damaged(flat(0.1), "flare", params)
    assert veiled[:10].mean() > veiled[-10:].mean() + 0.05


# Reflection


def with_highlight(level):
    """A picture whose ambient light does not depend on ``level``, in linear light: a white strip sets it."""
    light = flat(level)
    light[:16] = 0.9
    return to_srgb(light)


@pytest.mark.parametrize("seed", range(3))
def test_reflection_mixes_by_its_formula(seed):
    params = drawn("reflection", 0.5, seed, scene="room", gain=0.8)
    dim, bright = (to_linear(damaged(with_highlight(x), "reflection", params)) for x in (0.1, 0.4))
    through = 1.0 - reflectance((128, 128), params)[..., None]
    free = (bright < 0.99) & (np.arange(128)[:, None, None] >= 16)
    assert free.mean() > 0.8
    assert np.allclose((bright - dim)[free], (0.3 * through * np.ones(3))[free], atol=1e-4)
    added = dim - 0.1 * through
    assert added.min() > -1e-4
    assert added[16:].max() > 0.02


def test_a_thick_pane_shows_the_second_scene_twice():
    params = drawn("reflection", 0.6, 4, scene="room", gain=0.7, blur=0.0, ghost=0.0, ghost_x=20.0, ghost_y=0.0)
    share = reflectance((128, 128), params)[..., None]
    once = to_linear(damaged(flat(0.0), "reflection", params)) / share
    twice = to_linear(damaged(flat(0.0), "reflection", dataclasses.replace(params, ghost=0.4))) / share
    # The short side is 128, so that 20 stated pixels are 10.
    assert np.allclose(twice[:, 10:], 0.6 * once[:, 10:] + 0.4 * once[:, :-10], atol=2e-3)
    assert np.abs(twice - once).max() > 0.05


def test_the_picture_is_reflected_mirrored():
    image = flat(0.02)
    cv2.circle(image, (30, 40), 10, (0.9, 0.9, 0.9), -1)
    params = drawn("reflection", 1.0, 0, scene="mirrored", zoom=1.0, x=0.0, y=0.0, blur=0.5, ghost=0.0)
    added = (damaged(image, "reflection", params) - image)[..., 1]
    row, column = np.unravel_index(cv2.GaussianBlur(added, (0, 0), 3).argmax(), added.shape)
    assert np.hypot(row - 40, column - (128 - 30)) < 8


def test_reflectance_is_bounded_and_rises_over_the_field():
    params = drawn("reflection", 0.9, 1)
    share = reflectance((64, 96), params)
    assert 0.0 < share.min() < 0.6 * share.max()
    assert share.max() <= params.reflectance


# Shadow

CASTERS = ("wall", "figure", "leaves", "bars")


@pytest.mark.parametrize("caster", CASTERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_shadow_only_darkens_down_to_its_share_and_red_most(caster, seed):
    image = textured(96, 128, seed) * 0.8 + 0.1
    params = drawn("shadow", 0.7, seed, caster=caster, sky=0.15)
    share = to_linear(damaged(image, "shadow", params)) / to_linear(image)
    umbra = (1.0 - params.depth) ** np.array([1.15, 1.0, 0.85])
    assert share.max() <= 1.0 + 1e-4
    assert (share.min(axis=(0, 1)) >= umbra - 1e-3).all()
    assert (share[..., 0] <= share[..., 1] + 1e-3).all()
    assert (share[..., 1] <= share[..., 2] + 1e-3).all()


@pytest.mark.parametrize("caster", CASTERS)
def test_every_caster_leaves_light_and_shade(caster):
    covered = [shade_of((128, 160), drawn("shadow", 0.7, seed, caster=caster), 0.5).mean() for seed in range(12)]
    assert min(covered) > 0.02
    assert max(covered) < 0.95


def test_the_penumbra_grows_away_from_the_caster():
    params = drawn("shadow", 0.7, 3, caster="bars", angle=np.pi / 2, near=1.0, far=8.0)
    shade = shade_of((256, 256), params, 1.0)
    steep = np.hypot(*np.gradient(shade))
    assert steep[:50].max() > 2 * steep[-50:].max() > 0.0


# Watermark

WORDS = ("SAMPLE", "\N{COPYRIGHT SIGN} Jane Doe", "www.example.com", "Stock image 4711")


@pytest.mark.parametrize("layout", ["single", "tiled"])
def test_a_watermark_touches_its_matte_alone(layout):
    image = textured(96, 128, 5)
    params = drawn("watermark", 0.7, 2, layout=layout, fill=0.8, outline=0.5, opacity=0.6)
    inside, rim = matte((96, 128), params)
    marked = damaged(image, "watermark", params)
    dry = (inside + rim) == 0.0
    assert 0.5 < dry.mean() < 0.99
    assert np.array_equal(marked[dry], image[dry])
    under = image + (rim * 0.3)[..., None] * (np.asarray(params.edge, np.float32) - image)
    expected = under + (inside * 0.48)[..., None] * (np.asarray(params.colour, np.float32) - under)
    assert np.allclose(marked, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (40, 200), (200, 40), (128, 128)], ids=str)
@pytest.mark.parametrize("word", WORDS)
def test_a_single_mark_lies_whole_in_the_picture(size, word):
    for seed in range(4):
        inside, rim = matte(size, drawn("watermark", 0.7, seed, layout="single", word=word))
        both = inside + rim
        assert both.max() > 0.3
        assert max(both[0].max(), both[-1].max(), both[:, 0].max(), both[:, -1].max()) < 0.15


def test_tiles_cover_the_picture():
    inside, _ = matte((256, 384), drawn("watermark", 0.7, 1, layout="tiled", word="PROOF", logo="ring", size=0.06))
    quarters = [inside[y : y + 128, x : x + 192].mean() for y in (0, 128) for x in (0, 192)]
    assert min(quarters) > 0.5 * max(quarters) > 0.0


@pytest.mark.parametrize("angle", [-0.7, 0.0, 0.4])
def test_a_mark_runs_at_its_angle(angle):
    params = drawn("watermark", 0.7, 1, layout="single", word="NOT FOR SALE", logo="none", angle=angle, slant=0.0)
    inside, _ = matte((256, 256), dataclasses.replace(params, x=0.5, y=0.5, size=0.08))
    rows, columns = np.nonzero(inside > 0.3)
    values, vectors = np.linalg.eigh(np.cov(columns, rows))
    assert values[1] > 10 * values[0]
    assert angle_between(np.arctan2(vectors[1, 1], vectors[0, 1]), angle) < 0.08


def test_no_mark_hides_in_a_dark_picture():
    for seed in range(40):
        assert np.abs(damaged(flat(0.0), "watermark", drawn("watermark", 0.9, seed))).max() > 0.15


def test_an_outline_surrounds_the_letters():
    inside, rim = matte((256, 256), drawn("watermark", 0.7, 1, layout="single", word="PROOF", logo="star"))
    around = cv2.dilate((inside > 0.9).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert rim[inside > 0.95].max() < 0.1
    assert rim[around & (inside == 0)].mean() > 0.2
    assert rim[~around].max() < 0.6


# Scratches

CLEAN = {"lines": 0, "curves": 0, "specks": 0, "hairs": 0, "creases": 0}


@pytest.mark.parametrize("seed", range(3))
def test_scratches_are_thin_and_both_bright_and_dark(seed):
    params = drawn("scratches", 1.0, seed, creases=0, bright=0.6)
    changed = damaged(flat(0.5, 512, 512), "scratches", params)[..., 1] - 0.5
    marks = np.abs(changed) > 0.05
    assert 0.002 < marks.mean() < 0.15
    thick = cv2.morphologyEx(marks.astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    assert thick.sum() < 0.05 * marks.sum()
    assert changed.max() > 0.2
    assert changed.min() < -0.1


def test_line_scratches_are_near_vertical():
    params = drawn("scratches", 1.0, 3, **(CLEAN | {"lines": 8}), bright=1.0)
    down, right = np.gradient(damaged(flat(0.3, 256, 256), "scratches", params)[..., 1])
    assert (right**2).mean() > 10 * (down**2).mean() > 0.0


@pytest.mark.parametrize("family", ["lines", "curves", "specks", "hairs", "creases"])
def test_more_wear_contains_the_less(family):
    image = flat(0.4, 256, 256)
    heavy = drawn("scratches", 1.0, 3, **(CLEAN | {family: 6}))
    light = dataclasses.replace(heavy, amount=0.4)
    many, few = (np.abs(damaged(image, "scratches", each) - image)[..., 1] > 0.03 for each in (heavy, light))
    assert 0 < few.sum() < many.sum()
    assert (few & many).sum() > 0.95 * few.sum()


def test_a_crease_is_bright_on_one_side_and_dark_on_the_other():
    params = drawn("scratches", 1.0, 4, **(CLEAN | {"creases": 1}))
    change = damaged(flat(0.5, 256, 256), "scratches", params)[..., 1] - 0.5
    assert (change < -0.01).sum() > 200
    assert (change > 0.01).sum() > 200
    assert (np.abs(change) < 1e-3).mean() > 0.7


# Stains


@pytest.mark.parametrize("seed", range(3))
def test_stains_absorb_by_beer_and_lambert(seed):
    image = textured(96, 128, seed) * 0.7 + 0.2
    params = drawn("stains", 0.7, seed)
    absorbed = -np.log10(to_linear(damaged(image, "stains", params)) / to_linear(image))
    dense = density((96, 128), params)
    assert dense.min() >= 0.0
    assert dense.max() > 0.2
    assert np.allclose(absorbed, dense[..., None] * np.array(params.tint), atol=2e-3)


def test_a_blotch_has_a_dark_rim_and_a_pale_middle():
    params = drawn("stains", 1.0, 6, blotches=1, foxing=0, yellow=0.0, size=0.25)
    dense = density((512, 512), params)
    wet = (dense > 0.05 * dense.max()).astype(np.uint8)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(wet, 0, 0, 0, 0, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)
    middle, rim = dense[depth > 0.5 * depth.max()], dense[(depth > 1) & (depth < 5)]
    assert 0.01 < wet.mean() < 0.6
    assert rim.mean() > 1.8 * middle.mean() > 0.0


def test_yellowing_is_slow_and_takes_blue_light():
    image = flat(0.8)
    yellowed = damaged(image, "stains", drawn("stains", 0.8, 2, blotches=0, foxing=0, yellow=0.5))
    assert (yellowed[..., 2] < yellowed[..., 1]).all()
    assert (yellowed[..., 1] < yellowed[..., 0]).all()
    assert np.abs(np.diff(yellowed[..., 2], axis=1)).max() < 0.03
