"""Charts: they carry their numbers in full, nothing leaves the frame, and names can be read."""

import itertools
import math
import re

import numpy as np
import pytest
from page_reader import Reader

from cotir.evaluate.charts import Bar, Bars, Estimate, Look, Point, Scale, bar_chart, scatter_chart
from cotir.evaluate.placement import Box, needs_line, place
from cotir.evaluate.radar import Shape, radar_chart

SCORE = Scale("score", "dB")
LESS = Scale("error", higher_is_better=False)


def bars(*values):
    return [
        Bars("", [Bar(Look(f"m{i}"), Estimate(value, value - 0.1, value + 0.1), "t") for i, value in enumerate(values)])
    ]


def points(values):
    return [Point(Look(f"method {i}"), Estimate(x), Estimate(y)) for i, (x, y) in enumerate(values)]


def test_bars_carry_their_numbers_in_full():
    marks = Reader(bar_chart("t", bars(1 / 3, -2.5), SCORE)).figures["t"]
    assert [float(mark["data-value"]) for mark in marks] == [1 / 3, -2.5]
    assert float(marks[0]["data-low"]) == 1 / 3 - 0.1 and float(marks[1]["data-high"]) == -2.4


@pytest.mark.parametrize("values", [[3.0], [0.0], [-1.0, 2.0], [1e-9, 1e6]])
def test_bars_start_at_zero_and_stay_inside(values):
    text = bar_chart("t", bars(*values), SCORE)
    found = [(float(x), float(w)) for x, w in re.findall(r'<rect [^>]*? x="(\S+)" y="\S+" width="(\S+)"', text)]
    zero = float(re.search(r'class="zero" d="M(\S+) ', text)[1])
    assert len(found) == len(values)
    for value, (x, width) in zip(values, found, strict=True):
        assert (x if value >= 0 else x + width) == pytest.approx(zero, abs=0.11)
        assert x >= 0 and x + width <= 520 - 57


def test_a_bar_without_a_number_keeps_its_name():
    text = bar_chart("t", bars(math.nan, 1.0), SCORE)
    assert text.count("<rect") == 1 and ">m0</text>" in text and "nan" not in text


@pytest.mark.parametrize(
    "text",
    [
        bar_chart("t", bars(math.nan), SCORE),
        bar_chart("t", [], SCORE),
        scatter_chart("t", [], SCORE, SCORE),
        radar_chart("t", [SCORE] * 3, []),
    ],
)
def test_nothing_to_draw_is_no_figure(text):
    assert text == ""


def test_names_are_escaped_and_long_ones_cut_in_the_middle():
    name = "<first part of a long name> and its & last part"
    text = bar_chart("a < b", [Bars("<g>", [Bar(Look(name), Estimate(1.0), "<1>")])], SCORE)
    assert "<first" not in text and "…" in text and Reader(text).figures["a < b"][0]["data-who"] == name


def test_points_carry_both_numbers_and_better_is_right_and_up():
    text = scatter_chart("t", points([(1 / 3, 5.0), (2.0, 7.0)]), SCORE, LESS)
    marks = [mark for mark in Reader(text).figures["t"] if "data-x" in mark]
    assert [(float(mark["data-x"]), float(mark["data-y"])) for mark in marks] == [(1 / 3, 5.0), (2.0, 7.0)]
    (x0, y0), (x1, y1) = [tuple(map(float, each)) for each in re.findall(r'cx="(\S+)" cy="(\S+)"', text)]
    assert x0 < x1 and y0 < y1  # the smaller error stands higher


def test_points_that_a_logarithmic_axis_cannot_hold_are_named():
    text = scatter_chart("t", points([(0.0, 5.0), (2.0, 7.0), (1.0, math.nan)]), Scale("s", log=True), SCORE)
    assert text.count("<circle") == 1 and "not drawn, for want of a number above 0: method 0, method 2" in text


@pytest.mark.parametrize("count", [1, 2, 8, 20])
@pytest.mark.parametrize("spread", [0.0, 6.0, 120.0])
def test_names_of_points_do_not_lie_over_one_another(count, spread):
    rng = np.random.default_rng(count)
    at = [tuple(each) for each in rng.normal((300, 200), spread, (count, 2)).clip(5, (635, 415))]
    frame = Box(0, 0, 640, 420)
    boxes = place(at, [(100.0, 13.0)] * count, [], frame)
    crowded = count > 8 and spread < 100
    covered = sum(a.overlap(b) for a, b in itertools.combinations(boxes, 2)) / (count * 1300)
    assert covered < (0.15 if crowded else 0.01)
    assert all(box.overlap(frame) == pytest.approx(box.area) for box in boxes)


def test_a_name_far_from_its_point_needs_a_line():
    assert needs_line(Box(40, 0, 90, 10), (0, 0)) and not needs_line(Box(8, 0, 50, 10), (0, 5))


def test_a_radar_runs_from_the_worst_to_the_best_of_every_axis():
    shapes = [Shape(Look("a"), [1.0, 5.0, 1 / 3]), Shape(Look("b", hollow=True), [3.0, 2.0, 1 / 3])]
    text = radar_chart("t", [SCORE, LESS, Scale("same")], shapes)
    marks = [mark for mark in Reader(text).figures["t"] if "data-spoke" in mark]
    assert [float(mark["data-value"]) for mark in marks] == [1.0, 5.0, 1 / 3, 3.0, 2.0, 1 / 3]
    away = [math.dist((float(m["cx"]), float(m["cy"])), (260, 195)) for m in marks]
    assert away == pytest.approx([0.12 * 132, 0.12 * 132, 132, 132, 132, 132], abs=0.2)
    assert ">1 to 3</text>" in text and ">5 to 2</text>" in text


def test_a_radar_is_open_where_there_is_no_number():
    text = radar_chart("t", [SCORE] * 4, [Shape(Look("a"), [1.0, math.nan, 2.0, 3.0])])
    line = re.search(r'class="line " d="([^"]*)"', text)[1]
    assert line.count("M") == 2 and "Z" not in line and text.count("data-spoke") == 3


def test_a_radar_needs_three_axes():
    assert radar_chart("t", [SCORE] * 2, [Shape(Look("a"), [1.0, 2.0])]) == ""
