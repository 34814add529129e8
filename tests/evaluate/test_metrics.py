"""Laws over the table of metrics, and values against formulas written by hand and other libraries."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cotir.errors import ConfigError, ImageError
from cotir.evaluate import formulas
from cotir.evaluate.metrics import METRICS, SETS, choose, left_out
from ssim_by_hand import ssim_by_hand

HERE = [metric for metric in METRICS.values() if metric.is_installed]
COMPARING = [metric for metric in HERE if metric.needs_reference]


def picture(side=192, seed=0):
    """Structure at several scales, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    field = sum(gaussian_filter(rng.standard_normal((side, side, 3)), (s, s, 0)) * s for s in (1, 3, 9))
    return ((field - field.min()) / np.ptp(field)).astype(np.float32)


def noisy(image, sigma, seed=1):
    noise = np.random.default_rng(seed).standard_normal(image.shape) * sigma
    return np.clip(image + noise, 0, 1).astype(np.float32)


@pytest.mark.parametrize("metric", COMPARING, ids=lambda m: m.name)
def test_identical_pictures_give_the_ideal_value(metric):
    assert metric(picture(), picture()) == pytest.approx(metric.ideal, abs=1e-5)


@pytest.mark.parametrize("metric", COMPARING, ids=lambda m: m.name)
def test_more_damage_is_worse_in_the_direction_of_the_table_and_inside_the_range(metric):
    clean = picture()
    slight, heavy = (metric(np.clip(noisy(clean, s) * (1 - s), 0, 1).astype(np.float32), clean) for s in (0.02, 0.2))
    assert (slight > heavy) == metric.higher_is_better
    assert slight != heavy
    least, most = metric.range
    assert least <= min(slight, heavy) <= max(slight, heavy) <= most


@pytest.mark.parametrize("name", ["noise_level", "blur_level"])
def test_what_describes_noise_and_blur_rises_with_them(name):
    clean = picture()
    blurred = np.clip(gaussian_filter(clean, (3, 3, 0)), 0, 1).astype(np.float32)
    worse = noisy(clean, 0.1) if name == "noise_level" else blurred
    assert METRICS[name](worse) > METRICS[name](clean)


def test_the_noise_level_is_the_noise_in_8_bit_steps():
    flat = np.full((128, 128, 3), 0.5, np.float32)
    assert METRICS["noise_level"](noisy(flat, 10 / 255)) == pytest.approx(10, rel=0.05)
    assert METRICS["noise_level"](flat) == 0


def test_contrast_and_colourfulness_of_known_pictures():
    stripes = np.zeros((8, 8, 3), np.float32)
    stripes[::2] = 1
    assert METRICS["contrast"](stripes) == pytest.approx(0.5, abs=1e-6)
    assert METRICS["colourfulness"](stripes) == pytest.approx(0)
    red = np.zeros((8, 8, 3), np.float32)
    red[..., 0] = 1
    # rg is 1 and yb is 1/2 everywhere: 255 * 0.3 * |(1, 1/2)|
    assert METRICS["colourfulness"](red) == pytest.approx(255 * 0.3 * np.hypot(1, 0.5), rel=1e-5)


@pytest.mark.parametrize("metric", HERE, ids=lambda m: m.name)
@pytest.mark.parametrize("side", [1, 7, 24])
def test_any_size_gives_a_number_or_nan(metric, side):
    image = picture(24)[:side, :side]
    value = metric(image, image if metric.needs_reference else None)
    assert np.isnan(value) or metric.range[0] <= value <= metric.range[1] + 1e-6


@pytest.mark.parametrize("metric", HERE, ids=lambda m: m.name)
def test_flat_pictures_give_no_infinity(metric):
    flat = np.full((192, 192, 3), 0.25, np.float32)
    assert not np.isinf(metric(flat, flat if metric.needs_reference else None))


def test_psnr_equals_the_formula():
    clean = picture()
    worse = noisy(clean, 0.05)
    expected = 10 * np.log10(1 / np.mean((worse.astype(np.float64) - clean) ** 2))
    assert METRICS["psnr"](worse, clean) == pytest.approx(expected, abs=1e-9)


def test_ssim_equals_the_formula():
    clean = picture()
    worse = noisy(clean, 0.05)
    assert METRICS["ssim"](worse, clean) == pytest.approx(ssim_by_hand(worse, clean), abs=1e-9)


def test_ms_ssim_forgives_noise_that_coarser_scales_average_out():
    clean = picture()
    worse = noisy(clean, 0.05)
    assert METRICS["ssim"](worse, clean) < METRICS["ms_ssim"](worse, clean) < 1


