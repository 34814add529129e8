import itertools
from itertools import chain

import pytest
import torch
from small_data import facts, photo_config, write_photos, write_recipes

from cotir.errors import TrainingError
from cotir.train.bench_source import BenchSource
from cotir.train.config import StageConfig
from cotir.train.data import Batches, Share, loader, make_source
from cotir.train.pairs import Place
from cotir.train.photo_source import PhotoSource

ALONE = Share(0, 1)
STAGES = (
    StageConfig(until=3, crop=16, batch=4),
    StageConfig(until=5, crop=32, batch=2, accumulate=3),
    StageConfig(until=7, crop=48, batch=1),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    photos = write_photos(folder / "photos", range(4))
    return make_source(photo_config(photos, write_recipes(folder / "recipes.yaml")), seed=3)


def batches(share=ALONE, stages=STAGES, step=0, position=0):
    return [[(place.position, place.crop) for place in micro] for micro in Batches(stages, share, step, position)]


def steps(share, stages):
    """Positions of every step, micro-batch by micro-batch."""
    micros = iter(batches(share, stages))
    begin, found = 0, []
    for stage in stages:
        found += [list(itertools.islice(micros, stage.accumulate)) for _ in range(begin, stage.until)]
        begin = stage.until
    return found


# --- which positions --------------------------------------------------------------------------------------------------


def test_one_process_sees_every_position_once_in_order():
    seen = [position for micro in batches() for position, _ in micro]
    assert seen == list(range(3 * 4 + 2 * 6 + 2))


def test_crop_and_batch_change_at_the_steps_of_the_stages():
    assert [(len(micro), {crop for _, crop in micro}) for micro in batches()] == (
        [(4, {16})] * 3 + [(2, {32})] * 6 + [(1, {48})] * 2
    )


def test_micro_batches_of_a_step_follow_one_another():
    step = steps(ALONE, STAGES)[3]
    assert [[position for position, _ in micro] for micro in step] == [[12, 13], [14, 15], [16, 17]]


def test_processes_take_turns_within_a_micro_batch():
    stage = STAGES[1]
    assert list(Share(0, 2).positions(100, stage)) == [[100, 101], [104, 105], [108, 109]]
    assert list(Share(1, 2).positions(100, stage)) == [[102, 103], [106, 107], [110, 111]]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_see_what_one_with_larger_batches_sees(world):
    larger = tuple(stage.model_copy(update={"batch": stage.batch * world}) for stage in STAGES)
    alone = steps(ALONE, larger)
    shared = [steps(Share(rank, world), STAGES) for rank in range(world)]
    for number, step in enumerate(alone):
        together = [
            list(chain.from_iterable(of_rank[number][micro] for of_rank in shared)) for micro in range(len(step))
        ]
        assert together == step


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("step", [0, 1, 3, 4, 5, 6, 7])
def test_a_run_goes_on_where_it_was(step, rank, world):
    share = Share(rank, world)
    taken = [stage for stage in STAGES for _ in range(stage.until)][:0]
    begin = 0
    for stage in STAGES:
        taken += [stage] * (stage.until - begin)
        begin = stage.until
    position = sum(share.step_size(stage) for stage in taken[:step])
    behind = sum(stage.accumulate for stage in taken[:step])
    assert batches(share, step=step, position=position) == batches(share)[behind:]


def test_a_step_counts_all_processes():
    assert [Share(1, 2).step_size(stage) for stage in STAGES] == [8, 12, 2]


def test_batches_can_be_gone_through_again():
    given = Batches(STAGES, ALONE, 2, 8)
    assert list(given) == list(given)


# --- the loader -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_pairs_are_the_same_through_any_number_of_workers(workers, source):
    given = loader(source, Batches(STAGES, ALONE, 2, 8), workers)
    found = [[facts(pair) for pair in micro] for micro in given]
    assert found == [[facts(source[place]) for place in micro] for micro in Batches(STAGES, ALONE, 2, 8)]


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_random_state_of_the_run_alone(workers, source):
    before = torch.get_rng_state()
    next(iter(loader(source, Batches(STAGES, ALONE, 6, 24), workers)))
    assert torch.equal(torch.get_rng_state(), before)


class Gone:
    """A source whose every sample is unreadable."""

    def __getitem__(self, place: Place):
        raise TrainingError(f"position {place.position} cannot be read")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_cannot_go_on_says_why_and_no_more(workers):
    with pytest.raises(TrainingError) as caught:
        list(loader(Gone(), Batches(STAGES, ALONE, 0, 0), workers))
    assert str(caught.value) == "position 0 cannot be read"


# --- sources ----------------------------------------------------------------------------------------------------------


def test_the_configuration_names_the_source(source, monkeypatch):
    assert isinstance(source, PhotoSource)
    monkeypatch.setattr(BenchSource, "__init__", lambda self, config, seed: None)
    assert isinstance(make_source(source.config.model_copy(update={"source": "bench"}), 0), BenchSource)
