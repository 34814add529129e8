"""The page about an evaluation: its numbers are those of the parquet."""

import json
import math
import shutil
import subprocess

import numpy as np
import pytest
from page_reader import Reader
from PIL import Image

from cotir.errors import ConfigError
from cotir.evaluate.records import RESULTS, Row, write_results
from cotir.evaluate.report import LISTED, write_report

PQ = pytest.importorskip("pyarrow.parquet")
METHODS = (("identity", "none"), ("a <b>,x=1", "vague"), ("a <b>,x=1", "precise"), ("other", "none"))
RECIPES = (("noise",), ("haze", "noise"), ("rain", "haze", "noise"), ())


def row(number, method, prompt, **more):
    rng = np.random.default_rng([number, len(method), len(prompt)])
    kinds = RECIPES[number % 4]
    metrics = {"psnr": 20 + rng.random(), "ssim": rng.random(), "haarpsi": rng.random(), "de2000": 5 * rng.random()}
    group = "clean" if not kinds else "single" if len(kinds) == 1 else "seen" if number % 2 else "unseen"
    values = {
        "method": method, "version": "1", "prompt": prompt, "key": f"k{number:02d}", "deg": "-".join(kinds) or "clean",
        "group": group, "kinds": kinds, "severities": (0.5,) * len(kinds), "photo": f"p{number // 4}", "height": 12,
        "width": 16, "metrics": metrics, "seconds": 0.01 * (1 + rng.random()), "cpu_seconds": 0.02, "peak_mb": 3.0,
    }  # fmt: skip
    return Row(**{**values, **more})


def made(folder, rows):
    folder.mkdir(exist_ok=True)
    write_results(folder, rows)
    (folder / "run.json").write_text(json.dumps({"command": "cotir eval --bench <b>", "machine": {"cores": 2}}))
    return folder


@pytest.fixture
def run(tmp_path):
    rows = [row(number, *entry) for number in range(12) for entry in METHODS]
    lost = {"missing": "it <failed>", "metrics": dict.fromkeys(rows[0].metrics, math.nan)}
    return made(tmp_path / "run", [*rows[:-1], row(11, "other", "none", **lost)])


def read(run):
    return Reader(write_report(run).read_text(encoding="utf-8"))


def frame(run):
    """The parquet's columns, read without the code under test."""
    return {name: np.array(values, dtype=object) for name, values in PQ.read_table(run / RESULTS).to_pydict().items()}


def shown(method, prompt):
    return method if prompt == "none" else f"{method}, {prompt}"


def mean(table, metric, method, prompt, chosen=None):
    rows = (table["method"] == method) & (table["prompt"] == prompt)
    rows &= (table["group"] != "clean") if chosen is None else chosen
    return float(np.nanmean(table[metric][rows].astype(float)))


HEADS = {"psnr": "PSNR [dB] ↑", "ssim": "SSIM ↑", "haarpsi": "HaarPSI ↑", "de2000": "dE2000 ↓"}


@pytest.mark.parametrize("entry", METHODS)
@pytest.mark.parametrize("metric", HEADS)
def test_means_are_those_of_the_parquet(run, entry, metric):
    expected = mean(frame(run), metric, *entry)
    page = read(run)
    assert page.value("Scores, all damage", shown(*entry), HEADS[metric]) == pytest.approx(expected, rel=1e-14)
    title = {"psnr": "PSNR", "ssim": "SSIM", "haarpsi": "HaarPSI", "de2000": "dE2000"}[metric]
    drawn = {mark["data-who"]: float(mark["data-value"]) for mark in page.figures[title]}
    assert drawn[shown(*entry)] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("head", "group"), [("clean", "clean"), ("one kind", "single"), ("seen", "seen")])
def test_means_of_groups_are_those_of_the_parquet(run, head, group):
    table = frame(run)
    expected = mean(table, "psnr", "other", "none", table["group"] == group)
    assert read(run).value("PSNR [dB] ↑, by damage", "other", head) == pytest.approx(expected, rel=1e-14)


def test_recipes_and_gains_are_those_of_the_parquet(run):
    table, page = frame(run), read(run)
    of_recipe = mean(table, "psnr", "other", "none", table["deg"] == "haze-noise")
    assert page.value("PSNR [dB] ↑, by recipe", "haze + noise", "other") == pytest.approx(of_recipe, rel=1e-14)
    entry = METHODS[1]
    gain = mean(table, "psnr", *entry) - mean(table, "psnr", "identity", "none")
    title = "PSNR gained over the input [dB], by damage"
    assert page.value(title, shown(*entry), "all damage") == pytest.approx(gain, rel=1e-9)


def test_cost_and_scatter_are_those_of_the_parquet(run):
    table, page = frame(run), read(run)
    own = (table["method"] == "identity") & (table["prompt"] == "none")
    seconds = float(np.median(table["seconds"][own].astype(float) / (12 * 16 / 1e6)))
    assert page.value("Cost", "identity", "s per megapixel") == pytest.approx(seconds)
    mark = next(m for m in page.figures["Cost and quality"] if m["data-who"] == "identity" and "data-x" in m)
    assert float(mark["data-x"]) == pytest.approx(seconds)
    assert float(mark["data-y"]) == pytest.approx(mean(table, "psnr", "identity", "none"), rel=1e-14)


def test_the_best_of_each_column_is_marked(run):
    cells = read(run).cells("Scores, all damage")
    for head in HEADS.values():
        values = {name: float(cell["data-value"]) for (name, column), (_, cell) in cells.items() if column == head}
        best = (min if "↓" in head else max)(values, key=values.get)
        assert [name for name in values if cells[name, head][1].get("class") == "best"] == [best]


