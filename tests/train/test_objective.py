import json

import pytest
import torch

from cotir.train.objective import balanced_flow_loss, cosine_distance, flow_loss, interpolate, released_distance
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


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return torch.randn(3, 2, 6, 4)


def error_of_the_clean_prediction(velocity, clean, noise, times):
    predicted = interpolate(clean, noise, times) - times[:, None, None] * velocity
    return (predicted - clean).square().mean(dim=(1, 2))


@pytest.mark.parametrize("time", [1.0, 0.25])
def test_balanced_loss_of_power_0_is_the_log_error_of_the_clean_prediction(tensors, time):
    clean, noise, velocity = tensors
    times = torch.full((2,), time)
    expected = ((error_of_the_clean_prediction(velocity, clean, noise, times) + 1e-3) / 0.05).log().mean()
    loss = balanced_flow_loss(velocity, clean, noise, times, power=0, floor=1e-3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_loss_of_power_1_is_the_flow_loss_at_pure_noise(tensors):
    clean, noise, velocity = tensors
    loss = balanced_flow_loss(velocity, clean, noise, torch.ones(2), power=1, floor=0, scale=1)
    assert loss.item() == pytest.approx(flow_loss(velocity, clean, noise).item() - 1, rel=1e-5)


def test_balanced_loss_is_continuous_in_its_power(tensors):
    clean, noise, velocity = tensors
    near, at = (
        balanced_flow_loss(velocity, clean, noise, torch.ones(2), power=power, floor=1e-3) for power in (1e-4, 0)
    )
    assert near.item() == pytest.approx(at.item(), rel=1e-3)
