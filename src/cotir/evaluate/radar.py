"""Radars as inline SVG: a polygon for everyone, every axis from the worst to the best."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cotir.evaluate.charts import Estimate, Look, Scale, data, figure, joined


@dataclass(frozen=True)
class Shape:
    """A polygon of a radar: a number for every spoke."""

    look: Look
    values: Sequence[float]


_RINGS = (0.12, 0.41, 0.71, 1.0)
"""Shares of the radius; the innermost is the worst value, for in the centre all polygons would be one."""


def radar_chart(title: str, spokes: Sequence[Scale], shapes: Sequence[Shape], note: str = "") -> str:
    """A polygon for each shape, as an HTML figure with a legend; empty for fewer than three spokes or no shape.

    Every spoke runs from the worst of the values on it, the inner ring, to the best, the rim; both are written at it.
    """
    drawn = [each for each in shapes if np.isfinite(each.values).any()]
    if len(spokes) < 3 or not drawn:
        return ""
    width, height, radius, middle = 520, 390, 132.0, np.array([260.0, 195.0])
    angles = 2 * np.pi * np.arange(len(spokes)) / len(spokes)
    rays = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    values = np.array([each.values for each in drawn], dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    ends = [_worst_and_best(values[:, k], spoke) for k, spoke in enumerate(spokes)]
    rings = "".join(
        f'<path class="grid" d="{_polygon(middle + rays * radius * share)}Z"/>' for share in _RINGS
    ) + "".join(f'<path class="grid" d="{_polygon([middle, middle + ray * radius])}"/>' for ray in rays)
    polygons = "".join(_shape(each, middle, rays * radius, ends, spokes) for each in drawn)
    labels = "".join(map(_spoke, spokes, ends, middle + rays * (radius + 14), rays))
    legend = "".join(
        f'<li data-who="{html.escape(each.look.name)}" style="--ink:var(--{each.look.colour})">'
        f'<i class="{"dashed" if each.look.hollow else "solid"}"></i>{html.escape(each.look.name)}</li>'
        for each in drawn
    )
    how = "each axis from the worst value on it (inner ring) to the best (rim), both written at its end"
    return figure(title, rings + polygons + labels, (width, height), legend=legend, note=joined(how, note))


def _shape(
    each: Shape,
    middle: np.ndarray,
    rays: np.ndarray,
    ends: Sequence[tuple[float, float]],
    spokes: Sequence[Scale],
) -> str:
    """The polygon, broken where there is no number, and a dot with its number at every corner."""
    name, corners, dots, whole = html.escape(each.look.name), list[str](), list[str](), True
    for value, ray, (worst, best), spoke in zip(each.values, rays, ends, spokes, strict=True):
        if not math.isfinite(value):
            whole = False
            corners.append("")
            continue
        share = (value - worst) / (best - worst) if best != worst else 1.0
        x, y = middle + ray * (_RINGS[0] + (1 - _RINGS[0]) * share)
        corners.append(f"{'L' if corners and corners[-1] else 'M'}{x:.1f} {y:.1f}")
        dots.append(
            f'<circle class="solid" cx="{x:.1f}" cy="{y:.1f}" r="2.5" data-spoke="{html.escape(spoke.name)}"'
            f"{data('', Estimate(value))}><title>{name}, {html.escape(spoke.name)}: {value:.4g}</title></circle>"
        )
    line = f'<path class="line {"dashed" if each.look.hollow else ""}" d="{"".join(corners)}{"Z" if whole else ""}"/>'
    return f'<g data-who="{name}" style="--ink:var(--{each.look.colour})">{line}{"".join(dots)}</g>'


def _spoke(spoke: Scale, ends: tuple[float, float], at: np.ndarray, ray: np.ndarray) -> str:
    anchor = "middle" if abs(ray[0]) < 0.2 else "start" if ray[0] > 0 else "end"
    y = at[1] + (-8 if ray[1] < -0.5 else 6 if ray[1] > 0.5 else 0)
    x = f'x="{at[0]:.1f}"'
    return (
        f'<text class="name" {x} y="{y:.1f}" text-anchor="{anchor}">{html.escape(spoke.name)}</text>'
        f'<text class="label" {x} y="{y + 12:.1f}" text-anchor="{anchor}">{ends[0]:.3g} to {ends[1]:.3g}</text>'
    )


def _worst_and_best(values: np.ndarray, spoke: Scale) -> tuple[float, float]:
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (high, low) if spoke.higher_is_better is False else (low, high)


def _polygon(points: Sequence[np.ndarray] | np.ndarray) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
