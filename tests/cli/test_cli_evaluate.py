"""``cotir eval`` as a user runs it."""

import html.parser
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cotir.evaluate.metrics import METRICS
from cotir.evaluate.records import read_results
from small_bench import build_small_bench
from ssim_by_hand import ssim_by_hand


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        clean = rng.integers(40, 200, (24, 28, 3))
        for folder, shift in (("lq", 30), ("hq", 0), ("out", 10)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray((clean + shift).astype(np.uint8)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    return build_small_bench(tmp_path_factory)


@pytest.fixture
def run(cotir, folders):
    """Evaluate the three pictures by PSNR and SSIM."""
    tests = (
        "--lq",
        folders / "lq",
        "--hq",
        folders / "hq",
        "-o",
        folders / "run",
        "--metric",
        "psnr",
        "--metric",
        "ssim",
    )
    return lambda *arguments: cotir("eval", *tests, *arguments)


def test_a_folder_of_outputs_scores_as_the_formulas_do(run, folders):
    outcome = run("--method", f"folder:{folders / 'out'}")
    assert outcome.code == 0
    rows = read_results(folders / "run")
    found = {row.key: row.metrics for row in rows if row.method != "identity"}
    for name, metrics in found.items():
        hq, out = (np.asarray(Image.open(folders / f / f"{name}.png"), float) for f in ("hq", "out"))
        assert metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((hq - out) ** 2)), abs=1e-6)
        assert metrics["ssim"] == pytest.approx(ssim_by_hand(out / 255, hq / 255), abs=1e-4)
    assert len(found) == 3


def test_identity_is_always_among_them_and_the_page_has_the_tables_numbers(run, folders):
    run("--method", "classical")
    rows = read_results(folders / "run")
    assert {row.method for row in rows} == {"identity", "classical"}
    page = (folders / "run" / "report.html").read_text()
    html.parser.HTMLParser().feed(page)
    mean = np.mean([row.metrics["psnr"] for row in rows if row.method == "identity"])
    assert any(float(value) == pytest.approx(mean, abs=1e-9) for value in re.findall(r'data-value="([\d.]+)"', page))
    assert f"{mean:.2f}" in (folders / "run" / "table.md").read_text()
    assert r"\begin{tabular}" in (folders / "run" / "table.tex").read_text()


def test_the_same_command_makes_nothing_twice(run, folders):
    run("--method", "identity")
    before = (folders / "run" / "rows.jsonl").read_bytes()
    outcome = run("--method", "identity")
    assert outcome.code == 0
    assert (folders / "run" / "rows.jsonl").read_bytes() == before


def test_a_run_that_was_killed_goes_on(folders):
    """As a process of its own, killed without warning while a method works."""
    (folders / "slow.py").write_text(
        "import time\n"
        "from cotir.evaluate.methods import Method, Restored\n"
        "class Slow(Method):\n"
        "    version = '1'\n"
        "    def restore(self, request):\n"
        "        time.sleep(0.5)\n"
        "        return Restored(request.image)\n"
    )
    command = [sys.executable, "-m", "cotir", "eval", "--lq", "lq", "--hq", "hq", "-o", "run", "--metric", "psnr"]
    command += ["--method", "python:slow.py:Slow"]
    journal = folders / "run" / "rows.jsonl"
    with subprocess.Popen(command, cwd=folders, stderr=subprocess.DEVNULL) as process:
        while not (journal.exists() and len(journal.read_bytes().splitlines()) >= 4):  # the input's three and one more
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    made = journal.read_bytes()
    assert not (folders / "run" / "results.parquet").exists()
    assert subprocess.run(command, cwd=folders, check=False, capture_output=True).returncode == 0
    assert journal.read_bytes().startswith(made)
    assert len(journal.read_bytes().splitlines()) == len(read_results(folders / "run")) == 6


def test_a_missing_result_is_told_and_the_code_says_so(run, folders):
    (folders / "out" / "b.png").unlink()
    outcome = run("--method", f"folder:{folders / 'out'}")
    assert outcome.code == 1
    assert "there is no picture named b" in outcome.err
    assert "1 results are missing; the same command tries them again" in outcome.err


