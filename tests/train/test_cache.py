import errno
import hashlib
import multiprocessing
import random
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

import tiny_encoders
from cotir.autoencoder import PatchAutoencoder
from cotir.backbones import FLUX1, FLUX2, NANO
from cotir.encode import TextTokens, encode_image, encode_text
from cotir.errors import ConfigError, ImageError, PromptError
from cotir.identity import latent_identity, text_identity
from cotir.image import Canvas
from cotir.pipeline import CoTIRPipeline
from cotir.train.cache import CacheStats, LatentCache, TextCache
from nano_model import TEXT_WIDTH, tiny_pipeline

TOKENS, WIDTH = 16, 256
ENTRY_BYTES = TOKENS * WIDTH * 4 + TOKENS * 8
MEGABYTE = 2**20


def random_tokens(texts, dtype=torch.float32, pooled=False):
    """Embeddings that depend on nothing but the text."""
    generators = [
        torch.Generator().manual_seed(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)) for text in texts
    ]
    rows = [torch.randn(TOKENS, WIDTH, generator=generator) for generator in generators]
    mask = torch.tensor([[1] * min(len(text), TOKENS) + [0] * (TOKENS - len(text)) for text in texts])
    embeddings = torch.stack(rows).to(dtype)
    return TextTokens(embeddings, mask, embeddings.mean(dim=1) if pooled else None)


