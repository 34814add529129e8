"""An evaluation's tables as the page shows them, from :mod:`cotir.evaluate.tables`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotir.evaluate.metrics import METRICS, Metric
from cotir.evaluate.page import Cell, Table
from cotir.evaluate.records import Row
from cotir.evaluate.statistics import Interval
from cotir.evaluate.tables import (
    GROUPS,
    Entry,
    Line,
    comparisons,
    costs,
    diagnoses,
    entries,
    gains,
    groups_in,
    means,
    means_by_type,
    metrics_in,
    rows_of,
)

OVERALL = ("all damage", "real", "clean")
"""Groups that can stand for the whole; the first that there is does."""
COMPOSITES = "2 to 4 kinds"
"""The group that methods are also compared on pair by pair."""
LOOKED_AT = ("lpips", "clipiqa_plus", "haarpsi", "fsim", "ms_ssim")
"""Perceptual metrics that are shown in more detail and against PSNR, the first two that there are."""
_OVER = "Means with 95 % bootstrap intervals over photos, of the pictures that have a result."


@dataclass(frozen=True)
class Column:
    """Means of a metric by entry, over some pictures."""

    head: str
    metric: Metric
    values: Mapping[Entry, Interval]
    is_gain: bool = False

    @property
    def best(self) -> float | None:
        """The best of at least two numbers; None if neither way is better."""
        known = [each.mean for each in self.values.values() if math.isfinite(each.mean)]
        if self.metric.higher_is_better is None or len(known) < 2:
            return None
        return max(known) if self.metric.higher_is_better else min(known)

    def text(self, entry: Entry) -> str:
        """Its mean as it is written; "-" where there is none."""
        value = self.values[entry].mean if entry in self.values else math.nan
        if not math.isfinite(value):
            return "-"
        if self.is_gain:
            return f"{value:+.2f}"
        return f"{value:.{self.metric.digits}f}"

    def cell(self, entry: Entry) -> Cell:
        """Its mean and interval in a table."""
        each = self.values.get(entry)
        if each is None:
            return Cell("-")
        # where a value is not defined for some pictures, the mean says of how many it is
        most = max((value.count for value in self.values.values()), default=0)
        few = f" (n={each.count:,})" if 0 < each.count < most else ""
        return Cell(self.text(entry) + few, each.mean, each.low, each.high, best=each.mean == self.best)


def overall_of(rows: Sequence[Row]) -> str:
    """The group that stands for the whole."""
    there = groups_in(rows)
    return next((name for name in OVERALL if name in there), there[0] if there else OVERALL[0])


def main_of(rows: Sequence[Row]) -> Metric | None:
    """PSNR, or else the first metric of which one way is better."""
    judging = [metric for metric in metrics_in(rows) if metric.higher_is_better is not None]
    return METRICS["psnr"] if METRICS["psnr"] in judging else judging[0] if judging else None


def perceptual_of(rows: Sequence[Row]) -> list[Metric]:
    """At most two perceptual metrics of which one way is better."""
    found = {each.name: each for each in metrics_in(rows) if each.perceptual and each.higher_is_better is not None}
    return ([found[name] for name in LOOKED_AT if name in found] or list(found.values()))[:2]


def by_metric(rows: Sequence[Row]) -> list[Column]:
    """A column for every metric, over the whole."""
    group = overall_of(rows)
    return [
        Column(_head(metric), metric, {line.entry: line.cells[group] for line in means(rows, metric.name, [group])})
        for metric in metrics_in(rows)
    ]


def by_group(lines: Sequence[Line], metric: Metric, *, is_gain: bool = False) -> list[Column]:
    """A column for every group of pictures."""
    groups = dict.fromkeys(name for line in lines for name in line.cells)
    return [Column(name, metric, {line.entry: line.cells[name] for line in lines}, is_gain) for name in groups]


def tables_of(rows: Sequence[Row], about: Mapping[str, Any]) -> list[Table]:
    """The tables of the page: scores, by damage, against rivals, by recipe, cost.

    Args:
        rows: at least one.
        about: the run's description; may be empty.
    """
    main = main_of(rows)
    tables = [_scores(rows)]
    if main:
        tables.append(_by_group(means(rows, main.name), main))
        gained = gains(rows) if main is METRICS["psnr"] else []
        if gained:
            tables.append(_by_group(gained, main, is_gain=True))
        tables += [_by_group(means(rows, m.name), m, folded=True) for m in perceptual_of(rows) if m is not main]
        tables += [*_rivals(rows, main), *_by_recipe(rows, main)]
    return [*tables, *_diagnosis(rows), *_cost(rows, about)]


def _scores(rows: Sequence[Row]) -> Table:
    columns = by_metric(rows)
    whole = [row for row in rows if GROUPS[overall_of(rows)](row)]
    keys = {row.key for row in whole}
    cells = []
    for entry in entries(rows):
        own = rows_of(whole, entry)
        missing = sum(row.missing is not None for row in own)
        counts = (len(own) - missing, missing, len(keys - {row.key for row in own}))
        cells.append([Cell(str(entry)), *map(_count, counts), *(column.cell(entry) for column in columns)])
    heads = ["method", "results", "missing", "not run", *(column.head for column in columns)]
    return Table(f"Scores, {overall_of(rows)}", _OVER, heads, cells)


def _by_group(lines: Sequence[Line], metric: Metric, *, is_gain: bool = False, folded: bool = False) -> Table:
    columns = by_group(lines, metric, is_gain=is_gain)
    cells = [[Cell(str(line.entry)), *(column.cell(line.entry) for column in columns)] for line in lines]
    name = f"{metric.title} gained over the input [{metric.unit}]" if is_gain else _head(metric)
    heads = ["method", *(column.head for column in columns)]
    return Table(f"{name}, by damage", "A picture can be in several groups.", heads, cells, folded)


def _rivals(rows: Sequence[Row], metric: Metric) -> Iterable[Table]:
    for group in (overall_of(rows), *({COMPOSITES} & {*groups_in(rows)})):
        cells = [
            [
                Cell(str(each.entry)),
                Cell(str(each.rival)),
                Cell(f"{each.difference.mean:+.3f}", each.difference.mean, each.difference.low, each.difference.high),
                Cell(f"{each.p:.4f}", each.p),
            ]
            for each in comparisons(rows, metric.name, group)
        ]
        if cells:
            note = (
                "The better of two methods first; difference of means on the pictures both have; p by flipping signs "
                "photo by photo, not corrected."
            )
            heads = ["method", "rival", f"{metric.title} difference", "p"]
            yield Table(f"{_head(metric)} against each rival, {group}", note, heads, cells, folded=True)


def _by_recipe(rows: Sequence[Row], metric: Metric) -> Iterable[Table]:
    every = entries(rows)
    found = means_by_type(rows, metric.name)
    cells = []
    for deg in sorted(found, key=lambda name: (name.count("-"), name)):
        column = Column(deg, metric, found[deg])
        cells.append([Cell(deg.replace("-", " + ").replace("_", " ")), *(column.cell(entry) for entry in every)])
    if len(found) > 1:
        yield Table(f"{_head(metric)}, by recipe", _OVER, ["recipe", *map(str, every)], cells, folded=True)


def _diagnosis(rows: Sequence[Row]) -> Iterable[Table]:
    cells = [
        [
            Cell(str(entry)),
            Cell(group),
            _count(found.pictures),
            _share(found.mean_average_precision),
            _share(found.chance),
            _share(sum(found.f1.values()) / len(found.f1) if found.f1 else math.nan),
            _share(found.severity_correlation),
            _share(found.calibration_error),
        ]
        for entry, group, found in diagnoses(rows)
    ]
    if cells:
        note = "Mean average precision over the kinds that occur, and what chance would give; F1 at confidence 0.5."
        heads = [
            "method",
            "pictures",
            "number",
            "mAP",
            "chance",
            "F1",
            "severity, rank correlation",
            "calibration error",
        ]
        yield Table("Diagnosis", note, heads, cells)
    for entry, group, found in diagnoses(rows):
        if group == "all":
            kinds = sorted(found.average_precision, key=lambda kind: -found.average_precision[kind])
            by_kind = [
                [Cell(kind.replace("_", " ")), _share(found.average_precision[kind]), _share(found.f1[kind])]
                for kind in kinds
            ]
            heads = ["kind", "average precision", "F1"]
            yield Table(f"Diagnosis by kind, {entry}", "Of all pictures.", heads, by_kind, folded=True)


def _cost(rows: Sequence[Row], about: Mapping[str, Any]) -> Iterable[Table]:
    cells = [
        [
            Cell(str(each.entry)),
            _number(each.seconds_per_megapixel, ".3g"),
            _number(each.cpu_seconds_per_megapixel, ".3g"),
            _number(each.peak_mb, ",.0f"),
            _number(each.gflop_per_megapixel, ",.4g"),
            _number(each.model_mb, ",.1f"),
        ]
        for each in costs(rows, about)
    ]
    heads = [
        "method",
        "s per megapixel",
        "CPU s per megapixel",
        "peak memory [MB]",
        "GFLOP per megapixel",
        "weights [MB]",
    ]
    if cells:
        yield Table("Cost", "Medians over pictures. Arithmetic counts what runs on torch.", heads, cells)


def _head(metric: Metric) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    return f"{metric.title}{f' [{metric.unit}]' if metric.unit else ''}{arrow}"


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", value)


def _number(value: float | None, form: str) -> Cell:
    return Cell("-") if value is None else Cell(f"{value:{form}}", value)


def _share(value: float) -> Cell:
    return Cell(f"{value:.3f}", value) if math.isfinite(value) else Cell("-")
