"""Laws that every degradation keeps, and the physics that single ones claim."""

import dataclasses
import io
import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from cotir.degrade import (
    KINDS,
    STAGES,
    Applied,
    Recipe,
    compose,
    from_json,
    kind_named,
    light_path,
    sample_recipe,
    to_json,
    to_linear,
    to_srgb,
)
from cotir.degrade.blur import BlurParams, disc_kernel, motion_kernel
from cotir.degrade.compression import JpegParams
from cotir.degrade.depth import ambient, procedural_depth
from cotir.degrade.light import LowLightParams, OverExposureParams
from cotir.degrade.noise import NoiseParams, demosaic
from cotir.degrade.resolution import LowResolutionParams
from cotir.degrade.weather import HazeParams, RainParams
from cotir.errors import ConfigError, ImageError

SEVERITIES = (0.0, 0.15, 0.35, 0.6, 0.8, 1.0)
SIZES = ((16, 16), (17, 31), (64, 96), (512, 512))

without_av = pytest.mark.skipif(find_spec("av") is None, reason="av is missing; pip install 'cotir[video]'")
every_kind = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id=name, marks=[without_av] if name == "h264" else []) for name, kind in KINDS.items()],
)


def textured(height, width, seed):
    """Colour noise in octaves, with hard-edged discs and a bright upper part: smooth, busy, dark and light areas."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, share in ((3, 0.5), (9, 0.25), (40, 0.15)):
        noise = rng.random((cells, cells, 3), dtype=np.float32)
        picture += share * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    picture += np.linspace(0.25, -0.1, height, dtype=np.float32)[:, None, None]
    for x, y, size, *colour in rng.random((12, 6)):
        cv2.circle(picture, (int(x * width), int(y * height)), int(2 + 0.1 * size * width), colour, -1)
    return np.clip(picture, 0.0, 1.0)


def flat(value, height=64, width=64):
    return np.full((height, width, 3), value, np.float32)


def psnr(image, other):
    return float(-10 * np.log10(max(np.mean((image - other) ** 2), 1e-10)))


def global_state():
    return np.asarray(np.random.get_state()[1])  # pyright: ignore[reportArgumentType]  numpy's stub sees only the dict


def drawn(kind, severity, seed=0):
    return kind.sample(np.random.default_rng(seed), severity)


@every_kind
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shape_dtype_and_range_survive(kind, size):
    image = textured(*size, seed=1)
    before = image.copy()
    for severity in (0.0, 0.5, 1.0):
        for seed in range(3):
            damaged = kind.apply(image, drawn(kind, severity, seed))
            assert damaged.shape == image.shape
            assert damaged.dtype == np.float32
            assert np.isfinite(damaged).all()
            assert damaged.min() >= 0.0
            assert damaged.max() <= 1.0
    assert np.array_equal(image, before), "apply wrote into its argument"


@every_kind
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_pictures_are_allowed(kind, value):
    assert np.isfinite(kind.apply(flat(value), drawn(kind, 1.0))).all()


@every_kind
def test_a_picture_may_be_a_view(kind):
    image = textured(96, 64, seed=2)
    params = drawn(kind, 0.7)
    expected = kind.apply(np.ascontiguousarray(image.transpose(1, 0, 2)), params)
    assert np.array_equal(kind.apply(image.transpose(1, 0, 2), params), expected)


@every_kind
def test_damage_grows_with_severity(kind):
    mean = [
        np.mean(
            [
                psnr(image, kind.apply(image, drawn(kind, severity, seed)))
                for seed in range(6)
                for image in (textured(64, 96, seed), textured(128, 128, seed + 100))
            ]
        )
        for severity in SEVERITIES
    ]
    assert all(milder > harder for milder, harder in pairwise(mean)), mean


@every_kind
def test_severity_zero_is_nearly_the_identity(kind):
    for seed in range(8):
        image = textured(64, 96, seed)
        assert psnr(image, kind.apply(image, drawn(kind, 0.0, seed))) >= 38.0


@every_kind
def test_apply_depends_on_its_arguments_alone(kind):
    image, params = textured(64, 96, seed=3), drawn(kind, 0.8)
    np.random.seed(1)
    cv2.setRNGSeed(1)
    state = global_state()
    first = kind.apply(image, params)
    assert np.array_equal(global_state(), state), "apply used numpy's global generator"
    np.random.seed(2)
    cv2.setRNGSeed(2)
    assert np.array_equal(kind.apply(image, params), first)


@every_kind
def test_sampling_depends_on_the_generator_alone(kind):
    np.random.seed(1)
    state = global_state()
    assert drawn(kind, 0.5, seed=7) == drawn(kind, 0.5, seed=7)
    assert len({drawn(kind, 0.5, seed) for seed in range(20)}) > 1
    assert np.array_equal(global_state(), state)


@every_kind
def test_parameters_survive_json(kind):
    for severity in SEVERITIES:
        params = drawn(kind, severity, seed=5)
        text = to_json(params)
        assert json.loads(text)["kind"] == kind.name
        assert from_json(text) == params
        assert hash(from_json(text)) == hash(params)


@every_kind
def test_parameters_are_frozen_and_documented(kind):
    params = drawn(kind, 0.5)
    field = dataclasses.fields(params)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(params, field, 0)
    assert kind.stage in STAGES
    assert "``" in (type(kind).__doc__ or ""), "no formula in the docstring"


@every_kind
@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_severity_outside_its_range_is_refused(kind, severity):
    with pytest.raises(ConfigError, match=r"severity is .*; it must lie in \[0, 1\]"):
        kind.sample(np.random.default_rng(0), severity)


@every_kind
def test_a_wrong_picture_is_refused(kind):
    params = drawn(kind, 0.5)
    with pytest.raises(ImageError, match=r"got uint8 \(32, 32, 3\); it takes a float32 array"):
        kind.apply(np.zeros((32, 32, 3), np.uint8), params)
    with pytest.raises(ImageError, match=r"got float32 \(32, 32\)"):
        kind.apply(np.zeros((32, 32), np.float32), params)
    with pytest.raises(ImageError, match="picture of 40x15; each side must be at least 16"):
        kind.apply(np.zeros((15, 40, 3), np.float32), params)


@every_kind
def test_the_record_of_another_kind_is_refused(kind):
    other = next(each for each in KINDS.values() if each is not kind)
    with pytest.raises(ConfigError, match=f"{kind.name}.apply got {other.record.__name__}"):
        kind.apply(flat(0.5), drawn(other, 0.5))


def test_each_place_in_the_light_path_is_taken_once():
    places = [(kind.stage, kind.rank) for kind in KINDS.values()]
    assert len(set(places)) == len(places)


def test_each_record_belongs_to_one_kind():
    assert len({kind.record for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "need an object with a 'kind'"),
        ('{"kind": "fire"}', r"unknown degradation 'fire'; choose from .*haze"),
        ('{"kind": "jpeg", "quality": 5}', r"'jpeg' have missing fields \['chroma'\]"),
        ('{"kind": "jpeg", "quality": 5, "chroma": "4:2:0", "tint": 1}', r"unknown fields \['tint'\]"),
        ('{"kind": "jpeg", "quality": 5.5, "chroma": "4:2:0"}', r"'quality' of 'jpeg' is 5.5; it must be int"),
        ('{"kind": "jpeg", "quality": 5, "chroma": "4:1:1"}', r"'chroma' .* is '4:1:1'; it must be '4:4:4' or '4:2:0'"),
        (
            '{"kind": "haze", "density": 1, "tint": [1, 1], "seed": 1}',
            r"'tint' of 'haze' is \[1, 1\]; it must be tuple",
        ),
        ('{"kind": "haze", "density": true, "tint": [1, 1, 1], "seed": 1}', r"'density' of 'haze' is True; .* float"),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        from_json(text)


def test_linear_light_and_srgb_are_inverse():
    ramp = np.linspace(0, 1, 3000, dtype=np.float32).reshape(10, 100, 3)
    assert np.allclose(to_srgb(to_linear(ramp)), ramp, atol=2e-6)
    assert to_linear(flat(0.5))[0, 0, 0] == pytest.approx(0.21404, abs=1e-5)


def test_importing_needs_no_torch():
    code = "import sys, cotir.degrade; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Physics


def test_gaussian_noise_has_its_sigma():
    params = NoiseParams("gaussian", sigma=0.05, shot=0, read=0, red_gain=1, blue_gain=1, seed=3)
    noise = kind_named("noise").apply(flat(0.5, 128, 128), params) - 0.5
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean()) < 1e-3


def test_raw_noise_has_the_variance_of_its_sensor():
    params = NoiseParams("raw", sigma=0, shot=2e-3, read=1e-4, red_gain=2.0, blue_gain=1.5, seed=3)
    light = 0.3
    noisy = to_linear(kind_named("noise").apply(to_srgb(flat(light, 256, 256)), params)) - light
    # Sites where a channel was measured, not interpolated: red at even-even, green at even-odd, blue at odd-odd.
    for measured, gain in ((noisy[::2, ::2, 0], 2.0), (noisy[::2, 1::2, 1], 1.0), (noisy[1::2, 1::2, 2], 1.5)):
        assert measured.var() == pytest.approx(gain * 2e-3 * light + gain**2 * 1e-4, rel=0.05)


@pytest.mark.parametrize("size", [(32, 48), (17, 31)], ids=str)
def test_demosaicing_keeps_a_flat_field(size):
    field = np.broadcast_to(np.asarray([0.2, 0.5, 0.7], np.float32), (*size, 3)).copy()
    inside = demosaic(field)[1:-1, 1:-1]
    assert np.allclose(inside, field[1:-1, 1:-1], atol=1e-6)


@pytest.mark.parametrize("radius", [1.7, 3.2, 8.0])
def test_a_disc_kernel_is_a_disc(radius):
    kernel = disc_kernel(radius)
    axis = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(kernel, kernel.T)
    # The variance of a uniform disc along an axis is r^2 / 4; the pixel that samples it adds 1 / 12.
    assert (kernel.sum(axis=0) * axis**2).sum() == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.1)


def test_blur_kernels_of_no_size_do_nothing():
    for kernel in (disc_kernel(0.0), motion_kernel(0.0, angle=0.7, bend=0.3)):
        assert kernel[len(kernel) // 2, len(kernel) // 2] == pytest.approx(1.0)


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.4, 2.5])
def test_a_motion_kernel_has_its_length_and_direction(angle):
    kernel = motion_kernel(20.0, angle, 0.3)
    axis = np.arange(len(kernel)) - len(kernel) // 2
    x, y = np.meshgrid(axis, axis)
    spread = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=kernel.ravel())
    values, vectors = np.linalg.eigh(spread)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.sqrt(12 * values[1]) == pytest.approx(20.0, rel=0.06), "a uniform path of length L has variance L^2 / 12"
    assert abs(vectors[:, 1] @ (np.cos(angle), np.sin(angle))) > 0.99
    assert values[1] > 15 * values[0]


@pytest.mark.parametrize("shape", ["gaussian", "disc", "motion"])
def test_blur_keeps_the_light(shape):
    image = np.zeros((128, 128, 3), np.float32)
    image[62:66, 62:66] = 0.9
    blurred = kind_named("blur").apply(image, BlurParams(shape, size=8.0, angle=0.5, bend=0.2))
    assert to_linear(blurred).sum() == pytest.approx(to_linear(image).sum(), rel=2e-3)
    assert blurred.max() < 0.9


@pytest.mark.parametrize("chroma", ["4:4:4", "4:2:0"])
def test_jpeg_is_the_file_that_pillow_writes(chroma):
    image = textured(64, 96, seed=4)
    ours = kind_named("jpeg").apply(image, JpegParams(quality=30, chroma=chroma))
    file = io.BytesIO()
    levels = PillowImage.fromarray(np.rint(image * 255).astype(np.uint8))
    levels.save(file, "JPEG", quality=30, subsampling=chroma)
    theirs = np.asarray(PillowImage.open(file), np.float32) / 255
    assert np.abs(ours - theirs).mean() < 1 / 255


def test_low_light_is_a_gain_and_a_gamma_on_linear_light():
    image = textured(32, 32, seed=5)
    params = LowLightParams(stops=2.0, gamma=1.2, shot=0.0, read=0.0, seed=0)
    dark = kind_named("low_light").apply(image, params)
    assert np.allclose(to_linear(dark), to_linear(image) ** 1.2 / 4, atol=1e-5)
    noisy = kind_named("low_light").apply(image, dataclasses.replace(params, shot=1e-3, read=1e-6))
    assert (noisy - dark).std() > 0.005


def test_over_exposure_rises_to_white_without_a_step():
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 16, axis=0).repeat(3, axis=2)
    bright = kind_named("over_exposure").apply(ramp, OverExposureParams(stops=2.0, knee=0.7))
    steps = np.diff(bright[0, :, 0])
    assert (steps >= 0).all()
    assert steps[30:].max() < 0.02
    assert np.allclose(to_linear(bright)[:, :80], 4 * to_linear(ramp)[:, :80], atol=1e-5)
    assert bright[:, -1].min() > 0.99


def test_haze_follows_the_scattering_law():
    image = textured(96, 128, seed=6)
    params = HazeParams(density=1.5, tint=(1.0, 1.0, 0.98), seed=11)
    light = to_linear(image)
    clear = np.exp(-1.5 * procedural_depth(light, 11))[..., None]
    air = np.asarray(ambient(light, params.tint), np.float32)
    hazy = to_linear(kind_named("haze").apply(image, params))
    assert np.allclose((hazy - air * (1 - clear)) / clear, light, atol=1e-4)


def test_depth_grows_upwards_and_follows_edges():
    light = np.full((128, 128, 3), 0.05, np.float32)
    light[:, 64:] = 0.7
    depths = [procedural_depth(light, seed) for seed in range(20)]
    mean = np.mean(depths, axis=0)
    assert mean.min() >= 0.2
    assert mean.max() <= 1.0
    assert mean[:20].mean() > mean[-20:].mean() + 0.2
    across = np.abs(np.diff(mean[64]))
    assert across.argmax() == 63, "the steepest change of depth is at the picture's edge"


@pytest.mark.parametrize("angle", [-0.6, 0.0, 0.5])
def test_rain_falls_in_its_direction(angle):
    params = RainParams(amount=0.6, length=40, width=1.0, angle=angle, spread=0.0, opacity=1.0, veil=0.0, seed=4)
    streaks = kind_named("rain").apply(flat(0.2, 256, 256), params)[..., 0]
    down, right = np.gradient(streaks)
    along = np.sin(angle) * right + np.cos(angle) * down
    across = np.cos(angle) * right - np.sin(angle) * down
    assert (across**2).mean() > 8 * (along**2).mean()


def test_rain_streaks_vary_in_size_and_fade_before_a_bright_sky():
    params = RainParams(amount=0.4, length=30, width=1.0, angle=0.0, spread=0.0, opacity=1.0, veil=0.0, seed=4)
    image = flat(0.2, 256, 256)
    image[:, 128:] = 0.92
    added = np.abs(kind_named("rain").apply(image, params) - image)[..., 0]
    assert added[:, :128].mean() > 4 * added[:, 128:].mean()
    _, _, boxes, _ = cv2.connectedComponentsWithStats((added[:, :128] > 0.05).astype(np.uint8))
    heights = boxes[1:, cv2.CC_STAT_HEIGHT]
    assert len(heights) > 30
    assert np.quantile(heights, 0.95) > 2 * np.quantile(heights, 0.3)


@pytest.mark.parametrize("name", ["rain", "snow"])
def test_a_heavier_fall_contains_the_lighter_one(name):
    kind, image = kind_named(name), flat(0.2, 128, 128)
    heavy = dataclasses.replace(drawn(kind, 1.0), veil=0.0)
    light = dataclasses.replace(heavy, amount=0.4)
    many, few = kind.apply(image, heavy)[..., 0] > 0.3, kind.apply(image, light)[..., 0] > 0.3
    assert few.sum() < 0.7 * many.sum()
    assert (few & many).sum() > 0.95 * few.sum()


def test_snow_is_brighter_than_what_it_hides():
    image = flat(0.2, 128, 128)
    image[:8] = 0.8
    snowy = kind_named("snow").apply(image, drawn(kind_named("snow"), 0.8))
    assert (snowy[8:] >= image[8:] - 1e-3).all()
    assert snowy[8:].max() > 0.6


def test_low_resolution_removes_fine_detail_and_keeps_coarse():
    fine = flat(0.5)
    fine[::2] = 0.2
    coarse = flat(0.5)
    coarse[32:] = 0.2
    params = LowResolutionParams(factor=4.0, down="area", up="bicubic")
    kind = kind_named("low_resolution")
    assert kind.apply(fine, params).std() < 0.01
    assert psnr(kind.apply(coarse, params), coarse) > 30


# Composites

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
