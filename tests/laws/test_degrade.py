"""Laws that every degradation keeps: what it does to any picture, its records, and what it refuses."""

import dataclasses
import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise

import cv2
import numpy as np
import pytest
from law_pictures import drawn, flat, psnr, textured

from cotir.degrade import KINDS, STAGES, from_json, to_json, to_linear, to_srgb
from cotir.errors import ConfigError, ImageError

SEVERITIES = (0.0, 0.15, 0.35, 0.6, 0.8, 1.0)
SIZES = ((16, 16), (17, 31), (64, 96), (512, 512))

without_av = pytest.mark.skipif(find_spec("av") is None, reason="av is missing; pip install 'cotir[video]'")
every_kind = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id=name, marks=[without_av] if name == "h264" else []) for name, kind in KINDS.items()],
)


def global_state():
    return np.asarray(np.random.get_state()[1])  # pyright: ignore[reportArgumentType]  numpy's stub sees only the dict


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
