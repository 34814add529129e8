import re

import numpy as np
import pytest

from cotir.bench.reasons import REASONS, describe_layout, write_full_trace
from cotir.bench.traces import WORDS, write_trace
from cotir.degrade import KINDS, sample_recipe
from cotir.degrade.compose import Applied
from cotir.errors import ConfigError
from cotir.prompts import ReasoningTrace

GRAY = np.full((48, 60, 3), 0.5, np.float32)


def applied(*kinds):
    return sample_recipe(np.random.default_rng(0), kinds, [0.5] * len(kinds))


def test_every_kind_has_reasons():
    assert set(REASONS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_names_the_damage_its_effect_and_the_remedy(kind):
    trace = write_full_trace(GRAY, applied(kind))
    assert trace.degradation == f"moderate {WORDS[kind].noun}, which {REASONS[kind].effect}"
    assert trace.plan == f"{WORDS[kind].remedy} {REASONS[kind].because}"
    assert ReasoningTrace.parse(trace.format()) == trace
    assert not re.search(r"\b(\w+) \1\b|\.\.|  ", trace.format())


def test_the_plan_undoes_the_damage_in_reverse_and_counts_the_steps():
    trace = write_full_trace(GRAY, applied("haze", "noise", "jpeg"))
    steps = trace.plan.split("; ")
    assert [step.partition(" ")[0] for step in steps] == ["first", "then", "finally"]
    assert [kind for step in steps for kind in ("jpeg", "noise", "haze") if WORDS[kind].remedy in step] == [
        "jpeg", "noise", "haze"
    ]  # fmt: skip
    assert [part.split()[1] for part in trace.degradation.split("; ")] == ["haze,", "noise,", "compression"]


def test_a_clean_picture_is_left_alone():
    trace = write_full_trace(GRAY, ())
    assert trace.degradation == write_trace(GRAY, ()).degradation
    assert trace.plan.startswith("keep the picture as it is, because ")


def test_the_layout_is_where_light_and_detail_are():
    assert describe_layout(GRAY) == "equally bright all over, with detail spread all over"
    picture = GRAY * 0.2
    picture[:16, 40:] = 0.9
    picture[20:28, 24:36] = np.random.default_rng(0).random((8, 12, 3), dtype=np.float32)
    assert describe_layout(picture) == "brightest in the upper right, with most detail in the centre"


def test_a_kind_without_reasons_is_named():
    (known,) = applied("noise")
    with pytest.raises(ConfigError, match="the degradation 'fog' has no words for its traces; add it to WORDS"):
        write_full_trace(GRAY, [Applied("fog", 0.5, known.params)])
