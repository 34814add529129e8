"""The page about a run: its numbers are the log's, and it is well formed whatever the log holds."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

from cotir.errors import ConfigError
from cotir.train.records import columns, read_log, rising
from cotir.train.report import MATTERS, write_report
from cotir.train.run_file import to_yaml

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """Checks that every tag is closed in its turn, and collects the numbers of tables and curves."""

    def __init__(self, text):
        super().__init__()
        self.open, self.values, self.gains, self.curves, self.links = [], {}, [], {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "data-key" in attributes and "data-value" in attributes:
            self.values.setdefault(attributes["data-key"], attributes["data-value"])
        if "data-gain" in attributes:
            self.gains.append(float(attributes["data-gain"]))
        if "data-x" in attributes:
            points = [[float(number) for number in attributes[axis].split()] for axis in ("data-x", "data-y")]
            self.curves.setdefault(attributes["data-key"], list(zip(*points, strict=True)))
        self.links += [attributes[name] for name in ("src", "href", "srcset", "xlink:href") if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Closes itself."""
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def row(step, **more):
    parts = ("scene", "degradation", "plan")
    constraints = {f"c_{part}": 0.5 / step - 0.1 for part in parts}
    distances = {f"d_{part}": 0.5 / step + 0.1 for part in parts}
    multipliers = {f"lambda_{part}": 0.01 * step for part in parts}
    losses = {"loss": 1 / step, "flow": 0.9 / step, "grad_norm": 2.0, "lr": 1e-3, "constraint_share": 0.1}
    size = {"crop": 64, "batch": 16, "samples": 16 * step, "seconds": 3.0 * step, "samples_per_second": 5.0}
    return {"step": step, **losses, **distances, **constraints, **multipliers, **size, **more}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "a <run>"
    folder.mkdir()
    write(folder / "log.jsonl", [row(step) for step in range(1, 40)])
    score = {"step": 30, "psnr_input": 20.0, "psnr_vague": 24.5, "psnr_precise": 25.25, "flow": 0.1}
    per_kind = {f"{key}/haze": value for key, value in score.items() if key.startswith("psnr")}
    write(folder / "validation.jsonl", [{**score, **per_kind}])
    (folder / "config.yaml").write_text("model: {preset: nano}\nnote: <script>alert(1)</script>\n", encoding="utf-8")
    pictures = folder / "validation/step-00000030"
    pictures.mkdir(parents=True)
    Image.fromarray(np.zeros((16, 64, 3), np.uint8)).save(pictures / "00-haze.png")
    words = {"deg": "haze", "vague": "<script>x</script>", "precise": "remove the haze", "read_out": "haze & fog"}
    numbers = {"psnr_input": 20.0, "psnr_vague": 24.5, "psnr_precise": 25.25}
    (pictures / "00-haze.json").write_text(json.dumps({**words, **numbers}), encoding="utf-8")
    return folder


def write(path, rows, end="\n"):
    path.write_text("\n".join(map(json.dumps, rows)) + end, encoding="utf-8")


def test_numbers_are_those_of_the_log(run):
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert int(page.values["step"]) == 39
    assert int(page.values["samples"]) == 39 * 16
    assert float(page.values["hours"]) == pytest.approx(39 * 3 / 3600)
    assert float(page.values["flow"]) == pytest.approx(0.9 / 39)
    assert float(page.values["gain_vague"]) == pytest.approx(4.5)
    assert float(page.values["gain_precise"]) == pytest.approx(5.25)


def test_words_are_escaped(run):
    text = write_report(run).read_text(encoding="utf-8")
    assert "<script>x" not in text and "<script>alert" not in text
    assert "&lt;script&gt;x" in text and "haze &amp; fog" in text and "a &lt;run&gt;" in text


def test_curves_are_those_of_the_log(run):
    curves = Page(write_report(run).read_text(encoding="utf-8")).curves
    log = [row(step) for step in range(1, 40)]
    for key in ("loss", "flow", "grad_norm", "lr", "constraint_share", "samples_per_second", "d_plan", "lambda_scene"):
        assert curves[key] == [(each["step"], pytest.approx(each[key], rel=1e-5)) for each in log]
    assert curves["delta_degradation"] == [(each["step"], pytest.approx(0.2)) for each in log]
    assert curves["psnr_precise"] == [(30, 25.25)]
    # the figure of complementary slackness
    assert curves["scene"] == [
        (pytest.approx(each["c_scene"], rel=1e-5), pytest.approx(each["lambda_scene"], rel=1e-5)) for each in log
    ]


