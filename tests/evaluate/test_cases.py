"""Test pictures from a bench, from paired folders and from photos, and what is wrong with them in one sentence."""

import shutil

import numpy as np
import pytest
from PIL import Image

from cotir.errors import ConfigError
from cotir.evaluate.cases import find_pictures, listed, of_bench, of_folders, of_photos
from cotir.prompts import DEFAULT_INSTRUCTION


def save(path, shape=(8, 10, 3), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "lq" / f"{name}.png", seed=1)
        save(tmp_path / "hq" / f"{name}.png", seed=2)
    return tmp_path / "lq", tmp_path / "hq"


def test_a_bench_gives_its_test_split_with_all_that_is_known(bench):
    tests = of_bench(bench)
    assert tests.has_reference
    assert {case.group for case in tests.cases} == {"single", "seen", "unseen", "clean"}
    for case in tests.cases:
        assert case.deg == ("-".join(case.kinds) or "clean")
        assert len(case.severities) == len(case.kinds)
        assert case.photo.endswith(".png")
        pair = case.load()
        assert pair.lq.shape == pair.hq.shape == (48, 48, 3)
        assert np.array_equal(pair.lq, pair.hq) == (case.deg == "clean")


def test_instructions_come_from_the_bench_or_are_the_default(bench, folders):
    case = of_bench(bench).cases[0]
    words = case.instruction
    assert [case.words(prompt) for prompt in ("none", "vague", "precise")] == ["", words.vague, words.precise]
    pair = of_folders(*folders).cases[0]
    assert [pair.words(prompt) for prompt in ("none", "vague", "precise")] == ["", DEFAULT_INSTRUCTION, None]


def test_folders_are_paired_by_name_whatever_the_ending(folders):
    lq, hq = folders
    (hq / "b.png").unlink()
    Image.new("RGB", (10, 8)).save(hq / "b.bmp")
    tests = of_folders(lq, hq)
    assert [case.key for case in tests.cases] == ["a", "b"]
    assert tests.cases[1].load().hq.max() == 0


def test_photos_have_no_reference(folders):
    tests = of_photos(folders[0])
    assert not tests.has_reference
    assert tests.cases[0].load().hq is None
    assert {case.group for case in tests.cases} == {"real"}


def test_files_that_are_no_pictures_are_known(folders):
    lq, hq = folders
    for path in (lq / "notes.txt", hq / "scan.xcf", hq / ".DS_Store"):
        path.write_bytes(b"")
    assert of_folders(lq, hq).ignored == (lq / "notes.txt", hq / "scan.xcf")
    assert of_photos(hq).first(1).ignored == (hq / "scan.xcf",)


def test_first_spreads_over_the_set_and_is_another_set(tests):
    few = tests.first(3)
    assert len(few.cases) == 3
    assert few.cases[0] == tests.cases[0]
    assert few.cases[-1] == tests.cases[-1]
    assert few.fingerprint != tests.fingerprint
    assert tests.first(None) is tests
    assert tests.first(1000) is tests


def test_the_fingerprint_follows_the_files(folders):
    before = of_folders(*folders).fingerprint
    copies = [shutil.copytree(folder, folder.parent / "copy" / folder.name) for folder in folders]
    assert of_folders(*copies).fingerprint == before
    save(folders[0] / "a.png", (8, 10, 3), seed=9)
    assert of_folders(*folders).fingerprint != before


@pytest.mark.parametrize(
    ("lost", "message"), [("lq", r"hq: b has no partner in .*lq"), ("hq", r"lq: b has no partner in .*hq")]
)
def test_a_picture_without_partner_is_named(folders, lost, message):
    (folders[0].parent / lost / "b.png").unlink()
    with pytest.raises(ConfigError, match=message):
        of_folders(*folders)


def test_pairs_that_cannot_be_compared_are_refused_together_before_anything_runs(folders):
    save(folders[1] / "a.png", (9, 10, 3))
    save(folders[1] / "b.png", (8, 10, 4))
    with pytest.raises(ConfigError) as refused:
        of_folders(*folders)
    said = str(refused.value)
    assert said.startswith("2 of 2 pairs cannot be compared; mend them or take them out: ")
    assert "a.png: LQ and HQ are 10x8 and 10x9; pairs are of one size, none is cropped" in said
    assert "b.png: has an alpha channel, which metrics cannot compare; flatten it first" in said


def test_a_picture_that_cannot_be_read_is_refused_with_its_reason(folders):
    (folders[0] / "a.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"1 of 2 pairs cannot be compared.*lq/a\.png: is no picture"):
        of_folders(*folders)


def test_gray_and_16_bit_pictures_are_compared_as_colour_at_8_bits(folders):
    Image.fromarray(np.full((8, 10), 40_000, np.uint16)).save(folders[1] / "a.png")
    assert of_folders(*folders).cases[0].load().hq.tolist() == np.full((8, 10, 3), round(40_000 / 257)).tolist()


def test_two_pictures_of_one_name_are_refused(folders):
    save(folders[0] / "a.bmp")
    with pytest.raises(ConfigError, match=r"lq: a\.bmp and a\.png have one name; keep one of them"):
        find_pictures(folders[0])


@pytest.mark.parametrize(("make", "message"), [(False, "cannot be read"), (True, "holds no picture")])
def test_a_folder_without_pictures_is_refused(tmp_path, make, message):
    folder = tmp_path / "none"
    if make:
        folder.mkdir()
    with pytest.raises(ConfigError, match=f"none: {message}"):
        of_photos(folder)


def test_a_bench_without_tests_or_index_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="build the benchmark first"):
        of_bench(tmp_path)


def test_long_lists_of_names_are_cut():
    assert listed("cab") == "a, b, c"
    assert listed("abcdefgh", most=3) == "a, b, c and 5 more"
