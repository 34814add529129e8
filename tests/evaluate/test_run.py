"""An evaluation as a whole: every result is kept as it is made, nothing is made twice, nothing is lost in silence."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cotir.errors import ConfigError
from cotir.evaluate.metrics import choose
from cotir.evaluate.records import JOURNAL, Journal, read_results
from cotir.evaluate.restorers import Specification
from cotir.evaluate.run import evaluate
from cotir.evaluate.runner import Options, folder_name

METRICS = choose(["psnr", "ssim"])


def run(tests, out, listener, *methods, stopping=lambda: False, **options):
    specifications = [Specification.parse(text) for text in methods]
    return evaluate(tests, specifications, out, METRICS, Options(**options), listener, stopping).rows


@pytest.fixture
def own(tmp_path):
    """Write a method of one's own; returns its specification."""

    def write(body, version="1", name="Mine", prompts=""):
        path = tmp_path / "mine.py"
        lines = ["from cotir.evaluate.methods import Method, Request, Restored", "from cotir.errors import ImageError"]
        lines += [f"class {name}(Method):", f"    version = '{version}'", prompts and f"    prompts = {prompts}"]
        lines += ["    def restore(self, request):", f"        {body}"]
        path.write_text("\n".join(lines))
        return f"python:{path}:{name}"

    return write


def test_every_method_prompt_and_picture_has_a_row(tests, tmp_path, listener, nano_folder):
    rows = run(tests, tmp_path / "run", listener, "identity", f"cotir:{nano_folder},steps=2")
    assert len(rows) == len(listener.rows) == 3 * len(tests.cases)
    assert {(row.method, row.prompt) for row in rows} == {
        ("identity", "none"),
        (f"cotir:{nano_folder},steps=2", "vague"),
        (f"cotir:{nano_folder},steps=2", "precise"),
    }
    for row in rows:
        assert row.missing is None
        assert row.seconds > 0
        assert (row.height, row.width) == (48, 48)
        assert all(np.isfinite(value) for value in row.metrics.values())
    clean = [row for row in rows if row.method == "identity" and row.group == "clean"]
    assert [row.metrics["psnr"] for row in clean] == [60.0] * len(clean)


def test_the_table_on_disk_equals_the_rows(tests, tmp_path, listener, nano_folder):
    rows = run(tests, tmp_path / "run", listener, "identity", f"cotir:{nano_folder},prompt=vague")
    assert read_results(tmp_path / "run") == rows


def test_pictures_are_kept_where_the_row_says(tests, tmp_path, listener):
    rows = run(tests, tmp_path / "run", listener, "identity")
    for row, case in zip(rows, tests.cases, strict=True):
        kept = np.asarray(Image.open(tmp_path / "run" / row.image))
        assert np.array_equal(kept, case.load().lq)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "run/images/hq" / f"{case.key}.png")), case.load().hq)
    run(tests, tmp_path / "none", listener, "identity", keep_images=False)
    assert not (tmp_path / "none" / "images").exists()


def test_a_stopped_run_goes_on_where_it_was(tests, tmp_path, listener):
    out, count = tmp_path / "run", len(tests.cases)
    run(tests, out, listener, "identity", "classical", stopping=lambda: len(listener.rows) >= count + 2)
    assert len(read_results(out)) == count + 2
    listener.rows.clear()
    rows = run(tests, out, listener, "identity", "classical")
    assert len(listener.rows) == count - 2
    assert listener.started[-2:] == [(0, count), (count - 2, 2)]
    assert len(rows) == len(read_results(out)) == 2 * count


def test_a_run_killed_in_the_middle_of_a_line_loses_that_line_alone(tests, tmp_path, listener):
    out = tmp_path / "run"
    rows = run(tests, out, listener, "identity")
    whole = (out / JOURNAL).read_bytes()
    (out / JOURNAL).write_bytes(whole[:-25])
    listener.rows.clear()
    again = run(tests, out, listener, "identity")
    assert len(listener.rows) == 1
    assert [row.metrics for row in again] == [row.metrics for row in rows]
    assert len((out / JOURNAL).read_bytes().splitlines()) == len(rows)


def test_a_damaged_line_is_named(tests, tmp_path, listener):
    out = tmp_path / "run"
    run(tests, out, listener, "identity")
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    (out / JOURNAL).write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(ConfigError, match=r"rows\.jsonl: line 2 is damaged .*delete this line"):
        Journal(out / JOURNAL)


