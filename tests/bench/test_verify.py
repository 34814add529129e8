import json
import shutil

import pytest

from cotir.bench.tars import shard_path
from cotir.bench.verify import verify
from cotir.errors import ConfigError


@pytest.fixture
def copy(bench, tmp_path):
    return shutil.copytree(bench, tmp_path / "copy")


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_whole_benchmark_has_no_faults(bench):
    seen = []
    verdict = verify(bench, lambda done, total: seen.append((done, total)))
    assert (verdict.samples, verdict.faults) == (37, ())
    assert verdict.shards == len(list(bench.rglob("*.tar")))
    assert seen[-1] == (37, 37)


@pytest.mark.parametrize(
    "name", ["image/noise/noise-000000.tar", "test/lq/haze-blur-test-00000.png", "test/test.jsonl", "index.parquet"]
)
def test_one_flipped_bit_is_found_and_named(copy, name):
    size = (copy / name).stat().st_size
    flip(copy / name, size // 2 if name != "index.parquet" else 5)
    try:
        faults = verify(copy).faults
    except ConfigError as error:
        assert "index.parquet" in str(error)
        return
    assert [fault.file for fault in faults] == [name]
    assert "has the sha256" in faults[0].what and "delete it and build again" in faults[0].what


def test_missing_and_surplus_files_are_named(copy):
    (copy / shard_path("noise", 0)).rename(copy / shard_path("noise", 9))
    (copy / "test/hq/clean-test-00000.png").unlink()
    faults = {fault.file: fault.what for fault in verify(copy).faults}
    assert set(faults) == {shard_path("noise", 0), shard_path("noise", 9), "test/hq/clean-test-00000.png"}
    assert faults[shard_path("noise", 9)] == "is not in the manifest; delete it"
    assert faults[shard_path("noise", 0)].startswith("cannot be read")


def test_an_index_of_something_else_is_found(copy, bench):
    import pyarrow.parquet as pq

    table = pq.read_table(copy / "index.parquet")
    offsets = table["hq_offset"].to_pylist()
    offsets[0] += 512
    changed = table.set_column(table.schema.get_field_index("hq_offset"), "hq_offset", [offsets])
    pq.write_table(changed, copy / "index.parquet")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"].pop("index.parquet")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (fault,) = verify(copy).faults
    assert "has another hq_offset of" in fault.what


def test_an_unfinished_benchmark_cannot_be_checked(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"manifest.json: cannot be read .* the benchmark is not finished"):
        verify(copy)
