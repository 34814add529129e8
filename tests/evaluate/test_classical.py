"""The classical chain: every stage does what it says and leaves alone what needs nothing."""

import sys

import numpy as np
import pytest

from cotir.errors import ConfigError
from cotir.evaluate import filters
from cotir.evaluate.classical import (
    PARAMETERS,
    STAGES,
    Classical,
    Parameters,
    falling,
    load_parameters,
    rising,
    run_chain,
)
from cotir.evaluate.methods import Request

SIZES = [(1, 1), (1, 9), (2, 3), (7, 64), (33, 20)]
EAGER = Parameters(
    **dict.fromkeys(STAGES, 0.9),
    denoise_colour=0.9,
    **{name: 1e-4 for name in Parameters.model_fields if name.endswith("_from")},
    equalise_below=1.0,
    sharpen_below=10.0,
    stretch_white=1.0,
    stretch_black=0.0,
    expose_dark=0.5,
    expose_bright=0.5,
)
"""Every stage wherever it can."""


def scene(side=96):
    """A clean picture: sky and ground, a dark and a bright box, leaves; black to white, no cast, sharp edges."""
    fine = 2 * side
    rows, columns = np.mgrid[0:fine, 0:fine].astype(np.float32) / fine
    image = np.stack([0.35 + 0.4 * rows, 0.45 + 0.2 * rows, 0.75 - 0.4 * rows], axis=-1)
    image[(np.sin(21 * columns) * np.sin(17 * rows)) > 0.6] = (0.05, 0.35, 0.05)
    image[fine // 4 : fine // 2, fine // 8 : fine // 2] = (0.55, 0.05, 0.02)
    image[fine // 2 :, -fine // 3 :] = (0.02, 0.02, 0.1)
    image[fine // 8 : fine // 3, -fine // 4 :] = (1.0, 0.98, 0.95)
    return image.reshape(side, 2, side, 2, 3).mean(axis=(1, 3), dtype=np.float32)


def psnr(image, other):
    return -10 * np.log10(max(np.mean((image - other) ** 2), 1e-10))


def noisy(sigma=20 / 255):
    noise = np.random.default_rng(0).normal(0, sigma, scene().shape)
    return np.clip(scene() + noise, 0, 1).astype(np.float32)


def speckled():
    rng = np.random.default_rng(0)
    return np.where(rng.random(scene().shape[:2])[..., None] < 0.05, np.float32(1), scene())


def hazy():
    depth = np.linspace(2.0, 0.8, 96, dtype=np.float32)[:, None, None]
    clear = np.exp(-depth)
    return scene() * clear + np.float32(0.85) * (1 - clear)


DAMAGED = {
    "despeckle": speckled,
    "denoise": noisy,
    "dehaze": hazy,
    "balance": lambda: scene() * np.array([0.5, 0.9, 1], np.float32),
    "stretch": lambda: 0.25 * scene(),
    "expose": lambda: scene() ** 3,
    "sharpen": lambda: filters.cv2.GaussianBlur(scene(), (0, 0), 1.5),
}
"""What each stage is for. CLAHE has no damage that it undoes: it is tested by the contrast it gives."""


def only(stage, **values):
    given = {"denoise": 0.6, "denoise_colour": 0.6} if stage == "denoise" else {stage: 0.9}
    return Parameters(**(given | values))


@pytest.mark.parametrize("stage", DAMAGED)
def test_each_stage_restores_what_it_is_for(stage):
    damaged = DAMAGED[stage]()
    chained = run_chain(damaged, only(stage, sharpen_below=3.0))
    assert chained.steps == (stage,)
    assert psnr(chained.image, scene()) > psnr(damaged, scene()) + 0.5


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_leaves_alone_what_needs_nothing(stage):
    image = scene()
    chained = run_chain(image, only(stage, sharpen_below=0.7))
    assert chained.steps == () and chained.image is image


@pytest.mark.parametrize("stage", STAGES)
def test_the_input_is_left_unchanged(stage):
    image = hazy()
    before = image.copy()
    run_chain(image, EAGER, [stage])
    np.testing.assert_array_equal(image, before)


def test_clahe_adds_contrast_to_a_flat_picture():
    flat = 0.5 + 0.1 * (scene() - 0.5)
    assert filters.contrast_level(filters.equalise(flat, 3.0, 1.0)) > 1.5 * filters.contrast_level(flat)


def test_the_stretch_brightens_a_dark_picture():
    assert filters.stretch(0.2 * scene(), 1.0, 1.0, 0.0, 1.0).max() > 0.95


@pytest.mark.parametrize("sigma", [5, 15, 30])
def test_the_measured_noise_is_the_noise(sigma):
    rng = np.random.default_rng(1)
    image = (0.5 + rng.normal(0, sigma / 255, (96, 96, 3))).astype(np.float32)
    assert filters.noise_level(image) == pytest.approx(sigma / 255, rel=0.05)


def test_measures_tell_damage_from_none():
    assert filters.haze_level(hazy()) > 0.3 > 0.05 > filters.haze_level(scene())
    assert filters.impulses(speckled(), 0.3).mean() > 0.03 > 0.002 > filters.impulses(scene(), 0.3).mean()
    assert filters.sharpness_level(DAMAGED["sharpen"]()) < 0.5 * filters.sharpness_level(scene())
    assert filters.cast_level(DAMAGED["balance"]()) > 0.3
    assert filters.sharpness_level(np.full((8, 8, 3), 0.5, np.float32)) == float("inf")


def test_gates_set_in_gradually():
    assert [rising(value, 0.1) for value in (0, 0.1, 0.15, 0.2, 1)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [falling(value, 0.4) for value in (0, 0.2, 0.3, 0.4, 1)] == pytest.approx([1, 1, 0.5, 0, 0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("content", ["random", "gray", "black", "white", "constant"])
def test_any_size_and_content_gives_a_picture(size, content):
    rng = np.random.default_rng(0)
    image = {
        "random": rng.random((*size, 3)),
        "gray": np.repeat(rng.random((*size, 1)), 3, axis=-1),
        "black": np.zeros((*size, 3)),
        "white": np.ones((*size, 3)),
        "constant": np.broadcast_to((0.3, 0.5, 0.2), (*size, 3)),
    }[content].astype(np.float32)
    result = run_chain(image, EAGER).image
    assert result.shape == image.shape and result.dtype == np.float32
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1


def test_gray_pictures_stay_gray():
    gray = np.repeat(noisy()[..., :1], 3, axis=-1)
    result = run_chain(gray, EAGER).image
    # OpenCV's 8-bit Lab, which non-local means goes through, is a level or two off
    assert np.ptp(result, axis=-1).max() < 0.05


def test_the_method_restores_and_says_what_it_did():
    method = Classical()
    damaged = np.rint(noisy(0.1) * 255).astype(np.uint8)
    first, second = (method.restore(Request("a", damaged)) for _ in range(2))
    assert first.image.dtype == np.uint8 and first.image.shape == damaged.shape
    assert "denoise" in first.steps and set(first.steps) <= set(STAGES)
    assert psnr(first.image / 255, scene()) > psnr(noisy(0.1), scene()) + 3
    np.testing.assert_array_equal(first.image, second.image)


def test_a_clean_picture_is_left_nearly_alone():
    clean = np.rint(scene() * 255).astype(np.uint8)
    assert psnr(Classical().restore(Request("a", clean)).image / 255, clean / 255) > 40


def test_without_any_stage_a_picture_comes_back_exactly(tmp_path):
    file = tmp_path / "off.yaml"
    file.write_text("parameters: {}", encoding="utf-8")
    levels = np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    restored = Classical(str(file)).restore(Request("a", levels))
    assert restored.steps == ()
    np.testing.assert_array_equal(restored.image, levels)


def test_the_shipped_parameters_say_where_they_come_from():
    file = load_parameters(PARAMETERS)
    assert file.found is not None and "tune_classical.py" in file.found.command
    assert file.found.pictures >= 100 and file.found.gain > 0
    assert file.found.gain_on_others is None or file.found.gain_on_others > 0
    assert set(file.parameters.model_dump()) == file.parameters.model_fields_set  # complete


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {denoize: 1}", r"unknown key 'denoize' at parameters.denoize \(did you mean 'denoise'\?\)"),
        ("parameters: {dehaze: 2}", r"parameters.dehaze is 2: .*less than or equal to 0.95"),
        ("parameters: {stretch: .nan}", r"parameters.stretch is nan"),
        ("found: {}", r"parameters is missing"),
        ("- 1", r"holds list; it needs keys such as found, parameters"),
        ("a: [", r"is no YAML"),
    ],
)
def test_complaints_about_a_parameter_file(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        Classical(str(file))
    assert "mine.yaml" in str(caught.value)


def test_a_missing_parameter_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"the parameter file .*none.yaml cannot be read"):
        Classical(str(tmp_path / "none.yaml"))


def test_missing_opencv_says_what_to_install(monkeypatch):
    from cotir.evaluate import classical

    classical.filters.cache_clear()
    monkeypatch.delattr("cotir.evaluate.filters")
    monkeypatch.delitem(sys.modules, "cotir.evaluate.filters")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"needs OpenCV .*pip install 'cotir\[eval\]'"):
        Classical()
