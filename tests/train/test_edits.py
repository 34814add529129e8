"""Edits and the pairs made of them."""

import numpy as np
import pytest
from small_data import SIDE, facts, photo_config, write_photos, write_run

from cotir.degrade import KINDS
from cotir.errors import ConfigError
from cotir.train.edit_source import EditSource
from cotir.train.edits import EDITS, ask_to_add
from cotir.train.pairs import Place
from cotir.train.run_file import load_config
from cotir.words import WORDS


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    photos = write_photos(tmp_path_factory.mktemp("photos"))
    return EditSource(photo_config(photos, None, source="edits"), seed=3)


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return np.clip(0.5 + 0.2 * rng.standard_normal((24, 32, 3)), 0, 1).astype(np.float32)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_is_a_picture_again_and_leaves_its_input_alone(edit, picture):
    before = picture.copy()
    after = edit.apply(picture, np.random.default_rng(1))
    assert after.shape == picture.shape and after.dtype == np.float32
    assert after.min() >= 0 and after.max() <= 1
    assert np.array_equal(picture, before)
    assert np.array_equal(after, before) == (edit.name == "keep")
    assert np.array_equal(after, edit.apply(picture, np.random.default_rng(1)))


def test_edits_do_what_they_are_called(picture):
    def done(name):
        return next(edit for edit in EDITS if edit.name == name).apply(picture, np.random.default_rng(1))

    assert done("brighten").mean() > picture.mean()
    assert done("warm")[..., 0].mean() > done("warm")[..., 2].mean()
    assert np.ptp(done("desaturate"), axis=-1).mean() < np.ptp(picture, axis=-1).mean()
    assert done("lower_contrast").std() < picture.std()
    assert np.abs(np.diff(done("soften"), axis=0)).mean() < np.abs(np.diff(picture, axis=0)).mean()
    assert len(np.unique(done("posterise"))) <= 7


def test_no_sentence_asks_for_two_edits():
    sentences = [sentence for edit in EDITS for sentence in (*edit.forth, *edit.back)]
    assert len(set(sentences)) == len(sentences)
    rng = np.random.default_rng(0)
    assert all(WORDS[kind].noun in ask_to_add(kind, rng) for kind in KINDS)


def test_pairs_go_both_ways(source):
    pairs = [source[Place(position, 32)] for position in range(600)]
    names = {pair.deg for pair in pairs}
    assert sum(name.startswith("add_") for name in names) > 15
    assert sum(name.startswith("remove_") for name in names) > 15
    assert {"brighten", "brighten_back", "keep", "invert"} <= names
    for pair in pairs[:50]:
        assert pair.hq.shape == pair.lq.shape == (32, 32, 3)
        assert pair.instruction.vague == pair.instruction.precise


def test_the_way_back_is_the_same_pair_exchanged(source):
    photo = source.photos["train"][0]
    for chosen in (EDITS[0], "noise"):
        make = source._damaged if isinstance(chosen, str) else source._edited
        forth, back = (make(np.random.default_rng(5), photo, chosen, way, SIDE) for way in (False, True))
        assert np.array_equal(forth.hq, back.lq) and np.array_equal(forth.lq, back.hq)
        assert forth.instruction != back.instruction


def test_held_out_pairs_are_of_all_edits_and_kinds(source):
    count = 2 * (len(EDITS) + len(KINDS))
    pairs = source.held_out(count, 32)
    assert len({pair.deg for pair in pairs}) == count
    assert [facts(pair) for pair in source.held_out(6, 32)] == [facts(pair) for pair in pairs[:6]]


def test_a_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.recipe is for photos, and data\.source is edits; leave it out"):
        load_config(write_run(tmp_path / "run.yaml"), ["data.source=edits"])
