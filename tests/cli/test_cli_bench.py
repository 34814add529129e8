"""``cotir bench`` and ``cotir degrade``: what is printed, and the exit codes."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

RECIPES = "single: [noise]\nseen: [haze + blur]\ntest: {photos: 0.3, samples: 1}\n"


@pytest.fixture
def build(cotir, tmp_path):
    """Run ``cotir bench build`` on three small photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(cv2.resize(coarse, (64, 64))).save(folder / f"{number}.png")
    (tmp_path / "r.yaml").write_text(RECIPES)
    arguments = ("--recipe", tmp_path / "r.yaml", "--samples", 6, "--size", 32)
    return lambda *more: cotir("bench", "build", folder, tmp_path / "out", *arguments, *more)


def test_a_build_says_what_it_made_and_how_quickly(build, cotir, tmp_path):
    outcome = build()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"6 training and 2 test samples in {tmp_path / 'out'}; ")
    assert "samples/s, " in outcome.out and "MB/s" in outcome.out
    again = build()
    assert again.code == 0 and "8 of them from an earlier run" in again.out
    verdict = cotir("bench", "verify", tmp_path / "out")
    assert (verdict.code, verdict.out) == (0, "8 samples, 2 shards: 0 faults\n")


def test_photos_left_out_are_listed_and_the_code_says_so(build, tmp_path):
    (tmp_path / "photos/notes.txt").write_text("hello")
    outcome = build()
    assert outcome.code == 1
    assert outcome.err.startswith("notes.txt: is no picture that can be read")
    assert "6 training and 2 test samples" in outcome.out and "1 files of the photo folder were left out" in outcome.out


def test_verify_names_what_is_wrong(build, cotir, tmp_path):
    build()
    (tmp_path / "out/test/lq/noise-test-00000.png").write_bytes(b"x")
    outcome = cotir("bench", "verify", tmp_path / "out")
    assert outcome.code == 1
    assert outcome.err.startswith("test/lq/noise-test-00000.png: has the sha256")
    assert "1 faults" in outcome.out


def test_stats_plan_and_gallery(build, cotir, tmp_path):
    build()
    table = cotir("bench", "stats", tmp_path / "out")
    assert table.code == 0 and "8 samples of 2 photos in 2 shards" in table.out and "haze-blur" in table.out
    numbers = json.loads(cotir("bench", "stats", tmp_path / "out", "--json").out)
    assert numbers["samples"] == 8 and {each["kind"] for each in numbers["kinds"]} == {"noise", "haze", "blur"}
    page = cotir("bench", "gallery", tmp_path / "out", "-o", tmp_path / "page.html", "--width", 32)
    assert page.code == 0 and page.out.startswith(f"6 pairs -> {tmp_path / 'page.html'}, ")
    recipe = ("--recipe", tmp_path / "r.yaml", "--pilot", 8, "--size", 32, "--cores", 48)
    plan = cotir("bench", "plan", tmp_path / "photos", *recipe)
    assert plan.code == 0 and "samples/s per core" in plan.out and "5,200,000 samples:" in plan.out
    assert "32 x    48" in plan.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--recipe", "missing.yaml"), "missing.yaml cannot be read"),
        (("--size", "65"), "there is no usable photo"),
        (("--traces", "vlm"), "--traces vlm needs --vlm-url and --vlm-model"),
    ],
)
def test_a_build_that_cannot_begin(build, more, message):
    outcome = build(*more)
    assert outcome.code == 2 and message in outcome.err


@pytest.mark.parametrize("option", [("--workers", "0"), ("--samples", "-1"), ("--size", "8"), ("--executor", "abacus")])
def test_bad_options_are_usage_errors(build, option):
    outcome = build(*option)
    assert outcome.code == 2 and option[0] in outcome.err


@pytest.fixture
def photo_file(photo, tmp_path):
    return photo(tmp_path / "a.png", (40, 48, 3))


def test_degrade_writes_beside_and_says_what_was_done(cotir, photo_file, tmp_path):
    outcome = cotir("degrade", photo_file, "--kind", "noise:0.4", "--kind", "rain:0.7")
    assert (outcome.code, outcome.err) == (0, "")
    first, second, last = outcome.out.splitlines()
    assert first.startswith('rain:0.7  {"kind": "rain"') and second.startswith('noise:0.4  {"kind": "noise"')
    assert last == f"{photo_file}  48 x 40  -> {tmp_path / 'a_degraded.png'}"
    damaged = np.asarray(Image.open(tmp_path / "a_degraded.png"))
    assert damaged.shape == (40, 48, 3) and (damaged != np.asarray(Image.open(photo_file))).any()


def test_degrade_depends_on_the_seed_alone(cotir, photo_file, tmp_path):
    for name, seed in (("b", 1), ("c", 1), ("d", 2)):
        assert cotir("degrade", photo_file, "--kind", "noise", "--seed", seed, "-o", tmp_path / f"{name}.png").code == 0
    b, c, d = ((tmp_path / f"{name}.png").read_bytes() for name in "bcd")
    assert b == c != d


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("rian:0.5", "there is no 'rian' (did you mean 'rain'?); choose from "),
        ("rain:heavy", "the severity is 'heavy'; write a number from 0 to 1, as in rain:0.5"),
        ("rain:1.5", "the severity is '1.5'"),
        ("rain:nan", "the severity is 'nan'"),
    ],
)
def test_a_kind_that_is_none(cotir, photo_file, tmp_path, kind, message):
    outcome = cotir("degrade", photo_file, "--kind", kind)
    assert outcome.code == 2 and message in outcome.err
    assert not (tmp_path / "a_degraded.png").exists()


def test_degrade_replaces_nothing_unasked(cotir, photo_file, tmp_path):
    (tmp_path / "b.png").write_bytes(b"mine")
    outcome = cotir("degrade", photo_file, "--kind", "rain", "-o", tmp_path / "b.png")
    assert outcome.code == 2 and "exists; --overwrite replaces it" in outcome.err
    assert cotir("degrade", photo_file, "--kind", "rain", "-o", tmp_path / "b.png", "--overwrite").code == 0


def test_degrade_of_no_picture(cotir, tmp_path):
    outcome = cotir("degrade", tmp_path / "missing.png", "--kind", "rain")
    assert outcome.code == 1 and "does not exist" in outcome.err
