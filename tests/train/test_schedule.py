import math
from itertools import pairwise

import pytest

from cotir.train.config import FlowConfig, OptimizerConfig, ScheduleConfig, StageConfig
from cotir.train.schedule import Schedule

PEAK, FLOOR = 5e-4, 5e-5
PAPER_VAGUE = {0: 0.2, 10_000: 0.3, 20_000: 0.4, 30_000: 0.5, 40_000: 0.6}


def schedule(ends=(400, 1000), warmup=100, vague=None, **flow):
    stages = tuple(StageConfig(until=end, crop=32 * (n + 1), batch=8 - n) for n, end in enumerate(ends))
    return Schedule(
        ScheduleConfig(stages=stages, vague=vague or {0: 0.5}),
        OptimizerConfig(rate=PEAK, floor=FLOOR, warmup=warmup),
        FlowConfig(**flow),
    )


# --- learning rate ----------------------------------------------------------------------------------------------------


def test_the_rate_rises_in_equal_steps_to_its_peak():
    plan = schedule()
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(PEAK / 100)
    assert rates[-1] == pytest.approx(PEAK)
    assert [b - a for a, b in pairwise(rates)] == pytest.approx([PEAK / 100] * 99)


def test_the_rate_falls_along_a_cosine():
    plan = schedule()
    assert plan.rate(100) == pytest.approx(PEAK)
    assert plan.rate(100 + 225) == pytest.approx(FLOOR + (PEAK - FLOOR) * (1 + math.cos(math.pi / 4)) / 2)
    assert plan.rate(100 + 450) == pytest.approx((PEAK + FLOOR) / 2)
    rates = [plan.rate(step) for step in range(100, 1000)]
    assert all(a > b for a, b in pairwise(rates))


def test_the_last_step_is_at_the_floor_and_so_is_all_after_it():
    plan = schedule()
    assert plan.rate(999) == pytest.approx(FLOOR, rel=1e-3)
    assert plan.rate(1000) == plan.rate(5000) == pytest.approx(FLOOR, rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 1, 5, 100, 1000, 2000])
def test_no_step_has_a_rate_of_zero_or_above_the_peak(warmup):
    plan = schedule(warmup=warmup)
    rates = [plan.rate(step) for step in range(1001)]
    assert min(rates) > 0
    assert max(rates) <= PEAK * (1 + 1e-12)


def test_without_warm_up_the_first_step_has_the_peak():
    assert schedule(warmup=0).rate(0) == PEAK


# --- stages -----------------------------------------------------------------------------------------------------------


def test_stages_change_at_their_ends():
    plan = schedule(ends=(400, 600, 1000))
    assert plan.steps == 1000
    crops = {step: plan.stage(step).crop for step in (0, 399, 400, 599, 600, 999)}
    assert crops == {0: 32, 399: 32, 400: 64, 599: 64, 600: 96, 999: 96}


def test_after_the_end_the_last_stage_stays():
    assert schedule().stage(1000) == schedule().stage(999)


def test_a_run_may_have_one_stage():
    plan = schedule(ends=(3,), warmup=0)
    assert (plan.steps, plan.stage(2).crop) == (3, 32)


# --- vague instructions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.2),
        (9_999, 0.2),
        (10_000, 0.3),
        (19_999, 0.3),
        (20_000, 0.4),
        (30_000, 0.5),
        (39_999, 0.5),
        (40_000, 0.6),
        (10**7, 0.6),
    ],
)
def test_the_share_of_vague_instructions_rises_as_in_the_paper(step, share):
    assert schedule(vague=PAPER_VAGUE).vague(step) == share


def test_the_order_in_the_file_does_not_matter():
    assert schedule(vague=dict(reversed(PAPER_VAGUE.items()))).vague(25_000) == 0.4


# --- annealing of the balanced flow loss ------------------------------------------------------------------------------


def test_the_power_falls_in_a_line():
    plan = schedule(power=(0.6, 0.1))
    assert [plan.power(step) for step in (0, 500, 1000, 2000)] == pytest.approx([0.6, 0.35, 0.1, 0.1])


def test_the_floor_falls_by_equal_factors():
    plan = schedule(floor=(1e-2, 1e-4))
    assert [plan.floor(step) for step in (0, 500, 1000, 2000)] == pytest.approx([1e-2, 1e-3, 1e-4, 1e-4])


def test_equal_ends_are_constant():
    plan = schedule(power=(0.5, 0.5), floor=(1e-3, 1e-3))
    assert {plan.power(step) for step in range(0, 1001, 100)} == {0.5}
    assert [plan.floor(step) for step in range(0, 1001, 100)] == pytest.approx([1e-3] * 11)
