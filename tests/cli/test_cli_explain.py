"""Reasoning on the command line."""

import json
from dataclasses import replace

import pytest

from cotir.errors import PromptError
from cotir.interfaces.instructions import read_plan
from cotir.output import CoTIROutput
from cotir.pipeline import CoTIRPipeline
from cotir.read_out import ReadOut


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path_factory):
    """The read-out of the tiny model's text encoder is made once, apart from the user's own."""
    folder = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("COTIR_HOME", str(folder))
    return folder


def test_a_picture_is_explained_and_not_restored(cotir, nano_folder, photo, tmp_path, home):
    source = photo(tmp_path / "old.png")
    outcome = cotir("explain", source, "--model", nano_folder)
    assert outcome.code == 0, outcome.err
    name, scene, degradation, plan = outcome.out.splitlines()
    assert name == str(source)
    assert scene.startswith("  scene: a") and "tones with" in scene
    assert degradation.startswith("  degradation: ") and plan.startswith("  plan: ")
    assert "not calibrated for this model" in degradation
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert len(list((home / "reasoning").iterdir())) == 1


def test_explaining_takes_one_pass_even_of_many_steps(nano_folder, photo, tmp_path, monkeypatch):
    pipeline = CoTIRPipeline.from_pretrained(nano_folder)
    passes = []
    pipeline.transformer.register_forward_pre_hook(lambda module, inputs: passes.append(1))
    (reading,) = pipeline.explain(str(photo(tmp_path / "old.png")))
    assert len(passes) == 1
    assert len(reading.findings) == 27
    wide = photo(tmp_path / "wide.png", (40, 256 * 7, 3))
    passes.clear()
    pipeline.explain(str(wide))
    assert len(passes) == 4


def test_json_has_a_line_for_each(cotir, nano_folder, photo, tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    outcome = cotir("explain", tmp_path, "--json", "--model", nano_folder)
    assert outcome.code == 1
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["file"] for row in rows] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert all(len(row["findings"]) == 27 for row in rows)
    assert "c.png" in outcome.err


def test_an_odd_failure_does_not_end_the_run(cotir, nano_folder, photo, tmp_path, monkeypatch):
    for name in ("a", "b"):
        photo(tmp_path / f"{name}.png")
    sound, calls = CoTIRPipeline.explain, []

    def fails_once(self, *arguments):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return sound(self, *arguments)

    monkeypatch.setattr(CoTIRPipeline, "explain", fails_once)
    outcome = cotir("explain", tmp_path, "--model", nano_folder)
    assert outcome.code == 1
    assert f"error: {tmp_path / 'a.png'}: MemoryError: not enough memory" in outcome.err
    assert outcome.out.startswith(str(tmp_path / "b.png"))


def test_nothing_to_explain_is_an_error(cotir, tmp_path):
    outcome = cotir("explain", tmp_path / "no.png")
    assert outcome.code == 2 and "there is no such file or folder" in outcome.err


def test_a_result_is_explained_beside_it(restore, photo, tmp_path):
    source = photo(tmp_path / "old.png")
    outcome = restore(source, "--explain")
    assert outcome.code == 0, outcome.err
    line, scene, *_ = outcome.out.splitlines()
    assert "-> " in line and scene.startswith("  scene: ")
    written = json.loads((tmp_path / "old_restored.png.cotir.json").read_text(encoding="utf-8"))
    assert (written["file"], written["prompt"]) == ("old.png", "make this picture clearer")
    assert f"  scene: {written['scene']}" == scene
    assert restore(source, "--explain").code == 1  # the result is there and stays
    assert restore(source, "--explain", "--overwrite").code == 0


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_line_of_a_picture_names_a_diagnosis_only_if_it_is_calibrated(
    calibrated, restore, photo, tmp_path, monkeypatch
):
    sound = ReadOut.read

    def read(self, output, measured=None):
        return [replace(reasoning, calibrated=calibrated) for reasoning in sound(self, output)]

    monkeypatch.setattr(ReadOut, "read", read)
    outcome = restore(photo(tmp_path / "old.png"), "--explain")
    assert outcome.code == 0, outcome.err
    before = outcome.out.splitlines()[0].partition("-> ")[0]
    assert before.endswith(" s  ") != calibrated


def test_a_picture_that_was_kept_says_so(restore, photo, tmp_path, monkeypatch):
    def keeps(self, image, prompt, **options):
        assert prompt is None
        return CoTIROutput([image], kept=[True])

    monkeypatch.setattr(CoTIRPipeline, "__call__", keeps)
    outcome = restore(photo(tmp_path / "old.png"))
    assert outcome.code == 0
    assert "no damage found, kept as it is: restoring would likely harm it; --prompt or --plan" in outcome.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1. dehaze 2. denoise", "dehaze, then denoise"),
        ("1) Clear the haze; 2) remove noise", "clear the haze, then remove noise"),
        ("remove the noise, then clear the haze", "remove the noise, then clear the haze"),
        ("First, remove 3 scratches. Then JPEG", "remove 3 scratches, then JPEG"),
        ("1. Lighten by 2.5 stops 2. deblur", "lighten by 2.5 stops, then deblur"),
        ("- dehaze\n- denoise", "dehaze, then denoise"),
        ("first clean the artifacts; finally clear the haze", "clean the artifacts, then clear the haze"),
    ],
)
def test_a_plan_becomes_an_instruction(text, words):
    assert read_plan(text) == words


@pytest.mark.parametrize("text", ["", "1. 2. 3.", " ; "])
def test_a_plan_without_a_step_is_refused(text):
    with pytest.raises(PromptError, match=r"holds no step; write it as '1\. clear the haze 2\. remove the noise'"):
        read_plan(text)


def test_a_plan_is_what_the_model_is_asked_for(restore, photo, tmp_path, monkeypatch):
    asked = []
    sound = CoTIRPipeline.__call__

    def watched(self, image, prompt, **options):
        asked.append((prompt, options["plan_first"]))
        return sound(self, image, prompt, **options)

    monkeypatch.setattr(CoTIRPipeline, "__call__", watched)
    source = photo(tmp_path / "old.png")
    assert restore(source, "--plan", "1. Clear the haze 2. Remove the noise").code == 0
    assert asked == [("clear the haze, then remove the noise", False)]
    assert restore(source, "--plan", "Auto", "--overwrite").code == 0
    assert restore(source, "--plan", "never", "--overwrite").code == 0
    assert restore(source, "--prompt", "dehaze", "--overwrite").code == 0
    assert asked[1:] == [(None, True), (None, False), ("dehaze", None)]
    outcome = restore(source, "--plan", "1. dehaze", "--prompt", "dehaze")
    assert outcome.code == 2 and "--prompt and --plan both say what to do; give one of them" in outcome.err
