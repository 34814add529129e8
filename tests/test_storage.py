import json
from pathlib import Path

import pytest
import torch

from cotir.errors import WeightsError
from cotir.storage import (
    check_keys,
    new_folder,
    read_diffusers,
    read_json,
    read_safetensors,
    write_safetensors,
)

FILE = "diffusion_pytorch_model.safetensors"


def test_tensors_round_trip(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "b": torch.ones(2, dtype=torch.bfloat16),
    }
    write_safetensors(tensors, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_tensors_that_share_memory_are_written_each(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    write_safetensors({"a": shared, "b": shared, "c": shared.T}, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["b"], shared)
    assert torch.equal(found["c"], shared.T)


def test_accounting_names_everything_at_once():
    with pytest.raises(WeightsError) as caught:
        check_keys({"a": (1,), "b": (2,), "c": (3,)}, {"b": (4,), "c": (3,), "d": (1,)}, source="file", hint="do this")
    assert str(caught.value) == (
        "file does not fit; 1 missing (a); 1 unexpected (d); 1 of the wrong shape (b is [4] and should be [2]); do this"
    )


def test_accounting_counts_what_it_does_not_spell_out():
    with pytest.raises(WeightsError, match=r"9 missing \(k0, k1, k2, k3, k4, k5 and 3 more\)$"):
        check_keys({f"k{i}": () for i in range(9)}, {}, source="file")


def write_shards(folder, listed, held):
    for shard, keys in held.items():
        write_safetensors({key: torch.ones(1) for key in keys}, folder / shard)
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": listed}), encoding="utf-8")


def test_shards_are_joined(tmp_path):
    write_shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}, {"1.safetensors": "a", "2.safetensors": "b"})
    assert read_diffusers(tmp_path).keys() == {"a", "b"}


def test_a_shard_must_hold_what_the_index_lists(tmp_path):
    write_shards(tmp_path, {"a": "1.safetensors", "b": "1.safetensors"}, {"1.safetensors": "ac"})
    with pytest.raises(WeightsError, match=r"1\.safetensors does not fit; 1 missing \(b\); 1 unexpected \(c\)"):
        read_diffusers(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    write_shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}, {"1.safetensors": "a"})
    with pytest.raises(WeightsError, match=r"2\.safetensors does not exist"):
        read_diffusers(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match=f"is no diffusers model folder: no {FILE} and no index"):
        read_diffusers(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r"x\.safetensors is not a readable safetensors file"):
        read_safetensors(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not readable JSON"), ("[1]", "holds a JSON list, where an object is needed")]
)
def test_json_that_is_no_object(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match=message):
        read_json(tmp_path / "x.json")


def test_a_new_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as part:
        (part / "a").write_text("a", encoding="utf-8")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "a").read_text(encoding="utf-8") == "a"


def test_a_new_folder_leaves_nothing_after_an_error(tmp_path):
    def fill():
        with new_folder(tmp_path / "out") as part:
            Path(part / "a").write_text("a", encoding="utf-8")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_overwrites_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(WeightsError, match="out exists: choose another place, or remove it first"),
        new_folder(tmp_path / "out"),
    ):
        pass
