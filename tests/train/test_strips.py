"""Validation pictures on a run's page."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cotir.train.strips import as_words, pictures_section


def add(folder, step, name="00-haze", width=64, value=0, **words):
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((width // 4, width, 3), value, np.uint8)).save(place / f"{name}.png")
    (place / f"{name}.json").write_text(json.dumps(words), encoding="utf-8")
    return place


def shown(text):
    """Steps by whether they are hidden at first."""
    return {int(step): bool(hidden) for step, hidden in re.findall(r'data-step="(\d+)"( hidden)?', text)}


def pictures(text):
    data = re.findall(r"data:image/webp;base64,([^\"]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in data]


def test_the_newest_is_shown_and_the_others_wait(tmp_path):
    for step in (100, 200, 1000):
        add(tmp_path, step, value=step // 5)
    text = pictures_section(tmp_path)
    assert shown(text) == {100: True, 200: True, 1000: False}
    assert 'min="0" max="2" value="2"' in text and 'data-steps="100 200 1000"' in text
    assert [np.asarray(each).mean().round() for each in pictures(text)] == [20, 40, 200]


def test_a_single_step_needs_no_slider(tmp_path):
    add(tmp_path, 100)
    assert "<input" not in pictures_section(tmp_path)


def test_many_steps_are_thinned_between_the_first_and_the_newest(tmp_path):
    for step in range(1, 31):
        add(tmp_path, step)
    steps = list(shown(pictures_section(tmp_path)))
    assert len(steps) == 8 and steps[0] == 1 and steps[-1] == 30


def test_a_large_strip_is_scaled_down(tmp_path):
    add(tmp_path, 100, width=4096)
    assert [each.size for each in pictures(pictures_section(tmp_path))] == [(1280, 320)]


def test_scores_and_words_stand_beside_it(tmp_path):
    words = {
        "vague": "clearer <b>",
        "precise": "remove the haze",
        "read_out": {"scene": "a & b", "plan": [["dehaze", 0.9]]},
    }
    add(tmp_path, 100, psnr_input=12.345, psnr_vague=20.0, psnr_precise=21.0, **words)
    text = pictures_section(tmp_path)
    assert re.findall(r'data-value="([^"]+)">', text) == ["12.345", "20.0", "21.0"]
    for each in ("<dd>clearer &lt;b&gt;</dd>", "<dt>scene</dt><dd>a &amp; b</dd>", "<dt>plan</dt><dd>dehaze 0.90</dd>"):
        assert each in text


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_strip_without_readable_words_is_shown_without(tmp_path, content):
    (add(tmp_path, 100, vague="clearer") / "00-haze.json").write_bytes(content)
    text = pictures_section(tmp_path)
    assert len(pictures(text)) == 1 and "clearer" not in text


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_strip_that_is_being_written_is_left_out(tmp_path, share):
    add(tmp_path, 100)
    rng = np.random.default_rng(0)
    file = add(tmp_path, 200) / "00-haze.png"
    Image.fromarray(rng.integers(0, 256, (64, 256, 3), np.uint8)).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    text = pictures_section(tmp_path)
    assert shown(text) == {100: True} and "<figure hidden>" in text


def test_a_sample_the_newest_step_lacks_so_far_waits_at_the_earlier_ones(tmp_path):
    add(tmp_path, 100, "00-haze")
    add(tmp_path, 100, "01-rain")
    add(tmp_path, 200, "00-haze")
    text = pictures_section(tmp_path)
    assert "<figure><h3>00-haze</h3>" in text and "<figure hidden><h3>01-rain</h3>" in text


@pytest.mark.parametrize("name", [None, "step-abc", "step-00000100"])
def test_no_pictures_are_no_error(tmp_path, name):
    if name:
        (tmp_path / name).mkdir()
    assert "No validation pictures have been written yet" in pictures_section(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("haze", "haze"),
        (["haze", 0.93], "haze 0.93"),
        ([["haze", 0.93], ["rain", 0.2]], "haze 0.93, rain 0.20"),
        (["haze", "rain"], "haze, rain"),
        ({"haze": 0.5, "rain": 1}, "haze 0.50, rain 1"),
        (None, "None"),
    ],
)
def test_what_was_read_out_becomes_a_line(value, text):
    assert as_words(value) == text