def test_colour_differences_of_known_colours():
    black, white = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    # L* goes from 0 to 100; CIE 2000 weighs it by S_L = 1.0 at the middle of black and white
    assert METRICS["de2000"](black, white) == pytest.approx(100, abs=0.01)
    assert METRICS["colour_shift"](black, white) == pytest.approx(100, abs=0.01)


def test_the_colour_shift_sees_a_cast_and_not_noise():
    clean = picture()
    cast = np.clip(clean * np.array([1.1, 1, 0.9], np.float32), 0, 1)
    assert METRICS["colour_shift"](cast, clean) > 5 * METRICS["colour_shift"](noisy(clean, 0.02), clean)


@pytest.mark.parametrize(
    ("name", "expected"), [("gmsd", 0.023352), ("haarpsi", 0.907205), ("fsim", 0.981137), ("mdsi", 0.269769)]
)
def test_the_metrics_of_piq_give_the_values_recorded_from_it(name, expected):
    pytest.importorskip("piq", exc_type=ImportError)
    if not METRICS[name].is_installed:
        pytest.skip("the torchvision here does not fit this torch")
    rng = np.random.default_rng(0)
    clean = rng.random((192, 200, 3)).astype(np.float32)
    worse = np.clip(clean + 0.05 * rng.standard_normal(clean.shape), 0, 1).astype(np.float32)
    assert METRICS[name](worse, clean) == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def pyiqa(monkeypatch):
    """Stands in for pyiqa, whose weights are not here: the mean of what it is given, or of the difference."""
    asked = []

    class Fake(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, *pictures):
            asked.append((self.name, [(p.dtype, tuple(p.shape)) for p in pictures]))
            return pictures[0] if len(pictures) == 1 else pictures[0] - pictures[1]

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=Fake))
    formulas._pyiqa_metric.cache_clear()
    yield asked
    formulas._pyiqa_metric.cache_clear()


def test_the_papers_metrics_are_called_as_the_released_script_does(pyiqa):
    image = np.full((6, 8, 3), 0.75, np.float32)
    dark = np.full((6, 8, 3), 0.25, np.float32)
    for name in SETS["paper"]:
        metric = METRICS[name]
        assert metric(image, dark if metric.needs_reference else None) == (0.5 if metric.needs_reference else 0.75)
    names = ["clipiqa+", "qalign", "liqe", "maclip", "clipiqa", "psnr", "ssim", "lpips"]
    one = (torch.float32, (1, 3, 6, 8))
    assert pyiqa == [(name, [one] * (2 if name in ("psnr", "ssim", "lpips") else 1)) for name in names]


def test_sets_name_metrics_of_the_table_and_default_and_real_are_offline():
    assert {name for names in SETS.values() for name in names} == METRICS.keys()
    assert all(METRICS[name].offline for name in (*SETS["default"], *SETS["real"]))
    assert not any(METRICS[name].needs_reference for name in SETS["real"])
    assert all(METRICS[name].source and METRICS[name].library for name in METRICS)


def test_a_set_leaves_out_what_is_not_installed_and_a_named_one_is_refused():
    assert {m.name for m in choose("default")} | {m.name for m in left_out("default")} == set(SETS["default"])
    lacking = [metric for metric in METRICS.values() if not metric.is_installed]
    for metric in lacking[:1]:
        with pytest.raises(ConfigError, match=rf"{metric.name} cannot be computed; it needs .*pip install 'cotir\["):
            choose([metric.name])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pnsr"], r"no metric 'pnsr' \(did you mean 'psnr'\?\); metrics: psnr, ssim"),
        ("defualt", r"no metric set 'defualt' \(did you mean 'default'\?\); sets: default, real, paper"),
        ([], "no metric is named"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(names, message):
    with pytest.raises(ConfigError, match=message):
        choose(names)


@pytest.mark.parametrize(
    ("restored", "reference", "message"),
    [
        (picture(16), None, "compares with a reference, and there is none"),
        (picture(16), picture(24), "are 16x16 and 24x24; they must be of one size, nothing is cropped"),
        (picture(16)[..., :1], picture(16), r"restored picture is float32 \(16, 16, 1\); it must be float32"),
        (picture(16).astype(np.float64), picture(16), "the restored picture is float64"),
        (picture(16), picture(16) + 1, r"HQ has values from 1 to 2; they must be numbers in \[0, 1\]"),
        (np.full((8, 8, 3), np.nan, np.float32), picture(8), "must be numbers"),
    ],
)
def test_bad_pairs_are_clear_errors(restored, reference, message):
    with pytest.raises(ImageError, match=f"psnr.*{message}"):
        METRICS["psnr"](restored, reference)
