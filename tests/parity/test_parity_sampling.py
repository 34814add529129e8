"""Pixels, latents, Euler steps and pixels again as the released code computed them, through our encode and sampling."""

import pytest
import torch

from arithmetic import SLACK, recorded_bits
from cotir.backbones import BACKBONES
from cotir.encode import TextTokens, condition, decode_image, encode_image, to_grid, to_tokens
from cotir.sampling import denoise
from cotir.weights import load_transformer
from golden_model import part, vectors
from golden_vae import golden_vae

STEPS, ROWS, COLUMNS = 4, 4, 3


def difference(found, wanted):
    return (found.float() - wanted.float()).abs().max().item()


def pixels(family, name):
    return vectors(family)[f"io.{name}_u8"] / 127.5 - 1


@torch.no_grad()
def conditioning(family):
    io = part(family, "io.")
    text = TextTokens(io["txt"], torch.ones(io["txt"].shape[:2]), io["vec"] if family == "flux1" else None)
    return condition(BACKBONES[family], encode_image(golden_vae(family), pixels(family, "lq")), text)


def sample(family, model, dtype, replace=lambda step, time, latent: latent):
    """Every latent from the noise to the result (STEPS + 1, B, N, C), as :func:`denoise` steps on."""
    given = conditioning(family).to(torch.device("cpu"), dtype)
    trajectory = [vectors(family)["sample.noise"]]

    def record(step, time, latent):
        trajectory.append(replace(step, time, latent))
        return trajectory[-1]

    result = denoise(model, trajectory[0], given, schedule(family), on_step=record).latent
    assert torch.equal(result, trajectory[-1])
    return torch.stack(trajectory)


def schedule(family):
    return BACKBONES[family].schedule(STEPS, ROWS * COLUMNS)


@pytest.mark.parametrize(("picture", "tokens"), [("hq", "x_1"), ("lq", "x_c")])
@torch.no_grad()
def test_encode(family, picture, tokens):
    latents = encode_image(golden_vae(family), pixels(family, picture))
    assert difference(to_tokens(latents), vectors(family)[f"io.{tokens}"]) <= 2e-5


@torch.no_grad()
def test_decode(family):
    raw = vectors(family)["io.latent_hq_raw"]
    if family == "flux1":  # recorded before the release packs 2 x 2 cells
        raw = raw.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).flatten(1, 3)
    assert difference(to_tokens(raw), vectors(family)["io.x_1"]) == 0.0
    assert difference(decode_image(golden_vae(family), raw), vectors(family)["io.recon_hq"]) <= 2e-5


def test_positions(family):
    given, io = conditioning(family), part(family, "io.")
    assert torch.equal(given.img_ids, torch.cat([io["img_ids"][0], io["img_cond_ids"][0]]))
    assert torch.equal(given.txt_ids, io["txt_ids"][0])


@torch.no_grad()
def test_sampling_in_float32(imported, family):
    model = load_transformer(imported[family].base, imported[family].adapter)
    trajectory, wanted = sample(family, model, torch.float32), part(family, "sample.fp32.")
    assert difference(trajectory, wanted["trajectory"]) <= 5e-5 * SLACK

    image = decode_image(golden_vae(family), to_grid(trajectory[-1], ROWS, COLUMNS))
    assert difference(image, wanted["image"]) <= 5e-5 * SLACK
    levels, recorded = 127.5 * (image.clamp(-1, 1) + 1), wanted["image_u8"].movedim(-1, 1)
    # the release truncates: its bytes are ours cut, and half of ours round up
    assert (levels.byte() != recorded).sum() <= 2 * SLACK
    rounded_up = levels.round() - recorded
    assert rounded_up.unique().tolist() == [0, 1]
    assert rounded_up.mean().item() == pytest.approx(0.5, abs=0.05)


@recorded_bits
@torch.no_grad()
def test_sampling_in_bfloat16(imported, family):
    """Bit for bit with the release's step, which rounds ``dt v`` before it adds; ours does not, and ends nearby."""
    folders = imported[family]
    model = load_transformer(folders.base, folders.adapter, dtype=torch.bfloat16, rope="released", rounding="released")
    predictions, wanted = [], part(family, "sample.bf16.")
    model.register_forward_hook(lambda _, __, output: predictions.append(output.sample[:, : ROWS * COLUMNS]))
    times, latents = schedule(family).tolist(), [vectors(family)["sample.noise"]]

    def released_step(step, time, latent):
        latents.append(latents[-1] + (times[step + 1] - times[step]) * predictions[-1])
        return latents[-1]

    trajectory = sample(family, model, torch.bfloat16, replace=released_step)
    assert difference(torch.stack(predictions), wanted["pred"]) == 0.0
    assert difference(trajectory[:-1].bfloat16(), wanted["trajectory"][:-1]) == 0.0  # recorded as the model reads them
    assert difference(trajectory[-1], wanted["trajectory"][-1]) == 0.0
    assert 0 < difference(sample(family, model, torch.bfloat16)[-1], wanted["trajectory"][-1]) <= 0.05
