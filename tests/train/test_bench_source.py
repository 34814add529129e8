import shutil
from pathlib import Path

import numpy as np
import pytest
from small_data import RECIPES, facts, write_photos

from cotir.bench.build import build
from cotir.bench.order import Order
from cotir.bench.recipes import parse_recipes
from cotir.bench.shards import Bench
from cotir.errors import ConfigError, ImageError, TrainingError
from cotir.train.bench_source import BenchSource
from cotir.train.config import DataConfig
from cotir.train.pairs import REPLACEMENTS, Place

SIZE = 48
CROP = 32
SAMPLES = 24


def make(folder: Path, recipes: str = RECIPES, samples: int = SAMPLES) -> Path:
    order = Order(write_photos(folder / "photos"), folder / "bench", parse_recipes(recipes), samples, SIZE, seed=5)
    build(order)
    return order.out


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return make(tmp_path_factory.mktemp("built"))


@pytest.fixture
def bench(built, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(built, tmp_path / "bench")


def source_of(path, seed=3, **changes):
    return BenchSource(DataConfig(source="bench", path=path, **changes), seed)


def overwrite(bench, numbers, member, data):
    """Put bytes at the start of a member of training samples, in place; returns the samples' keys."""
    opened = Bench(bench)
    rows = [opened.row(number) for number in numbers]
    for row in rows:
        with (bench / row.shard).open("r+b") as file:
            file.seek(getattr(row, f"{member}_offset"))
            file.write(data)
    return [row.key for row in rows]


def refused(path):
    with pytest.raises(ConfigError) as caught:
        source_of(path)
    return str(caught.value)


# --- pairs by position ------------------------------------------------------------------------------------------------


def test_a_pair_depends_on_seed_and_position_alone(built):
    first, second = source_of(built), source_of(built, workers=0)
    expected = [facts(first[Place(position, CROP)]) for position in range(30)]
    assert [facts(second[Place(position, CROP)]) for position in reversed(range(30))] == expected[::-1]
    other = source_of(built, seed=4)
    assert [facts(other[Place(position, CROP)]) for position in range(30)] != expected


def test_pairs_are_whole(built):
    source = source_of(built)
    for position in range(SAMPLES):
        pair = source[Place(position, CROP)]
        assert (pair.position, pair.problems) == (position, ())
        assert pair.hq.shape == pair.lq.shape == (CROP, CROP, 3)
        assert pair.hq.dtype == pair.lq.dtype == np.uint8
        assert np.array_equal(pair.hq, pair.lq) == (pair.deg == "clean")


def test_colours_are_not_swapped(built):
    source = source_of(built, downscale=0)
    pair = source[Place(0, SIZE)]
    row = source.order[0]
    from io import BytesIO

    from PIL import Image

    assert np.array_equal(pair.hq, np.asarray(Image.open(BytesIO(source.bench[row].hq)).convert("RGB")))


def test_balanced_rounds_hold_every_type_once(built):
    source = source_of(built)
    types = list(source.bench.rows_by_type)
    assert sorted(source[Place(position, CROP)].deg for position in range(len(types))) == sorted(types)


def test_an_unbalanced_round_holds_every_sample_once(built):
    source = source_of(built, balanced=False)
    assert sorted(source.order[position] for position in range(SAMPLES)) == list(range(SAMPLES))


@pytest.mark.parametrize(("share", "scaled"), [(0.0, 0), (1.0, 12)])
def test_crops_are_averaged_down_as_often_as_asked(share, scaled, built):
    source = source_of(built, downscale=share)
    count = 0
    for position in range(12):
        pair = source[Place(position, 16)]
        clean = source_of(built, downscale=0)._pair  # the same sample, untouched
        whole = clean(source.bench, source.order[position], Place(position, SIZE), np.random.default_rng(0)).hq
        windows = np.lib.stride_tricks.sliding_window_view(whole, (16, 16), axis=(0, 1))
        count += not (windows == pair.hq.transpose(2, 0, 1)).all(axis=(2, 3, 4)).any()
    assert count == scaled


def test_instructions_are_drawn_from_the_prompt_files(bench):
    prompts = bench / "prompts"
    (prompts / "gen_prompt.txt").write_text("clear it\n\n  make it nice  \n")
    for file in (prompts / "spe_prompt").iterdir():
        file.write_text(f"away with {file.stem}\nno {file.stem} please\n")
    source = source_of(bench)
    pairs = [source[Place(position, CROP)] for position in range(40)]
    assert {pair.instruction.vague for pair in pairs} == {"clear it", "make it nice"}
    words = {pair.deg: set() for pair in pairs}
    for pair in pairs:
        words[pair.deg].add(pair.instruction.precise)
    assert all(found == {f"away with {deg}", f"no {deg} please"} for deg, found in words.items())


def test_traces_are_those_of_the_bench(built):
    source = source_of(built)
    for position in range(6):
        assert source[Place(position, CROP)].trace == source.bench[source.order[position]].meta.trace


# --- validation -------------------------------------------------------------------------------------------------------


def test_held_out_pairs_come_from_the_test_split_and_are_always_the_same(built):
    first, second = source_of(built), source_of(built, seed=77)
    pairs = first.held_out(10, CROP)
    assert [facts(pair) for pair in second.held_out(10, CROP)] == [facts(pair) for pair in pairs]
    assert {pair.deg for pair in pairs} == {"noise", "jpeg", "noise-jpeg", "haze-noise", "clean"}
    train, test = (set(bench.table["source_sha256"].to_pylist()) for bench in (first.bench, first.test))
    assert not train & test
    own = {first.test[number].meta.instruction for number in range(len(first.test))}
    assert {pair.instruction for pair in pairs} <= own


def test_a_bench_without_a_test_split_cannot_validate(tmp_path):
    bench = make(tmp_path, RECIPES.replace("samples: 2", "samples: 0").replace("unseen: [haze + noise]\n", ""))
    with pytest.raises(ConfigError) as caught:
        source_of(bench).held_out(1, CROP)
    assert str(caught.value) == f"{bench}: the bench has no test split to validate on; set validation.every 0"


def test_a_bench_of_tests_alone_cannot_train(tmp_path):
    bench = make(tmp_path, samples=0)
    assert refused(bench) == f"{bench}: the bench has no training sample; build it with --samples"


# --- a bench that is not whole ----------------------------------------------------------------------------------------


def test_a_folder_that_is_no_bench_is_named(tmp_path):
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path / 'index.parquet'}: cannot be read (")
    assert message.endswith("; build the benchmark first")


def test_a_missing_shard_is_named_before_training(bench):
    shard = bench / Bench(bench).row(0).shard
    shard.unlink()
    assert refused(bench) == f"{shard}: the shard is missing; run the same 'cotir bench build' again, it makes the rest"


def test_a_truncated_shard_is_named_before_training(bench):
    row = Bench(bench).row(0)
    shard = bench / row.shard
    size = row.shard_bytes // 2
    with shard.open("r+b") as file:
        file.truncate(size)
    message = refused(bench)
    assert message.startswith(f"{shard}: the shard ends at byte {size:,} and the index needs ")
    assert message.endswith("; delete it and run the same 'cotir bench build' again")


def test_the_empty_end_of_a_tar_is_not_needed(bench):
    opened = Bench(bench)
    rows = [opened.row(number) for number in range(len(opened))]
    last = max((row for row in rows if row.shard == rows[0].shard), key=lambda row: row.meta_offset)
    with (bench / last.shard).open("r+b") as file:
        file.truncate(last.meta_offset + last.meta_bytes)
    assert source_of(bench)[Place(0, CROP)].problems == ()


@pytest.mark.parametrize("name", ["gen_prompt.txt", "spe_prompt/noise.txt"])
@pytest.mark.parametrize("text", ["", " \n\n"])
def test_an_empty_prompt_file_is_named(name, text, bench):
    path = bench / "prompts" / name
    path.write_text(text)
    message = f"{path}: the prompt file is empty; write one instruction a line, or build the bench again"
    assert refused(bench) == message


@pytest.mark.parametrize("name", ["gen_prompt.txt", "spe_prompt/noise.txt"])
def test_a_missing_prompt_file_is_named(name, bench):
    path = bench / "prompts" / name
    path.unlink()
    message = refused(bench)
    assert message.startswith(f"{path}: the prompt file cannot be read (")
    assert message.endswith("; build the bench again")


# --- samples that cannot be read --------------------------------------------------------------------------------------


def spoilt_pairs(bench, keys):
    """All pairs of a few rounds; those of spoilt samples were replaced, and no other."""
    source = source_of(bench, balanced=False)
    pairs = [source[Place(position, CROP)] for position in range(SAMPLES)]
    assert [pair.position for pair in pairs] == list(range(SAMPLES))
    assert all(pair.hq.shape == (CROP, CROP, 3) for pair in pairs)
    replaced = [pair for pair in pairs if pair.problems]
    assert sorted(pair.problems[0].partition(":")[0].partition(".")[0] for pair in replaced) == sorted(keys)
    return replaced


@pytest.mark.parametrize("member", ["hq", "lq"])
def test_a_damaged_picture_is_replaced_and_named(member, bench):
    (key, *_) = keys = overwrite(bench, [0, 7], member, b"\0" * 64)
    problems = [problem for pair in spoilt_pairs(bench, keys) for problem in pair.problems]
    assert f"{key}.{member}.png: is no readable PNG" in problems


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no json", "a sample's metadata cannot be read ("),
        (b"\xff\xfe\xfd", "a sample's metadata cannot be read ("),
        (b'{"kot"', "a sample's metadata lacks 'cot'; build the shard again"),
    ],
)
def test_damaged_metadata_is_replaced_and_named(data, message, bench):
    keys = overwrite(bench, [3], "meta", data)
    (pair,) = spoilt_pairs(bench, keys)
    assert pair.problems[0].startswith(f"{keys[0]}: {message}")


