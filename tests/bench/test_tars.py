import json
from dataclasses import replace

import pytest

from cotir.bench.shards import Bench
from cotir.bench.tars import index_shard, shard_path, whole_file, write_shard
from cotir.errors import ConfigError


def test_names_beyond_the_old_limit_of_tar_are_kept(bench, tmp_path):
    sample = Bench(bench)[0]
    long = replace(sample, meta=replace(sample.meta, key="nonhomogeneous_haze-" * 6 + "0"))
    write_shard(tmp_path / "image/x.tar", [long])
    (row,) = index_shard(tmp_path, "image/x.tar")
    assert row.key == long.meta.key and len(row.key) > 100
    with (tmp_path / "image/x.tar").open("rb") as file:
        file.seek(row.meta_offset)
        assert json.loads(file.read(row.meta_bytes))["key"] == row.key


def test_nothing_half_written_takes_the_place(tmp_path):
    with pytest.raises(KeyError), whole_file(tmp_path / "a" / "x.tar") as file:
        file.write(b"half")
        raise KeyError
    assert not list((tmp_path / "a").iterdir())


def test_a_tar_of_something_else_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar")
    with pytest.raises(ConfigError, match=r"x.tar: is damaged .* delete it and build again"):
        index_shard(tmp_path, "x.tar")


def test_shards_are_numbered_with_six_digits():
    assert shard_path("haze-blur", 12) == "image/haze-blur/haze-blur-000012.tar"
