import json

import pytest
import torch

from cotir.adapter import CoTOutput
from cotir.encode import TextTokens
from cotir.errors import ConfigError, TrainingError
from cotir.train.objective import (
    PARTS,
    balanced_flow_loss,
    constraints,
    cosine_distance,
    flow_loss,
    flow_scale,
    interpolate,
    lagrangian,
    reading_distance,
    reasoning_distances,
    released_distance,
)
from golden_model import FAMILIES, GOLDEN, vectors

RECORDED = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))


def test_the_reading_distance_is_nothing_where_all_is_read_and_one_where_nothing_is():
    kinds = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    assert reading_distance(kinds, kinds) == 0
    assert reading_distance(torch.zeros(2, 3), kinds) == 1
    # one kind half seen and one imagined by half: (1/4 + 1/4) over two kinds
    half = torch.tensor([[0.5, 1, 0], [0, 0, 0.5]])
    assert reading_distance(half, kinds) == pytest.approx(0.25)


def test_undamaged_pictures_alone_are_counted_as_one_kind():
    assert reading_distance(torch.full((2, 3), 0.5), torch.zeros(2, 3)) == pytest.approx(1.5)


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


def test_released_distance_is_blind_to_length_and_survives_a_token_of_zeros():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 5, 64)
    assert released_distance(1e-3 * a, b).item() == pytest.approx(released_distance(a, b).item(), rel=1e-5)
    assert released_distance(torch.zeros_like(a), b).item() == pytest.approx(1 / 64, rel=1e-5)


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


@pytest.mark.parametrize("power", [None, 0, 0.3, 1])
def test_the_size_of_the_flow_loss_is_its_change_with_the_logarithm_of_the_error(tensors, power):
    clean, noise, _ = tensors
    error = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))

    def loss(factor):
        velocity = noise - clean + factor**0.5 * error
        if power is None:
            return flow_loss(velocity, clean, noise)
        return balanced_flow_loss(velocity, clean, noise, torch.tensor([1.0, 0.4]), power=power, floor=0)

    step = 0.02
    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert flow_scale(loss(1), power).item() == pytest.approx(slope.item(), rel=1e-3)


def test_the_size_of_the_flow_loss_passes_no_gradient(tensors):
    clean, noise, velocity = tensors
    loss = flow_loss(velocity.requires_grad_(), clean, noise)
    assert not flow_scale(loss).requires_grad
    assert not flow_scale(loss, 0.5).requires_grad


DISTANCES = {"scene": torch.tensor(0.5), "degradation": torch.tensor(0.25), "plan": torch.tensor(0.125)}
DELTA = {"scene": 0.25, "degradation": 0.25, "plan": 0.25}


def test_a_constraint_is_positive_where_it_is_violated():
    assert constraints(DISTANCES, DELTA) == {"scene": 0.25, "degradation": 0, "plan": -0.125}


def test_the_lagrangian_is_the_flow_loss_and_the_weighted_constraints():
    terms = lagrangian(torch.tensor(1.0), DISTANCES, DELTA, {"scene": 2.0, "degradation": 100.0, "plan": 4.0})
    assert terms.loss == 1 + 2 * 0.25 + 0 - 4 * 0.125
    assert terms.flow == 1
    assert terms.distances == DISTANCES
    assert terms.constraints == constraints(DISTANCES, DELTA)


def test_the_lagrangian_is_in_float32():
    flow = torch.tensor(1.0, dtype=torch.bfloat16)
    terms = lagrangian(flow, DISTANCES, DELTA, dict.fromkeys(PARTS, 1e-4))
    assert terms.loss.dtype == terms.flow.dtype == torch.float32
    assert terms.loss != 1  # what bfloat16 would make of it


@pytest.mark.parametrize("names", [["scene", "plan"], ["scene", "degradation", "plan", "mood"], []])
def test_every_part_has_a_delta_and_a_multiplier(names):
    expected = f"must name the parts scene, degradation, plan; got {', '.join(names) or 'none'}"
    with pytest.raises(ConfigError, match=f"delta {expected}"):
        constraints(DISTANCES, dict.fromkeys(names, 0.1))
    with pytest.raises(ConfigError, match=f"multipliers {expected}"):
        lagrangian(torch.tensor(1.0), DISTANCES, DELTA, dict.fromkeys(names, 0.1))


@pytest.fixture
def thoughts():
    """Predictions (2, 5, 8) in bfloat16, and targets whose last two tokens are padding."""
    generator = torch.Generator().manual_seed(0)
    predictions, targets = torch.randn(2, 3, 2, 5, 8, generator=generator)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    predicted = CoTOutput(torch.zeros(2, 5, 16), **dict(zip(PARTS, predictions.bfloat16(), strict=True)))
    return predicted, {part: TextTokens(target, mask) for part, target in zip(PARTS, targets, strict=True)}


def test_every_part_is_compared_with_its_own_target(thoughts):
    predicted, targets = thoughts
    cosine = reasoning_distances(predicted, targets, "cosine")
    released = reasoning_distances(predicted, targets, "released")
    assert tuple(cosine) == tuple(released) == PARTS
    for part in PARTS:
        prediction, target = getattr(predicted, part), targets[part]
        assert cosine[part] == cosine_distance(prediction, target.embeddings, target.mask)
        assert released[part] == released_distance(prediction, target.embeddings)
        assert cosine[part].dtype == released[part].dtype == torch.float32
    assert len({distance.item() for distance in cosine.values()}) == 3


def test_an_unknown_form_of_constraint_names_the_forms(thoughts):
    with pytest.raises(ConfigError, match="no constraint 'l2'; the constraints are cosine, released"):
        reasoning_distances(*thoughts, "l2")


def test_a_trace_without_a_part_is_refused(thoughts):
    predicted, targets = thoughts
    del targets["plan"]
    with pytest.raises(ConfigError, match="targets must name the parts scene, degradation, plan; got scene, degr"):
        reasoning_distances(predicted, targets, "cosine")


def test_predictions_must_have_been_asked_for(thoughts):
    with pytest.raises(TrainingError, match="predicted no scene: call the transformer with predict_reasoning=True"):
        reasoning_distances(CoTOutput(torch.zeros(2, 5, 16)), thoughts[1], "cosine")


def test_predictions_and_targets_of_other_lengths_are_refused(thoughts):
    predicted, targets = thoughts
    targets["degradation"] = TextTokens(torch.zeros(2, 1, 8), torch.ones(2, 1))  # would broadcast
    with pytest.raises(TrainingError, match=r"predicted degradation as \(2, 5, 8\), its target is \(2, 1, 8\)"):
        reasoning_distances(predicted, targets, "cosine")
