import pytest
import torch

from cotir.autoencoder import PatchAutoencoder
from cotir.errors import ImageError


def test_round_trip_is_exact():
    pixels = torch.rand(2, 3, 24, 40) * 2 - 1
    latents = PatchAutoencoder().encode(pixels)
    assert latents.shape == (2, 192, 3, 5)
    assert torch.equal(PatchAutoencoder().decode(latents), pixels)


def test_save_and_load(tmp_path):
    PatchAutoencoder(patch_size=4).save_pretrained(tmp_path)
    assert PatchAutoencoder.from_pretrained(tmp_path).patch_size == 4


def test_a_size_off_the_grid_is_refused():
    with pytest.raises(ImageError, match="cannot cut 20x16 pixels into patches of 8"):
        PatchAutoencoder().encode(torch.zeros(1, 3, 16, 20))
