import itertools
import json
import math
import random

import pytest
import torch
import two_ranks
from accelerate import Accelerator
from saddle_problems import ONE, Wedge, end, plane, solve

from cotir.errors import ConfigError, TrainingError
from cotir.train.multipliers import RULES, average_constraints, make
from cotir.train.objective import PARTS
from golden_model import GOLDEN

RECORDED = json.loads((GOLDEN / "vectors.json").read_text(encoding="utf-8"))
LEARNING = tuple(rule for rule in RULES if rule != "fixed")
INITIALS = {"scene": "s", "degradation": "d", "plan": "p"}


@pytest.fixture(params=RULES)
def rule(request):
    return request.param


@pytest.fixture(params=LEARNING)
def learning_rule(request):
    return request.param


def constraints(step):
    """What a noisy run might give: violated at first, satisfied now and then."""
    draw = random.Random(step)
    return {part: 0.5 * math.exp(-step / 20) - 0.02 + draw.gauss(0, 0.1) for part in PARTS}


# --- laws of every rule


def test_multipliers_begin_at_zero_and_rise_with_a_violation(learning_rule):
    multipliers = make(learning_rule, PARTS)
    assert multipliers.values == dict.fromkeys(PARTS, 0.0)
    multipliers.ascend({"scene": 0.5, "degradation": 0.0, "plan": -0.5})
    assert multipliers["scene"] > 0
    assert multipliers["degradation"] == multipliers["plan"] == 0


def test_multipliers_are_never_negative(rule):
    multipliers = make(rule, PARTS)
    for step in range(100):
        multipliers.ascend({part: value - 0.2 for part, value in constraints(step).items()})
        assert all(value >= 0 for value in multipliers.values.values())


def test_a_satisfied_constraint_costs_nothing_whatever_its_noise(rule):
    multipliers = make(rule, [ONE])
    draw = random.Random(0)
    for _ in range(100):
        multipliers.ascend({ONE: draw.uniform(-0.2, -0.01)})
        assert multipliers[ONE] == 0


def test_a_state_goes_through_json_and_continues_to_the_bit(rule):
    whole, resumed = make(rule, PARTS), make(rule, PARTS)
    for step in range(60):
        if step == 30:
            resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
        whole.ascend(constraints(step), scale=0.3 + 0.01 * step)
        if step >= 30:
            resumed.ascend(constraints(step), scale=0.3 + 0.01 * step)
    assert resumed.values == whole.values
    assert resumed.state_dict() == whole.state_dict()
    assert any(whole.values.values()) or rule == "fixed"


def test_a_state_from_before_the_first_step_is_a_fresh_start(rule):
    fresh, loaded = make(rule, PARTS), make(rule, PARTS)
    loaded.load_state_dict(fresh.state_dict())
    for multipliers in (fresh, loaded):
        multipliers.ascend(constraints(0))
    assert loaded.state_dict() == fresh.state_dict()


def test_a_saved_state_does_not_move_with_the_run(rule):
    multipliers = make(rule, [ONE])
    state = multipliers.state_dict()
    before = json.dumps(state)
    multipliers.ascend({ONE: 0.5})
    assert json.dumps(state) == before


@pytest.mark.parametrize(("rule", "other"), itertools.permutations(RULES, 2))
def test_a_state_of_another_rule_is_refused(rule, other):
    multipliers = make(rule, PARTS)
    with pytest.raises(ConfigError, match=f"follow the rule '{other}', these follow '{rule}': resume with the rule"):
        multipliers.load_state_dict(make(other, PARTS).state_dict())


def test_a_state_of_other_constraints_is_refused_and_changes_nothing(rule):
    multipliers = make(rule, PARTS)
    multipliers.ascend(constraints(0))
    before = multipliers.state_dict()
    with pytest.raises(ConfigError, match="are of scene, plan, these are of scene, degradation, plan"):
        multipliers.load_state_dict(make(rule, ["scene", "plan"]).state_dict())
    assert multipliers.state_dict() == before


def test_a_state_with_a_hole_is_refused(rule):
    multipliers = make(rule, PARTS)
    state = multipliers.state_dict()
    state.popitem()
    with pytest.raises(ConfigError, match="incomplete"):
        multipliers.load_state_dict(state)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_constraint_that_is_no_number_ends_the_run(rule, value):
    multipliers = make(rule, PARTS)
    with pytest.raises(TrainingError, match=f"the constraint on degradation is {value}, not a finite number"):
        multipliers.ascend({"scene": 0.1, "degradation": value, "plan": 0.1})
    assert not any(multipliers.values.values())


@pytest.mark.parametrize("scale", [math.nan, math.inf, -1.0])
def test_a_flow_loss_without_size_ends_the_run(rule, scale):
    with pytest.raises(TrainingError, match=f"the size of the flow loss is {scale}"):
        make(rule, [ONE]).ascend({ONE: 0.1}, scale=scale)


