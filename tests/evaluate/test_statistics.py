"""Intervals and tests on numbers whose answer is known."""

import numpy as np
import pytest

from cotir.evaluate.statistics import bootstrap, paired_test


def alone(values):
    return [str(number) for number in range(len(values))]


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.normal(3.0, 1.0, 40)
        interval = bootstrap(values, alone(values), resamples=400, seed=trial)
        assert interval.low <= interval.mean <= interval.high
        hits += interval.low <= 3.0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_pictures_of_one_photo_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    of_photos = rng.normal(0, 1, 12)
    once = bootstrap(of_photos, alone(of_photos))
    ten_times = bootstrap(np.repeat(of_photos, 10), [name for name in alone(of_photos) for _ in range(10)])
    assert ten_times.mean == pytest.approx(once.mean)
    assert (ten_times.low, ten_times.high) == pytest.approx((once.low, once.high))
    assert ten_times.count == 120


def test_what_is_no_number_is_left_out_and_not_counted():
    interval = bootstrap(np.array([1.0, np.nan, 3.0]), ["a", "b", "c"])
    assert (interval.mean, interval.count) == (2.0, 2)


def test_few_values_give_no_interval():
    assert np.isnan(bootstrap(np.array([]), []).mean)
    one = bootstrap(np.array([2.0, 4.0]), ["a", "a"])
    assert one.mean == 3.0
    assert np.isnan(one.low)
    assert np.isnan(one.high)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(2).normal(size=20)
    assert bootstrap(values, alone(values)) == bootstrap(values, alone(values))
    assert bootstrap(values, alone(values), seed=1) != bootstrap(values, alone(values))


def test_p_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(3)
    ps = [paired_test(rng.normal(0, 1, 20), alone(range(20)), resamples=199, seed=k) for k in range(200)]
    assert 0.01 <= np.mean(np.array(ps) <= 0.05) <= 0.1
    assert paired_test(rng.normal(2, 1, 20), alone(range(20))) < 0.001


def test_no_difference_at_all_has_p_one():
    assert paired_test(np.zeros(10), alone(range(10))) == 1.0


def test_p_of_three_equal_differences_is_a_quarter():
    # of the 8 ways to set signs, all plus and all minus are as far from zero
    assert paired_test(np.ones(3), alone(range(3)), resamples=20_000) == pytest.approx(0.25, abs=0.01)


def test_copies_of_a_photo_do_not_lower_p():
    assert paired_test(np.ones(30), ["a", "b", "c"] * 10, resamples=20_000) == pytest.approx(0.25, abs=0.01)
    assert np.isnan(paired_test(np.ones(30), ["a"] * 30))
