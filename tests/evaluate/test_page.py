"""The page: well formed, alone, and true to its records."""

import math

import numpy as np
import pytest
from page_reader import Reader
from PIL import Image

from cotir.errors import ConfigError
from cotir.evaluate.gallery import Number, Picture, Shelf, View, embed
from cotir.evaluate.page import Cell, Page, Section, Table, Tile, write_page

VALUE = 0.1 + 0.2


def table(*cells, folded=False):
    return Table(
        "a <table>", "a & note", ["method", *(f"c{i}" for i in range(len(cells)))], [[Cell("<m>"), *cells]], folded
    )


def written(path, *sections, **more):
    return write_page(path / "page.html", Page("t", "s", sections, **more)).read_text(encoding="utf-8")


@pytest.mark.parametrize("folded", [False, True])
def test_numbers_stand_in_full_beside_their_text(tmp_path, folded):
    text = written(
        tmp_path, Section("one", tables=[table(Cell("0.30", VALUE, 1 / 3, 2 / 3, best=True), folded=folded)])
    )
    shown, attributes = Reader(text).cells("a <table>")["<m>", "c0"]
    assert shown == "0.30" and attributes["class"] == "best"
    assert [float(attributes[f"data-{name}"]) for name in ("value", "low", "high")] == [VALUE, 1 / 3, 2 / 3]
    assert "<small>0.33 to 0.67</small>" in text


@pytest.mark.parametrize("cell", [Cell("nan", math.nan), Cell("-"), Cell("")])
def test_what_is_no_number_is_a_dash(tmp_path, cell):
    assert "<td>-</td>" in written(tmp_path, Section("one", tables=[table(cell)]))


def test_an_interval_that_is_not_defined_is_not_shown(tmp_path):
    text = written(tmp_path, Section("one", tables=[table(Cell("1.0", 1.0, math.nan, math.nan))]))
    assert Reader(text).cells("a <table>")["<m>", "c0"][1] == {"data-value": "1.0"} and "nan" not in text


def test_texts_are_escaped(tmp_path):
    bad = "<script>alert('x')</script>"
    page = Page(bad, bad, [Section(bad, bad, tables=[table(Cell(bad))])], [Tile(bad, 3, bad)], {bad: bad}, bad)
    text = write_page(tmp_path / "page.html", page).read_text(encoding="utf-8")
    assert "<script>alert" not in text and text.count("&lt;script&gt;") == 11
    assert Reader(text).tiles == {bad: "3"}


@pytest.mark.parametrize(
    ("heads", "rows", "message"),
    [
        (["a"], [], "table 'x' is empty; leave it out"),
        ([], [[]], "table 'x' is empty; leave it out"),
        (["a", "b"], [[Cell("1")]], "row 1 has 1 cells under 2 heads; give every row"),
    ],
)
def test_a_table_without_rows_or_with_odd_ones_is_an_error(heads, rows, message):
    with pytest.raises(ConfigError, match=message):
        Table("x", "", heads, rows)


def test_a_page_without_a_section_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="the page would be empty; give it a section"):
        written(tmp_path)


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be written .*; choose another place"):
        written(tmp_path, Section("one"))


def shelf(*paths):
    return Shelf(
        "m",
        [
            Picture(
                "best",
                "<noise>",
                [View(str(i), path) for i, path in enumerate(paths)],
                [Number("g", VALUE, "0.3")],
                "k",
            )
        ],
    )


def picture(path, value, size=(40, 30)):
    Image.fromarray(np.full((*size[::-1], 3), value, np.uint8)).save(path)
    return path


def test_equal_pictures_are_embedded_once(tmp_path):
    a, b, c = (picture(tmp_path / f"{i}.png", value) for i, value in enumerate((10, 10, 200)))
    text = written(tmp_path, Section("one", shelves=[shelf(a, b, c), shelf(a)]))
    page = Reader(text)
    assert text.count("data:image/webp;base64,") == 2 and text.count('class="pic p0"') == 3
    assert page.captions[0] == [{"class": "picture", "data-key": "k", "data-name": "m: best, <noise>"}, {"g": VALUE}]
    assert page.links == [] and "http" not in text and "@import" not in text


def test_a_picture_that_cannot_be_read_is_said_to_be_none(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    text = written(tmp_path, Section("one", shelves=[shelf(tmp_path / "bad.png", tmp_path / "nowhere.png", None)]))
    assert text.count('<span class="none">no picture</span>') == 3 and "data:image" not in text


def test_pictures_become_smaller_and_then_worse_until_they_fit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    shelves = [shelf(tmp_path / "noise.png")]
    free, tight = embed(shelves), embed(shelves, 60_000)
    assert free.places[tmp_path / "noise.png"][1:] == (512, 341)
    assert (tight.side, tight.quality) < (free.side, free.quality) and len(tight.style) < 60_000 * 4 / 3 + 200
