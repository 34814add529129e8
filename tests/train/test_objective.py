import json

import pytest
import torch

from cotir.train.objective import cosine_distance, flow_loss, interpolate, log_flow_loss, released_distance
from golden_model import FAMILIES, GOLDEN, vectors

RECORDED = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_flow_loss_is_the_released_one(family):
    golden = vectors(family)
    noise, clean = golden["train.x_0"], golden["io.x_1"]
    velocity = golden["train.out.velocity"][:, : noise.shape[1]]
    assert flow_loss(velocity, clean, noise).item() == pytest.approx(
        RECORDED[family]["train.fp32.lam0"]["img_loss"], abs=1e-6
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_interpolation_is_the_released_one(family):
    golden = vectors(family)
    noise, clean = golden["train.x_0"], golden["io.x_1"]
    noisy = interpolate(clean, noise, golden["train.timesteps"])
    torch.testing.assert_close(noisy, golden["train.img_input"][:, : noise.shape[1]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", "sdp")
def test_released_distance_is_the_released_one(family, part):
    golden = vectors(family)
    distance = released_distance(golden[f"train.out.txt_out_{part}"], golden[f"train.txt_gt_{part}"])
    assert distance.item() == pytest.approx(RECORDED[family]["train.fp32.lam0"][f"txt_loss_{part}"], abs=1e-8)


def test_released_distance_is_the_cosine_distance_over_half_the_width():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 5, 64)
    cosine = cosine_distance(a, b, torch.ones(3, 5))
    assert released_distance(a, b).item() == pytest.approx(2 * cosine.item() / 64, rel=1e-5)


def test_cosine_distance_ignores_padding():
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 4, 8)
    mask = torch.tensor([[1, 1, 0, 0]])
    assert cosine_distance(a, b, mask) == cosine_distance(a[:, :2], b[:, :2], mask[:, :2])
    assert cosine_distance(a, a, mask).item() == pytest.approx(0, abs=1e-6)
    assert cosine_distance(a, -a, mask).item() == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize("time", [1.0, 0.25])
def test_log_flow_loss_is_the_log_error_of_the_clean_prediction(time):
    torch.manual_seed(0)
    clean, noise, velocity = torch.randn(3, 2, 6, 4)
    times = torch.full((2,), time)
    predicted = interpolate(clean, noise, times) - time * velocity
    expected = ((predicted - clean).square().mean(dim=(1, 2)) + 1e-3).log().mean()
    assert log_flow_loss(velocity, clean, noise, times, floor=1e-3).item() == pytest.approx(expected.item(), rel=1e-5)
