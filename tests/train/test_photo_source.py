import pickle
import shutil
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from small_data import SIDE, facts, photo_config, write_photos, write_recipes

from cotir.errors import ConfigError, ImageError, TrainingError
from cotir.train.pairs import REPLACEMENTS, Place
from cotir.train.photo_regions import BLOCK
from cotir.train.photo_source import PhotoSource

CROP = 32


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipes(tmp_path_factory.mktemp("recipes") / "recipes.yaml")


@pytest.fixture(scope="module")
def source(photos, recipe):
    return PhotoSource(photo_config(photos, recipe), seed=3)


@pytest.fixture
def own_photos(photos, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(photos, tmp_path / "photos")


@pytest.fixture
def map_photos(tmp_path):
    """One photo of a region's size, its red and green the column and the row."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    (tmp_path / "map").mkdir()
    pixels = np.stack([columns * 5, rows * 5, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "map" / "map.png")
    return tmp_path / "map"


# --- pairs by position ------------------------------------------------------------------------------------------------


def test_a_pair_depends_on_seed_and_position_alone(source, photos, recipe):
    positions = [0, 1, 5, 17, 90, BLOCK * 2, 10**9]
    expected = {position: facts(source[Place(position, CROP)]) for position in positions}
    other = PhotoSource(photo_config(photos, recipe, workers=0), seed=3)
    assert {p: facts(other[Place(p, CROP)]) for p in reversed(positions)} == expected


def test_other_seeds_and_positions_give_other_pairs(source, photos, recipe):
    other = PhotoSource(photo_config(photos, recipe), seed=4)
    crops = {each[Place(position, CROP)].hq.tobytes() for each in (source, other) for position in range(12)}
    assert len(crops) == 24


def test_pairs_are_whole(source):
    for position in range(24):
        pair = source[Place(position, CROP)]
        assert pair.position == position
        assert pair.problems == ()
        assert pair.hq.shape == pair.lq.shape == (CROP, CROP, 3)
        assert pair.hq.dtype == pair.lq.dtype == np.uint8
        assert pair.hq.flags.c_contiguous
        assert np.array_equal(pair.hq, pair.lq) == (pair.deg == "clean")


def test_training_sees_all_types_but_the_unseen_ones(source):
    assert {source[Place(position, 16)].deg for position in range(80)} == {"noise", "jpeg", "noise-jpeg", "clean"}


def test_crops_lie_anywhere_inside_the_region(map_photos, tmp_path):
    clean = write_recipes(tmp_path / "recipes.yaml", "clean: true\n")
    source = PhotoSource(photo_config(map_photos, clean, held_out=0, downscale=0), seed=0)
    corners = set()
    for position in range(100):
        hq = source[Place(position, SIDE - 2)].hq // 5
        columns, rows = hq[0, :, 0].astype(int), hq[:, 0, 1].astype(int)
        assert set(np.diff(columns)) in ({1}, {-1})  # it may be mirrored
        assert set(np.diff(rows)) == {1}
        corners.add((int(rows.min()), int(columns.min())))
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_crops_that_are_averaged_down_show_more_of_the_region(map_photos, tmp_path):
    clean = write_recipes(tmp_path / "recipes.yaml", "clean: true\n")
    source = PhotoSource(photo_config(map_photos, clean, held_out=0, downscale=1), seed=0)
    shown = set()
    for position in range(60):
        pair = source[Place(position, SIDE // 2)]
        assert pair.hq.shape == pair.lq.shape == (SIDE // 2, SIDE // 2, 3)
        columns = pair.hq[0, :, 0].astype(float) / 5
        shown.add(round(abs(columns[-1] - columns[0]) / (SIDE // 2 - 1), 1))
    assert {1.0, 2.0} < shown <= set(np.arange(1, 2.01, 0.1).round(1))  # pixels of the region in one


def test_a_crop_may_be_the_whole_region(source):
    assert source[Place(0, SIDE)].hq.shape == (SIDE, SIDE, 3)


def test_every_region_of_a_block_gives_its_crops_and_neighbours_differ(source, monkeypatch):
    asked = []
    monkeypatch.setattr(source, "_region", lambda number: asked.append(number) or source._region_anew(number))
    for position in range(2 * BLOCK):
        source[Place(position, 16)]
    assert sorted(asked) == sorted([*range(BLOCK), *range(BLOCK)])
    assert sum(a == b for a, b in pairwise(asked)) < BLOCK / 8


def test_decoded_photos_stay_within_their_memory(photos, recipe, monkeypatch):
    size = (SIDE + 24) * (SIDE + 12) * 3
    for kept, decoded in (2 * size + 1, 3), (size - 1, 6):
        source, read = PhotoSource(photo_config(photos, recipe, photo_mb=kept / 2**20), seed=3), []
        anew = source._photo_anew
        monkeypatch.setattr(
            source, "_photo_anew", lambda photo, read=read, anew=anew: read.append(photo) or anew(photo)
        )
        first, second, third = source.photos["train"][:3]
        for photo in (first, second, second, first, third, first):
            assert source._photo(photo).shape == (SIDE + 12, SIDE + 24, 3)
        assert len(read) == decoded


def test_it_tells_what_it_uses_and_what_not(own_photos, recipe):
    assert PhotoSource(photo_config(own_photos, recipe), seed=3).remarks() == ["4 photos to train on, 2 held out"]
    for number in range(7):
        (own_photos / f"notes-{number}.txt").write_text("words")
    _, unused = PhotoSource(photo_config(own_photos, recipe), seed=3).remarks()
    assert unused.startswith("7 files are not used: notes-0.txt ")
    assert "notes-4.txt" in unused and "notes-5.txt" not in unused
    assert unused.endswith("; and 2 more, which 'cotir bench plan' lists")


def test_a_source_travels_to_a_worker_without_its_pictures(source):
    expected = facts(source[Place(7, CROP)])
    data = pickle.dumps(source)
    assert len(data) < 30_000
    assert facts(pickle.loads(data)[Place(7, CROP)]) == expected


# --- validation -------------------------------------------------------------------------------------------------------


def test_held_out_pairs_share_no_photo_with_training(source, monkeypatch):
    train, test = ({photo.file for photo in source.photos[split]} for split in ("train", "test"))
    assert train
    assert test
    assert not train & test
    read = set()
    monkeypatch.setattr(source, "_photo", lambda photo: read.add(photo.file) or source._photo_anew(photo))
    source.held_out(10, CROP)
    assert read == test


def test_training_reads_training_photos_alone(photos, recipe, monkeypatch):
    source, read = PhotoSource(photo_config(photos, recipe), seed=3), set()
    monkeypatch.setattr(source, "_photo", lambda photo: read.add(photo.file) or source._photo_anew(photo))
    for position in range(40):
        source[Place(position, 16)]
    assert read == {photo.file for photo in source.photos["train"]}


def test_held_out_pairs_are_the_same_for_every_seed_and_count(source, photos, recipe):
    other = PhotoSource(photo_config(photos, recipe), seed=99)
    expected = [facts(pair) for pair in source.held_out(8, CROP)]
    assert [facts(pair) for pair in source.held_out(8, CROP)] == expected
    assert [facts(pair) for pair in other.held_out(8, CROP)] == expected
    assert [facts(pair) for pair in other.held_out(3, CROP)] == expected[:3]


def test_held_out_pairs_are_of_all_types_the_unseen_too(source):
    pairs = source.held_out(5, CROP)
    assert {pair.deg for pair in pairs} == {"noise", "jpeg", "noise-jpeg", "haze-noise", "clean"}
    assert [pair.position for pair in pairs] == [0, 1, 2, 3, 4]


def test_held_out_crops_may_be_larger_than_a_region(source):
    assert source.held_out(1, SIDE + 8)[0].hq.shape == (SIDE + 8, SIDE + 8, 3)


def test_a_held_out_photo_smaller_than_the_crop_is_named(source):
    with pytest.raises(ImageError) as caught:
        source.held_out(1, SIDE + 20)
    file = source.photos["test"][0].file
    assert str(caught.value) == f"{file}: gives (60, 60) pixels, too few for a crop of 68"


def test_nothing_held_out_is_told(photos, recipe):
    source = PhotoSource(photo_config(photos, recipe, held_out=0), seed=0)
    with pytest.raises(ConfigError, match=r"^data\.held_out is 0: nothing to validate on; hold photos out, or set val"):
        source.held_out(1, CROP)


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_a_photo_that_vanished_is_replaced_and_named(own_photos, recipe):
    source = PhotoSource(photo_config(own_photos, recipe), seed=3)
    gone = own_photos / source.photos["train"][0].file
    gone.unlink()
    pairs = [source[Place(position, CROP)] for position in range(60)]
    replaced = [pair for pair in pairs if pair.problems]
    assert 0 < len(replaced) < 60
    assert [pair.position for pair in pairs] == list(range(60))
    assert all(str(gone) in problem for pair in replaced for problem in pair.problems)
    assert all(pair.hq.shape == (CROP, CROP, 3) for pair in replaced)


def test_replacements_are_the_same_every_time(own_photos, recipe):
    config = photo_config(own_photos, recipe)
    first, second = PhotoSource(config, seed=3), PhotoSource(config, seed=3)
    (own_photos / first.photos["train"][0].file).unlink()
    expected = [facts(first[Place(position, CROP)]) for position in range(20)]
    assert [facts(second[Place(position, CROP)]) for position in reversed(range(20))] == expected[::-1]


@pytest.mark.parametrize("harm", ["cut", "small", "exchanged"])
def test_a_photo_spoilt_after_the_survey_is_replaced_and_named(harm, own_photos, recipe):
    source = PhotoSource(photo_config(own_photos, recipe), seed=3)
    spoilt = own_photos / source.photos["train"][0].file
    if harm == "cut":
        spoilt.write_bytes(spoilt.read_bytes()[:200])
    else:
        side = 20 if harm == "small" else SIDE + 12
        Image.new("RGB", (side, side)).save(spoilt)
    replaced = [pair for pair in (source[Place(position, CROP)] for position in range(40)) if pair.problems]
    assert replaced
    assert all(spoilt.name in problem for pair in replaced for problem in pair.problems)


def test_a_run_stops_when_all_photos_have_gone(own_photos, recipe):
    source = PhotoSource(photo_config(own_photos, recipe), seed=3)
    shutil.rmtree(own_photos)
    with pytest.raises(TrainingError) as caught:
        source[Place(0, CROP)]
    message = str(caught.value)
    assert message.startswith(f"{REPLACEMENTS} samples in a row cannot be read, the last because of: ")
    assert str(own_photos) in message
    assert message.endswith("and start again; the run goes on from its last checkpoint")


# --- folders and recipes that cannot be used --------------------------------------------------------------------------


def test_a_folder_without_a_usable_photo_is_told_with_the_reason(tmp_path, recipe):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 60)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.txt").write_text("words")
    with pytest.raises(ConfigError) as caught:
        PhotoSource(photo_config(tmp_path / "photos", recipe), seed=0)
    assert str(caught.value) == (
        f"{tmp_path / 'photos'}: none of 2 files is a photo to use; the first, a.png, is 40 x 60; each side needs 48. "
        "Give larger or other photos, or lower data.region"
    )


def test_a_bad_file_among_good_ones_is_left_out(own_photos, recipe):
    (own_photos / "words.png").write_text("words")
    source = PhotoSource(photo_config(own_photos, recipe), seed=0)
    assert [skipped.file for skipped in source.skipped] == ["words.png"]
    assert sum(len(photos) for photos in source.photos.values()) == 6


def test_one_photo_cannot_be_split(tmp_path, recipe):
    photos = write_photos(tmp_path / "photos", range(1))
    with pytest.raises(ConfigError, match="there is one usable photo; train and test share none: give two, or hold"):
        PhotoSource(photo_config(photos, recipe), seed=0)


def test_a_folder_that_is_not_there_is_named(tmp_path, recipe):
    with pytest.raises(ConfigError, match=r"no: is no folder; name a folder of clean photos"):
        PhotoSource(photo_config(tmp_path / "no", recipe), seed=0)


def test_recipes_that_are_only_tested_cannot_train(photos, tmp_path):
    recipe = write_recipes(tmp_path / "unseen.yaml", "unseen: [haze + noise]\n")
    with pytest.raises(ConfigError) as caught:
        PhotoSource(photo_config(photos, recipe), seed=0)
    assert str(caught.value) == f"{recipe}: no recipe has a share of the training samples; give one a share"


# --- fingerprint ------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_photos_and_recipes_wherever_they_lie(source, own_photos, recipe, tmp_path):
    moved_recipe = write_recipes(tmp_path / "other.yaml", recipe.read_text())
    (own_photos / "0.png").rename(own_photos / "another.png")
    moved = PhotoSource(photo_config(own_photos, moved_recipe), seed=8)
    assert moved.fingerprint == source.fingerprint


def test_the_fingerprint_changes_with_the_photos_and_with_the_recipes(source, photos, own_photos, recipe, tmp_path):
    (own_photos / source.photos["train"][0].file).unlink()
    fewer = PhotoSource(photo_config(own_photos, recipe), seed=3)
    milder = write_recipes(tmp_path / "milder.yaml", recipe.read_text().replace("0.9]", "0.8]"))
    other = PhotoSource(photo_config(photos, milder), seed=3)
    assert len({source.fingerprint, fewer.fingerprint, other.fingerprint}) == 3
