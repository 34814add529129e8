"""What a benchmark holds, counted from its index."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotir.bench.tars import INDEX
from cotir.errors import ConfigError

PSNR_BOUNDS = tuple(range(0, 62, 2))
"""Of the histogram, in dB; what lies outside is counted at the ends."""
SEVERITY_BOUNDS = tuple(round(0.1 * step, 1) for step in range(11))


@dataclass(frozen=True)
class TypeStats:
    """One degradation type."""

    deg: str
    group: str
    train: int
    test: int
    psnr: float | None
    """Median of PSNR(LQ, HQ) in dB; None for clean pictures."""


@dataclass(frozen=True)
class KindStats:
    """One kind of damage, alone or with others."""

    kind: str
    samples: int
    severity: float
    """The mean."""
    severities: tuple[int, ...]
    """Counts between :data:`SEVERITY_BOUNDS`."""


@dataclass(frozen=True)
class Stats:
    """A whole benchmark."""

    samples: int
    bytes: int
    """Of the members: pictures and metadata."""
    photos: int
    shards: int
    types: tuple[TypeStats, ...]
    kinds: tuple[KindStats, ...]
    psnr: tuple[int, ...]
    """Counts between :data:`PSNR_BOUNDS`, of damaged pictures."""
    writers: dict[str, int]
    """Traces by who wrote them."""


def survey(root: str | os.PathLike[str]) -> Stats:
    """Read the index of a benchmark.

    Raises:
        ConfigError: there is none that can be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(root) / INDEX
    columns = ["split", "group", "deg", "kinds", "severities", "shard", "source_sha256", "writer", "psnr"]
    columns += ["hq_bytes", "lq_bytes", "meta_bytes"]
    try:
        data = pq.read_table(path, columns=columns).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); build the benchmark first") from error
    known = [value for value in data["psnr"] if value is not None]
    return Stats(
        samples=len(data["deg"]),
        bytes=sum(sum(data[name]) for name in ("hq_bytes", "lq_bytes", "meta_bytes")),
        photos=len(set(data["source_sha256"])),
        shards=len(set(data["shard"]) - {""}),
        types=tuple(_types(data)),
        kinds=tuple(_kinds(data)),
        psnr=_histogram(known, PSNR_BOUNDS),
        writers=dict(Counter(data["writer"])),
    )


def _types(data: dict[str, list]) -> Iterable[TypeStats]:
    rows: dict[tuple[str, str], list[tuple[str, float | None]]] = {}
    for deg, group, split, psnr in zip(data["deg"], data["group"], data["split"], data["psnr"], strict=True):
        rows.setdefault((group, deg), []).append((split, psnr))
    for (group, deg), found in rows.items():
        splits = Counter(split for split, _ in found)
        known = [psnr for _, psnr in found if psnr is not None]
        yield TypeStats(deg, group, splits["train"], splits["test"], float(np.median(known)) if known else None)


def _kinds(data: dict[str, list]) -> Iterable[KindStats]:
    found: dict[str, list[float]] = {}
    for kinds, severities in zip(data["kinds"], data["severities"], strict=True):
        for kind, severity in zip(kinds, severities, strict=True):
            found.setdefault(kind, []).append(severity)
    for kind, severities in sorted(found.items(), key=lambda each: -len(each[1])):
        counts = _histogram(severities, SEVERITY_BOUNDS)
        yield KindStats(kind, len(severities), float(np.mean(severities)), counts)


def _histogram(values: list[float], bounds: tuple[float, ...]) -> tuple[int, ...]:
    inside = np.clip(np.asarray(values, np.float64), bounds[0], bounds[-1])
    return tuple(int(count) for count in np.histogram(inside, bounds)[0])
