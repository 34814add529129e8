"""Scores of a diagnosis on cases small enough to be counted by hand."""

import numpy as np
import pytest

from cotir.evaluate.diagnosis import average_precision, calibration_error, diagnose, f1_score

TRUTH = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])


def test_average_precision_by_hand():
    # ranks of the true ones: 1 and 3, so (1/1 + 2/3) / 2
    assert average_precision(np.array([0.9, 0.5, 0.4, 0.1]), np.array([1.0, 0, 1, 0])) == pytest.approx(5 / 6)


def test_equal_scores_give_the_share_of_true_ones_whatever_their_order():
    truth = np.array([1.0, 0, 0, 0])
    assert average_precision(np.full(4, 0.5), truth) == average_precision(np.full(4, 0.5), truth[::-1]) == 0.25


def test_it_equals_another_library():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, truth = rng.random(200).round(1), (rng.random(200) < 0.3).astype(float)
    assert average_precision(scores, truth) == pytest.approx(precision_by_picture(scores, truth))
    distinct = rng.random(200)
    assert average_precision(distinct, truth) == pytest.approx(metrics.average_precision_score(truth, distinct))


def precision_by_picture(scores, truth):
    """The definition, picture by picture."""
    return np.mean([truth[scores >= scores[k]].mean() for k in np.flatnonzero(truth)])


def test_f1_by_hand():
    found, truth = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert f1_score(found, truth) == 0.5
    assert f1_score(np.zeros(4, bool), truth) == 0


def test_a_calibrated_forecaster_has_no_error_and_a_boastful_one_has():
    rng = np.random.default_rng(0)
    confidences = rng.random((20_000, 1))
    truth = (rng.random((20_000, 1)) < confidences).astype(float)
    assert calibration_error(confidences, truth) < 0.02
    assert calibration_error(np.ones((4, 1)), np.array([[1.0], [0], [0], [0]])) == pytest.approx(0.75)


def test_a_perfect_diagnosis():
    severities = np.array([[0.2, 0], [0, 0.9], [0.6, 0.4], [0, 0]])
    found = diagnose(TRUTH, severities, TRUTH, severities, ["noise", "haze"])
    assert (found.mean_average_precision, found.f1, found.severity_correlation) == (1, {"noise": 1, "haze": 1}, 1)
    assert (found.calibration_error, found.chance, found.pictures) == (0, 0.5, 4)


def test_kinds_that_never_occur_are_in_no_mean():
    truth = np.array([[1.0, 0.0], [0.0, 0.0]])
    found = diagnose(np.array([[0.9, 0.8], [0.1, 0.7]]), truth, truth, truth, ["noise", "haze"])
    assert found.average_precision == {"noise": 1.0}
    assert np.isnan(found.severity_correlation)


def test_pictures_without_damage_alone_have_no_precision():
    nothing = np.zeros((2, 2))
    assert np.isnan(diagnose(nothing, nothing, nothing, nothing, ["noise", "haze"]).mean_average_precision)
