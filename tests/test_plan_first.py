"""The pipeline that looks first and restores by the plan that comes of it, on a tiny random nano."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from cotir.diagnosis import Diagnosis, Layer
from cotir.evidence import looks
from cotir.phrase_bank import KINDS
from cotir.read_out import ReadOut
from cotir.reasoning import ALONE
from nano_model import tiny_pipeline


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """The read-out of the tiny model's text encoder is made once, apart from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTIR_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        yield


@pytest.fixture(scope="module")
def pipeline(home):
    made = tiny_pipeline()
    made.prepare_read_out()
    return made


@pytest.fixture
def seen(monkeypatch):
    """Decides which kinds are found, look after look."""
    sound = ReadOut.read

    def says(*looks):
        said = list(looks)

        def read(self, output, measured=None):
            (reasoning,), found = sound(self, output), said.pop(0)
            told = [replace(each, confidence=0.9 if each.kind in found else 0.1) for each in reasoning.findings]
            return [replace(reasoning, findings=tuple(told))]

        monkeypatch.setattr(ReadOut, "read", read)

    return says


def picture(seed, height=20, width=28):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def test_what_is_found_is_what_is_asked_for(pipeline, seen):
    given, restore = picture(0), partial(pipeline, output_type="np", explain=False)
    asked = restore(given, "remove the noise and clear the haze").image
    seen({"haze", "noise"})
    assert np.array_equal(restore(given, plan_first=True).image, asked)


def test_where_nothing_is_found_the_prompt_holds(pipeline, seen):
    given, restore = picture(0), partial(pipeline, output_type="np", explain=False)
    asked = restore(given, "brighten it").image
    seen(())
    assert np.array_equal(restore(given, "brighten it", plan_first=True).image, asked)


def test_every_picture_has_its_own_plan(pipeline, seen):
    pictures, restore = [picture(0), picture(1)], partial(pipeline, output_type="np", explain=False)
    asked = restore(pictures, [ALONE["noise"], "clear the haze"], seed=[3, 4]).images
    seen({"noise"}, {"haze"})
    planned = restore(pictures, seed=[3, 4], plan_first=True).images
    assert all(np.array_equal(a, b) for a, b in zip(asked, planned, strict=True))


def test_the_reasoning_returned_is_of_the_look_and_progress_counts_it(pipeline):
    given, counts = picture(0, 24, 256 * 3), []
    output = pipeline(
        given, plan_first=True, predict_reasoning=True, steps=2, on_progress=lambda *count: counts.append(count)
    )
    (looked,) = pipeline.explain(given)
    assert output.reasoning == looked
    assert len(output.thoughts) == 1
    # four windows: a look at each, and two steps; as many for the picture made smaller, in two windows and in one
    assert counts == [(number, 18) for number in range(1, 19)]


@pytest.fixture
def measuring(pipeline):
    """The same pipeline with a diagnosis that finds noise in what is dark and haze in what is not."""
    dark, light = (looks(torch.full((3, 24, 24), value))[0] for value in (-0.9, 0.9))
    direction = (light - dark) / (light - dark).square().sum()
    matrix, offset = torch.zeros(len(dark), 2 * len(KINDS)), torch.full((2 * len(KINDS),), -9.0)
    for kind, sign in (("noise", -40.0), ("haze", 40.0)):
        matrix[:, KINDS.index(kind)] = sign * direction
        offset[KINDS.index(kind)] = -sign * (direction @ (dark + light)) / 2
    untouched = torch.stack([torch.ones(len(KINDS)), torch.zeros(len(KINDS))], dim=1)
    # a statistic is cut off at five deviations: one so large that nothing is
    given = Diagnosis(
        torch.zeros(len(dark)),
        torch.full((len(dark),), 1e3),
        (Layer(1e3 * matrix[None], offset[None, None]),),
        untouched,
    )
    sound = pipeline.read_out
    pipeline.read_out = replace(sound, diagnosis=given)
    yield pipeline
    pipeline.read_out = sound


def shade(value, seed=0):
    return (value + 0.02 * np.random.default_rng(seed).random((24, 24, 3))).astype(np.float32)


