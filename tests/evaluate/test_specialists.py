"""Chains of specialists: which run, in which order, and when they stop."""

import inspect
import os

import numpy as np
import pytest
from small_graphs import LINES, write_specialists

from cotir.degrade import KINDS
from cotir.errors import ConfigError
from cotir.evaluate.methods import Request
from cotir.evaluate.specialists import ORDERS, TASKS, Specialists, in_fixed_order, newest_first, task_for
from cotir.reasoning import Finding, Reasoning
from cotir.words import SCENE_WORDS, WORDS, Scene

IMAGE = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_specialists(tmp_path_factory.mktemp("weights"))


def request(*kinds):
    return Request("otters", IMAGE, kinds=kinds)


def by_hand(*tasks):
    """What the small models make of the picture, one after the other."""
    image = IMAGE
    for task in tasks:
        factor, summand = LINES[task]
        image = np.rint(np.clip(image / np.float32(255) * factor + summand, 0, 1) * 255).astype(np.uint8)
    return image


def thought(**confidences):
    findings = [Finding(kind, confidences.get(kind, 0.02), 0.5) for kind in WORDS]
    scene = Scene(**{part: words[0] for part, words in SCENE_WORDS.items()})
    return Reasoning(scene, tuple(sorted(findings, key=lambda each: -each.confidence)), calibrated=True)


class Looks:
    """Diagnoses one after the other; the last one stays."""

    def __init__(self, *thoughts):
        self.thoughts = thoughts
        self.seen = []

    def __call__(self, image):
        self.seen.append(image)
        return self.thoughts[min(len(self.seen), len(self.thoughts)) - 1]


def diagnosing(folder, looks, rounds="4"):
    method = Specialists(str(folder), order="diagnosis", rounds=rounds)
    method.diagnose = looks
    return method


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_for_kinds_there_are_and_no_kind_has_two(task):
    assert task.kinds
    for kind in task.kinds:
        assert kind in KINDS
        assert [each for each in TASKS if kind in each.kinds] == [task]


def test_damage_without_a_specialist_is_left():
    assert task_for("watermark") is None
    assert newest_first(["watermark", "jpeg"]) == in_fixed_order(["watermark", "jpeg"]) == []


def test_the_oracle_undoes_the_last_damage_first_each_task_once(folder):
    out = Specialists(str(folder), order="oracle").restore(request("haze", "rain", "blur", "noise", "low_resolution"))
    steps = ("deblurring", "denoising", "deraining", "dehazing-outdoor")
    assert out.steps == steps
    np.testing.assert_array_equal(out.image, by_hand(*steps))
    assert out.reasoning is None


def test_the_fixed_order_does_not_care_how_the_damage_came_about(folder):
    method = Specialists(str(folder), order="fixed")
    steps = ("denoising", "dehazing-outdoor", "enhancement", "deblurring")
    for kinds in (("haze", "blur", "low_light", "noise"), ("noise", "low_light", "blur", "haze", "jpeg")):
        out = method.restore(request(*kinds))
        assert out.steps == steps
        np.testing.assert_array_equal(out.image, by_hand(*steps))


@pytest.mark.parametrize("order", ["oracle", "fixed"])
def test_a_clean_picture_is_left_as_it_is_and_one_without_labels_is_an_error(folder, order):
    method = Specialists(str(folder), order=order)
    out = method.restore(request())
    assert out.steps == ()
    np.testing.assert_array_equal(out.image, IMAGE)
    with pytest.raises(ConfigError, match=f"otters: the order '{order}' needs to know what damage is there"):
        method.restore(Request("otters", IMAGE))


def test_a_diagnosis_looks_again_after_every_step_until_nothing_is_found(folder):
    looks = Looks(thought(haze=0.6, noise=0.9), thought(haze=0.7, noise=0.2), thought(haze=0.4))
    out = diagnosing(folder, looks).restore(Request("otters", IMAGE))
    assert out.steps == ("denoising", "dehazing-outdoor")
    assert out.reasoning is looks.thoughts[0]
    expected = (IMAGE, by_hand("denoising"), by_hand("denoising", "dehazing-outdoor"))
    assert len(looks.seen) == 3
    for seen, wanted in zip(looks.seen, expected, strict=True):
        np.testing.assert_array_equal(seen, wanted)
    np.testing.assert_array_equal(out.image, expected[-1])


