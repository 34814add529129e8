"""What JPEG, WebP, AVIF and H.264 do to a picture, and what is said where the encoder is missing."""

import io
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from law_pictures import flat, noisy, textured, through
from PIL import Image as PillowImage

from cotir.degrade import kind_named
from cotir.degrade.compression import AvifParams, H264Params, JpegParams, WebpParams
from cotir.errors import ConfigError


def soft_colours():
    return cv2.resize(noisy(8, 8, seed=7), (96, 64), interpolation=cv2.INTER_CUBIC).clip(0, 1)


@pytest.mark.parametrize("chroma", ["4:4:4", "4:2:0"])
def test_jpeg_is_the_file_that_pillow_writes(chroma):
    image = textured(64, 96, seed=4)
    ours = kind_named("jpeg").apply(image, JpegParams(quality=30, chroma=chroma))
    file = io.BytesIO()
    levels = PillowImage.fromarray(np.rint(image * 255).astype(np.uint8))
    levels.save(file, "JPEG", quality=30, subsampling=chroma)
    theirs = np.asarray(PillowImage.open(file), np.float32) / 255
    assert np.abs(ours - theirs).mean() < 1 / 255


def test_webp_is_the_file_that_pillow_writes():
    image = soft_colours()
    file = io.BytesIO()
    levels = np.rint(image * 255).astype(np.uint8)
    PillowImage.fromarray(levels).save(file, "WEBP", quality=20, method=2)
    theirs = np.asarray(PillowImage.open(file).convert("RGB"), np.float32) / 255
    assert np.allclose(through("webp", image, WebpParams(quality=20)), theirs, atol=1e-6)
    whole = through("webp", image, WebpParams(quality=100))
    assert np.array_equal(np.rint(whole * 255), levels)


@pytest.mark.parametrize(
    ("name", "full", "halved"),
    [
        ("avif", AvifParams(95, "4:4:4"), AvifParams(95, "4:2:0")),
        pytest.param(
            "h264",
            H264Params(2.0, "4:4:4"),
            H264Params(2.0, "4:2:0"),
            marks=pytest.mark.skipif(find_spec("av") is None, reason="av is missing; pip install 'cotir[video]'"),
        ),
    ],
)
def test_halved_colour_loses_fine_colour_alone(name, full, halved):
    image = flat(0.4)
    image[:, ::2] += np.asarray([0.2, -0.1, 0.1], np.float32)

    def colour(params):
        damaged = through(name, image, params)
        return np.abs(np.diff(damaged[..., 0] - damaged[..., 1], axis=1)).mean()

    assert colour(full) > 0.2
    assert colour(halved) < 0.1
    coarse = soft_colours()
    assert np.abs(through(name, coarse, halved) - coarse).mean() < 0.01


@pytest.mark.parametrize(("name", "worst"), [("webp", 0), ("avif", 2)])
def test_quality_falls_within_the_codec_s_range(name, worst):
    for seed in range(20):
        drawn = [
            kind_named(name).sample(np.random.default_rng(seed), float(severity)).quality
            for severity in np.linspace(0, 1, 60)
        ]
        assert drawn[0] >= 97
        assert drawn[-1] == worst
        assert drawn == sorted(drawn, reverse=True)
        assert max(drawn) <= 100


def test_video_keeps_odd_sizes_and_colours():
    pytest.importorskip("av", reason="av is missing; pip install 'cotir[video]'")
    image = flat(0.0, 37, 51) + np.asarray([0.8, 0.3, 0.5], np.float32)
    damaged = through("h264", image, H264Params(20.0, "4:2:0"))
    assert damaged.shape == image.shape
    assert np.allclose(damaged, image, atol=2 / 255)


def test_video_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"'h264' needs PyAV.*pip install 'cotir\[video\]', or leave 'h264' out"):
        through("h264", flat(0.5), H264Params(20.0, "4:2:0"))


def test_video_without_its_encoder_says_what_to_install(monkeypatch):
    av = pytest.importorskip("av", reason="av is missing; pip install 'cotir[video]'")
    monkeypatch.setattr(av, "codecs_available", {"h264"})
    with pytest.raises(ConfigError, match=r"'h264' needs x264, which PyAV .* was built without; install PyAV's own"):
        through("h264", flat(0.5), H264Params(20.0, "4:2:0"))
