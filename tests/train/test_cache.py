"""The cache of text embeddings: what is encoded, kept, written and returned, and what a bad folder or file does."""

import errno
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from cache_probes import ENTRY_BYTES, TOKENS, Recorder, files, random_tokens, same

from cotir.backbones import NANO
from cotir.encode import TextTokens
from cotir.errors import ConfigError, PromptError
from cotir.identity import text_identity
from cotir.train.cache import CacheStats, LatentCache, TextCache
from nano_model import TEXT_WIDTH, tiny_pipeline

MEGABYTE = 2**20


def test_order_and_duplicates_are_those_asked_and_each_string_is_encoded_once():
    encode = Recorder()
    cache = TextCache(encode, "id", None)
    assert same(cache(["rain", "haze", "rain"]), random_tokens(["rain", "haze", "rain"]))
    assert same(cache(["noise", "haze", "noise", "rain"]), random_tokens(["noise", "haze", "noise", "rain"]))
    assert encode.batches == [["rain", "haze"], ["noise"]]
    assert cache.stats == CacheStats(hits_memory=2, misses=3)


def test_missing_strings_are_encoded_together_in_batches():
    encode = Recorder()
    texts = ["a", "b", "c", "d", "e"]
    tokens = TextCache(encode, "id", None, batch_size=2)(texts)
    assert encode.batches == [["a", "b"], ["c", "d"], ["e"]]
    assert same(tokens, random_tokens(texts))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pooled", [False, True])
def test_the_disk_returns_every_bit(tmp_path, dtype, pooled):
    encode = partial(random_tokens, dtype=dtype, pooled=pooled)
    texts = ["rain", "", "Schnee und Eis im Gebirge", "\ud800 alone", "\N{SNOWFLAKE}"]
    encoded = TextCache(lambda given: encode([repr(text) for text in given]), "id", tmp_path)(texts)
    cache = TextCache(Recorder(), "id", tmp_path)
    assert same(cache(texts), encoded)
    assert encoded.embeddings.dtype == dtype
    assert cache.stats == CacheStats(hits_disk=5)


def test_a_real_encoder_goes_through_once(tmp_path):
    pipe = tiny_pipeline()
    texts = ["remove the haze", "dehaze", "remove the haze"]
    identity = text_identity(NANO, pipe.components)
    tokens = TextCache(pipe.encode_prompt, identity, tmp_path)(texts)
    torch.testing.assert_close(tokens.embeddings, pipe.encode_prompt(texts).embeddings)
    assert tokens.embeddings.shape == (3, NANO.text_length, TEXT_WIDTH)
    cache = TextCache(pipe.encode_prompt, text_identity(NANO, pipe.components), tmp_path)
    assert same(cache(texts), tokens)
    assert cache.stats == CacheStats(hits_disk=2)


def test_files_are_spread_over_subfolders_by_their_name(tmp_path):
    TextCache(random_tokens, "id", tmp_path / "new" / "folder")([f"text {i}" for i in range(20)])
    found = files(tmp_path)
    assert len(found) == 20
    assert all(path.suffix == ".safetensors" and len(path.stem) == 64 for path in found)
    assert all(path.parent == tmp_path / "new" / "folder" / path.stem[:2] for path in found)


def test_the_dtype_asked_is_that_returned_and_not_that_stored(tmp_path):
    half = TextCache(partial(random_tokens, pooled=True), "id", tmp_path, dtype=torch.bfloat16)(["rain"])
    assert half.pooled is not None
    assert half.embeddings.dtype == half.pooled.dtype == torch.bfloat16
    assert half.mask.dtype == torch.int64
    assert same(TextCache(Recorder(), "id", tmp_path)(["rain"]), random_tokens(["rain"], pooled=True))


def test_the_least_recently_used_leave_the_memory():
    cache = TextCache(random_tokens, "id", None, memory_mb=2.5 * ENTRY_BYTES / MEGABYTE)
    cache(["a", "b"])
    cache(["a"])
    cache(["c"])
    assert cache.stats == CacheStats(hits_memory=1, misses=3)
    cache(["a", "c"])
    assert cache.stats == CacheStats(hits_memory=3, misses=3)
    cache(["b"])
    assert cache.stats == CacheStats(hits_memory=3, misses=4)


def test_memory_is_freed_to_the_byte():
    cache = TextCache(random_tokens, "id", None, memory_mb=2 * ENTRY_BYTES / MEGABYTE)
    for text in "abcdeabcde":
        cache([text])
    cache(["d", "e"])
    assert cache.stats == CacheStats(hits_memory=2, misses=10)


