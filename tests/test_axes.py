"""Axes: ticks are few and round, numbers short, and every value lies within the pixels."""

import numpy as np
import pytest

from cotir.axes import Axis, grid, log_ticks, short, ticks


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.7, 12.2), (27.001, 27.003), (0, 123456), (1e-7, 3e-6), (-1e9, 1e9)]
)
def test_ticks_are_few_round_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high) for tick in found)
    step = found[1] - found[0]
    assert round(step / 10 ** np.floor(np.log10(step) + 1e-9), 4) in (1, 2, 5)


@pytest.mark.parametrize(
    ("low", "high", "found"), [(0.5, 2000, [1, 10, 100, 1000]), (0.3, 8, [0.5, 1, 2, 5]), (2.1, 4.9, [])]
)
def test_ticks_of_a_logarithmic_axis(low, high, found):
    assert log_ticks(low, high) == pytest.approx(found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.30000000000000004, "0.3"),
        (12500, "12.5k"),
        (-2e6, "-2M"),
        (5e-5, "5e-5"),
        (999, "999"),
        (3e9, "3G"),
    ],
)
def test_numbers_on_axes_are_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize("values", [[3.0], [0.0], [0.0, 5.0], [-2.0, 1.0], [1e-12, 1e12], [np.nan, 4.0, np.inf]])
@pytest.mark.parametrize("pixels", [(10.0, 90.0), (90.0, 10.0)])
@pytest.mark.parametrize("log", [False, True])
def test_an_axis_holds_all_finite_values(values, pixels, log):
    values = np.array([each for each in values if not log or each > 0])
    if len(values):
        axis = Axis.around(values, pixels, log=log)
        assert ((axis(values[np.isfinite(values)]) >= 10) & (axis(values[np.isfinite(values)]) <= 90)).all()
        assert (axis.at(axis.low), axis.at(axis.high)) == pytest.approx(pixels)


def test_an_axis_does_not_go_beyond_zero():
    assert Axis.around(np.array([0.0, 5.0]), (0, 1)).low == 0
    assert Axis.around(np.array([-5.0, 0.0]), (0, 1)).high == 0


def test_labels_of_a_grid_are_escaped_and_numbers_lie_left_and_below():
    drawn = grid(Axis(0, 1, 50, 90), Axis(0, 1, 80, 10), "<x>", "a & b")
    assert "&lt;x&gt;" in drawn and "a &amp; b" in drawn and 'x="44"' in drawn and 'y="114"' in drawn
