"""The cache of latents: keys or hashes of pixels, bits from the disk, and pixels that are refused."""

from functools import partial

import pytest
import torch
from cache_probes import Recorder, files, random_tokens

from cotir.autoencoder import PatchAutoencoder
from cotir.encode import encode_image
from cotir.errors import ImageError
from cotir.image import Canvas
from cotir.train.cache import CacheStats, LatentCache, TextCache


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
