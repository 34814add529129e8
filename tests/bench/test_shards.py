import tarfile
from itertools import chain, islice

import numpy as np
import pytest

from cotir.bench.schema import Metadata
from cotir.bench.shards import Bench, Shuffle, stream
from cotir.errors import ConfigError


def test_any_sample_can_be_read_alone(bench):
    reader = Bench(bench)
    assert len(reader) == 30
    for number in (0, 17, 29):
        row, sample = reader.row(number), reader[number]
        with tarfile.open(bench / row.shard) as tar:
            contents = [tar.extractfile(f"{row.key}.{end}").read() for end in ("hq.png", "lq.png", "meta.json")]
        assert [sample.hq, sample.lq] == contents[:2]
        assert sample.meta == Metadata.from_json(contents[2])
        assert row.kinds == tuple(each.kind for each in sample.meta.applied)


def test_test_samples_are_read_from_their_files(bench):
    reader = Bench(bench, "test")
    assert len(reader) == 7
    sample = reader[6]
    assert sample.meta.split == "test"
    assert sample.lq == (bench / "test/lq" / f"{sample.meta.key}.png").read_bytes()


def test_there_is_no_sample_beyond_the_last(bench):
    with pytest.raises(IndexError, match="there is no sample 30; the train split has 30"):
        Bench(bench)[30]


def test_a_folder_without_index(tmp_path):
    with pytest.raises(ConfigError, match=r"index.parquet: cannot be read .* build the benchmark first"):
        Bench(tmp_path)


def test_a_shortened_shard_is_noticed(bench, tmp_path):
    (tmp_path / "index.parquet").write_bytes((bench / "index.parquet").read_bytes())
    reader = Bench(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        reader[0]
    path = tmp_path / reader.row(0).shard
    path.parent.mkdir(parents=True)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"ends before noise-0000000.hq.png; delete it and build again"):
        reader[0]


def test_webdataset_reads_them(bench):
    wds = pytest.importorskip("webdataset")
    reader = Bench(bench)
    samples = list(wds.WebDataset(str(bench / reader.row(0).shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"noise-{number:07d}" for number in range(len(samples))]
    assert samples[0]["hq.png"] == reader[0].hq


def take(shuffle, count, **options):
    return [number for _, number in islice(shuffle.numbers(**options), count)]


def test_a_balanced_round_has_every_type_once(bench):
    reader = Bench(bench)
    shuffle = Shuffle(reader.rows_by_type, seed=3)
    types = [reader.row(number).deg for number in take(shuffle, 60)]
    assert len(reader.rows_by_type) == 6
    assert all(set(types[start : start + 6]) == set(reader.rows_by_type) for start in range(0, 60, 6))
    assert types[:6] != types[6:12] or types[6:12] != types[12:18]


def test_a_type_comes_whole_before_one_of_it_comes_again(bench):
    reader = Bench(bench)
    numbers = take(Shuffle(reader.rows_by_type, seed=3), 6 * 20)
    for deg, rows in reader.rows_by_type.items():
        mine = [number for number in numbers if number in rows]
        assert len(mine) == 20, deg
        assert sorted(mine[: len(rows)]) == sorted(rows.tolist())


def test_an_unbalanced_round_has_every_sample_once(bench):
    reader = Bench(bench)
    shuffle = Shuffle(reader.rows_by_type, balanced=False)
    assert sorted(take(shuffle, 30)) == list(range(30)) == sorted(take(shuffle, 30, start=30))
    assert take(shuffle, 30) != take(shuffle, 30, start=30)


@pytest.mark.parametrize("balanced", [True, False])
def test_reading_goes_on_where_it_stopped_and_workers_share_it(bench, balanced):
    shuffle = Shuffle(Bench(bench).rows_by_type, seed=9, balanced=balanced)
    whole = take(shuffle, 100)
    assert take(shuffle, 60, start=40) == whole[40:]
    assert take(Shuffle(Bench(bench).rows_by_type, seed=9, balanced=balanced), 100) == whole
    assert take(Shuffle(Bench(bench).rows_by_type, seed=8, balanced=balanced), 100) != whole
    parts = [list(islice(shuffle.numbers(start=7, rank=rank, world=3), 31)) for rank in range(3)]
    assert [number for _, number in sorted(chain.from_iterable(parts))] == whole[7:]


def test_shuffles_that_cannot_be():
    with pytest.raises(ConfigError, match="nothing to shuffle"):
        Shuffle({})
    shuffle = Shuffle({"noise": np.arange(3)})
    with pytest.raises(ConfigError, match="rank is 2 of 2; it must lie between 0 and 1"):
        next(shuffle.numbers(rank=2, world=2))
    with pytest.raises(IndexError, match="the position is -1"):
        shuffle[-1]


def test_a_stream_gives_every_sample_once_in_order_or_shuffled(bench):
    pytest.importorskip("webdataset")
    reader = Bench(bench)
    everything = sorted(reader[number].meta.key for number in range(30))
    in_order = [sample.meta.key for sample in stream(bench)]
    shuffled = [sample.meta.key for sample in stream(bench, buffer=8, seed=1)]
    assert in_order == everything == sorted(shuffled) and shuffled != in_order
    assert shuffled == [sample.meta.key for sample in stream(bench, buffer=8, seed=1)]
    assert {sample.meta.deg for sample in stream(bench, ["noise", "clean"])} == {"noise", "clean"}


def test_a_stream_of_what_is_not_there(bench, tmp_path):
    pytest.importorskip("webdataset")
    with pytest.raises(ConfigError, match="fog: there is no shard; the type is spelt otherwise"):
        next(stream(bench, ["fog"]))
    with pytest.raises(ConfigError, match="build the benchmark first"):
        next(stream(tmp_path))
