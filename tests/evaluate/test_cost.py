"""Time, memory and arithmetic of calls whose cost is known."""

import time

import numpy as np
import pytest
import torch

from cotir.evaluate.cost import gflop, held, measure


def test_seconds_are_those_of_the_call_and_sleeping_takes_no_cpu():
    taken = measure(lambda: time.sleep(0.2), held())
    assert 0.2 <= taken.seconds < 5
    assert taken.cpu_seconds < 0.15
    assert taken.result is None


def test_memory_counts_from_the_base_and_sees_what_is_held_for_a_while():
    base = held()

    def hold():
        block = np.ones(50_000_000 // 8)
        time.sleep(0.1)
        return block.sum()

    taken = measure(hold, base)
    assert 45 < taken.peak_mb < 120
    assert taken.result == 50_000_000 // 8


def test_an_error_passes_through():
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0, 0)


def test_a_matrix_product_is_two_operations_a_term():
    a = torch.ones(100, 200)
    assert gflop(lambda: a @ a.T) == pytest.approx(2 * 100 * 200 * 100 / 1e9)
    assert gflop(lambda: None) is None