def test_anyones_method_runs_from_a_file(tests, tmp_path, listener, own):
    rows = run(tests, tmp_path / "run", listener, own("return Restored(255 - request.image)"))
    dark = {case.key: 255 - case.load().lq for case in tests.cases}
    for row in rows:
        assert np.array_equal(np.asarray(Image.open(tmp_path / "run" / row.image)), dark[row.key])


def test_a_new_version_of_a_method_is_run_again(tests, tmp_path, listener, own):
    run(tests, tmp_path / "run", listener, own("return Restored(request.image)"))
    listener.rows.clear()
    rows = run(tests, tmp_path / "run", listener, own("return Restored(request.image)", version="2"))
    assert len(listener.rows) == len(rows) == len(tests.cases)
    assert {row.version for row in rows} == {"2"}


def test_a_table_never_mixes_two_versions(tests, tmp_path, listener, own):
    out = tmp_path / "run"
    run(tests, out, listener, own("return Restored(request.image)"))
    made = len(listener.rows)
    second = own("return Restored(request.image)", version="2")
    run(tests, out, listener, second, stopping=lambda: len(listener.rows) >= made + 2)
    assert {row.version for row in read_results(out)} == {"2"}
    assert len(read_results(out)) == 2
    run(tests, out, listener, own("return Restored(request.image)"))
    assert {row.version for row in read_results(out)} == {"1"}
    assert len(listener.rows) == made + 2


def test_a_method_that_cannot_be_loaded_leaves_the_others_running(tests, tmp_path, listener, own):
    broken = own("return 1")
    path = tmp_path / "broken.py"
    path.write_text(
        (tmp_path / "mine.py").read_text() + "\n    def prepare(self):\n        raise KeyError('weights')\n"
    )
    texts = [f"python:{path}:Mine", "identity"]
    outcome = evaluate(tests, [Specification.parse(t) for t in texts], tmp_path / "run", METRICS, Options(), listener)
    assert broken
    assert outcome.failed == (texts[0],)
    assert {row.method for row in outcome.rows} == {"identity"}
    assert listener.notes == [f"{texts[0]}: cannot run: KeyError: 'weights'; the same command tries it again"]


def test_a_metric_that_fails_does_not_lose_the_restoration(tests, tmp_path, listener):
    calls = []

    def sometimes(restored, reference):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no memory")
        return 1.0

    odd = replace(METRICS[0], name="odd", compute=sometimes)
    rows = evaluate(tests, [Specification.parse("identity")], tmp_path / "run", [odd], Options(), listener).rows
    assert sum(np.isnan(row.metrics["odd"]) for row in rows) == 1
    assert all(row.missing is None for row in rows)
    assert listener.notes == [f"odd of {tests.cases[1].key}: RuntimeError: no memory"]


def test_what_cannot_be_told_of_a_method_is_said_and_its_results_are_made(tests, tmp_path, listener, own):
    text = own("return Restored(request.image)\n    def model_bytes(self):\n        raise OSError('gone')")
    rows = run(tests, tmp_path / "run", listener, text)
    assert all(row.missing is None for row in rows)
    assert listener.notes == [f"{text}: weights and arithmetic are not told: OSError: gone"]


def test_a_metric_that_cannot_be_computed_is_told_before_anything_runs(tests, tmp_path, listener):
    def never(restored, reference):
        raise OSError("no network")

    odd = replace(METRICS[0], name="odd", compute=never)
    with pytest.raises(ConfigError, match=r"the metric odd cannot be computed here \(no network\); leave it out"):
        evaluate(tests, [Specification.parse("identity")], tmp_path / "run", [odd], Options(), listener)
    assert listener.rows == []


def test_a_method_that_works_in_place_does_not_spoil_the_input(tests, tmp_path, listener, own):
    body = "request.image[:] = 0; return Restored(request.image)"
    rows = run(tests, tmp_path / "run", listener, own(body))
    assert all("read-only" in row.missing for row in rows)


