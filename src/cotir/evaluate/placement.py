"""Where to write the names of points so that they can be read: beside their points, and not over one another."""

from collections.abc import Sequence
from dataclasses import dataclass

_DISTANCES = (7.0, 13.0, 22.0, 34.0, 50.0, 70.0, 95.0)
_DIRECTIONS = ((1, 0), (-1, 0), (0.7, -1), (0.7, 1), (-0.7, -1), (-0.7, 1), (0, -1), (0, 1))
_ROUNDS = 3
_FAR = 15.0
"""Pixels from a point to its name beyond which a line has to lead there."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Area both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across * down if across > 0 and down > 0 else 0.0

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.bottom - self.top)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Its point that is nearest to another."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
) -> list[Box]:
    """A box for the name of each point, by trying places around it, nearest first, until names stop moving.

    Args:
        points: in pixels.
        sizes: width and height of their names.
        obstacles: what names should not cover, such as the points themselves.
        frame: what they must not leave.
    """
    boxes: list[Box | None] = [None] * len(points)
    for _ in range(_ROUNDS):
        for i, (point, size) in enumerate(zip(points, sizes, strict=True)):
            others = [box for k, box in enumerate(boxes) if box is not None and k != i]
            boxes[i] = min(_places(point, size), key=lambda found: _cost(found, others, obstacles, frame))[1]
    return [box for box in boxes if box is not None]


def needs_line(box: Box, point: tuple[float, float]) -> bool:
    """Whether a name is too far from its point to be taken for its."""
    x, y = box.nearest(*point)
    return (x - point[0]) ** 2 + (y - point[1]) ** 2 > _FAR**2


def _places(point: tuple[float, float], size: tuple[float, float]) -> list[tuple[float, Box]]:
    """Boxes around a point, each with its distance."""
    (x, y), (width, height) = point, size
    found = []
    for distance in _DISTANCES:
        for across, down in _DIRECTIONS:
            left = x + across * distance - (width if across < 0 else width / 2 if across == 0 else 0)
            top = y + down * distance - (height if down < 0 else height / 2 if down == 0 else 0)
            found.append((distance, Box(left, top, left + width, top + height)))
    return found


def _cost(found: tuple[float, Box], others: Sequence[Box], obstacles: Sequence[Box], frame: Box) -> float:
    """Pixels hidden, those of names and outside the frame above all; then the distance."""
    distance, box = found
    outside = box.area - box.overlap(frame)
    hidden = 4 * sum(map(box.overlap, others)) + sum(map(box.overlap, obstacles))
    return 40 * outside + hidden + 0.6 * distance