def test_a_diagnosis_passes_over_what_has_no_specialist_and_runs_each_once(folder):
    looks = Looks(thought(watermark=0.99, rain=0.8, snow=0.7))
    assert diagnosing(folder, looks).restore(Request("otters", IMAGE)).steps == ("deraining",)
    assert len(looks.seen) == 2


def test_nothing_found_leaves_the_picture(folder):
    out = diagnosing(folder, Looks(thought(noise=0.49))).restore(Request("otters", IMAGE))
    assert out.steps == ()
    np.testing.assert_array_equal(out.image, IMAGE)


@pytest.mark.parametrize(("rounds", "steps"), [("1", 1), ("3", 3), ("9", 5)])
def test_rounds_end_a_diagnosis_that_always_finds_more(folder, rounds, steps):
    looks = Looks(thought(noise=0.9, rain=0.8, haze=0.7, low_light=0.6, blur=0.55))
    out = diagnosing(folder, looks, rounds).restore(Request("otters", IMAGE))
    assert out.steps == tuple(task.name for task in TASKS)[:steps]
    assert len(looks.seen) == min(steps + 1, int(rounds))


def test_a_model_diagnoses_unless_another_is_set(folder, nano_folder):
    method = Specialists(str(folder), model=str(nano_folder))
    method.prepare()
    assert method.version.startswith("1 maxim-0.1.0 cotir-")
    out = method.restore(Request("otters", IMAGE))
    assert out.reasoning is not None
    assert out.image.shape == IMAGE.shape
    method.release()
    assert method.diagnose is None


def test_labels_need_no_model_that_diagnoses(folder):
    method = Specialists(str(folder), order="fixed", model="no such model")
    method.prepare()
    assert method.version == "1 maxim-0.1.0"
    assert method.diagnose is None


def test_node_modules_may_be_given_itself_and_weights_are_counted(folder):
    for given in (folder, folder / "node_modules"):
        assert Specialists(str(given)).model_bytes() == 8 * len(TASKS)


def test_keys_are_checked(folder):
    with pytest.raises(ConfigError, match=r"no order 'oracel' \(did you mean 'oracle'\?\); oracle, fixed, diagnosis"):
        Specialists(str(folder), order="oracel")
    for rounds in ("0", "-1", "two", "1.5"):
        with pytest.raises(ConfigError, match=f"rounds is '{rounds}'; it is a whole number, at least 1"):
            Specialists(str(folder), rounds=rounds)
    keys = inspect.signature(Specialists).parameters
    assert list(keys) == ["argument", "order", "model", "rounds"]
    assert keys["order"].default in ORDERS


def test_the_line_that_installs_is_given_with_the_folder(tmp_path):
    with pytest.raises(ConfigError, match="npm install --prefix FOLDER --ignore-scripts"):
        Specialists()
    line = f"npm install --prefix {tmp_path} --ignore-scripts --legacy-peer-deps --no-audit --no-fund @upscalerjs/"
    with pytest.raises(ConfigError) as caught:
        Specialists(str(tmp_path / "node_modules"))
    assert line in str(caught.value)
    assert f"{tmp_path / 'node_modules'} lacks denoising (no " in str(caught.value)
    write_specialists(tmp_path, release="0.2.0")
    with pytest.raises(ConfigError, match=r"lacks denoising \(release 0.2.0 instead of 0.1.0\)"):
        Specialists(str(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("COTIR_MAXIM" not in os.environ, reason="COTIR_MAXIM names no folder of MAXIM's weights")
def test_the_real_weights_are_there_and_run():
    method = Specialists(os.environ["COTIR_MAXIM"], order="oracle")
    assert method.model_bytes() > 300e6
    out = method.restore(request("haze", "noise"))
    assert out.steps == ("denoising", "dehazing-outdoor")
    assert out.image.shape == IMAGE.shape
    assert (out.image != IMAGE).any()
