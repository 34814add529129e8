"""A measured pilot, and what it says about a large build: time, disk, and number of machines."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cotir.bench.build import Watcher, build
from cotir.bench.order import Order
from cotir.errors import ConfigError


@dataclass(frozen=True)
class Pilot:
    """What a small build took."""

    samples: int
    seconds: float
    """Of the samples, without the survey of the photos."""
    bytes: int
    photos: int
    survey_seconds: float
    workers: int
    size: int
    stages: Mapping[str, float]
    """Seconds of all workers: photo, damage, words, png."""

    @property
    def rate(self) -> float:
        """Samples per second and worker."""
        return self.samples / self.seconds / self.workers

    @property
    def rate_without_png(self) -> float:
        """The same, had the pictures not to be encoded."""
        return self.samples / (self.seconds * self.workers - self.stages.get("png", 0.0))

    @property
    def bytes_per_sample(self) -> float:
        """In the shards, with all that lies around the pictures."""
        return self.bytes / self.samples


@dataclass(frozen=True)
class Cluster:
    """Some machines for a build."""

    nodes: int
    cores: int
    """Of each; a worker takes one."""


@dataclass(frozen=True)
class Forecast:
    """What a build of ``samples`` takes on a cluster."""

    cluster: Cluster
    samples: int
    hours: float
    terabytes: float
    """10^12 bytes."""
    megabytes_per_second: float
    """What the shared disk must take."""


def measure(order: Order, watcher: Watcher | None = None) -> Pilot:
    """Build a pilot into a folder that is taken away again.

    Args:
        order: as for the build itself, ``samples`` being those of the pilot; its folder is not touched.
        watcher: is told about it.

    Raises:
        ConfigError: there is nothing to measure, or the photos cannot be used.
    """
    if order.samples < 1:
        raise ConfigError(f"a pilot of {order.samples} samples measures nothing; take a hundred or more")
    clock = _Clock(watcher or Watcher())
    with tempfile.TemporaryDirectory(prefix="cotir-pilot-") as folder:
        recipes = replace(order.recipes, test_samples=0)
        # small shards, so that every worker has work
        recipes = replace(recipes, samples_per_shard=max(1, min(recipes.samples_per_shard, order.samples // 8)))
        built = build(replace(order, out=Path(folder) / "pilot", recipes=recipes), clock)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return Pilot(
        samples=order.samples,
        seconds=clock.ended - clock.began["samples"],
        bytes=size,
        photos=clock.totals["photos"],
        survey_seconds=clock.began["samples"] - clock.began["photos"],
        workers=order.workers,
        size=order.size,
        stages=built.seconds,
    )


def forecast(pilot: Pilot, cluster: Cluster, samples: int) -> Forecast:
    """Scale a pilot up: workers are independent, so time falls as their number grows, while the disk keeps up."""
    if cluster.nodes < 1 or cluster.cores < 1:
        raise ConfigError(f"{cluster.nodes} nodes of {cluster.cores} cores build nothing; take at least one of each")
    rate = pilot.rate * cluster.nodes * cluster.cores
    return Forecast(
        cluster=cluster,
        samples=samples,
        hours=samples / rate / 3600,
        terabytes=samples * pilot.bytes_per_sample / 1e12,
        megabytes_per_second=rate * pilot.bytes_per_sample / 1e6,
    )


class _Clock(Watcher):
    """Takes the times of the stages."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.began: dict[str, float] = {}
        self.totals: dict[str, int] = {}
        self.ended = 0.0

    def begin(self, stage: str, total: int) -> None:
        self.began[stage], self.totals[stage] = time.monotonic(), total
        self._watcher.begin(stage, total)

    def advance(self, count: int, size: int = 0) -> None:
        self.ended = time.monotonic()
        self._watcher.advance(count, size)