def test_a_model_that_measures_plans_by_itself_where_it_is_not_told_what_to_do(measuring):
    restore = partial(measuring, output_type="np", explain=False)
    pictures = [shade(0.05), shade(0.93)]
    asked = restore(pictures, [ALONE["noise"], "clear the haze"]).images
    for words in (None, "make this picture clearer", "do whatever it takes to make this picture look good"):
        planned = restore(pictures, words, keep_sound=False).images
        assert all(np.array_equal(a, b) for a, b in zip(asked, planned, strict=True)), words


@pytest.mark.parametrize("words", ["remove the rain", "brighten it", "leave it as it is"])
def test_who_says_what_to_do_is_not_planned_for_but_may_ask_for_it(measuring, words):
    restore, given = partial(measuring, output_type="np", explain=False), shade(0.05)
    asked, noise = (restore(given, each, plan_first=False).image for each in (words, ALONE["noise"]))
    assert np.array_equal(restore(given, words).image, asked) and not np.array_equal(asked, noise)
    assert np.array_equal(restore(given, words, plan_first=True).image, noise)


def test_planning_can_be_forbidden(measuring):
    restore, given = partial(measuring, output_type="np", explain=False), shade(0.05)
    alone = restore(given, plan_first=False).image
    assert not np.array_equal(alone, restore(given).image)


def test_what_was_measured_is_what_is_told_and_costs_no_pass(measuring):
    counts = []
    output = measuring([shade(0.05), shade(0.93)], on_progress=lambda *count: counts.append(count))
    assert [each.diagnosis.split()[-1] for each in output.readings] == ["noise", "haze"]
    assert counts[-1] == (2, 2)
    assert [each.diagnosis for each in measuring.explain([shade(0.05), shade(0.93)])] == [
        each.diagnosis for each in output.readings
    ]
    assert all(each.calibrated for each in output.readings)


@pytest.fixture
def doubting(measuring):
    """It finds nothing between dark and light, and expects that restoring such a picture loses a decibel."""
    benefit = torch.zeros(len(KINDS) + 1)
    benefit[-1] = -1
    careful = torch.stack([torch.ones(len(KINDS)), torch.full((len(KINDS),), -10.0)], dim=1)
    bold = measuring.read_out
    measuring.read_out = replace(bold, benefit=benefit, diagnosis=replace(bold.diagnosis, calibration=careful))
    yield measuring
    measuring.read_out = bold


def test_a_sound_picture_is_not_restored_first(doubting):
    """Neither dark nor light, so nothing is found; between two that are, and larger than a window."""
    sound = np.tile(shade(0.49), (1, 22, 1))
    pictures, counts = [shade(0.05), sound, shade(0.93)], []
    output = doubting(pictures, batch_size=3, output_type="np", on_progress=lambda *count: counts.append(count))
    assert output.kept == [False, True, False]
    assert [each.diagnosis.split()[-1] for each in output.readings] == ["noise", "found", "haze"]
    assert np.array_equal(output.images[1], sound)
    alone = [doubting(each, output_type="np").image for each in pictures]
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(output.images, alone, strict=True))
    assert counts[-1] == (4, 4)  # one for the two that are restored, neighbours then, and three windows to look at


def test_a_sound_picture_takes_no_pass_where_nobody_asks_what_was_thought(doubting):
    counts = []
    given = shade(0.49)
    output = doubting(given, explain=False, output_type="np", on_progress=lambda *count: counts.append(count))
    assert output.kept == [True] and output.readings is None and np.array_equal(output.image, given) and counts == []
    output = doubting(given, explain=False, predict_reasoning=True)
    assert output.kept == [True] and len(output.thoughts) == 1 and output.readings is None


def test_a_sound_picture_is_restored_if_that_is_wanted(doubting):
    for options in ({"keep_sound": False}, {"prompt": "brighten it"}):
        assert doubting(shade(0.49), explain=False, **options).kept == [False]


def test_a_large_picture_is_measured_in_parts_that_agree(measuring):
    given = np.concatenate([np.tile(shade(0.05), (1, 30, 1)), np.tile(shade(0.93), (1, 30, 1))])
    (reading,) = measuring.explain(given)
    assert len(reading.findings) == len(KINDS)
