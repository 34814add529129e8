"""Bars and points as inline SVG, for a page that needs nothing else.

The numbers drawn stand beside the drawing in full, in ``data-value``, ``data-low`` and ``data-high`` of every bar,
and in ``data-x`` and ``data-y`` with their bounds of every point. Colours are CSS variables of the page. What
has no number (nan) or no finite one is named below the drawing, not drawn.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotir.axes import Axis, grid, short
from cotir.evaluate.placement import Box, needs_line, place

_CHARACTER = 6.1
"""Mean width of a character of labels, pixels."""
_LONGEST = 30
"""Characters of a name in a drawing; the whole name shows under the pointer."""


@dataclass(frozen=True)
class Look:
    """Who is drawn, and how: a method with an instruction."""

    name: str
    colour: str = "m0"
    """A CSS variable's name without the dashes."""
    hollow: bool = False
    """Marks that are not filled, and lines that are dashed."""


@dataclass(frozen=True)
class Estimate:
    """A number, and the ends of its interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> list[float]:
        """The finite ones of the value and both ends."""
        return [each for each in (self.value, self.low, self.high) if each is not None and math.isfinite(each)]


@dataclass(frozen=True)
class Scale:
    """What an axis means."""

    name: str
    unit: str = ""
    higher_is_better: bool | None = True
    log: bool = False

    @property
    def label(self) -> str:
        """Name, unit and direction."""
        unit = f" [{self.unit}]" if self.unit else ""
        better = {True: ", higher is better", False: ", lower is better", None: ""}[self.higher_is_better]
        return f"{self.name}{unit}{better}{', logarithmic' if self.log else ''}"


@dataclass(frozen=True)
class Bar:
    """A bar from zero with its interval as a whisker."""

    look: Look
    estimate: Estimate
    text: str
    """The number as it is written at the end of the row."""


@dataclass(frozen=True)
class Bars:
    """Bars that belong together, under a name; without a name if there is but one such group."""

    name: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Point:
    """A point of the plane with its intervals as whiskers."""

    look: Look
    x: Estimate
    y: Estimate


def bar_chart(title: str, groups: Sequence[Bars], scale: Scale, note: str = "") -> str:
    """Horizontal bars, one below the other, as an HTML figure; empty if no bar has a finite value."""
    ends = [each for group in groups for bar in group.bars for each in bar.estimate.ends]
    if not any(math.isfinite(bar.estimate.value) for group in groups for bar in group.bars):
        return ""
    width, row, head = 520, 17, 22
    longest = max(len(_cut(bar.look.name)) for group in groups for bar in group.bars)
    left, right = 12 + _CHARACTER * longest, width - 58
    axis = Axis.around(np.array([0.0, *ends]), (left, right))
    y, parts = 4.0, list[str]()
    for group in groups:
        if group.name:
            parts.append(f'<text class="head" x="0" y="{y + 15:.0f}">{html.escape(group.name)}</text>')
            y += head
        for bar in group.bars:
            parts.append(_bar(bar, axis, y + row / 2, width, html.escape(group.name)))
            y += row
        y += 4
    lines = "".join(
        f'<path class="{"zero" if value == 0 else "grid"}" d="M{x:.1f} 4V{y:.0f}"/>'
        f'<text x="{x:.1f}" y="{y + 15:.0f}" text-anchor="middle">{short(value)}</text>'
        for value, x in ((value, axis.at(value)) for value in axis.ticks())
    )
    return figure(title, f"{lines}{''.join(parts)}", (width, y + 22), note=joined(scale.label, note))


def scatter_chart(title: str, points: Sequence[Point], x: Scale, y: Scale, note: str = "") -> str:
    """Named points with whiskers, better ones to the right and up, as an HTML figure; empty without a point to draw.

    An axis of which less is better runs backwards, except a logarithmic one, which is of cost.
    """
    drawn = [each for each in points if _fits(each.x, x) and _fits(each.y, y)]
    if not drawn:
        return ""
    width, height = 640, 420
    across, up = (58.0, width - 16.0), (height - 40.0, 12.0)
    x_axis = _axis([each.x for each in drawn], across, x)
    y_axis = _axis([each.y for each in drawn], up, y)
    places = [(x_axis.at(each.x.value), y_axis.at(each.y.value)) for each in drawn]
    names = [_cut(each.look.name) for each in drawn]
    frame = Box(across[0] + 2, up[1], across[1], up[0] - 2)
    obstacles = [Box(px - 6, py - 6, px + 6, py + 6) for px, py in places]
    obstacles += [
        box for each, at in zip(drawn, places, strict=True) for box in _whisker_boxes(each, at, x_axis, y_axis)
    ]
    obstacles.append(Box(frame.left, frame.top, frame.left + 4 + 5.6 * len(y.label), frame.top + 14))
    boxes = place(places, [(_CHARACTER * len(name) + 4, 13.0) for name in names], obstacles, frame)
    marks = "".join(_point(each, at, x_axis, y_axis) for each, at in zip(drawn, places, strict=True))
    labels = "".join(map(_name, drawn, names, places, boxes))
    lost = [each.look.name for each in points if each not in drawn]
    left_out = f"not drawn, for want of a number{' above 0' if x.log else ''}: {', '.join(lost)}" if lost else ""
    body = f"{grid(x_axis, y_axis, x.label, y.label)}{marks}{labels}"
    return figure(title, body, (width, height), note=joined(note, left_out))


def figure(title: str, body: str, size: tuple[float, float], *, legend: str = "", note: str = "") -> str:
    """A drawing of a size, with its title, legend (HTML) and note, as an HTML figure."""
    legend = f'<ul class="legend">{legend}</ul>' if legend else ""
    note = f'<p class="note">{html.escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart"><figcaption><h3>{html.escape(title)}</h3>{legend}</figcaption>'
        f'<svg viewBox="0 0 {size[0]:g} {size[1]:.0f}" role="img" aria-label="{html.escape(title)}">{body}</svg>'
        f"{note}</figure>"
    )


def _bar(bar: Bar, axis: Axis, y: float, width: float, group: str) -> str:
    name = html.escape(bar.look.name)
    text = (
        f'<text x="{axis.start - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{html.escape(_cut(bar.look.name))}</text>'
        f'<text class="number" x="{width}" y="{y + 4:.1f}" text-anchor="end">{html.escape(bar.text)}</text>'
    )
    if not math.isfinite(bar.estimate.value):
        return f'<g data-who="{name}" data-group="{group}"><title>{name}</title>{text}</g>'
    zero, end = axis.at(0.0), axis.at(bar.estimate.value)
    left, long = min(zero, end), abs(end - zero)
    mark = (
        f'<rect class="{_filling(bar.look)}" x="{left:.1f}" y="{y - 5.5:.1f}" width="{long:.1f}" height="11" rx="1.5"/>'
    )
    return (
        f'<g data-who="{name}" data-group="{group}" style="--ink:var(--{bar.look.colour})"{data("", bar.estimate)}>'
        f"<title>{name}: {html.escape(bar.text)}</title>{text}{mark}{_whisker(bar.estimate, axis, y, flat=True)}</g>"
    )


def _point(each: Point, at: tuple[float, float], x_axis: Axis, y_axis: Axis) -> str:
    px, py = at
    name = html.escape(each.look.name)
    whiskers = _whisker(each.x, x_axis, py, flat=True) + _whisker(each.y, y_axis, px, flat=False)
    return (
        f'<g data-who="{name}" style="--ink:var(--{each.look.colour})"{data("x", each.x)}{data("y", each.y)}>'
        f"<title>{name}: {each.x.value:.4g}, {each.y.value:.4g}</title>{whiskers}"
        f'<circle class="{_filling(each.look)}" cx="{px:.1f}" cy="{py:.1f}" r="4.5"/></g>'
    )


def _name(each: Point, name: str, at: tuple[float, float], box: Box) -> str:
    """A point's name, with a line to it from afar."""
    x, y = box.nearest(*at)
    line = f'<path class="lead" d="M{at[0]:.1f} {at[1]:.1f}L{x:.1f} {y:.1f}"/>' if needs_line(box, at) else ""
    return (
        f'<g data-who="{html.escape(each.look.name)}">{line}'
        f'<text class="name" x="{box.left + 2:.1f}" y="{box.bottom - 3:.1f}">{html.escape(name)}</text></g>'
    )


