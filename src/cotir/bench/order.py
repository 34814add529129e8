"""What somebody wants built, and the jobs that come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cotir.bench.executor import Executor
from cotir.bench.generator import TraceWriter
from cotir.bench.recipes import Recipes
from cotir.bench.schema import Split, sample_key
from cotir.bench.tars import shard_path
from cotir.errors import ConfigError


@dataclass(frozen=True)
class Order:
    """What somebody wants built."""

    photos: Path
    out: Path
    recipes: Recipes
    samples: int
    size: int = 512
    seed: int = 0
    executor: Executor = "local"
    workers: int = 1
    address: str | None = None
    """Of a Ray cluster."""
    writer: Callable[[], TraceWriter] | None = None
    """Makes the trace writer in every worker; the template if None."""
    traces: str = "template"
    """The writer in words, for the manifest."""

    def __post_init__(self) -> None:
        limits = {"samples": (0, 10**9), "size": (16, 8192), "seed": (0, 2**63 - 1), "workers": (1, 4096)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; it must lie between {low} and {high}")


@dataclass(frozen=True)
class Job:
    """A shard, or the test samples of one recipe."""

    deg: str
    split: Split
    start: int
    stop: int
    shard: str
    """Empty for the test split."""

    @property
    def part(self) -> str:
        """Name of its index."""
        return f"{self.deg}-{self.split}-{self.start:09d}.parquet"

    @property
    def keys(self) -> list[str]:
        """Of its samples, in order."""
        return [sample_key(self.deg, index, self.split) for index in range(self.start, self.stop)]


def jobs_of(order: Order) -> list[Job]:
    """Shards in the order of the recipes, then the test split."""
    counts = share_out(order.samples, {recipe.deg: recipe.share for recipe in order.recipes})
    step = order.recipes.samples_per_shard
    jobs = [
        Job(deg, "train", start, min(start + step, count), shard_path(deg, start // step))
        for deg, count in counts.items()
        for start in range(0, count, step)
    ]
    if order.recipes.test_samples:
        jobs += [Job(recipe.deg, "test", 0, order.recipes.test_samples, "") for recipe in order.recipes]
    return jobs


def share_out(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Share whole samples out: each its part rounded down, what is left to the largest remainders, the first of equals.

    Args:
        count: at least 0.
        shares: non-negative parts; a part of 0 gets nothing.

    Returns:
        Numbers that add up to ``count``, or none at all if every part is 0.
    """
    total = sum(shares.values())
    if total == 0:
        return dict.fromkeys(shares, 0)
    exact = {name: count * share / total for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    names = sorted((name for name in shares if shares[name] > 0), key=lambda name: whole[name] - exact[name])
    for name in names[: count - sum(whole.values())]:
        whole[name] += 1
    return whole
