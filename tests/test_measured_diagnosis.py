"""Telling damage by what is measured: learned from pictures whose damage is known, calibrated on others."""

from dataclasses import replace

import pytest
import torch

from cotir.diagnosis import Diagnosis, Layer
from cotir.errors import ConfigError, WeightsError
from cotir.evaluate.diagnosis import average_precision
from cotir.loading import NANO_FOLDER
from cotir.phrase_bank import KINDS
from cotir.read_out import FILE, ReadOut

STATISTICS = 40


def known(count, seed):
    """Pictures in which kind k, present in a quarter of them, moves statistic k by its severity."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, len(KINDS), generator=generator) < 0.25).float()
    severities = torch.rand(count, len(KINDS), generator=generator) * labels
    measured = 50 + 0.1 * torch.randn(count, STATISTICS, generator=generator)
    measured[:, : len(KINDS)] += labels * (1 + 2 * severities)
    return measured, labels, severities


@pytest.fixture(scope="module")
def learned():
    return Diagnosis.fit(*known(1500, 0), seed=0, epochs=12)


def test_what_moves_the_statistics_is_found_in_pictures_never_seen(learned):
    measured, labels, severities = known(300, 1)
    told = learned.confidences(measured)
    precisions = [average_precision(told[:, k].double().numpy(), labels[:, k].numpy()) for k in range(len(KINDS))]
    assert min(precisions) > 0.95
    there = labels > 0
    both = torch.stack([learned.severities(measured)[there], severities[there]])
    assert torch.corrcoef(both)[0, 1] > 0.7


def test_the_same_seed_learns_the_same():
    one, other = (Diagnosis.fit(*known(100, 0), seed=3, epochs=1) for _ in range(2))
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, other.tensors()[name]), name


def test_the_callers_random_numbers_go_on_as_they_were():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    Diagnosis.fit(*known(70, 0), seed=3, epochs=1)
    assert torch.equal(torch.rand(3), wanted)


def test_calibrated_confidences_are_right_as_often_as_they_say(learned):
    measured, labels, _ = known(600, 2)
    doubted = replace(learned, calibration=torch.tensor([[0.2, 1.0]]).repeat(len(KINDS), 1))
    calibrated = doubted.calibrated(measured, labels)
    fresh, truth, _ = known(600, 3)
    error = (calibrated.confidences(fresh).mean(dim=0) - truth.mean(dim=0)).abs().mean()
    assert error < 0.03 < (doubted.confidences(fresh).mean(dim=0) - truth.mean(dim=0)).abs().mean()


def test_several_looks_are_told_by_the_mean_of_their_log_odds(learned):
    measured, _, _ = known(3, 4)
    learned = replace(learned, calibration=0.1 * learned.calibration)  # so that none is too sure for its log-odds
    confidences, severities = learned.of_looks(measured)
    assert confidences.shape == severities.shape == (len(KINDS),)
    torch.testing.assert_close(
        confidences.logit(), learned.confidences(measured).logit().mean(dim=0), atol=1e-3, rtol=1e-3
    )
    alone, _ = learned.of_looks(measured[:1])
    torch.testing.assert_close(alone, learned.confidences(measured[:1])[0])


def test_a_statistic_far_off_says_no_more_than_one_at_the_edge(learned):
    measured, _, _ = known(1, 5)
    far, farther = measured.clone(), measured.clone()
    far[0, 0], farther[0, 0] = 1e4, 1e9
    torch.testing.assert_close(learned.confidences(far), learned.confidences(farther))


def test_it_comes_back_from_its_tensors(learned):
    measured, _, _ = known(20, 6)
    back = Diagnosis.of(learned.tensors())
    torch.testing.assert_close(back.confidences(measured), learned.confidences(measured), atol=5e-3, rtol=0)


def test_the_bundled_one_has_the_shape_that_is_fitted():
    read_out = ReadOut.load(NANO_FOLDER / FILE)
    assert read_out.diagnosis is not None
    statistics = len(read_out.diagnosis.mean)
    fitted = Diagnosis.fit(torch.zeros(2, statistics), *torch.zeros(2, 2, len(KINDS)), seed=0, epochs=1)
    shapes = [{name: each.shape for name, each in one.tensors().items()} for one in (fitted, read_out.diagnosis)]
    assert shapes[0] == shapes[1]


def one_net(diagnosis, number):
    row = slice(number, number + 1)
    layers = tuple(Layer(layer.matrix[row], layer.offset[row]) for layer in diagnosis.layers)
    return replace(diagnosis, layers=layers)


def test_several_nets_tell_the_mean_of_what_each_tells():
    measured, _, _ = known(20, 6)
    learned = Diagnosis.fit(*known(300, 0), seed=0, nets=3, epochs=2)
    told = [one_net(learned, number).confidences(measured).logit() for number in range(len(learned.layers[0].matrix))]
    assert len(told) == 3 and not any(torch.allclose(told[0], each) for each in told[1:])
    mean = torch.stack(told).mean(dim=0)
    torch.testing.assert_close(learned.confidences(measured).logit(), mean, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors: {name: each[0] if name.startswith("layers") else each for name, each in tensors.items()},
        lambda tensors: {name: each for name, each in tensors.items() if not name.startswith("layers")},
        lambda tensors: {name: each for name, each in tensors.items() if name != "layers.1.offset"},
        lambda tensors: {name: each for name, each in tensors.items() if name != "calibration"},
        lambda tensors: tensors | {"more": torch.zeros(1)},
    ],
)
def test_tensors_of_another_version_are_told(learned, spoil):
    with pytest.raises(WeightsError, match="not one of this version; fit it anew"):
        Diagnosis.of(spoil(learned.tensors()))


def test_shapes_that_do_not_fit_are_named():
    measured, labels, severities = known(10, 0)
    with pytest.raises(ConfigError, match=r"labels are \(10, 27\) and severities \(9, 27\); both need \(10, 27\)"):
        Diagnosis.fit(measured, labels, severities[:9], seed=0)


def test_a_kind_that_is_never_there_cannot_be_calibrated(learned):
    measured, labels, _ = known(50, 0)
    labels[:, 3] = 0
    with pytest.raises(ConfigError, match=f"{KINDS[3]}: in none or all of the pictures"):
        learned.calibrated(measured, labels)
