"""The pipeline that looks first and restores by the plan that comes of it, on a tiny random nano."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from cotir.read_out import ReadOut
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

        def read(self, output):
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
    asked = restore(pictures, ["remove the noise", "clear the haze"], seed=[3, 4]).images
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