class Recorder:
    """An encoder that remembers what it was asked."""

    def __init__(self, encode=random_tokens):
        self.encode, self.batches = encode, []

    def __call__(self, given):
        self.batches.append(list(given))
        return self.encode(given)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(given, expected):
    """Equal in every bit, and in dtype."""
    pairs = [(given.embeddings, expected.embeddings), (given.mask, expected.mask), (given.pooled, expected.pooled)]
    return all((a is b) or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


# --- text -------------------------------------------------------------------------------------------------------------


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


# --- latents ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (3, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def latent_cache(folder=None, **options):
    encode = Recorder(partial(encode_image, PatchAutoencoder()))
    return encode, LatentCache(encode, "id", folder, **options)


def test_missing_latents_are_encoded_in_one_batch(tmp_path, pictures):
    encode, cache = latent_cache(tmp_path)
    first, again = cache(pictures[:1]), cache(pictures)
    assert [len(batch) for batch in encode.batches] == [1, 2]
    assert first.shape == (1, 192, 2, 3)
    assert torch.equal(again[:1], first)
    for index in range(3):
        assert torch.equal(again[index : index + 1], cache(pictures[index : index + 1]))
    assert cache.stats == CacheStats(hits_memory=4, misses=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_latents_come_back_from_disk_bit_for_bit(tmp_path, pictures, dtype):
    encoded = LatentCache(lambda pixels: encode_image(PatchAutoencoder(), pixels).to(dtype), "id", tmp_path)(pictures)
    encode, cache = latent_cache(tmp_path)
    read = cache(pictures.flip(0))
    assert read.dtype == dtype
    assert torch.equal(read.flip(0), encoded)
    assert encode.batches == []


def test_integers_are_the_same_numbers_as_the_pipelines_canvas(pictures):
    _, cache = latent_cache()
    canvases = [
        Canvas.fit(picture.permute(1, 2, 0).numpy() / torch.tensor(255.0).numpy(), 8).tensor for picture in pictures
    ]
    assert torch.equal(cache(pictures), encode_image(PatchAutoencoder(), torch.cat(canvases)))


def test_a_key_stands_for_the_pixels_and_their_size(pictures):
    encode, cache = latent_cache()
    cache(pictures, ["a", "b", "c"])
    assert torch.equal(cache(torch.zeros_like(pictures), ["c", "b", "a"]), cache(pictures, ["c", "b", "a"]))
    cache(pictures[..., :8], ["a", None, None])
    assert [len(batch) for batch in encode.batches] == [3, 3]


def test_a_key_is_no_hash_of_pixels(pictures):
    _, cache = latent_cache()
    cache(pictures[:2], [None, "a"])
    cache(pictures[:1])
    cache(pictures[1:2])
    assert cache.stats == CacheStats(hits_memory=1, misses=3)


@pytest.mark.parametrize(
    ("pixels", "keys", "message"),
    [
        (torch.zeros(3, 8, 8), None, r"\(3, 8, 8\)"),
        (torch.zeros(1, 4, 8, 8), None, r"\(1, 4, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), None, r"\(0, 3, 8, 8\) with 0 keys; give \(B, 3, H, W\) and B keys, B > 0"),
        (torch.zeros(2, 3, 8, 8), ["a"], r"\(2, 3, 8, 8\) with 1 keys"),
        (torch.full((1, 3, 8, 8), 255.0), None, r"up to 255.0; give uint8, or float in \[-1, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), None, "float32 up to nan"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), None, "int64 up to 0; give uint8"),
    ],
)
def test_pixels_are_checked(pixels, keys, message):
    _, cache = latent_cache()
    with pytest.raises(ImageError, match=message):
        cache(pixels, keys)


def test_texts_and_latents_may_share_a_folder(tmp_path, pictures):
    TextCache(random_tokens, "text", tmp_path)(["rain"])
    _, cache = latent_cache(tmp_path)
    cache(pictures, ["rain", None, None])
    assert len(files(tmp_path)) == 4


# --- identities -------------------------------------------------------------------------------------------------------


def of_nano(**changed):
    return {**tiny_pipeline().components, **changed}


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


def test_an_identity_survives_saving_loading_and_use(nano_folder):
    pipe, again = tiny_pipeline(), CoTIRPipeline.from_pretrained(nano_folder)
    before = text_identity(NANO, pipe.components)
    pipe.encode_prompt(["rain"])
    assert text_identity(NANO, pipe.components) == before == text_identity(NANO, again.components)
    assert before.startswith("text nano 48 BertTokenizer+BertModel ")
    assert latent_identity(pipe.vae) == latent_identity(again.vae)


@pytest.mark.parametrize(("backbone", "build"), [(FLUX1, tiny_encoders.t5_and_clip), (FLUX2, tiny_encoders.qwen3)])
def test_identities_of_flux_encoders_survive_saving_and_see_each_of_them(backbone, build, tmp_path):
    parts = build()
    identity = text_identity(backbone, parts)
    encode_text(backbone, parts, ["remove the haze"])
    for name, part in parts.items():
        part.save_pretrained(tmp_path / name)
    assert identity == text_identity(
        backbone, {name: type(part).from_pretrained(tmp_path / name) for name, part in parts.items()}
    )
    for name in parts:
        assert text_identity(backbone, {**parts, name: None}) != identity


def test_an_identity_sees_length_and_dtype():
    identity = text_identity(NANO, of_nano())
    assert text_identity(FLUX2, of_nano()) != identity
    assert text_identity(NANO, of_nano(text_encoder=tiny_pipeline().text_encoder.half())) != identity


@pytest.mark.parametrize("index", range(3))
def test_an_identity_sees_every_weight(index):
    components = of_nano()
    identity = text_identity(NANO, components)
    parameters = list(components["text_encoder"].parameters())
    with torch.no_grad():
        parameters[(index * len(parameters)) // 3].add_(0.01)
    assert text_identity(NANO, components) != identity


def test_an_identity_sees_the_configuration_and_the_tokenizer():
    identity = text_identity(NANO, of_nano())
    components = of_nano()
    components["text_encoder"].config.layer_norm_eps = 1e-5
    assert text_identity(NANO, components) != identity
    components = of_nano()
    components["tokenizer"].add_tokens(["dehaze"])
    assert text_identity(NANO, components) != identity
    components = of_nano()
    components["tokenizer"].chat_template = "{{ messages }}"
    assert text_identity(NANO, components) != identity


def test_a_latent_identity_sees_configuration_and_statistics():
    vae, other = PatchAutoencoder(), PatchAutoencoder()
    assert latent_identity(vae) == latent_identity(other) != latent_identity(PatchAutoencoder(patch_size=16))
    other.anchor += 1
    assert latent_identity(other) != latent_identity(vae)


def test_an_offloaded_encoder_is_refused():
    components = of_nano(text_encoder=tiny_pipeline().text_encoder.to("meta"))
    with pytest.raises(ConfigError, match="of BertModel is not in memory; take the identity before offloading"):
        text_identity(NANO, components)


# --- processes --------------------------------------------------------------------------------------------------------

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
