"""Curves and point clouds as inline SVG, for a page that needs nothing else.

The numbers drawn stand beside the drawing, in the attributes ``data-x`` and ``data-y`` of every curve (six significant
digits, parted by spaces), so that a script or a test can read them back. Colours are CSS variables of the page.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cotir.axes import Axis, grid
from cotir.train.records import Values

MOST_POINTS = 500
"""Points drawn of one curve; more would not be seen."""
_WIDTH, _HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 18, 12, 38
_ACROSS, _UP = (_LEFT, _WIDTH - _RIGHT), (_HEIGHT - _BOTTOM, _TOP)
_EARLY, _LATE = (58, 110, 214), (240, 120, 30)
"""RGB of the first and the last step of a point cloud, both legible on white and on black."""


@dataclass(frozen=True)
class Series:
    """A curve.

    Args:
        key: in the log.
        name: in the legend.
        x: steps, rising (n,).
        y: values (n,); those that are not finite are counted, not drawn.
        colour: a CSS variable's name without the dashes.
        dashed: for a limit.
        dotted: marks every point, for curves of few points.
        noisy: draws the curve pale, under its running mean over a fortieth of the rows.
    """

    key: str
    name: str
    x: Values
    y: Values
    colour: str
    dashed: bool = False
    dotted: bool = False
    noisy: bool = False

    @property
    def has_mean(self) -> bool:
        """Whether a running mean is drawn: of noisy curves with enough points."""
        return self.noisy and len(self.y) >= 80


@dataclass(frozen=True)
class Cloud:
    """Points of the plane over the steps of a run: x, y and steps are (n,) each, in the order of time."""

    key: str
    name: str
    x: Values
    y: Values
    steps: Values


def thin(y: Values, most: int = MOST_POINTS) -> NDArray[np.intp]:
    """Indices of at most ``most`` (at least 4) values that look the same when drawn: the ends and all extremes."""
    if len(y) <= most:
        return np.arange(len(y))
    parts = np.array_split(np.arange(len(y)), (most - 2) // 2)
    extremes = [part[pick(y[part])] for part in parts for pick in (np.argmin, np.argmax)]
    return np.unique([0, *extremes, len(y) - 1])


def running_mean(y: Values, window: int) -> Values:
    """Mean of each value and those up to ``window // 2`` places before and after it (n,)."""
    total = np.concatenate([[0.0], np.cumsum(y)])
    place = np.arange(len(y))
    starts, ends = np.maximum(0, place - window // 2), np.minimum(len(y), place + window // 2 + 1)
    return (total[ends] - total[starts]) / (ends - starts)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str = "",
    log: bool = False,
    zero: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Curves over steps, as an HTML figure; empty if there is nothing to draw.

    Args:
        title: above the curves.
        series: those with no value to draw are left out.
        unit: of y.
        log: draws y on a logarithmic scale; values that are not positive are counted, not drawn.
        zero: keeps y = 0 on the axis.
        marks: steps to mark by a vertical line, each with its label.
    """
    drawn = [(each, keep) for each in series if (keep := np.isfinite(each.y) & ((each.y > 0) | (not log))).any()]
    if not drawn:
        return ""
    values = np.concatenate([each.y[keep] for each, keep in drawn])
    steps = np.concatenate([each.x for each, _ in drawn])
    x_axis = Axis.around(steps if steps.min() > steps.max() / 4 else np.append(steps, 0.0), _ACROSS, padded=False)
    y_axis = Axis.around(np.append(values, 0.0) if zero else values, _UP, log=log)
    head = html.escape(title) + (f" <small>{html.escape(unit)}</small>" if unit else "")
    legend = "".join(_legend(each, each.y[keep][-1]) for each, keep in drawn)
    curves = "".join(_curve(each, keep, x_axis, y_axis) for each, keep in drawn)
    lines = "".join(_mark(x_axis.at(step), label) for step, label in marks)
    notes = ["bold: running mean over a fortieth of the rows"] if any(e.has_mean for e, _ in drawn) else []
    notes += [_left_out(each, ~keep, log) for each, keep in drawn if not keep.all()]
    note = f'<p class="note">{html.escape("; ".join(notes))}</p>' if notes else ""
    frame = f"{x_axis.low:.10g} {x_axis.high:.10g} {_LEFT} {_WIDTH - _RIGHT} {_WIDTH}"
    return (
        f'<figure class="chart"><figcaption><h3>{head}</h3><ul class="legend">{legend}</ul></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}" data-frame="{frame}">'
        f"{grid(x_axis, y_axis, 'step')}{lines}{curves}"
        f'<path class="cursor" d="M0 {_TOP}V{_HEIGHT - _BOTTOM}" visibility="hidden"/></svg>{note}</figure>'
    )


def cloud_charts(clouds: Sequence[Cloud], x_label: str, y_label: str) -> str:
    """One panel for each cloud, all on the same axes, coloured by time, with a line at x = 0 and the last point ringed.

    Clouds without a point are left out; without any, the text is empty.
    """
    finite = [(each, np.isfinite(each.x) & np.isfinite(each.y)) for each in clouds]
    drawn = [Cloud(e.key, e.name, e.x[keep], e.y[keep], e.steps[keep]) for e, keep in finite if keep.any()]
    if not drawn:
        return ""
    x_axis = Axis.around(np.concatenate([[0.0], *(e.x for e in drawn)]), _ACROSS)
    y_axis = Axis.around(np.concatenate([[0.0], *(e.y for e in drawn)]), _UP)
    frame = grid(x_axis, y_axis, x_label, y_label) + (
        f'<path class="zero" d="M{x_axis.at(0.0):.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
    )
    return "".join(
        f'<figure class="chart"><figcaption><h3>{html.escape(each.name)}</h3></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(each.name)}">'
        f"{frame}{_points(each, x_axis, y_axis)}</svg></figure>"
        for each in drawn
    )


def time_scale(first: str, last: str) -> str:
    """The colours of :func:`cloud_charts`, with what they stand for."""
    gradient = f"linear-gradient(90deg, {_hex(0)}, {_hex(0.5)}, {_hex(1)})"
    return (
        f'<p class="scale"><span>{html.escape(first)}</span><i style="background:{gradient}"></i>'
        f"<span>{html.escape(last)}</span></p>"
    )


def _legend(each: Series, latest: float) -> str:
    kind = "dashed" if each.dashed else "solid"
    return (
        f'<li style="--ink:var(--{each.colour})"><i class="{kind}"></i>{html.escape(each.name)} '
        f'<b data-latest="{latest:.4g}">{latest:.4g}</b></li>'
    )


def _curve(each: Series, keep: NDArray[np.bool_], x_axis: Axis, y_axis: Axis) -> str:
    """The curve in pixels, broken where a value is not drawn, and the values."""
    stretch: NDArray[np.intp] = np.cumsum(~keep, dtype=np.intp)  # tells the pieces between values not drawn apart
    index = np.flatnonzero(keep)
    index = index[thin(each.y[index])]
    x, y = each.x[index], each.y[index]
    style = "dashed" if each.dashed else "pale" if each.has_mean else "solid"
    paths = f'<path class="{style}" d="{_path(x_axis(x), y_axis(y), stretch[index])}"/>'
    if each.has_mean:
        mean = running_mean(each.y[keep], len(each.y) // 40)
        chosen = thin(mean)
        line = _path(x_axis(each.x[keep][chosen]), y_axis(mean[chosen]), stretch[keep][chosen])
        paths += f'<path class="solid" d="{line}"/>'
    if each.dotted or len(x) == 1:
        paths += "".join(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in zip(x_axis(x), y_axis(y), strict=True)
        )
    return (
        f'<g style="--ink:var(--{each.colour})" data-key="{html.escape(each.key)}" data-x="{_numbers(x)}" '
        f'data-y="{_numbers(y)}">{paths}</g>'
    )


def _path(x: Values, y: Values, stretch: NDArray[np.intp]) -> str:
    starts = np.diff(stretch, prepend=-1) != 0
    return "".join(f"{'M' if start else 'L'}{px:.1f} {py:.1f}" for px, py, start in zip(x, y, starts, strict=True))


def _points(each: Cloud, x_axis: Axis, y_axis: Axis) -> str:
    index = thin(each.y)
    x, y, steps = each.x[index], each.y[index], each.steps[index]
    ages = (steps - steps[0]) / max(float(steps[-1] - steps[0]), 1.0)
    px, py = x_axis(x), y_axis(y)
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{_hex(age)}"/>'
        for a, b, age in zip(px, py, ages, strict=True)
    )
    ring = f'<circle class="last" cx="{px[-1]:.1f}" cy="{py[-1]:.1f}" r="6"/>'
    return (
        f'<g class="cloud" data-key="{html.escape(each.key)}" data-x="{_numbers(x)}" data-y="{_numbers(y)}">'
        f"{dots}{ring}</g>"
    )


def _mark(x: float, label: str) -> str:
    return (
        f'<path class="mark" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        f'<text class="label" x="{x + 4:.1f}" y="{_TOP + 10}">{html.escape(label)}</text>'
    )


def _left_out(each: Series, lost: NDArray[np.bool_], log: bool) -> str:
    fault = "finite and positive" if log else "finite"
    return f"{each.name}: {int(lost.sum())} not {fault}, first at step {each.x[lost][0]:.0f}"


def _hex(age: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * age):02x}" for a, b in zip(_EARLY, _LATE, strict=True))


def _numbers(values: Values) -> str:
    return " ".join(f"{value:.6g}" for value in values)