def test_tables_are_those_of_the_newest_validation_and_the_last_tenth_of_the_log(run):
    page = Page(write_report(run).read_text(encoding="utf-8"))
    for key, value in (("psnr_input", 20.0), ("psnr_vague/haze", 24.5), ("psnr_precise/haze", 25.25)):
        assert float(page.values[key]) == value
    assert page.gains == [4.5, 5.25, 4.5, 5.25]
    last = [row(step) for step in (37, 38, 39)]
    for key in ("d_plan", "c_plan", "lambda_plan"):
        assert float(page.values[key]) == pytest.approx(np.mean([each[key] for each in last]))
    products = [each["c_plan"] * each["lambda_plan"] for each in last]
    assert float(page.values["slackness_plan"]) == pytest.approx(np.mean(products))


def test_values_that_are_not_finite_are_counted_with_the_first_of_their_steps(run):
    write(run / "log.jsonl", [row(step, **({"flow": float("nan")} if step in (7, 9) else {})) for step in range(1, 40)])
    text = write_report(run).read_text(encoding="utf-8")
    assert "flow: 2 not finite, first at step 7" in text
    assert [step for step, _ in Page(text).curves["flow"]] == [step for step in range(1, 40) if step not in (7, 9)]


def test_what_matters_of_the_configuration_is_shown(run, tmp_path):
    (run / "config.yaml").write_text(to_yaml(tiny_config(tmp_path, run, steps=1200)), encoding="utf-8")
    text = write_report(run).read_text(encoding="utf-8")
    assert "<dt>steps, of 1,200</dt>" in text
    assert "<dt>optimizer.rate</dt><dd>0.002</dd>" in text
    assert "[{until: 1200, crop: 32, batch: 2, accumulate: 1}]" in text
    assert "<dt>log." not in text


@pytest.mark.parametrize("key", MATTERS)
def test_what_matters_is_a_key_of_the_configuration(key, tmp_path):
    here = tiny_config(tmp_path, tmp_path / "run").model_dump()
    for name in key.split("."):
        here = here[name]


@pytest.mark.parametrize("text", ["a: [", "- 1", "schedule: {stages: []}", "schedule: 3", "schedule: {stages: [1]}"])
def test_a_configuration_of_another_kind_is_shown_as_it_is(run, text):
    (run / "config.yaml").write_text(text, encoding="utf-8")
    page = write_report(run).read_text(encoding="utf-8")
    assert f"<pre>{text}</pre>" in page and "<dt>steps</dt>" in page
    Page(page)


def test_the_page_asks_for_nothing_else(run):
    text = write_report(run).read_text(encoding="utf-8")
    assert all(link.startswith("data:image/webp;base64,") for link in Page(text).links)
    assert 'src="http' not in text and 'href="http' not in text and "@import" not in text


@pytest.mark.parametrize("missing", ["validation.jsonl", "config.yaml", "validation"])
def test_parts_may_be_missing(run, missing):
    path = run / missing
    path.rename(run.with_name("away"))
    Page(write_report(run).read_text(encoding="utf-8"))


def test_keys_may_be_missing_and_numbers_not_finite(run):
    write(run / "log.jsonl", [{"step": 1}, {"step": 2, "flow": float("nan"), "grad_norm": float("inf")}, {"step": 3}])
    Page(write_report(run).read_text(encoding="utf-8"))


def test_a_run_that_is_live_may_end_in_half_a_line(run):
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 40, "lo')
    assert int(Page(write_report(run).read_text(encoding="utf-8")).values["step"]) == 39


def test_a_broken_line_is_named(run):
    write(run / "log.jsonl", [row(1)], end='\n{"step": 2, "lo\n' + json.dumps(row(3)) + "\n")
    with pytest.raises(ConfigError, match="line 2 is no JSON object"):
        write_report(run)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "holds no log.jsonl"), ("", "has no row with a step yet"), ("{}\n", "has no row")]
)
def test_a_run_without_rows_is_an_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        write_report(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder; give the folder of a training run"):
        write_report(tmp_path / "nowhere")


def test_a_page_that_cannot_be_written_is_an_error(run):
    (run / "page").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be written .*; choose another place"):
        write_report(run, run / "page")


def test_the_page_may_go_elsewhere(run, tmp_path):
    assert write_report(run, tmp_path / "deep/page.html") == tmp_path / "deep/page.html"
    assert (tmp_path / "deep/page.html").stat().st_size > 0 and not (run / "report.html").exists()


@pytest.mark.parametrize("tail", [b'{"step": 2, "lo', b"\x00\x00\x00", b'{"step": 2, "note": "\xc3', b"[1]"])
def test_a_last_line_may_be_anything(tmp_path, tail):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n\n' + tail)
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1}]


def test_what_was_done_again_replaces_what_was_before(tmp_path):
    write(tmp_path / "log.jsonl", [{"step": s, "flow": v} for s, v in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 20.0))])
    steps, flow = columns(rising(read_log(tmp_path / "log.jsonl")), "flow")
    assert steps.tolist() == [1, 2] and flow.tolist() == [1.0, 20.0]