def test_a_method_gets_the_instruction_and_what_an_oracle_may_know(tests, tmp_path, listener, own):
    body = "raise ImageError(f'{request.key}|{request.instruction}|{request.kinds}|{request.seed}')"
    rows = run(tests, tmp_path / "run", listener, own(body, prompts="('precise',)"), seed=7)
    expected = [f"{case.key}|{case.instruction.precise}|{case.kinds}|7" for case in tests.cases]
    assert [row.missing for row in rows] == expected


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ("raise ImageError('too dark')", "too dark"),
        ("raise RuntimeError('out of memory')", "RuntimeError: out of memory"),
        ("return None.image", "AttributeError: .*image"),
        ("return Restored(request.image[:4])", r"the method gave uint8 \(4, 48, 3\); it must give uint8 \(48, 48, 3\)"),
        ("return Restored(request.image / 255)", "the method gave float64"),
        ("return Restored('a.png')", "the method gave str; it must give Restored"),
    ],
)
def test_a_method_that_fails_is_missing_with_its_reason_and_tried_again(tests, tmp_path, listener, own, body, missing):
    rows = run(tests, tmp_path / "run", listener, own(body), "identity")
    failed = [row for row in rows if row.method != "identity"]
    assert len(failed) == len(tests.cases)
    for row in failed:
        assert re.search(missing, row.missing)
        assert np.isnan(row.metrics["psnr"])
    assert all(row.missing is None for row in rows if row.method == "identity")
    listener.rows.clear()
    rows = run(tests, tmp_path / "run", listener, own("return Restored(request.image)"))
    assert all(row.missing is None for row in rows)
    assert len(read_results(tmp_path / "run")) == 2 * len(tests.cases)


def test_a_folder_lacking_a_result_says_which(tests, tmp_path, listener):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for case in tests.cases[1:]:
        Image.fromarray(case.load().hq).save(outputs / f"{case.key}.png")
    rows = run(tests, tmp_path / "run", listener, f"folder:{outputs}")
    assert rows[0].missing == f"{outputs}: there is no picture named {tests.cases[0].key}"
    assert {row.metrics["psnr"] for row in rows[1:]} == {60.0}


def test_results_of_another_size_are_missing(tests, tmp_path, listener):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for case in tests.cases:
        Image.new("RGB", (40, 48)).save(outputs / f"{case.key}.png")
    rows = run(tests, tmp_path / "run", listener, f"folder:{outputs},prompt=vague")
    assert all("it and the test picture are 40x48 and 48x48" in row.missing for row in rows)
    assert {row.prompt for row in rows} == {"vague"}


def test_what_was_run_is_written_down(tests, tmp_path, listener, nano_folder):
    run(tests, tmp_path / "run", listener, f"cotir:{nano_folder}", command="cotir eval --bench x")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    facts = about["methods"][f"cotir:{nano_folder}"]
    assert about["command"] == "cotir eval --bench x"
    assert about["facts"]["metrics"] == ["psnr", "ssim"]
    assert facts["gflop_per_megapixel"] > 0
    assert facts["model_bytes"] > 1000
    assert about["machine"]["cores"] is None or about["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "holds an evaluation with another seed, 0 and not 3; name another folder with -o"),
        ({"metrics": choose(["psnr"])}, "another metrics, psnr, ssim and not psnr"),
        ({"limit": 2}, "another test set"),
    ],
)
def test_a_folder_of_another_evaluation_is_left_alone(tests, tmp_path, listener, change, message):
    run(tests, tmp_path / "run", listener, "identity")
    before = (tmp_path / "run" / "results.parquet").read_bytes()
    options, metrics = Options(change.get("seed", 0)), change.get("metrics", METRICS)
    with pytest.raises(ConfigError, match=message):
        evaluate(
            tests.first(change.get("limit")),
            [Specification.parse("identity")],
            tmp_path / "run",
            metrics,
            options,
            listener,
        )
    assert (tmp_path / "run" / "results.parquet").read_bytes() == before


def test_a_method_named_twice_is_refused(tests, tmp_path, listener):
    with pytest.raises(ConfigError, match="a method is named twice: identity"):
        run(tests, tmp_path / "run", listener, "identity", "identity")


def test_names_of_folders_hold_no_path_and_no_two_methods():
    assert folder_name("cotir:nano,steps=4", "vague") == "cotir_nano_steps=4-vague"
    assert "/" not in folder_name("folder:../a/b", "none")
    assert folder_name("folder:a/b", "none") != folder_name("folder:a_b", "none")
    assert len(folder_name("folder:" + "a" * 400, "precise")) < 120
