"""Tables of an evaluation: means with intervals by group of pictures, tests between methods, cost, diagnosis."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotir.evaluate.cases import PAIRS, REAL
from cotir.evaluate.diagnosis import Diagnosis, diagnose
from cotir.evaluate.metrics import METRICS, Metric
from cotir.evaluate.records import Row
from cotir.evaluate.statistics import Interval, bootstrap, paired_test
from cotir.words import WORDS

IDENTITY = "identity"
"""The method whose result is the input."""

UNKNOWN = (PAIRS, REAL)
"""Groups of pictures of which nobody knows what is wrong with them."""

GROUPS: Mapping[str, Callable[[Row], bool]] = {
    "all damage": lambda row: row.group not in ("clean", REAL),
    "one kind": lambda row: row.group == "single",
    "2 kinds": lambda row: len(row.kinds) == 2,
    "3 kinds": lambda row: len(row.kinds) == 3,
    "4 kinds": lambda row: len(row.kinds) == 4,
    "5 and more": lambda row: len(row.kinds) >= 5,
    "2 to 4 kinds": lambda row: 2 <= len(row.kinds) <= 4,
    "seen": lambda row: row.group == "seen",
    "unseen": lambda row: row.group == "unseen",
    "clean": lambda row: row.group == "clean",
    "real": lambda row: row.group == REAL,
}
"""Groups of pictures by name: whether a row is of it."""


@dataclass(frozen=True)
class Entry:
    """One method and prompt in the results."""

    method: str
    prompt: str

    @property
    def family(self) -> str:
        """The method without its keys; those of one family are no rivals."""
        return self.method.partition(",")[0]

    def __str__(self) -> str:
        """For a table."""
        return self.method if self.prompt == "none" else f"{self.method}, {self.prompt}"


@dataclass(frozen=True)
class Line:
    """One entry's means over groups of pictures."""

    entry: Entry
    cells: dict[str, Interval]
    missing: int


@dataclass(frozen=True)
class Comparison:
    """An entry against one of another method that is no better, on the pictures that both have."""

    entry: Entry
    rival: Entry
    difference: Interval
    """Of the metric, entry minus rival."""
    p: float


@dataclass(frozen=True)
class Cost:
    """What an entry took, medians over pictures."""

    entry: Entry
    seconds_per_megapixel: float
    cpu_seconds_per_megapixel: float
    peak_mb: float
    gflop_per_megapixel: float | None
    model_mb: float | None
    """None where it was not told."""


def entries(rows: Iterable[Row]) -> list[Entry]:
    """The methods and prompts of a table, in the order they were run."""
    return list(dict.fromkeys(Entry(row.method, row.prompt) for row in rows))


def rows_of(rows: Iterable[Row], entry: Entry) -> list[Row]:
    """The rows of an entry."""
    return [row for row in rows if (row.method, row.prompt) == (entry.method, entry.prompt)]


def groups_in(rows: Iterable[Row]) -> list[str]:
    """The groups that have a picture."""
    rows = list(rows)
    return [name for name, has in GROUPS.items() if any(map(has, rows))]


def metrics_in(rows: Iterable[Row]) -> list[Metric]:
    """The metrics that the rows have."""
    names = {name for row in rows for name in row.metrics}
    return [metric for name, metric in METRICS.items() if name in names]


def means(rows: Sequence[Row], metric: str, groups: Sequence[str] | None = None) -> list[Line]:
    """Means of a metric by entry and group; a missing result is counted and in no mean."""
    groups = groups_in(rows) if groups is None else groups
    lines = []
    for entry in entries(rows):
        own = rows_of(rows, entry)
        cells = {name: _mean([row for row in own if GROUPS[name](row)], metric) for name in groups}
        lines.append(Line(entry, cells, _missing(own)))
    return lines


def means_by_type(rows: Sequence[Row], metric: str) -> dict[str, dict[Entry, Interval]]:
    """Means of a metric by degradation type and entry."""
    degs = sorted({row.deg for row in rows})
    every = entries(rows)
    return {
        deg: {entry: _mean([row for row in rows_of(rows, entry) if row.deg == deg], metric) for entry in every}
        for deg in degs
    }


