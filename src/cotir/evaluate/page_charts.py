"""An evaluation's charts as the page shows them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cotir.evaluate.charts import Bar, Bars, Estimate, Look, Point, Scale, bar_chart, scatter_chart
from cotir.evaluate.metrics import METRICS, Metric
from cotir.evaluate.page_tables import Column, by_group, by_metric, main_of, overall_of, perceptual_of
from cotir.evaluate.radar import Shape, radar_chart
from cotir.evaluate.records import Row
from cotir.evaluate.statistics import Interval
from cotir.evaluate.tables import IDENTITY, Entry, costs, entries, gains, means

COLOURS = 12
"""Of methods on the page, ``m0`` on; further methods get the same again."""
_ABSENT = Interval(math.nan, math.nan, math.nan, 0)


def looks_of(every: Sequence[Entry]) -> dict[Entry, Look]:
    """A colour for every method; hollow marks for vague instructions."""
    methods = [method for method in dict.fromkeys(each.method for each in every) if method != IDENTITY]
    return {
        each: Look(
            str(each),
            "input" if each.method == IDENTITY else f"m{methods.index(each.method) % COLOURS}",
            hollow=each.prompt == "vague",
        )
        for each in every
    }


def charts_of(rows: Sequence[Row], about: Mapping[str, Any]) -> Iterator[str]:
    """The charts of the page, as HTML figures; empty texts where there is nothing to draw.

    Args:
        rows: at least one.
        about: the run's description; may be empty.
    """
    looks, main = looks_of(entries(rows)), main_of(rows)
    columns = {column.metric.name: column for column in by_metric(rows)}
    if main:
        overall = columns[main.name]
        for metric in perceptual_of(rows):
            if main is METRICS["psnr"]:
                yield _trade_off(looks, overall, columns[metric.name])
        seconds = {each.entry: each.seconds_per_megapixel for each in costs(rows, about)}
        yield _cost_and_quality(looks, overall, seconds)
        groups = [each for each in by_group(means(rows, main.name), main) if each.head != overall_of(rows)]
        if len(looks) > 1:
            judging = [each for each in columns.values() if each.metric.higher_is_better is not None]
            yield _radar("All metrics", looks, judging, [each.metric.title for each in judging])
            yield _radar(f"{main.title} by damage", looks, groups, [each.head for each in groups])
    for column in columns.values():
        yield bar_chart(column.metric.title, [_bars("", looks, column)], _scale(column.metric))
    if main:
        yield from _bars_by_group(rows, looks, main)  # the tallest comes last, for it leaves a gap beside it


def _bars_by_group(rows: Sequence[Row], looks: Mapping[Entry, Look], main: Metric) -> Iterator[str]:
    """What was gained over the input if that is known, or else the main metric.

    Clean pictures have no room for gains, and would make those of the others too short to see.
    """
    gained = by_group(gains(rows), main, is_gain=True) if main is METRICS["psnr"] else []
    columns = [each for each in gained if each.head != "clean"] or by_group(means(rows, main.name), main)
    title = f"{main.title} gained over the input" if columns[0].is_gain else main.title
    drawn = [each for each in columns if any(math.isfinite(v.mean) for v in each.values.values())]
    if drawn:
        bars = [
            _bars(column.head, {e: look for e, look in looks.items() if e in column.values}, column) for column in drawn
        ]
        yield bar_chart(f"{title}, by damage", bars, _scale(main))


def _trade_off(looks: Mapping[Entry, Look], main: Column, other: Column) -> str:
    points = [Point(look, _estimate(main, entry), _estimate(other, entry)) for entry, look in looks.items()]
    title = f"Perception and distortion: {other.metric.title} and {main.metric.title}"
    return scatter_chart(title, points, _scale(main.metric), _scale(other.metric), "better is to the right and up")


def _cost_and_quality(looks: Mapping[Entry, Look], main: Column, seconds: Mapping[Entry, float]) -> str:
    points = [
        Point(look, Estimate(seconds.get(entry, math.nan)), _estimate(main, entry)) for entry, look in looks.items()
    ]
    time = Scale("time", "s per megapixel", higher_is_better=False, log=True)
    return scatter_chart("Cost and quality", points, time, _scale(main.metric), "better is to the left and up")


def _radar(title: str, looks: Mapping[Entry, Look], columns: Sequence[Column], names: Sequence[str]) -> str:
    known = [k for k, each in enumerate(columns) if any(math.isfinite(v.mean) for v in each.values.values())]
    scales = [Scale(names[k], higher_is_better=columns[k].metric.higher_is_better) for k in known]
    shapes = [Shape(look, [columns[k].values.get(entry, _ABSENT).mean for k in known]) for entry, look in looks.items()]
    return radar_chart(title, scales, shapes, "point at a name to see it alone")


def _bars(name: str, looks: Mapping[Entry, Look], column: Column) -> Bars:
    return Bars(name, [Bar(look, _estimate(column, entry), column.text(entry)) for entry, look in looks.items()])


def _scale(metric: Metric) -> Scale:
    return Scale(metric.title, metric.unit, metric.higher_is_better)


def _estimate(column: Column, entry: Entry) -> Estimate:
    each = column.values.get(entry, _ABSENT)
    return Estimate(each.mean, *(None if math.isnan(end) else end for end in (each.low, each.high)))