def test_an_entry_does_not_hold_on_to_the_batch_it_was_encoded_in():
    cache = TextCache(random_tokens, "id", None)
    cache(["a", "b", "c"])
    held = sum(tensor.untyped_storage().nbytes() for entry in cache._kept.values() for tensor in entry.values())
    assert held == 3 * ENTRY_BYTES


def test_more_strings_than_fit_in_memory_are_still_returned(tmp_path):
    texts = [f"text {i}" for i in range(9)]
    for folder in (None, tmp_path, tmp_path):
        cache = TextCache(random_tokens, "id", folder, memory_mb=0)
        assert same(cache(texts), random_tokens(texts))
    assert cache.stats == CacheStats(hits_disk=9)


def test_what_is_returned_can_be_changed_without_harm():
    cache = TextCache(random_tokens, "id", None)
    cache(["rain"]).embeddings.zero_()
    assert same(cache(["rain"]), random_tokens(["rain"]))


def test_nothing_cached_holds_a_graph():
    weight = torch.ones(1, requires_grad=True)
    cache = TextCache(
        lambda texts: TextTokens(random_tokens(texts).embeddings * weight, torch.ones(1, TOKENS)), "id", None
    )
    assert not cache(["rain"]).embeddings.requires_grad


def test_another_identity_finds_nothing(tmp_path):
    TextCache(random_tokens, "MiniLM", tmp_path)(["rain"])
    other = TextCache(partial(random_tokens, dtype=torch.float16), "Qwen3", tmp_path)
    assert other(["rain"]).embeddings.dtype == torch.float16
    assert other.stats == CacheStats(misses=1)
    assert len(files(tmp_path)) == 2


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda data: b"", lambda data: bytes(len(data)), lambda data: data + b"\n"]
)
def test_a_damaged_file_is_encoded_again_and_replaced(tmp_path, damage):
    cache = TextCache(random_tokens, "id", tmp_path, memory_mb=0)
    cache(["rain"])
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert same(cache(["rain"]), random_tokens(["rain"]))
    assert cache.stats == CacheStats(misses=2, rewritten=1)
    assert files(tmp_path) == [path]
    assert path.read_bytes() == whole
    assert same(cache(["rain"]), random_tokens(["rain"]))
    assert cache.stats == CacheStats(hits_disk=1, misses=2, rewritten=1)


def test_a_folder_removed_in_the_middle_is_made_again(tmp_path):
    cache = TextCache(random_tokens, "id", tmp_path / "cache", memory_mb=0)
    (tmp_path / "cache").rmdir()
    cache(["rain"])
    cache(["rain"])
    assert cache.stats == CacheStats(hits_disk=1, misses=1)


def half_a_file(path, data):
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def no_rename(path, target):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("method", "full"), [("write_bytes", half_a_file), ("replace", no_rename)])
def test_a_full_disk_warns_once_and_the_cache_goes_on(tmp_path, monkeypatch, method, full):
    cache = TextCache(random_tokens, "id", tmp_path, memory_mb=0)
    cache(["before"])
    with monkeypatch.context() as patched:
        patched.setattr(Path, method, full)
        with pytest.warns(RuntimeWarning) as caught:
            assert same(cache(["rain", "haze"]), random_tokens(["rain", "haze"]))
        (warning,) = caught
        assert str(warning.message).startswith(f"cannot write to the cache folder {tmp_path}: No space left on device.")
        assert "without writing" in str(warning.message)
        assert "free some space or name another folder" in str(warning.message)
        assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache(["rain", "before"])
    assert len(files(tmp_path)) == 1
    assert cache.stats == CacheStats(hits_disk=1, misses=4)


def test_a_folder_that_cannot_be_used_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"cannot be created or written: .*name a folder that you may write to, or none"
    ):
        TextCache(random_tokens, "id", tmp_path / "file" / "cache")


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(monkeypatch, tmp_path):
    def denied(dir):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(ConfigError, match=rf"{tmp_path} cannot be created or written: Permission denied"):
        LatentCache(lambda pixels: pixels, "id", tmp_path)


@pytest.mark.parametrize("texts", ["remove the rain", []])
def test_text_takes_a_list_of_strings(texts):
    with pytest.raises(PromptError, match="takes a list of at least one instruction"):
        TextCache(random_tokens, "id", None)(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size of the text cache is 0; it must be at least 1"),
        ({"memory_mb": -1}, r"memory_mb of the cache is -1; it must be 0 \(keep nothing in memory\) or more"),
        ({"memory_mb": float("nan")}, "memory_mb of the cache is nan"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        TextCache(random_tokens, "id", None, **options)