def _axis(estimates: Sequence[Estimate], pixels: tuple[float, float], scale: Scale) -> Axis:
    ends = np.array([each for estimate in estimates for each in estimate.ends])
    backwards = scale.higher_is_better is False and not scale.log
    return Axis.around(
        ends[(ends > 0) | (not scale.log)], (pixels[1], pixels[0]) if backwards else pixels, log=scale.log
    )


def _fits(estimate: Estimate, scale: Scale) -> bool:
    return math.isfinite(estimate.value) and (estimate.value > 0 or not scale.log)


def _whisker_boxes(each: Point, at: tuple[float, float], x_axis: Axis, y_axis: Axis) -> list[Box]:
    """Where its whiskers are."""
    xs, ys = (
        [axis.at(end) for end in e.ends if end > 0 or not axis.log] for e, axis in ((each.x, x_axis), (each.y, y_axis))
    )
    return [Box(min(xs), at[1] - 2, max(xs), at[1] + 2), Box(at[0] - 2, min(ys), at[0] + 2, max(ys))]


def _whisker(estimate: Estimate, axis: Axis, across: float, *, flat: bool) -> str:
    low, high = estimate.low, estimate.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)) or (axis.log and low <= 0):
        return ""
    a, b = axis.at(low), axis.at(high)
    steps = "M{0:.1f} {2:.1f}v6M{0:.1f} {3:.1f}H{1:.1f}M{1:.1f} {2:.1f}v6" if flat else (
        "M{2:.1f} {0:.1f}h6M{3:.1f} {0:.1f}V{1:.1f}M{2:.1f} {1:.1f}h6"
    )  # fmt: skip
    return f'<path class="whisker" d="{steps.format(a, b, across - 3, across)}"/>'


def data(axis: str, estimate: Estimate) -> str:
    """HTML attributes with the numbers in full, those of the value named ``data-value`` or after the axis."""
    names = (f"{axis}-low", f"{axis}-high") if axis else ("low", "high")
    ends = zip((axis or "value", *names), (estimate.value, estimate.low, estimate.high), strict=True)
    return "".join(
        f' data-{name}="{float(each)!r}"' for name, each in ends if each is not None and not math.isnan(each)
    )


def _filling(look: Look) -> str:
    return "hollow" if look.hollow else "solid"


def _cut(name: str) -> str:
    """A name as it fits, its middle left out: the ends tell methods apart."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[1 - _LONGEST // 2 :]}"


def joined(*notes: str) -> str:
    """Those notes that say something."""
    return "; ".join(note for note in notes if note)
