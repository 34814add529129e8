import base64
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from cotir.bench.gallery import write_gallery
from cotir.errors import ConfigError

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.anchors, self.text = [], [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes["src"])
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        self.anchors.add(attributes.get("id"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(bench, tmp_path):
    assert write_gallery(bench, tmp_path / "page.html", samples=14, width=48) == 14
    return Page((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_needs_nothing_else(page):
    assert page.open == []
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.anchors


def test_every_recipe_is_shown_in_pairs(page):
    assert len(page.images) == 28
    assert {"noise", "haze-blur", "snow-low_resolution", "clean", "low_light-noise-jpeg"} <= page.anchors
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(page.images[0].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (48, 48, 3)


def test_parameters_words_and_histograms_are_on_it(page):
    text = " ".join(page.text)
    for words in ('"kind": "noise"', "no visible degradation", "samples by kind", "PSNR(LQ, HQ) in dB", "CC0-1.0 Ann"):
        assert words in text


def test_it_is_the_same_for_the_same_seed(bench, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_gallery(bench, tmp_path / name, samples=8, width=32, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_there_may_be_fewer_samples_than_asked_for(bench, tmp_path):
    # 30 of the training split, and one of the recipe that is only tested
    assert write_gallery(bench, tmp_path / "page.html", samples=1000, width=32) == 31


def test_a_folder_without_benchmark(tmp_path):
    with pytest.raises(ConfigError, match="build the benchmark first"):
        write_gallery(tmp_path, tmp_path / "page.html")