def test_constraints_must_be_those_of_the_multipliers(rule):
    with pytest.raises(ConfigError, match="multipliers are of scene, degradation, plan, the constraints of scene"):
        make(rule, PARTS).ascend({"scene": 0.1})


# --- making them


def test_an_unknown_rule_names_the_rules():
    with pytest.raises(ConfigError, match="no rule 'adam' for the multipliers; the rules are released, ascent, pi, f"):
        make("adam", PARTS)


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'pi' has no option 'celing'; its options are kp, ki, .*Nearest: ceiling"):
        make("pi", PARTS, celing=1)
    with pytest.raises(ConfigError, match="'ascent' has no option 'ki'; its options are lr"):
        make("ascent", PARTS, ki=1)


@pytest.mark.parametrize(
    ("rule", "option", "value"), [("released", "lr", -1), ("ascent", "lr", "1e-3"), ("pi", "kp", True)]
)
def test_an_option_out_of_range_is_refused(rule, option, value):
    with pytest.raises(ConfigError, match=f"the multipliers' {option} is {value!r}; it must be a number, not negative"):
        make(rule, PARTS, **{option: value})


def test_an_average_that_never_moves_is_refused():
    with pytest.raises(ConfigError, match=r"smoothing is 1; it must be a number, from 0 to 0\.999"):
        make("pi", PARTS, smoothing=1)


@pytest.mark.parametrize("names", [[], ["scene", "scene"]])
def test_every_constraint_is_named_once(rule, names):
    with pytest.raises(ConfigError, match="each once"):
        make(rule, names)


# --- fixed weights


def test_fixed_multipliers_stay_where_they_are_set():
    assert make("fixed", PARTS).values == dict.fromkeys(PARTS, 0.0)
    multipliers = make("fixed", PARTS, value=0.7)
    multipliers.ascend(dict.fromkeys(PARTS, 1.0), scale=9.0)
    assert multipliers.values == dict.fromkeys(PARTS, 0.7)


# --- the released rule


@pytest.mark.parametrize(("trace", "lr"), [("dual_adam_lr1e-4", 1e-4), ("dual_adam_lr1e-2", 1e-2)])
def test_the_released_rule_follows_the_recorded_traces(trace, lr):
    recorded = RECORDED[trace]
    multipliers = make("released", PARTS, lr=lr)
    # the sequence is ordered scene, degradation, plan
    for values, wanted in zip(recorded["c_sequence"], recorded["lambdas_after"], strict=True):
        multipliers.ascend(dict(zip(PARTS, values, strict=True)))
        for part, letter in INITIALS.items():
            assert multipliers[part] == pytest.approx(wanted[letter], abs=1e-7)


def test_the_first_released_step_is_the_rate_whatever_the_violation():
    multipliers = make("released", PARTS)
    multipliers.ascend({"scene": 3e-4, "degradation": 0.9, "plan": -0.9})
    assert multipliers["scene"] == pytest.approx(9.9997e-5, abs=1e-9)
    assert multipliers["degradation"] == pytest.approx(1e-4, abs=1e-9)
    assert multipliers["plan"] == 0


# --- saddle points

TOY = {
    "released": {"lr": 1e-2},
    "ascent": {"lr": 0.02},
    "pi": {"kp": 3.0, "ki": 0.1, "smoothing": 0.0, "limit": math.inf, "ceiling": 10.0},
}


@pytest.mark.parametrize(("optimizer", "tolerance"), [("sgd", 1e-4), ("adamw", 1e-2)])
def test_every_rule_finds_the_multiplier(learning_rule, optimizer, tolerance):
    point = end(plane(make(learning_rule, [ONE], **TOY[learning_rule]), 1200, optimizer))
    assert point.multiplier == pytest.approx(2, abs=tolerance)
    assert point.constraint == pytest.approx(0, abs=tolerance)
    assert point.flow == pytest.approx(2, abs=tolerance)


def test_the_proportional_part_damps_the_oscillation_of_ascent():
    ascent = plane(make("ascent", [ONE], lr=0.5), 300).constraint
    damped = plane(make("pi", [ONE], **TOY["pi"] | {"ki": 0.5}), 300).constraint
    assert _crossings(ascent) > 10 and _crossings(damped) == 1
    assert min(ascent[10:]) < -0.5 and min(damped[10:]) > -1e-3  # how far the violation swings back
    assert _settled(ascent) > 5 * _settled(damped)


def _crossings(path):
    return sum(a != b for a, b in itertools.pairwise(value > 0 for value in path if abs(value) > 1e-3))


def _settled(path):
    return max(step for step, value in enumerate(path) if abs(value) > 1e-2)


SIZES = (0.01, 0.3, 1.0)
"""A flow loss of nano's pixels, of FLUX latents, and a balanced one."""
WEDGES = [*(Wedge(size) for size in SIZES), Wedge(0.3, delta=0.05), Wedge(0.3, delta=0.3)]


