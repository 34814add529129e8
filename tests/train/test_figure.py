"""Drawings of numbers: nothing that can be seen is lost by drawing less."""

import re

import numpy as np
import pytest

from cotir.train.figure import (
    MOST_POINTS,
    Cloud,
    Series,
    cloud_charts,
    line_chart,
    running_mean,
    thin,
)


def series(y, **style):
    y = np.asarray(y, float)
    return Series("key", "name", np.arange(1.0, len(y) + 1), y, "main", **style)


@pytest.mark.parametrize("count", [1, 4, MOST_POINTS, MOST_POINTS + 1, 12345])
def test_ends_and_extremes_survive_thinning(count):
    y = np.random.default_rng(0).standard_normal(count)
    kept = thin(y)
    assert len(kept) <= min(count, MOST_POINTS)
    assert kept[0] == 0 and kept[-1] == count - 1 and (np.diff(kept) > 0).all()
    assert {int(y.argmin()), int(y.argmax())} <= set(kept.tolist())


def test_a_lone_spike_is_drawn():
    y = np.zeros(10_000)
    y[7777] = 1
    assert 7777 in thin(y)
    assert "7778" in re.search(r'data-x="([^"]*)"', line_chart("t", [series(y)]))[1].split()


def test_the_running_mean_is_centred_and_shorter_at_the_ends():
    assert running_mean(np.array([0.0, 3.0, 6.0, 3.0]), 3).tolist() == [1.5, 3.0, 4.0, 4.5]


@pytest.mark.parametrize("y", [[], [np.nan, np.inf]])
def test_nothing_to_draw_is_no_figure(y):
    assert line_chart("t", [series(y)]) == ""
    assert cloud_charts([Cloud("k", "k", series(y).y, series(y).y, series(y).x)], "x", "y") == ""


@pytest.mark.parametrize("y", [[3.0], [3.0, 3.0], [0.0], [0.0, 0.0], [-2.0, -2.0], [1e-12, 1e12]])
@pytest.mark.parametrize("log", [False, True])
def test_curves_stay_inside_the_frame(y, log):
    text = line_chart("t", [series(y)], log=log)
    assert bool(text) == (not log or any(value > 0 for value in y))
    points = re.findall(r"[ML](\S+) (\S+?)(?=[LM\"])", " ".join(re.findall(r'class="solid" d="[^"]*"', text)))
    assert all(52 <= float(x) <= 462 and 12 <= float(y) <= 202 for x, y in points)
    assert not text or points


def test_a_curve_is_broken_where_a_value_is_not_finite():
    text = line_chart("t", [series([1, 2, np.nan, 2, 1])])
    assert re.search(r'class="solid" d="([^"]*)"', text)[1].count("M") == 2
    assert "name: 1 not finite, first at step 3" in text


def test_a_logarithmic_curve_leaves_out_what_has_no_logarithm():
    text = line_chart("t", [series([1, 0, -1, 100])], log=True)
    assert 'data-x="1 4" data-y="1 100"' in text
    assert "name: 2 not finite and positive, first at step 2" in text


@pytest.mark.parametrize(("count", "means"), [(79, 0), (80, 1)])
def test_a_noisy_curve_gets_its_mean_once_it_is_long_enough(count, means):
    text = line_chart("t", [series(np.arange(count), noisy=True)])
    assert text.count('class="pale"') == text.count("bold: running mean") == means
    assert text.count('class="solid" d=') == 1


def test_the_legend_has_the_newest_value_that_can_be_drawn():
    assert 'data-latest="2.5"' in line_chart("t", [series([1, 2.5, np.nan])])


def test_words_are_escaped():
    text = line_chart("<t>", [Series("<k>", "<n>", np.ones(1), np.ones(1), "main")], unit="<u>", marks=[(1.0, "<m>")])
    assert not re.search("<[tknum]>", text) and "&lt;m&gt;" in text


def test_a_cloud_goes_from_the_early_to_the_late_colour_and_rings_the_last_point():
    steps = np.array([10.0, 20.0, 30.0])
    text = cloud_charts([Cloud("k", "k", np.array([0.5, 0.2, 0.0]), np.array([0.0, 1.0, 2.0]), steps)], "c", "l")
    dots = re.findall(r'<circle cx="(\S+)" cy="(\S+)" r="2.6" fill="(\S+)"', text)
    assert [colour for *_, colour in dots] == ["#3a6ed6", "#95737a", "#f0781e"]
    assert re.search(r'class="last" cx="(\S+)" cy="(\S+)"', text).groups() == dots[-1][:2]
    # the line at c = 0 goes through the point that has it
    assert f'class="zero" d="M{dots[-1][0]} ' in text
