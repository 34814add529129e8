"""What the formulas of water, patchy haze, colour loss, phones, screens, impulses and newer codecs claim."""

import dataclasses
import io
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from cotir.degrade import kind_named, to_linear, to_srgb
from cotir.degrade.colour import LostColourParams, SmartphoneParams
from cotir.degrade.compression import AvifParams, H264Params, WebpParams
from cotir.degrade.depth import ambient, procedural_depth
from cotir.degrade.medium import (
    ATTENUATION,
    NonhomogeneousHazeParams,
    UnderwaterParams,
    metres_of_water,
    patches,
    veiling_light,
)
from cotir.degrade.noise import ImpulseNoiseParams
from cotir.degrade.screen import BandingParams, MoireParams, ScanLinesParams
from cotir.errors import ConfigError

SMOKE = NonhomogeneousHazeParams(density=1.5, contrast=0.8, patch=0.4, stretch=1.0, tint=(1.0, 1.0, 0.98), seed=11)
DIVE = UnderwaterParams(water="II", distance=6.0, sunk=3.0, backscatter=0.5, forward=2.0, seed=5)
PHONE = SmartphoneParams(
    denoising=0.0, smear=0.0, lift=0.0, contrast=0.0, sharpening=0.0, radius=1.5, saturation=1.0, warmth=0.0
)
PRINT = LostColourParams(
    model="faded", fading=(0.6, 0.3, 0.2), paper=(0.99, 0.95, 0.85), loss=1.0, orthochromatic=0.0, sepia=0.0
)
SCREEN = MoireParams(
    order=1, contrast=0.3, beat=32, angle=0.0, perspective_x=0.0, perspective_y=0.0, bend=0.0, phase=0.2
)
TUBE = ScanLinesParams(period=0.5, depth=0.6, edge=1.0, phase=0.0, line=4.0, gap=0.0, comb=0.0)


def flat(value, height=64, width=64):
    return np.full((height, width, 3), value, np.float32)


def noisy(height, width, seed):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def ramp(low=0.0, high=1.0, height=32, width=256):
    return np.broadcast_to(np.linspace(low, high, width, dtype=np.float32)[None, :, None], (height, width, 3)).copy()


def through(name, image, params):
    return kind_named(name).apply(image, params)


# Patchy haze


def test_patchy_haze_follows_the_scattering_law():
    image = noisy(96, 128, seed=6)
    light = to_linear(image)
    clear = np.exp(-1.5 * patches((96, 128), SMOKE) * procedural_depth(light, 11))[..., None]
    air = np.asarray(ambient(light, SMOKE.tint), np.float32)
    hazy = to_linear(through("nonhomogeneous_haze", image, SMOKE))
    assert np.allclose(hazy, light * clear + air * (1 - clear), atol=1e-4)


@pytest.mark.parametrize("contrast", [0.3, 0.9])
def test_patches_are_log_normal_about_one(contrast):
    density = patches((150, 190), dataclasses.replace(SMOKE, contrast=contrast))
    assert density.min() > 0
    assert density.mean() == pytest.approx(1.0, abs=1e-4)
    assert np.log(density).std() == pytest.approx(contrast, rel=0.01)


