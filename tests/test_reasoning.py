"""What a person is told of the reasoning."""

from dataclasses import replace

import pytest

from cotir.phrases import PHRASES
from cotir.reasoning import ALONE, Finding, Reasoning
from cotir.words import SCENE_WORDS, WORDS, Scene

SCENE = Scene(**{part: words[0] for part, words in SCENE_WORDS.items()})


def thought(**confidences):
    findings = [Finding(kind, confidences.get(kind, 0.01), 0.9 if kind == "noise" else 0.2) for kind in WORDS]
    return Reasoning(SCENE, tuple(sorted(findings, key=lambda each: -each.confidence)), calibrated=True)


def test_what_is_likely_is_found_and_undone_from_the_end_of_the_light_path():
    reasoning = thought(noise=0.93, haze=0.81, blur=0.3)
    assert [(each.kind, each.confidence) for each in reasoning.degradation] == [("noise", 0.93), ("haze", 0.81)]
    assert reasoning.diagnosis == "heavy noise and slight haze"
    assert reasoning.instruction == "remove the noise and clear the haze"
    assert [step.split(" ", 3)[:3] for step in reasoning.plan] == [["remove", "the", "noise"], ["clear", "the", "haze"]]
    assert reasoning.lines() == [
        f"scene: {SCENE.full()}",
        "degradation: heavy noise (93%) and slight haze (81%); perhaps blur (30%)",
        f"plan: 1. {reasoning.plan[0]}  2. {reasoning.plan[1]}",
    ]


def test_what_is_found_and_not_sure_is_told_and_not_planned():
    reasoning = thought(noise=0.93, rain=0.6)
    assert reasoning.diagnosis == "heavy noise and probably slight rain"
    assert reasoning.instruction == ALONE["noise"] and len(reasoning.plan) == 1
    unsure = thought(rain=0.6)
    assert (unsure.instruction, unsure.plan) == ("", ())
    assert unsure.lines()[1:] == ["degradation: slight rain (60%)", "plan: none, for nothing of it is sure"]


@pytest.mark.parametrize("kind", WORDS)
def test_a_plan_of_one_kind_asks_for_it_in_words_of_training(kind):
    asked = thought(**{kind: 0.9}).instruction
    assert asked == ALONE.get(kind, WORDS[kind].remedy)
    assert kind not in ALONE or asked in PHRASES[kind].remedies
    assert set(ALONE) <= set(WORDS)


def test_a_clean_picture_is_left_alone():
    reasoning = thought()
    assert (reasoning.degradation, reasoning.plan, reasoning.diagnosis) == ((), (), "no damage found")
    assert reasoning.instruction == ""
    assert reasoning.lines()[1:] == ["degradation: none found", "plan: keep it as it is"]


@pytest.mark.parametrize(
    ("confidence", "gain", "worth"),
    [(0.8, -1.0, True), (0.3, -1.0, False), (0.3, 1.0, True), (0.3, None, True), (0.8, None, True)],
)
def test_a_picture_is_kept_where_nothing_is_found_and_harm_expected(confidence, gain, worth):
    assert replace(thought(noise=confidence), expected_gain=gain).is_worth_restoring == worth


def test_confidences_that_are_not_calibrated_say_so():
    reasoning = replace(thought(noise=0.8), calibrated=False)
    assert reasoning.lines()[1].endswith("(80%)  (confidences are not calibrated for this model)")


def test_it_is_plain_values():
    values = thought(noise=0.93456).to_json()
    assert values["degradation"] == [
        {"kind": "noise", "confidence": pytest.approx(0.9346), "severity": 0.9, "words": "heavy noise"}
    ]
    assert len(values["findings"]) == len(WORDS)
    assert values["scene"] == SCENE.full() and len(values["plan"]) == 1 and values["calibrated"] is True