def test_report_writes_the_page_again(run, cotir, folders):
    run("--method", "identity")
    outcome = cotir("eval", "report", folders / "run", "-o", folders / "other.html")
    assert outcome.code == 0
    assert "other.html" in outcome.out
    assert (folders / "other.html").exists()


def test_real_photos_need_no_originals(cotir, folders, nano_folder):
    (folders / "lq" / "notes.txt").write_text("of the scans")
    outcome = cotir(
        "eval",
        "--real",
        folders / "lq",
        "--method",
        "identity",
        "--method",
        f"cotir:{nano_folder}",
        "-o",
        folders / "r",
    )
    assert outcome.code == 0
    assert "left out, for they are no pictures: " in outcome.err
    assert "notes.txt" in outcome.err
    rows = read_results(folders / "r")
    assert {row.prompt for row in rows if row.method != "identity"} == {"vague"}
    assert set(rows[0].metrics) == {"noise_level", "blur_level", "contrast", "colourfulness"}
    assert {row.group for row in rows} == {"real"}
    sheet = Image.open(folders / "r" / "sheets" / "a.png")
    assert sheet.height == 20 + 24
    assert np.array_equal(np.asarray(sheet)[20:, :28], np.asarray(Image.open(folders / "lq" / "a.png")))


def test_a_bench_is_evaluated_by_its_groups(cotir, bench, folders):
    arguments = ("--bench", bench, "--method", "identity", "--metric", "psnr", "-o", folders / "b", "--limit", 4)
    outcome = cotir("eval", *arguments)
    assert outcome.code == 0
    assert len(read_results(folders / "b")) == 4


def released(folders):
    methods = ("--method", f"folder:{folders / 'out'}", "--metric", "psnr")
    return ("eval", "--compat", "released", "--hq", folders / "hq", *methods)


def test_the_released_summary(cotir, folders):
    outcome = cotir(*released(folders))
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "out & 28.13"
    assert (folders / "out" / "metrics_summary.txt").read_text() == "method & psnr\nout & 28.13\n"


def test_what_the_released_script_leaves_out_is_told(cotir, folders):
    (folders / "out" / "b.png").unlink()
    outcome = cotir(*released(folders))
    assert "1 without result: b.png" in outcome.err


def test_metrics_lists_every_metric_with_its_source(cotir):
    outcome = cotir("eval", "metrics")
    assert outcome.code == 0
    for metric in METRICS.values():
        assert re.search(rf"^{metric.name} ", outcome.out, re.MULTILINE)
        assert metric.source in outcome.out.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "identity", "-o", "x"), "name one test set: --bench DIR, --lq DIR --hq DIR, or --real DIR"),
        (("--bench", "a", "--real", "b", "--method", "identity", "-o", "x"), "name one test set"),
        (("--lq", "a", "--method", "identity", "-o", "x"), "--lq and --hq belong together"),
        (("--bench", "nowhere", "--method", "identity", "-o", "x"), "build the benchmark first"),
        (("--real", "nowhere", "--method", "identity", "-o", "x"), "nowhere: cannot be read"),
        (("--compat", "old", "--hq", "a", "--method", "folder:b"), "there is no --compat old; it is 'released'"),
        (("--compat", "released", "--method", "folder:b"), "--compat released compares folders of results"),
        (("report", "nowhere"), "cannot be read"),
    ],
)
def test_wrong_commands_say_what_is_missing(cotir, arguments, message):
    outcome = cotir("eval", *arguments)
    assert outcome.code == 2
    assert message in outcome.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name at least one method, as in --method cotir:nano"),
        (("--method", "cotir:nano,prompt=precise"), "nothing to do: these pictures have no precise instruction"),
        (("--method", "best"), "there is no method 'best'"),
        (("--method", "identity", "--metrics", "al"), "there is no metric set 'al'"),
    ],
)
def test_wrong_methods_and_metrics_are_refused_before_anything_runs(cotir, folders, arguments, message):
    tests = ("--lq", folders / "lq", "--hq", folders / "hq", "-o", folders / "run")
    outcome = cotir("eval", *tests, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (folders / "run").exists()