def test_a_trace_without_a_part_is_replaced_and_named(bench):
    opened = Bench(bench)
    row = opened.row(5)
    path = bench / row.shard
    data = bytearray(path.read_bytes())
    place = data.index(b"enhancement plan:", row.meta_offset)
    data[place : place + 11] = b"improvement"
    path.write_bytes(data)
    (pair,) = spoilt_pairs(bench, [row.key])
    assert pair.problems[0].startswith(f"{row.key}: a reasoning trace lacks 'enhancement plan:'; it needs ")


def test_a_shard_that_vanishes_while_training_is_replaced_and_named(bench):
    source = source_of(bench)
    shard = bench / source.bench.row(source.order[0]).shard
    shard.unlink()
    pair = source[Place(0, CROP)]
    assert pair.position == 0
    assert all(str(shard) in problem for problem in pair.problems)
    assert pair.problems


def test_a_bench_that_has_gone_stops_the_run(bench):
    source = source_of(bench)
    shutil.rmtree(bench)
    with pytest.raises(TrainingError, match=rf"^{REPLACEMENTS} samples in a row cannot be read, the last because of: "):
        source[Place(0, CROP)]


def test_a_crop_larger_than_the_pictures_stops_the_run_and_says_so(built):
    source = source_of(built)
    with pytest.raises(TrainingError, match=r"HQ is \(48, 48\) and LQ \(48, 48\); a crop of 64 needs both"):
        source[Place(0, 64)]
    with pytest.raises(ImageError, match="a crop of 64 needs both"):
        source.held_out(1, 64)


# --- fingerprint ------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_samples_wherever_they_lie(built, bench, tmp_path):
    assert source_of(bench, seed=9).fingerprint == source_of(built).fingerprint
    other = make(tmp_path / "other", samples=SAMPLES + 6)
    assert source_of(other).fingerprint != source_of(built).fingerprint