def gains(rows: Sequence[Row], groups: Sequence[str] | None = None, metric: str = "psnr") -> list[Line]:
    """Means of what every other entry adds to the input; without rows of ``identity`` there are none."""
    groups = groups_in(rows) if groups is None else groups
    base = rows_of(rows, Entry(IDENTITY, "none"))
    lines = []
    for entry in entries(rows):
        if entry.method == IDENTITY or not base:
            continue
        own = rows_of(rows, entry)
        chosen = {name: [row for row in own if GROUPS[name](row)] for name in groups}
        cells = {name: bootstrap(*_differences(part, base, metric)) for name, part in chosen.items()}
        lines.append(Line(entry, cells, _missing(own)))
    return lines


def comparisons(rows: Sequence[Row], metric: str, group: str) -> list[Comparison]:
    """Every two entries of different methods over a group, each pair once and the better one first.

    The difference is over the pictures that both have: who fails on the hard ones must not win by it.
    """
    better = METRICS[metric].higher_is_better
    if better is None:
        return []
    rows = [row for row in rows if GROUPS[group](row) and np.isfinite(row.metrics.get(metric, np.nan))]
    found = []
    for one, other in combinations(entries(rows), 2):
        if one.family == other.family:
            continue
        values, photos = _differences(rows_of(rows, one), rows_of(rows, other), metric)
        if not len(values):
            continue
        if (values.mean() < 0) == better:
            one, other, values = other, one, -values
        found.append(Comparison(one, other, bootstrap(values, photos), paired_test(values, photos)))
    return found


def costs(rows: Sequence[Row], about: Mapping[str, Any]) -> list[Cost]:
    """What every entry took; ``about`` is the run's description, which has what was counted once."""
    found = []
    for entry in entries(rows):
        own = [row for row in rows_of(rows, entry) if row.missing is None]
        if not own:
            continue
        facts = about.get("methods", {}).get(entry.method, {})
        if not facts.get("timed", True):
            continue
        size = facts.get("model_bytes")
        found.append(
            Cost(
                entry,
                median(row.seconds / row.megapixels for row in own),
                median(row.cpu_seconds / row.megapixels for row in own),
                median(row.peak_mb for row in own),
                facts.get("gflop_per_megapixel"),
                None if size is None else size / 1e6,
            )
        )
    return found


def diagnoses(rows: Sequence[Row]) -> Iterator[tuple[Entry, str, Diagnosis]]:
    """How well every entry that says so tells what is wrong: over all pictures whose damage is known, seen, unseen.

    Those that were told by a precise instruction are left out.
    """
    for entry in entries(rows):
        if entry.prompt == "precise":
            continue  # its instruction names the damage
        own = [row for row in rows_of(rows, entry) if row.findings is not None and row.group not in UNKNOWN]
        for name, has in (("all", lambda _: True), ("seen", GROUPS["seen"]), ("unseen", GROUPS["unseen"])):
            part = [row for row in own if has(row)]
            if part:
                yield entry, name, _diagnosis(part)


def _diagnosis(rows: Sequence[Row]) -> Diagnosis:
    kinds = list(WORDS)
    told = np.array([[(row.findings or {}).get(kind, (0.0, 0.0)) for kind in kinds] for row in rows])
    known = [dict(zip(row.kinds, row.severities, strict=True)) for row in rows]
    true = np.array([[(float(kind in each), each.get(kind, 0.0)) for kind in kinds] for each in known])
    return diagnose(told[..., 0], told[..., 1], true[..., 0], true[..., 1], kinds)


def _mean(rows: Sequence[Row], metric: str) -> Interval:
    return bootstrap(_values(rows, metric), [row.photo for row in rows])


def _values(rows: Sequence[Row], metric: str) -> NDArray[np.float64]:
    return np.array([row.metrics.get(metric, np.nan) for row in rows], dtype=np.float64)


def _missing(rows: Iterable[Row]) -> int:
    return sum(row.missing is not None for row in rows)


def _differences(rows: Sequence[Row], others: Sequence[Row], metric: str) -> tuple[NDArray[np.float64], Sequence[str]]:
    """Of a metric on the pictures that both have, rows minus others, and the photos they are of."""
    theirs = {row.key: row.metrics.get(metric, np.nan) for row in others}
    both = [row for row in rows if row.key in theirs]
    values = _values(both, metric) - np.array([theirs[row.key] for row in both], dtype=np.float64)
    return values, [row.photo for row in both]
