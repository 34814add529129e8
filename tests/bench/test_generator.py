from dataclasses import replace

import cv2
import numpy as np
import pytest

from cotir.bench.generator import WIDEST, Generator, Material, choose_crop, cut, draw_crop, png, psnr, sample_rng
from cotir.bench.photos import Inspector, find_files, settle, split_photos
from cotir.bench.schema import Crop
from cotir.degrade import compose
from cotir.image import quantise
from cotir.prompts import ReasoningTrace


@pytest.fixture
def material(photos, recipes):
    inspect = Inspector(photos, 64)
    sources = settle(map(inspect, find_files(photos)), {}).sources
    return Material(photos, recipes, split_photos(sources, 0.3), seed=5, size=64)


@pytest.fixture
def generator(material):
    return Generator(material)


def decoded(file):
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_a_sample_is_the_same_whatever_was_made_before(generator, material, recipes):
    recipe = recipes.by_type["haze-blur"]
    alone = Generator(material).sample(recipe, "train", 5)
    for index in (9, 0, 5):
        sample = generator.sample(recipe, "train", index)
    assert sample == alone


def test_its_metadata_says_how_to_make_it_again(generator, recipes):
    sample = generator.sample(recipes.by_type["low_light-noise-jpeg"], "train", 2)
    hq = decoded(sample.hq)
    again = compose(hq.astype(np.float32) / 255, sample.meta.applied)
    assert (quantise(again, 8) == decoded(sample.lq)).all()
    photo = decoded((generator.material.photos / sample.meta.source.file).read_bytes())
    assert (cut(photo, sample.meta.crop, 64) == hq).all()
    assert sample.meta.psnr == psnr(decoded(sample.lq), hq)


def test_a_clean_sample_is_its_own_original(generator, recipes):
    sample = generator.sample(recipes.by_type["clean"], "test", 0)
    assert sample.hq == sample.lq and sample.meta.psnr is None and sample.meta.applied == ()
    assert sample.meta.trace.degradation == "no visible degradation"


def test_consecutive_samples_share_a_photo_and_all_photos_come(generator, material, recipes):
    recipe = recipes.by_type["noise"]
    files = [generator.source_of(recipe, "train", index).file for index in range(2 * len(material.sources["train"]))]
    assert files[::2] == files[1::2]
    assert set(files) == {source.file for source in material.sources["train"]}
    tests = [generator.source_of(recipe, "test", index) for index in range(len(material.sources["test"]))]
    assert len(set(tests)) == len(tests)


def test_every_fact_that_a_sample_depends_on_changes_it(recipes):
    recipe = recipes.by_type["noise"]
    facts = (5, recipe, "ab", "train", 3)
    first = sample_rng(*facts).random()
    others = [
        (6, *facts[1:]),
        (5, replace(recipe, ranges=((0.1, 0.2),)), *facts[2:]),
        (5, recipe, "ac", "train", 3),
        (5, recipe, "ab", "test", 3),
        (5, recipe, "ab", "train", 4),
    ]
    assert sample_rng(*facts).random() == first
    assert first not in [sample_rng(*each).random() for each in others]
    # how often a recipe is drawn does not change what is drawn
    assert sample_rng(5, replace(recipe, share=0.9), *facts[2:]).random() == first


def test_the_writer_is_asked_and_named(material, recipes):
    class Poet:
        def write(self, lq, hq, applied):
            from cotir.bench.generator import Written

            assert lq.shape == hq.shape == (64, 64, 3) and lq.dtype == np.uint8
            return Written(ReasoningTrace("a rose", "a rose", "a rose"), "vlm")

    meta = Generator(material, Poet()).sample(recipes.by_type["noise"], "train", 0).meta
    assert meta.trace.plan == "a rose" and meta.writer == "vlm"


def test_time_is_told_by_stage(generator, recipes):
    generator.sample(recipes.by_type["noise"], "train", 0)
    seconds = generator.take_seconds()
    assert set(seconds) == {"photo", "damage", "words", "png"} and min(seconds.values()) > 0
    assert generator.take_seconds() == {}


@pytest.mark.parametrize("shape", [(64, 64), (65, 200), (1000, 700), (3000, 64)])
def test_crops_lie_inside_and_are_not_too_wide(shape):
    rng = np.random.default_rng(0)
    for _ in range(200):
        crop = draw_crop(rng, *shape, 64)
        assert 64 <= crop.side <= WIDEST * 64
        assert 0 <= crop.top <= shape[0] - crop.side and 0 <= crop.left <= shape[1] - crop.side


def test_a_crop_shows_something_where_the_photo_does():
    photo = np.full((100, 400, 3), 120, np.uint8)
    photo[:, 200:] = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    crops = [choose_crop(np.random.default_rng(seed), photo, 64) for seed in range(50)]
    # of a single draw, four in ten would show nothing
    assert sum(crop.left + crop.side <= 200 for crop in crops) <= 5
    plain = np.zeros((80, 80, 3), np.uint8)
    assert 64 <= choose_crop(np.random.default_rng(0), plain, 64).side <= 80


def test_cutting_averages_and_mirrors():
    photo = np.zeros((8, 8, 3), np.uint8)
    photo[:, 4:] = 200
    assert cut(photo, Crop(0, 0, 8, False), 4)[0, :, 0].tolist() == [0, 0, 200, 200]
    assert cut(photo, Crop(0, 0, 8, True), 4)[0, :, 0].tolist() == [200, 200, 0, 0]
    assert cut(photo, Crop(2, 2, 4, False), 4)[0, :, 0].tolist() == [0, 0, 200, 200]


def test_psnr_and_png():
    black = np.zeros((16, 16, 3), np.uint8)
    assert psnr(black, black) is None
    assert psnr(black, black + np.uint8(255)) == 0
    assert psnr(black, black + np.uint8(1)) == pytest.approx(48.131)
    noisy = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    assert (decoded(png(noisy)) == noisy).all()