def test_patches_look_alike_at_any_size():
    small = patches((192, 288), SMOKE)
    large = cv2.resize(patches((576, 864), SMOKE), (288, 192), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.97


def test_patches_have_their_size_and_stretch():
    def steepness(**change):
        down, across = np.gradient(np.log(patches((160, 160), dataclasses.replace(SMOKE, **change))))
        return float(np.abs(down).mean()), float(np.abs(across).mean())

    small, large, wide = steepness(patch=0.2), steepness(patch=0.8), steepness(stretch=2.5)
    assert min(small) > 1.5 * max(large)
    assert wide[0] > 1.5 * wide[1]


# Under water


@pytest.mark.parametrize("water", ATTENUATION)
def test_water_follows_the_formation_model(water):
    # A flat picture: forward scattering changes nothing, so only the law is left.
    params = dataclasses.replace(DIVE, water=water)
    light = to_linear(flat(0.7))
    metres = metres_of_water(light, params)
    assert metres.min() > 0 and metres.max() <= params.distance
    beta = np.asarray(ATTENUATION[water])
    clear = np.exp(-beta * metres[..., None])
    daylight = np.exp(-beta * params.sunk) / np.exp(-beta * params.sunk).max()
    expected = light * daylight * clear + np.asarray(veiling_light(light, params)) * (1 - clear)
    assert np.allclose(to_linear(through("underwater", flat(0.7), params)), expected, atol=1e-4)


@pytest.mark.parametrize(("water", "strongest"), [("I", 2), ("II", 2), ("1C", 1), ("3C", 1), ("5C", 1)])
def test_the_ocean_is_blue_and_the_coast_green(water, strongest):
    colour = through("underwater", flat(0.7), dataclasses.replace(DIVE, water=water)).mean(axis=(0, 1))
    assert colour.argmax() == strongest
    assert colour.argmin() == 0 or water == "5C"


def test_water_deflects_light_forward():
    image = noisy(128, 128, seed=2)
    sharp, soft = (
        through("underwater", image, dataclasses.replace(DIVE, forward=sigma)).std(axis=(0, 1)) for sigma in (0.3, 4.0)
    )
    assert (soft < 0.9 * sharp).all()


# Colour


def test_dyes_fade_in_density_towards_the_paper():
    image = noisy(32, 32, seed=3)
    black = 10**-2.2

    def density(picture, paper):
        return -np.log10((to_linear(picture) * (1 - black) + black) / np.asarray(paper))

    faded = density(through("lost_colour", image, PRINT), PRINT.paper)
    assert np.allclose(faded, density(image, (1, 1, 1)) * (0.4, 0.7, 0.8), atol=2e-3)
    paper = to_linear(through("lost_colour", flat(1.0), PRINT))[0, 0]
    assert np.allclose(paper, PRINT.paper, atol=2e-3)


def test_a_print_without_cyan_turns_red():
    red, green, blue = through("lost_colour", flat(0.4), PRINT)[0, 0]
    assert red > green + 0.1
    assert red > blue + 0.1


def test_monochrome_is_the_luminance_of_linear_light():
    image = noisy(32, 32, seed=4)
    grey = through("lost_colour", image, dataclasses.replace(PRINT, model="monochrome"))
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert np.allclose(to_linear(grey)[..., 1], to_linear(image) @ (0.2126, 0.7152, 0.0722), atol=1e-4)


def test_orthochromatic_film_is_blind_to_red():
    red = flat(0.0) + np.asarray([0.9, 0.05, 0.05], np.float32)
    film = dataclasses.replace(PRINT, model="monochrome", orthochromatic=1.0)
    assert through("lost_colour", red, film).max() < 0.25
    assert through("lost_colour", red, dataclasses.replace(film, orthochromatic=0.0)).min() > 0.4


def test_sepia_is_brown_between_black_and_white():
    toned = through("lost_colour", ramp(), dataclasses.replace(PRINT, model="monochrome", sepia=1.0))[0]
    assert np.allclose(toned[[0, -1]], [[0] * 3, [1] * 3], atol=1e-4)
    red, green, blue = toned[128]
    assert red > green + 0.05
    assert green > blue + 0.05


# Phones


def test_a_phone_that_does_nothing_changes_nothing():
    image = noisy(48, 64, seed=5)
    assert np.allclose(through("smartphone", image, PHONE), image, atol=2e-3)


def test_sharpening_leaves_halos():
    image = flat(0.3)
    image[:, 32:] = 0.6
    row = through("smartphone", image, dataclasses.replace(PHONE, sharpening=1.5))[32, :, 1]
    assert row[31] < 0.25
    assert row[32] > 0.65
    assert np.allclose(row[[4, 60]], [0.3, 0.6], atol=5e-3)


def test_colour_smears_and_brightness_stays_sharp():
    image = flat(0.5)
    image[:, 32:] += np.asarray([0.2, 0.0, -0.2], np.float32)
    before = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    after = cv2.cvtColor(through("smartphone", image, dataclasses.replace(PHONE, smear=8.0)), cv2.COLOR_RGB2YCrCb)
    assert np.allclose(after[..., 0], before[..., 0], atol=3e-3)
    assert np.abs(np.diff(after[32, :, 1])).max() < 0.25 * np.abs(np.diff(before[32, :, 1])).max()


def test_denoising_wipes_out_weak_texture_and_keeps_edges():
    image = flat(0.4)
    image[::2] += np.float32(0.01)
    image[:, 32:] += np.float32(0.4)
    smooth = through("smartphone", image, dataclasses.replace(PHONE, denoising=0.08))
    assert smooth[:, :30].std() < 0.5 * image[:, :30].std()
    assert smooth[32, 40, 0] - smooth[32, 20, 0] == pytest.approx(0.4, abs=0.02)


def test_local_tone_mapping_draws_to_the_middle_and_leaves_black_and_white():
    phone = dataclasses.replace(PHONE, lift=0.3)
    assert through("smartphone", flat(0.2), phone).mean() > 0.25
    assert through("smartphone", flat(0.8), phone).mean() < 0.75
    for end in (0.0, 1.0):
        assert np.allclose(through("smartphone", flat(end), phone), end, atol=1e-4)


# Impulses


def test_salt_and_pepper_hit_whole_pixels_at_their_share():
    params = ImpulseNoiseParams("salt_and_pepper", share=0.2, salt=0.3, seed=1)
    image = through("impulse_noise", flat(0.5, 256, 256), params)
    assert (image.min(axis=2) == image.max(axis=2)).all()
    assert (image[..., 0] != 0.5).mean() == pytest.approx(0.2, abs=0.01)
    assert (image[..., 0] == 1).sum() / (image[..., 0] != 0.5).sum() == pytest.approx(0.3, abs=0.02)


def test_random_values_are_uniform_and_hit_channels_one_by_one():
    params = ImpulseNoiseParams("random_valued", share=0.2, salt=0.3, seed=1)
    image = through("impulse_noise", flat(0.5, 256, 256), params)
    values = image[image != 0.5]
    assert len(values) / image.size == pytest.approx(0.2, abs=0.01)
    assert values.std() == pytest.approx(1 / np.sqrt(12), rel=0.02)
    assert ((image != 0.5).sum(axis=2) == 1).any()


@pytest.mark.parametrize("model", ["salt_and_pepper", "random_valued"])
def test_more_impulses_contain_the_fewer(model):
    few = through("impulse_noise", flat(0.5), ImpulseNoiseParams(model, share=0.1, salt=0.5, seed=3))
    many = through("impulse_noise", flat(0.5), ImpulseNoiseParams(model, share=0.3, salt=0.5, seed=3))
    hit = few != 0.5
    assert hit.any()
    assert np.array_equal(few[hit], many[hit])


# Files


def soft_colours():
    return cv2.resize(noisy(8, 8, seed=7), (96, 64), interpolation=cv2.INTER_CUBIC).clip(0, 1)


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


# Screens


def test_a_screen_without_stripes_changes_nothing():
    image = noisy(48, 65, seed=8)
    assert np.allclose(through("moire", image, dataclasses.replace(SCREEN, contrast=0.0)), image, atol=1e-5)


@pytest.mark.parametrize("beat", [16, 32])
def test_moire_bands_have_the_difference_frequency_and_a_third_of_a_turn_between_colours(beat):
    screen = dataclasses.replace(SCREEN, beat=beat)
    # 512 pixels, so that lengths in the record are those of the picture.
    light = to_linear(through("moire", flat(0.5, 512, 512), screen)) / to_linear(flat(0.5, 1, 1))
    waves = np.fft.rfft(light.mean(axis=0) - light.mean(), axis=0)
    peak = 512 // beat
    assert np.abs(waves).argmax(axis=0).tolist() == [peak] * 3
    assert np.allclose(2 * np.abs(waves[peak]) / 512, 0.3, rtol=0.05)
    red, green, blue = np.angle(waves[peak])
    for turn in (green - red, blue - green):
        assert np.exp(1j * turn) == pytest.approx(np.exp(2j * np.pi / 3), abs=0.15)
    assert light.mean() == pytest.approx(1.0, abs=0.01)


def test_perspective_changes_the_distance_of_moire_bands():
    screen = dataclasses.replace(SCREEN, beat=40, perspective_x=0.02)
    bands = through("moire", flat(0.5, 512, 512), screen)[256, :, 1]
    crossings = [np.count_nonzero(np.diff(np.sign(half - half.mean()))) for half in (bands[:256], bands[256:])]
    assert crossings[1] > crossings[0] + 3


def test_banding_leaves_so_many_levels():
    assert len(np.unique(through("banding", ramp(), BandingParams(9, "rgb")))) == 9
    luma = cv2.cvtColor(through("banding", ramp(), BandingParams(9, "luma_chroma")), cv2.COLOR_RGB2YCrCb)[..., 0]
    assert len(np.unique(np.rint(luma * 1000))) == 9


@pytest.mark.parametrize("space", ["rgb", "luma_chroma"])
def test_grain_does_not_dither_the_bands(space):
    grain = np.random.default_rng(9).normal(0, 0.01, (32, 256, 1)).astype(np.float32)
    image = np.clip(ramp(0.3, 0.5) + grain, 0, 1)

    def edges(picture):
        return np.count_nonzero(np.abs(np.diff(picture[..., 1], axis=1)) > 0.02, axis=1).mean()

    rounded = np.rint(image * 15) / 15
    assert edges(through("banding", image, BandingParams(16, space))) < 0.5 * edges(rounded)


def test_banding_shows_in_smooth_areas_and_keeps_edges():
    image = ramp(0.3, 0.4)
    image[16:] += np.float32(0.4)
    banded = through("banding", image, BandingParams(16, "rgb"))
    assert np.count_nonzero(np.diff(banded[4, :, 0])) <= 3, "a ramp of a tenth has at most three steps of 1 / 15"
    assert np.abs((banded[16] - banded[15]) - 0.4).max() <= 1 / 15 + 1e-4


def test_rolling_bands_multiply_linear_light_by_rows():
    image = noisy(64, 48, seed=10)
    gain = to_linear(through("scan_lines", image, TUBE)) / to_linear(image)
    assert np.allclose(gain, gain.mean(axis=(1, 2), keepdims=True), atol=1e-3)
    profile = gain.mean(axis=(1, 2))
    assert profile.max() == pytest.approx(1.0, abs=1e-3)
    assert profile.min() == pytest.approx(0.4, abs=1e-3)
    assert np.allclose(profile[:32], profile[32:], atol=1e-3), "two bands in a picture of period one half"


def test_a_raster_darkens_between_its_lines():
    lines = dataclasses.replace(TUBE, depth=0.0, gap=0.5)
    profile = (
        to_linear(through("scan_lines", flat(0.6, 512, 512), lines))[:, 0, 0] / to_linear(flat(0.6, 1, 1))[0, 0, 0]
    )
    spectrum = np.abs(np.fft.rfft(profile - profile.mean()))
    assert spectrum.argmax() == 128, "a line every four rows of 512"
    assert profile.mean() == pytest.approx(0.75, abs=0.01)


def test_interlacing_shifts_every_other_row():
    image = noisy(512, 512, seed=11)
    woven = through("scan_lines", image, dataclasses.replace(TUBE, depth=0.0, comb=3.0))
    assert np.allclose(woven[::2], image[::2], atol=1e-5)
    assert np.allclose(woven[1::2, 3:], image[1::2, :-3], atol=1e-5)


def test_screens_in_the_dark_stay_dark():
    assert through("moire", flat(0.0), SCREEN).max() == 0
    assert to_srgb(flat(0.0)).max() == through("scan_lines", flat(0.0), TUBE).max() == 0
