"""Axes of drawings: values to pixels, round ticks, short numbers, and the lines and labels of them as SVG."""

import html
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Maps values in [low, high] to pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(cls, values: _Values, pixels: tuple[float, float], *, log: bool = False, padded: bool = True) -> "Axis":
        """An axis that holds all finite values, of which there is one, with a little room beyond them.

        Args:
            values: of any shape; positive if ``log``.
            pixels: where the lowest and the highest end lie; the first may be the larger.
            log: makes it logarithmic.
            padded: leaves room beyond the values; never beyond 0.
        """
        finite = values[np.isfinite(values)]
        low, high = float(finite.min()), float(finite.max())
        if log:
            room = 10 ** (0.05 * max(np.log10(high / low), 0.2))
            return cls(low / room, high * room, *pixels, log=True)
        room = (high - low) * (0.05 if padded else 0.0) or (0.0 if high > low else max(abs(high), 1.0) / 2)
        return cls(low - room * (low != 0), high + room * (high != 0 or low == 0), *pixels)

    def __call__(self, values: _Values) -> _Values:
        """The pixels of values, of the same shape."""
        if self.log:
            share = np.log10(values / self.low) / np.log10(self.high / self.low)
        else:
            share = (values - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def at(self, value: float) -> float:
        """The pixel of one value."""
        return float(self(np.array([value]))[0])

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers on the axis; of a logarithmic one as many as there are powers, whatever ``most``."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, most)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(power * each for each in (1, 2, 5, 10, 20) if (high - low) / (power * each) <= most - 1)
    return [float(step * k) for k in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high], with twice and five times these where there are few."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    inside = [[float(p * m) for p in powers for m in factors if low <= p * m <= high] for factors in ((1,), (1, 2, 5))]
    return inside[0] if len(inside[0]) >= 3 else inside[1]


def short(value: float) -> str:
    """A number for an axis: 12500 is 12.5k, 0.00005 is 5e-5."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return re.sub(r"e([+-])0", r"e\1", f"{value:.6g}").replace("e+", "e")


def grid(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str = "") -> str:
    """Both axes as SVG, with a line across at every tick of y.

    Labels are escaped here. They take 34 pixels below the lower end, and what the numbers need left of the other.
    """
    left, right = sorted((x_axis.start, x_axis.end))
    top, bottom = sorted((y_axis.start, y_axis.end))
    xs, ys = x_axis.ticks(8), y_axis.ticks()
    across = "".join(
        f'<path class="grid" d="M{left:g} {y:.1f}H{right:g}"/>'
        f'<text x="{left - 6:g}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'
        for value, y in zip(ys, y_axis(np.array(ys)), strict=True)
    )
    along = "".join(
        f'<path class="grid" d="M{x:.1f} {bottom:g}v4"/>'
        f'<text x="{x:.1f}" y="{bottom + 16:g}" text-anchor="middle">{short(value)}</text>'
        for value, x in zip(xs, x_axis(np.array(xs)), strict=True)
    )
    names = f'<text class="label" x="{right:g}" y="{bottom + 34:g}" text-anchor="end">{html.escape(x_label)}</text>'
    if y_label:
        names += f'<text class="label" x="{left + 6:g}" y="{top + 10:g}">{html.escape(y_label)}</text>'
    return f'{across}{along}<path class="axis" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>{names}'