def test_missing_results_are_counted_and_said(run):
    page = read(run)
    assert page.tiles["missing"] == "1" and page.tiles["results"] == "47"
    assert (
        page.value("Scores, all damage", "other", "missing") == 0
    )  # it is a clean picture, of which the table says nothing
    assert [cell[0] for cell in page.tables["Why"][1]] == ["other", "k11", "clean", "it <failed>"]


def test_many_missing_results_are_listed_in_part_and_counted_in_full(tmp_path):
    lost = [row(n, "other", "none", missing="gone", metrics={"psnr": math.nan}) for n in range(LISTED + 5)]
    text = write_report(made(tmp_path / "run", [row(0, "identity", "none"), *lost])).read_text(encoding="utf-8")
    assert len(Reader(text).tables["Why"]) == 1 + LISTED
    assert "205 of 206 are missing" in text and "The first 200 of 205." in text


def test_pictures_that_were_not_run_are_counted(tmp_path):
    rows = [row(n, "identity", "none") for n in range(4)] + [row(0, "other", "none")]
    assert (
        read(made(tmp_path / "run", rows)).value("Scores, all damage", "other", "not run") == 2
    )  # of the damaged ones


def test_texts_are_escaped_and_nothing_else_is_asked_for(run):
    text = write_report(run).read_text(encoding="utf-8")
    assert "it <failed>" not in text and "<b>," not in text and "cotir eval --bench &lt;b&gt;" in text
    assert "http" not in text and Reader(text).links == []


def test_a_metric_that_is_nowhere_defined_is_a_dash(tmp_path):
    rows = [row(n, *entry, metrics={"psnr": 20.0 + n, "ms_ssim": math.nan}) for n in range(4) for entry in METHODS]
    text = write_report(made(tmp_path / "run", rows)).read_text(encoding="utf-8")
    assert Reader(text).cells("Scores, all damage")["other", "MS-SSIM ↑"] == ("-", {})
    assert "nan" not in text.replace("nano", "")


@pytest.mark.parametrize("prompt", ["none", "precise"])
def test_one_method_is_enough(tmp_path, prompt):
    page = read(made(tmp_path / "run", [row(n, "only", prompt) for n in range(8)]))
    assert page.value("Scores, all damage", shown("only", prompt), "results") == 6 and "All metrics" not in page.figures


def test_real_photos_need_no_reference(tmp_path):
    real = {"deg": "real", "group": "real", "kinds": (), "severities": ()}
    rows = [
        row(n, *entry, **real, metrics={"noise_level": 1.0 + n, "contrast": 0.2}) for n in range(5) for entry in METHODS
    ]
    page = read(made(tmp_path / "run", rows))
    assert page.value("Scores, real", "other", "noise [/255]") == 3.0


def keep(run, rows):
    """The rows with their pictures, all as good as their number."""
    kept = []
    for each in rows:
        names = {"lq": 50, "hq": 90, f"m-{each.method}": 50 + int(each.metrics["psnr"])}
        for name, value in names.items():
            path = run / "images" / name / f"{each.key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((12, 16, 3), value, np.uint8)).save(path)
        kept.append(Row(**{**vars(each), "image": f"images/m-{each.method}/{each.key}.png"}))
    return made(run, kept)


@pytest.mark.parametrize("known", [True, False])
def test_best_median_and_worst_are_shown_by_gain(tmp_path, known):
    rows = [row(n, "other", "none", metrics={"psnr": 20.0 + (n * 5) % 7}) for n in (0, 1, 2, 4, 5, 6, 7)]
    rows += [row(n, "identity", "none", metrics={"psnr": 10.0}) for n in range(8)] if known else []
    captions = read(keep(tmp_path / "run", rows)).captions[:3]
    base = 10.0 if known else 20 * math.log10(255 / 40)
    # numbers 3 and 7 are clean, and left out
    left = sorted((20.0 + (n * 5) % 7, n) for n in (0, 1, 2, 4, 5, 6))
    for (attributes, numbers), (psnr, n) in zip(captions, (left[-1], left[2], left[0]), strict=True):
        assert attributes["data-key"] == f"k{n:02d}" and numbers["psnr"] == psnr
        assert numbers["gain"] == pytest.approx(psnr - base, abs=1e-5)


def test_a_sample_of_real_photos_is_the_same_for_all(tmp_path):
    real = {"deg": "real", "group": "real", "kinds": (), "severities": (), "metrics": {"psnr": math.nan}}
    metrics = {"noise_level": 1.0, "psnr": 1.0}
    rows = [row(n, m, "none", **{**real, "metrics": metrics}) for n in range(9) for m in ("identity", "other")]
    text = write_report(keep(tmp_path / "run", rows)).read_text(encoding="utf-8")
    keys = [attributes["data-key"] for attributes, _ in Reader(text).captions]
    assert keys == ["k00", "k04", "k08"] * 2 and "<i>HQ</i>" not in text and "<i>restored</i>" in text


def test_a_run_without_rows_or_results_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"results.parquet: holds no row; run 'cotir eval' on at least one picture"):
        write_report(made(tmp_path / "run", []))
    with pytest.raises(ConfigError, match=r"results.parquet: cannot be read"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize("text", [None, "", "[1]", '{"methods": 3, "machine": null}'])
def test_the_description_may_be_anything(run, text):
    (run / "run.json").unlink()
    if text is not None:
        (run / "run.json").write_text(text)
    read(run)


def test_the_page_may_go_elsewhere(run, tmp_path):
    assert write_report(run, tmp_path / "page.html") == tmp_path / "page.html" and not (run / "report.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_lays_the_page_out(run, tmp_path):
    page, picture = write_report(run), tmp_path / "page.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
