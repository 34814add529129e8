import pytest

from cotir.train.multipliers import ProportionalIntegral


def solve(steps, **gains):
    """min (x - 3)^2 subject to x <= 1, by gradient descent on x: the saddle point is x = 1, lambda = 4."""
    multipliers = ProportionalIntegral(["x"], **gains)
    x = 0.0
    for _ in range(steps):
        x -= 0.05 * (2 * (x - 3) + multipliers["x"])
        multipliers.ascend({"x": x - 1})
    return x, multipliers["x"]


def test_it_converges_to_the_saddle_point():
    x, multiplier = solve(4000, kp=1.0, ki=0.05, ceiling=100.0)
    assert x == pytest.approx(1, abs=1e-3)
    assert multiplier == pytest.approx(4, abs=1e-2)


def test_a_satisfied_constraint_costs_nothing():
    multipliers = ProportionalIntegral(["x"])
    for _ in range(10):
        multipliers.ascend({"x": -0.5})
    assert multipliers["x"] == 0


def test_the_ceiling_holds_for_a_constraint_that_cannot_be_met():
    multipliers = ProportionalIntegral(["x"], kp=0.0, ki=1.0, ceiling=2.0)
    for _ in range(10):
        multipliers.ascend({"x": 1.0})
    assert multipliers["x"] == 2.0


def test_memory_is_saved_and_restored():
    multipliers, again = ProportionalIntegral(["x"]), ProportionalIntegral(["x"])
    multipliers.ascend({"x": 0.7})
    again.load_state_dict(multipliers.state_dict())
    multipliers.ascend({"x": 0.1})
    again.ascend({"x": 0.1})
    assert again["x"] == multipliers["x"] > 0