@pytest.fixture(scope="module")
def wedges():
    return dict(zip(WEDGES, solve(WEDGES, 6000), strict=True))


@pytest.mark.parametrize("wedge", WEDGES)
def test_the_default_gains_serve_every_size_of_loss_and_every_delta(wedges, wedge):
    point = end(wedges[wedge], 1000)
    assert point.constraint == pytest.approx(0, abs=0.02)
    assert point.flow == pytest.approx(wedge.flow, rel=0.05)
    assert point.multiplier == pytest.approx(wedge.multiplier, rel=0.15)


def test_the_size_of_the_flow_loss_changes_nothing_but_the_unit_of_lambda(wedges):
    small, middle, large = (wedges[Wedge(size)] for size in SIZES)
    for size, other in zip(SIZES, (small, middle, large), strict=True):
        assert other.constraint == pytest.approx(middle.constraint, abs=1e-3)
        assert [x / size for x in other.multiplier] == pytest.approx([x / 0.3 for x in middle.multiplier], abs=1e-2)


HOPELESS = [Wedge(size, rest=0.05, offset=0.5) for size in SIZES]
"""Half of the distance can never be met, and approaching the rest costs the flow loss 2.8 e-folds."""


def _price(wedge, trace):
    """E-folds of the flow loss given up, and the distance they gained, against the best flow loss there is."""
    point = end(trace, 500)
    unconstrained = 0.5 + wedge.offset - wedge.delta
    return math.log(point.flow / (wedge.size * wedge.rest)), unconstrained - point.constraint


def test_a_constraint_that_cannot_be_met_does_not_drown_the_flow_loss():
    for wedge, trace in zip(HOPELESS, solve(HOPELESS, 2500), strict=True):
        paid, gained = _price(wedge, trace)
        assert 0 < paid <= 3 * 1.2 * gained  # the noisy losses that it sees are larger by 1.13 on average


def test_without_the_size_of_a_small_flow_loss_it_would():
    (trace,) = solve(HOPELESS[:1], 2500, scaled=False)
    paid, gained = _price(HOPELESS[0], trace)
    assert paid > 3 * 1.2 * gained


# --- the controller's bounds


def test_the_ceiling_holds():
    multipliers = make("pi", [ONE], ki=0.1, ceiling=1.5)
    for _ in range(2000):
        multipliers.ascend({ONE: 1.9}, scale=0.3)
    assert multipliers[ONE] == pytest.approx(0.45)


def _after_a_far_start(**options):
    multipliers = make("pi", [ONE], **options)
    for step in range(600):
        multipliers.ascend({ONE: 0.85 if step < 300 else -0.1})
    return multipliers[ONE]


def test_a_start_far_from_the_target_does_not_wind_up_the_integral():
    assert _after_a_far_start() == 0
    assert _after_a_far_start(limit=2.0) > 0.5


def test_neither_bound_is_left_late():
    multipliers = make("pi", [ONE], ki=0.1, smoothing=0.0, ceiling=1.0)
    for _ in range(500):
        multipliers.ascend({ONE: -0.1})
    multipliers.ascend({ONE: 0.1})
    assert multipliers[ONE] == pytest.approx(2 * 0.1 + 0.1 * 0.1)  # kp c and one step of the integral
    for _ in range(500):
        multipliers.ascend({ONE: 0.1})
    multipliers.ascend({ONE: -0.1})
    assert multipliers[ONE] == pytest.approx(1 - 2 * 0.1 - 0.1 * 0.1)


def test_lambda_follows_the_size_of_the_flow_loss():
    small, large = make("pi", [ONE]), make("pi", [ONE])
    for step in range(50):
        small.ascend({ONE: constraints(step)["plan"]}, scale=0.01)
        large.ascend({ONE: constraints(step)["plan"]}, scale=2.0)
    assert large[ONE] == pytest.approx(200 * small[ONE]) and small[ONE] > 0


# --- ranks


def test_constraints_are_averaged_over_micro_batches():
    micro = {"scene": torch.tensor([0.1, 0.3]), "plan": torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True)}
    assert average_constraints(micro) == {"scene": pytest.approx(0.2), "plan": 0.5}
    assert average_constraints(micro, Accelerator(cpu=True)) == average_constraints(micro)


def test_lambda_is_the_same_on_every_rank_to_the_bit(tmp_path):
    first, second = two_ranks.run(tmp_path, LEARNING)
    assert first["processes"] == second["processes"] == 2
    assert first["mean"] == second["mean"] == {"plan": 0.5}  # 0 on one rank, 1 on the other
    assert first["together"] == second["together"]
    for rule in LEARNING:
        assert first["alone"][rule] != second["alone"][rule], rule  # without the reduction they drift apart
