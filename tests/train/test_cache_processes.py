"""Two processes that write, read and delete in one folder of the cache."""

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor

import pytest
from cache_probes import Recorder, files, random_tokens, same

from cotir.encode import TextTokens
from cotir.train.cache import CacheStats, TextCache

SHARED = ["rain", "haze"]


def meet(barrier):
    globals()["barrier"] = barrier


def large_tokens(texts):
    """Megabytes that are quick to make and slow to write, so that half a file would be seen."""
    tokens = random_tokens(texts)
    return TextTokens(tokens.embeddings.repeat(1, 128, 1), tokens.mask.repeat(1, 128))


def hammer(folder, who):
    """Ask for shared and own strings, from disk each time, while both processes also delete files."""
    rng = random.Random(who)
    cache = TextCache(large_tokens, "id", folder, memory_mb=0)
    globals()["barrier"].wait(240)
    wrong = 0
    for _ in range(100):
        texts = rng.sample([*SHARED, f"own {who}"], 2)
        wrong += not same(cache(texts), large_tokens(texts))
        for path in folder.rglob("*.safetensors"):
            if rng.random() < 0.3:
                path.unlink(missing_ok=True)
    globals()["barrier"].wait(240)
    cache([*SHARED, f"own {who}"])
    return wrong, cache.stats


@pytest.mark.timeout(300)  # on a busy machine two processes that import torch may take minutes
def test_two_processes_share_a_folder(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=meet, initargs=(spawn.Barrier(2),)) as pool:
        results = list(pool.map(hammer, [tmp_path] * 2, ["a", "b"]))
    for wrong, stats in results:
        assert wrong == 0
        assert stats.rewritten == 0  # neither saw half a file of the other
        assert stats.hits_disk > 0
        assert stats.misses > len(SHARED)
    assert all(path.suffix == ".safetensors" for path in files(tmp_path))
    texts = [*SHARED, "own a", "own b"]
    cache = TextCache(Recorder(), "id", tmp_path, memory_mb=0)
    assert same(cache(texts), large_tokens(texts))
    assert cache.stats == CacheStats(hits_disk=len(texts))
